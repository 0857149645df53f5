"""Images flow one way: a layer imports only from layers to its left. And what is not used is not imported."""

import ast
import subprocess
import sys
from functools import cache
from itertools import chain
from pathlib import Path

import pytest

import adjax

ROOT = Path(adjax.__file__).parent
LAYERS = [
    {"atomic", "distribution", "process", "progress", "surface"},
    {"factories"},
    {"types", "_numerics"},
    {"_trees"},
    {"nn", "losses"},
    {"_kmeans"},
    {"data"},
    {"augment"},
    {"models"},
    {"methods"},
    {"members", "prefetch", "sharding"},
    {"checkpoint", "train"},
    {"loop"},
    {"features"},
    {"scorers"},
    {"conformal"},
    {"thresholds"},
    {"_other_rows"},
    {"crossfit"},
    {"spec"},
    {"extraction"},
    {"_fitting"},
    {"detector"},
    {"custom", "localise", "manifest"},
    {"serialization", "export", "tiles"},
    {"pipeline"},
    {"onnx", "sklearn"},
    {"drift", "metrics"},
    {"baselines", "pixel_metrics"},
    {"report"},
    {"overlays"},
    {"predict", "auto", "doctor"},
    {"serve", "cluster"},
    {"cli"},
    {"__main__"},
    {"artefact", "foreign"},  # old names
]
"""From left to right. A new module takes its place here."""
SUBLAYERS = [
    {"defects", "split", "splitting", "words"},
    {"ambiguous", "example", "labels"},
    {"tree"},
    {"io"},
    {"copies", "download"},
    {"datasets"},
    {"registry"},
    {"protocols"},
    {"folder", "npz", "study", "synthetic", "table", "trials"},  # old names
]
"""The layers inside `adjax.data`."""
ALONE = {
    "types": set(),
    "nn": {"_numerics"},
    "_numerics": set(),
    "_kmeans": {"_numerics"},
    "data": {"atomic", "distribution", "surface", "_kmeans"},
    "scorers": {"types", "_numerics", "_kmeans", "factories"},
    "conformal": set(),
    "drift": set(),
    "thresholds": {"conformal"},
    "metrics": set(),
    "pixel_metrics": {"metrics"},
    "manifest": {"atomic"},
    "report": {"atomic"},
}
"""Layers that know nothing of others, but for what is named."""
WHEN_CALLED = {("detector", "serialization"), ("detector", "export"), ("detector", "localise")}
"""The arrows that point right, for the user's sake: `Detector.save`, `.export` and `.maps`, imported when called."""

PLACE = {layer: place for place, names in enumerate(LAYERS) for layer in names}
MAIN = {
    "data",
    "augment",
    "models",
    "methods",
    "train",
    "features",
    "scorers",
    "thresholds",
    "detector",
    "pipeline",
    "cli",
}
"""Those of the short picture, in README, CONTRIBUTING and docs/architecture.md; the last has the long one as well."""
BEGIN, END = "<!-- layers -->\n", "<!-- end -->"


def layer_of(module: str) -> str:
    """`adjax.data.split` -> `data`; the top level itself is ""."""
    return [*module.split("."), ""][1]


def sublayer_of(module: str) -> str:
    """`adjax.data.io.idx` -> `io`; `adjax.data` itself and all else is ""."""
    return layer_of(module.removeprefix("adjax.")) if module.startswith("adjax.data.") else ""


def short_picture() -> str:
    return " → ".join(sorted(MAIN, key=PLACE.__getitem__))


def long_picture() -> str:
    """Left to right is top to bottom."""
    rows = (f"    {number:2}  {'  '.join(sorted(names))}\n" for number, names in enumerate(LAYERS, 1))
    return f"{BEGIN}\n{''.join(rows)}\n{END}"


def module_of(path: Path) -> str:
    parts = ("adjax", *path.relative_to(ROOT).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(source: str, package: str) -> list[tuple[str, bool]]:
    """Every imported adjax module, and whether it is imported only when something is called."""
    tree = ast.parse(source)
    functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)]
    late = set(chain.from_iterable(map(ast.walk, functions)))
    found = []
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join([*package.split(".")[: len(package.split(".")) - node.level + 1], base]).rstrip(".")
            names = [f"{base}.{alias.name}" for alias in node.names] if base == "adjax" else [base]
        found += [(name, node in late) for name in names if name.split(".")[0] == "adjax"]
    return found


@cache
def all_imports() -> list[tuple[str, str, bool]]:
    """(importing module, imported module, when called) all over the package, but for the top level."""
    result = []
    for path in sorted(ROOT.rglob("*.py")):
        module = module_of(path)
        if module == "adjax":
            continue
        package = module if path.name == "__init__.py" else module.rpartition(".")[0]
        result += [(module, name, late) for name, late in imports(path.read_text(), package)]
    return result


def test_every_module_has_its_place():
    layers = {layer_of(module_of(path)) for path in ROOT.rglob("*.py")} - {""}
    assert layers == set(PLACE), "give new modules their place in LAYERS"


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "docs/architecture.md"])
def test_the_picture_is_that_of_the_list(page):
    text = (ROOT.parent / page).read_text()
    assert short_picture() in text
    if BEGIN in text:
        found = BEGIN + text.split(BEGIN)[1].split(END)[0] + END
        assert found == long_picture(), "python -m tests.test_layers draws it again"


def test_the_layers_of_data():
    place = {name: place for place, names in enumerate(SUBLAYERS) for name in names}
    assert {sublayer_of(module_of(path)) for path in (ROOT / "data").rglob("*.py")} - {""} == set(place)
    arrows = {(sublayer_of(importer), sublayer_of(imported)) for importer, imported, _ in all_imports()}
    assert ("registry", "datasets") in arrows
    assert not [(a, b) for a, b in arrows if a and b and a != b and place[b] >= place[a]]


def test_a_layer_imports_only_from_layers_to_its_left():
    wrong = []
    for importer, imported, late in all_imports():
        here, there = layer_of(importer), layer_of(imported)
        assert there in PLACE, f"{importer} imports {imported}, which is no module"
        if here == there or (late and (here, there) in WHEN_CALLED):
            continue
        if PLACE[there] >= PLACE[here]:
            wrong.append(f"{importer} imports {imported}")
    assert not wrong


@pytest.mark.parametrize("layer", ALONE)
def test_layers_that_stand_alone(layer):
    known = {
        layer_of(imported)
        for importer, imported, _ in all_imports()
        if layer_of(importer) == layer and layer_of(imported) != layer
    }
    assert known <= ALONE[layer]


def test_the_imports_are_seen_at_all():
    """The parser above against the arrows that everyone knows."""
    seen = {(layer_of(a), layer_of(b)) for a, b, _ in all_imports()}
    assert {
        ("detector", "scorers"),
        ("detector", "augment"),
        ("serialization", "detector"),
        ("models", "nn"),
    } <= seen
    assert {(layer_of(a), layer_of(b)) for a, b, late in all_imports() if late} >= WHEN_CALLED
    source = "from adjax import metrics as m\ndef f():\n import adjax.train\nfrom . import idx\nfrom ..nn import x"
    assert set(imports(source, "adjax.data")) == {
        ("adjax.metrics", False),
        ("adjax.train", True),
        ("adjax.data", False),
        ("adjax.nn", False),
    }


HEAVY = {
    "tensorflow",
    "tensorflow_datasets",
    "matplotlib",
    "sklearn",
    "torch",
    "pandas",
    "PIL",
    "tyro",
}


def modules_after(code: str) -> set[str]:
    """Top-level modules that a fresh interpreter has after running `code`."""
    code += "\nimport sys; print(*sorted({m.split('.')[0] for m in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_adjax_imports_nothing():
    loaded = modules_after("import adjax; adjax.__version__; dir(adjax)")
    assert "adjax" in loaded
    assert not loaded & (HEAVY | {"rich", "jax", "flax", "optax", "orbax", "numpy"})


def test_using_all_of_adjax_imports_nothing_that_few_need():
    code = "import sys; from adjax import *; assert load and Detector and data and train and metrics"
    loaded = modules_after(f"{code}; assert 'adjax.report' not in sys.modules")
    assert {"jax", "flax", "safetensors"} <= loaded
    assert not loaded & HEAVY


def test_every_public_name_is_there_and_no_other():
    assert set(adjax.__all__) <= set(dir(adjax))
    for name in adjax.__all__:
        assert getattr(adjax, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'detect'; it has ArtefactError, Detector"):
        adjax.detect  # noqa: B018
    from adjax import serialization

    assert adjax.load is serialization.load


def test_type_checkers_see_what_is_there():
    """The names under TYPE_CHECKING are those of __all__, from the modules they come from."""
    tree = ast.parse((ROOT / "__init__.py").read_text())
    (block,) = (n for n in tree.body if isinstance(n, ast.If))
    told = {alias.asname: (n.module, alias.name) for n in block.body for alias in n.names}
    assert set(told) == set(adjax.__all__) - {"__version__"}
    for name, (module, original) in told.items():
        assert name == original
        expected = f"adjax.{adjax._HOMES[name]}" if name in adjax._HOMES else "adjax"
        assert module == expected


if __name__ == "__main__":
    page = ROOT.parent / "docs/architecture.md"
    before, _, rest = page.read_text().partition(BEGIN)
    page.write_text(before + long_picture() + rest.partition(END)[2])
