"""Docstrings say what goes in, what comes out and what is refused; and no text uses a private dialect.

Sources are parsed, not imported, so that this takes a second or two.
"""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "adjax"
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
CODE = [p for room in ("adjax", "experiments", "benchmarks") for p in sorted((ROOT / room).rglob("*.py"))]
ROOMS = sorted({p.parent.relative_to(ROOT).as_posix() for p in PACKAGE.rglob("*.py")})

Function = ast.FunctionDef | ast.AsyncFunctionDef

# Words of the project's early dialect, each with the word of the field that takes its place.
DIALECT = {
    r"teach(es|ing)?|taught": "train",
    r"strangers?": "out-of-distribution image",
    r"mend(s|ed|ing)?": "fix",
    r"normals rejected": "false positive rate",
    r"pass(es|ed)? over (?!the\b)": "skip",
    r"whole or not at all": "atomically",
    r"anew": "again",
    r"to be had": "available",
    r"parted by": "separated by",
    r"one ((?!of|is|in|to|as)\w+ ){0,2}an? (class|member|component|row|column|value|file|image|network)": "one per …",
    r"(what|that|which) (is|are) no (number|image|picture)s?": "NaN, not an image",
    r"so many": "at most n, at least n",
    r"changes of mind": "decision boundaries",
    r"seal(s|ed|ing)?": "manifest",
    r"amidst": "among",
    r"judge[ds]?|judging": "evaluate, score",
    r"normals": "normal images",
    r"(?<=[.!?] )(?-i:Of) \w+": "a clause that begins with its subject",
}


@functools.cache
def _parsed(source: str) -> ast.Module:
    return ast.parse(source)


def _own(function: Function) -> Iterator[ast.AST]:
    """The nodes of a function's own body, without those of functions and classes inside it."""
    todo: list[ast.AST] = list(function.body)
    while todo:
        node = todo.pop()
        yield node
        if not isinstance(node, Function | ast.Lambda | ast.ClassDef):
            todo.extend(ast.iter_child_nodes(node))


def _public(tree: ast.Module) -> Iterator[tuple[str, Function, bool]]:
    """Name, node and whether it is bound, of each public function of a module and method of its public classes."""
    for node in tree.body:
        if isinstance(node, Function):
            yield node.name, node, False
        elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            for method in node.body:
                if isinstance(method, Function):
                    static = any(ast.unparse(decorator) == "staticmethod" for decorator in method.decorator_list)
                    yield f"{node.name}.{method.name}", method, not static


def _arguments(function: Function, bound: bool) -> list[str]:
    a = function.args
    names = [x.arg for x in (*a.posonlyargs, *a.args)][bound:]
    return names + [x.arg for x in (a.vararg, *a.kwonlyargs, a.kwarg) if x is not None]


def _section(doc: str, title: str) -> list[str] | None:
    """Lines below `title:`, less their indent; None if there is no such section."""
    lines = doc.splitlines()
    if f"{title}:" not in lines:
        return None
    found = []
    for line in lines[lines.index(f"{title}:") + 1 :]:
        if line and not line.startswith("  "):
            break
        found.append(line[2:])
    return found


def faults(source: str) -> list[str]:
    """What docstrings of a module lack, one line per function and section."""
    missing = []
    for name, function, bound in _public(_parsed(source)):
        arguments = _arguments(function, bound)
        if function.name.startswith("_") or len(arguments) < 2:
            continue
        doc, nodes = ast.get_docstring(function) or "", list(_own(function))
        entries = re.findall(r"^(\*{0,2}\w+(?:, \*{0,2}\w+)*): ", "\n".join(_section(doc, "Args") or []), re.MULTILINE)
        said = {x.strip("*") for entry in entries for x in entry.split(", ")}
        if lacking := [x for x in arguments if x not in said]:
            missing.append(f"{name}: Args lacks {', '.join(lacking)}")
        if strange := sorted(said - set(arguments)):
            missing.append(f"{name}: Args has {', '.join(strange)}, which the function has not")
        gives = function.returns is not None and ast.unparse(function.returns) not in ("None", "NoReturn")
        if gives and not (_section(doc, "Returns") or _section(doc, "Yields")):
            missing.append(f"{name}: no Returns")
        if any(isinstance(n, ast.Raise) and n.exc is not None for n in nodes) and not _section(doc, "Raises"):
            missing.append(f"{name}: no Raises")
    return missing


_ANY = re.compile(rf"\b(?:{'|'.join(f'(?P<_{i}>{word})' for i, word in enumerate(DIALECT))})\b", re.IGNORECASE)
_CODE = re.compile(r"```.*?```|`[^`\n]*`|^ +\w+(, \w+)*: ", re.DOTALL | re.MULTILINE)


def dialect(text: str) -> list[str]:
    """Words of the dialect in a text, but for code: blocks, names in backticks and names of Args and Attributes."""
    matches = _ANY.finditer(re.sub(r"\s+", " ", _CODE.sub("", text)))
    return [f"{match.group()!r}: {list(DIALECT.values())[int(match.lastgroup[1:])]}" for match in matches]


def _texts(source: str) -> Iterator[tuple[int, str]]:
    """Line and text of each string of a module that has a blank: docstrings, messages and help, but no keys."""
    for node in ast.walk(_parsed(source)):
        if isinstance(node, ast.JoinedStr):
            yield node.lineno, "".join(str(v.value) if isinstance(v, ast.Constant) else "…" for v in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            yield node.lineno, node.value


@pytest.mark.parametrize("room", ROOMS)
def test_public_functions_say_arguments_results_and_errors(room):
    files = [p for p in sorted((ROOT / room).glob("*.py")) if not p.name.startswith("_") or p.name == "__init__.py"]
    wrong = [f"{p.relative_to(ROOT)}: {fault}" for p in files for fault in faults(p.read_text(encoding="utf-8"))]
    assert not wrong, "docstrings need Args (each by name), Returns and Raises:\n" + "\n".join(wrong)


@pytest.mark.parametrize("room", ["adjax", "experiments", "benchmarks", "pages"])
def test_texts_are_in_the_fields_words(room):
    if room == "pages":
        wrong = [f"{p.relative_to(ROOT)}: {x}" for p in PAGES for x in dialect(p.read_text(encoding="utf-8"))]
    else:
        files = [p for p in CODE if p.relative_to(ROOT).parts[0] == room]
        wrong = [
            f"{p.relative_to(ROOT)}:{line}: {x}"
            for p in files
            for line, text in _texts(p.read_text(encoding="utf-8"))
            for x in dialect(text)
        ]
    assert not wrong, "found: use\n" + "\n".join(wrong)
