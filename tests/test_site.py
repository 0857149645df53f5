"""The site as it is built: it fetches nothing, no link leads nowhere, and no page shows the marks it was made of."""

from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

import pytest
from test_docs import hooks, result

from adjax.data.io import upload

ROOT = Path(__file__).parents[1]
RAW = re.compile(r"--8\s*<|<!--|-->|\\`|^```|\]\(\S+\)|^::: |\{\{\s*\w+\s*\}\}", re.MULTILINE)
"""Marks of an include, a comment, an escaped or unclosed code span or fence, a link, a docstring, a template."""


class Page(NamedTuple):
    """What a page shows outside of its code, where it leads, and the places that can be led to."""

    text: str
    code: str
    links: list[str]
    ids: set[str]


class Reader(HTMLParser):
    """Collects a `Page`."""

    def __init__(self) -> None:
        super().__init__()
        self.text, self.code, self.links, self.ids, self.open = [], [], [], set(), []

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.ids |= {values[name] for name in ("id", "name") if values.get(name)}
        self.links += [values[name] for name in ("href", "src") if values.get(name) is not None]
        if tag in ("code", "script", "style"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        if self.open and self.open[-1] == tag:
            self.open.pop()

    def handle_data(self, data):
        (self.text if not self.open else self.code if self.open[-1] == "code" else []).append(data)


def read(html: str) -> Page:
    reader = Reader()
    reader.feed(html)
    return Page("".join(reader.text), "".join(reader.code), reader.links, reader.ids)


def raw(page: Page) -> list[str]:
    """Marks that should have become something; in code only those of an include."""
    return RAW.findall(page.text) + re.findall(r"--8\s*<", page.code)


def dead(folder: Path, pages: dict[Path, Page]) -> list[str]:
    """Links to a page, file or heading that the site doesn't have."""
    lost = []
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc or link.startswith("/"):  # elsewhere; 404.html names what the host has
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            ids = pages[target].ids if target in pages else set()
            if not target.is_file() or (parts.fragment and unquote(parts.fragment) not in ids):
                lost.append(f"{path.relative_to(folder)}: {link}")
    return lost


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    for package in ("mkdocs", "material", "mkdocstrings"):
        pytest.importorskip(package)
    folder = tmp_path_factory.mktemp("site").resolve()
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site):
    return {path: read(path.read_text()) for path in site.glob("**/*.html")}


def test_the_crawler_sees_what_is_lost(tmp_path):
    """The crawler itself, on two pages of its own."""
    (tmp_path / "a.html").write_text('<h1 id="top">A</h1><a href="b.html#there">to b</a> <a href="#top">up</a>')
    (tmp_path / "b.html").write_text('<p id="there">see \\`x\\` <code>--8 < --"f.py"</code></p><a href="c.html">c</a>')
    pages = {path: read(path.read_text()) for path in tmp_path.glob("*.html")}
    assert dead(tmp_path, pages) == ["b.html: c.html"]
    assert raw(pages[tmp_path / "a.html"]) == []
    assert raw(pages[tmp_path / "b.html"]) == ["\\`", "\\`", "--8 <"]
    pages[tmp_path / "b.html"] = read("<p>moved</p>")
    assert dead(tmp_path, pages) == ["a.html: b.html#there"]


@pytest.mark.slow
def test_no_link_leads_nowhere(site, pages):
    assert len(pages) > 20
    assert not dead(site, pages)


@pytest.mark.slow
def test_no_page_shows_a_raw_mark(pages):
    shown = {path.name: raw(page) for path, page in pages.items()}
    assert not {name: marks for name, marks in shown.items() if marks}


@pytest.mark.slow
def test_a_file_stands_whole_where_a_page_names_it(pages):
    (adding,) = [page for path, page in pages.items() if path.name == "adding.html"]
    for name in ("scorers/max_logit.py", "methods/regressor.py"):
        assert (ROOT / "adjax" / name).read_text().strip() in adding.code


@pytest.mark.slow
def test_what_becomes_of_a_file_is_told_as_its_reader_has_it(pages):
    (layouts,) = [page for path, page in pages.items() if path.name == "layouts.html"]
    for line in ("CMYK (print)", "the upper 8 bits: all of 0 … 65535 becomes all of 0 … 255, nothing is clipped"):
        assert line in layouts.text
        assert line in upload.__doc__


@pytest.mark.slow
def test_the_site_fetches_nothing(site):
    """Links may lead elsewhere; what a page loads by itself may not."""
    pages = list(site.glob("**/*.html"))
    assert len(pages) > 20
    for path in [*pages, *site.glob("**/*.css")]:
        text = path.read_text()
        loads = re.findall(
            r"<(?:script|img|iframe|source|video|audio|embed|object)\b[^>]*?\b(?:src|data)=\"?([^\">]+)", text
        )
        loads += [re.search(r'href="?([^">]+)', tag)[1] for tag in re.findall(r"<link\b[^>]*>", text)]
        loads += re.findall(r"url\([\"']?([^)\"']+)", text) + re.findall(r"@import\s+[\"']([^\"']+)", text)
        assert not [at for at in loads if re.match(r"(?:https?:)?//", at)], path


@pytest.mark.slow
def test_the_site_holds_what_the_hook_made(site):
    choosing = (site / "choosing.html").read_text()
    for choice in hooks.CHOICES:
        assert choice.preset in choosing
        assert hooks.auroc(result(choice.preset)["summary"]) in choosing
    scorers_page = (site / "api" / "scorers.html").read_text()
    assert "Lee et al." in scorers_page  # the equation and the paper, from the module's docstring
    assert "<!-- modules" not in scorers_page
    assert not list(site.glob("**/*.py"))
