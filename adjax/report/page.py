"""The page: sections of HTML, style, script and data in one string, under a policy that lets nothing else run."""

from __future__ import annotations

import base64
import functools
import hashlib
import html
import json
import os
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from adjax import atomic
from adjax.report.contents import Cell, Figure, Report, Table
from adjax.report.pack import pack

MAX_BYTES = 5_000_000
SCRIPTS = (
    "data", "format", "dom", "scales", "plot", "tables", "state", "controls", "histogram", "gallery", "curves",
    "classes", "features", "samples", "sweep", "calibration", "main",
)  # fmt: skip
"""Files of assets/js, in order: one scope, one script."""


def write(report: Report, path: str | os.PathLike) -> Path:
    """Writes the page atomically.

    Args:
      report: its contents.
      path: of the file, which may exist.

    Returns:
      The path.
    """
    atomic.write(path, render(report))
    return Path(path)


def render(report: Report) -> str:
    """The page as a string: all that it needs, and nothing that could be fetched.

    Raises:
      ValueError: it would be larger than `MAX_BYTES`.
    """
    style = _asset("style.css")
    script = '"use strict";\n(() => {\n' + "\n".join(_asset(f"js/{name}.js") for name in SCRIPTS) + "})();\n"
    names = _sections(report)
    page = fill(
        _asset("page.html"),
        policy=f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; img-src data:; "
        "base-uri 'none'; form-action 'none'",
        title=html.escape(report.title),
        style=style,
        script=script,
        data=_json(pack(report)),
        header=_header(report, names),
        sections="\n".join(part for name in names for part in _parts(name, report)),
    )
    if len(page.encode()) > MAX_BYTES:
        raise ValueError(f"a report of {len(page.encode()) / 1e6:.1f} MB: must be below {MAX_BYTES / 1e6:.0f} MB; "
                         "give fewer pictures, views or rows of tables")  # fmt: skip
    return page


def fill(template: str, **values: str) -> str:
    """Replaces each `{{name}}` once; inserted text is not looked at again.

    Args:
      template: the text.
      **values: name → text.

    Returns:
      The filled text.
    """
    return re.sub(r"\{\{(\w+)\}\}", lambda match: values[match[1]], template)


TITLES = {
    "headline": "Headline figures",
    "threshold": "Where to draw the line",
    "gallery": "The images behind the numbers",
    "curves": "ROC and precision–recall",
    "classes": "Class by class",
    "features": "Feature space",
    "samples": "Score of each image",
    "sweep": "Sweep",
    "calibration": "Calibration",
    "members": "Each class or fold",
    "errors": "Files that could not be scored",
    "provenance": "How it was made",
}
"""Sections in order; a section is there if what it shows is."""


def _sections(report: Report) -> list[str]:
    views = report.views
    known = any(v.truth is not None for v in views)
    there = {
        "headline": bool(report.figures or report.headline),
        "threshold": bool(views),
        "gallery": any(v.pictures is not None and len(v.pictures.rows) for v in views),
        "curves": known,
        "classes": any(v.labels is not None and len(v.classes) for v in views),
        "features": any(v.features is not None for v in views),
        "samples": bool(views),
        "sweep": report.sweep is not None and len(report.sweep.values) > 1,
        "calibration": known and any(v.held_out is not None and len(v.held_out) for v in views),
        "members": report.members is not None,
        "errors": report.errors is not None,
        "provenance": bool(report.facts or report.command),
    }
    return [name for name in TITLES if there[name]]


def _header(report: Report, names: list[str]) -> str:
    links = "".join(f'<li><a href="#{name}">{html.escape(TITLES[name])}</a></li>' for name in names)
    note = f'<p class="note" role="alert">{html.escape(report.note)}</p>' if report.note else ""
    lead = f'<p class="lead">{html.escape(report.lead)}</p>' if report.lead else ""
    return f'<h1>{html.escape(report.title)}</h1>{note}{lead}<nav aria-label="Sections"><ul>{links}</ul></nav>'


def _parts(name: str, report: Report) -> list[str]:
    """The section; before that of the threshold its slider, which stays in sight from there on."""
    return [*([_asset("bar.html")] if name == "threshold" else []), _section(name, report)]


def _section(name: str, report: Report) -> str:
    fillings: dict[str, Any] = {
        "headline": lambda: {"figures": _figures(report.figures), "table": _table(report.headline)},
        "sweep": lambda: {"name": html.escape(report.sweep.name if report.sweep else "")},
        "members": lambda: {"table": _table(report.members, sortable=True)},
        "errors": lambda: {"table": _table(report.errors, sortable=True)},
        "provenance": lambda: {"command": _command(report.command), "facts": _facts(report.facts)},
    }
    body = fill(_asset(f"sections/{name}.html"), **fillings.get(name, dict)())
    heading = f'<h2 id="{name}-title">{TITLES[name]}</h2>'
    return f'<section id="{name}" aria-labelledby="{name}-title">{heading}\n{body}</section>'


def _figures(figures: Sequence[Figure]) -> str:
    def one(figure: Figure) -> str:
        name, value, interval, about = map(html.escape, figure)
        beside = f'<dd class="interval">{interval}</dd>' if interval else ""
        below = f'<dd class="about">{about}</dd>' if about else ""
        return f'<div class="card"><dt>{name}</dt><dd class="value">{value}</dd>{beside}{below}</div>'

    return f'<dl class="cards">{"".join(map(one, figures))}</dl>' if figures else ""


def _table(table: Table | None, sortable: bool = False) -> str:
    if table is None:
        return ""
    kinds = table.kinds or [""] * len(table.rows)
    head = "".join(f'<th scope="col">{html.escape(c)}</th>' for c in table.columns)
    rows = (
        f'<tr class="{html.escape(kind)}"><th scope="row">{_cell(first)}</th>'
        + "".join(f'<td class="text">{_cell(x)}</td>' if _is_prose(x) else f"<td>{_cell(x)}</td>" for x in rest)
        + "</tr>"
        for kind, (first, *rest) in zip(kinds, table.rows, strict=True)
    )
    caption = f"<caption>{html.escape(table.caption)}</caption>" if table.caption else ""
    attribute = " data-sortable" if sortable else ""
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{html.escape(table.caption or "table")}">'
        f"<table{attribute}>{caption}<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _is_prose(value: Cell) -> bool:
    """Text that had better be broken into lines than pushed to the right."""
    return isinstance(value, str) and len(value) > 16 and value[0].isalpha()


def _cell(value: Cell) -> str:
    return "" if value is None else html.escape(f"{value:.4g}" if isinstance(value, float) else str(value))


def _facts(facts: Mapping[str, Sequence[tuple[str, str]]]) -> str:
    def one(heading: str, pairs: Sequence[tuple[str, str]]) -> str:
        rows = "".join(f'<tr><th scope="row">{html.escape(k)}</th><td>{html.escape(v)}</td></tr>' for k, v in pairs)
        return f'<div class="facts"><h3>{html.escape(heading)}</h3><table><tbody>{rows}</tbody></table></div>'

    return f'<div class="columns">{"".join(one(*item) for item in facts.items())}</div>' if facts else ""


def _command(command: str) -> str:
    return f'<pre class="command"><code>{html.escape(command)}</code></pre>' if command else ""


def _json(value: Any) -> str:
    """JSON that can't end the script element it stands in, nor begin a comment."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


@functools.cache
def _asset(name: str) -> str:
    return (resources.files("adjax.report") / "assets" / name).read_text(encoding="utf-8")
