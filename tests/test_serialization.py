"""A detector on disk: what is loaded is what was saved, and nothing else is."""

import ast
import builtins
import dataclasses
import functools
import hashlib
import json
import os
import pickle
import shutil
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load, save
from tiers import daily

import adjax
from adjax import data, export, manifest, scorers, serialization
from adjax import detector as detectors
from adjax.augment import Normalise, normalise_of
from adjax.detector import Spec
from adjax.serialization import ArtefactError

IMAGES = data.load("digits", "train").images[:60]


@pytest.fixture(scope="module", params=["mahalanobis", pytest.param("mahalanobis_perclass", marks=pytest.mark.slow)])
def detector(request):
    return _detector(request.param)


@pytest.fixture(scope="module")
def tied():
    return _detector("mahalanobis")


HALVES = {"offsets": (0.5, 0.5), "scales": (0.5, 0.5)}


def _spec(scorer):
    options = {"shrinkage": 0.25} if scorer.startswith("mahalanobis") else {}
    if scorer == "fused":
        options = {"names": ("gmm", "patchwise"), "options": ((), (("feature", "features"),))} | HALVES
    if scorer == "weighted_energy":
        options = {"weights": (1.0, 2.0) * 5}
    if scorer in ("padim", "patchcore", "patchwise", "subspace"):  # one place, as small as the images
        options = {"feature": "features"} | ({"grid": (1, 1)} if scorer == "padim" else {})
    if scorer == "rankfeat":  # of a network with a map before its last layer
        return Spec("centerloss", "resnet18", scorer, (64, 64, 1), "0123456789")
    parts = ("classifier", "cnn") if scorer == "score" else ("centerloss", "lenet5")  # who scores by itself
    return Spec(*parts, scorer, (8, 8, 1), ["normal"] if scorer == "score" else "0123456789", options)


def _detector(scorer, seed=0):
    """Of a network with arbitrary numbers, cheaper than training one."""
    spec = _spec(scorer)
    rng = np.random.default_rng(seed)
    init = detectors.resolve(spec).method.init
    shapes = jax.eval_shape(init, jax.random.key(0), dict(detectors.resolve(spec).method.hparams))["params"]
    params = jax.tree.map(lambda x: rng.normal(0, 0.1, x.shape).astype(np.float32), shapes)
    labels = data.load("digits", "train").labels[:50] % len(spec.classes)
    return detectors.fit(spec, params, normalise_of(IMAGES), IMAGES[:50], labels, IMAGES[50:])


def identical(a, b) -> bool:
    same = jax.tree.map(lambda x, y: x.dtype == y.dtype and np.array_equal(x, y, equal_nan=True), a, b)
    return jax.tree.structure(a) == jax.tree.structure(b) and all(jax.tree.leaves(same))


@pytest.fixture(scope="module")
def saved_once(tied, tmp_path_factory):
    directory = tmp_path_factory.mktemp("saved") / "d"
    tied.save(directory)
    return directory


@pytest.fixture
def saved(saved_once, tmp_path):
    """A copy, to be done with what one likes."""
    return shutil.copytree(saved_once, tmp_path / "d")


def file_of(directory: Path, kind: str) -> Path:
    """`manifest`, `detector` or `arrays`."""
    (file,) = directory.glob(f"{kind}*")
    return file


@pytest.fixture
def known_shapes(monkeypatch):
    """Traces a network once, and not for each detector of one spec that is saved or loaded."""
    monkeypatch.setattr(serialization, "_template", functools.cache(serialization._template))


KINDS = "manifest", "detector", "arrays"


def forge(directory: Path, **contents: bytes) -> None:
    """Replaces files and makes the manifest agree, as one would who knows the format."""
    for kind in ("detector", "arrays"):
        old = file_of(directory, kind)
        contents.setdefault(kind, old.read_bytes())
        old.unlink()
    sums = {kind: hashlib.sha256(contents[kind]).hexdigest() for kind in ("arrays", "detector")}
    for kind, content in sums.items():
        (directory / serialization.FORMAT.file_name(kind, content)).write_bytes(contents[kind])
    (directory / "manifest.json").write_bytes(serialization.FORMAT.content(sums))


def forge_facts(directory: Path, change) -> None:
    facts = json.loads(file_of(directory, "detector").read_bytes())
    change(facts)
    forge(directory, detector=json.dumps(facts).encode())


# There and back


def test_what_is_loaded_is_what_was_saved(detector, tmp_path):
    detector.save(tmp_path / "a" / "b")
    loaded = adjax.load(tmp_path / "a" / "b")
    assert identical(loaded, detector)
    assert loaded.spec == detector.spec
    np.testing.assert_array_equal(loaded.score(IMAGES), detector.score(IMAGES))
    np.testing.assert_array_equal(loaded.p_value(IMAGES), detector.p_value(IMAGES))
    assert repr(loaded) == repr(detector)


def test_a_loaded_detector_compiles_nothing_anew(tied, saved):
    tied.score(IMAGES)
    before = detectors._jitted(detectors._score)._cache_size()
    serialization.load(saved).score(IMAGES)
    assert detectors._jitted(detectors._score)._cache_size() == before


def test_without_held_out_images_and_with_another_threshold(tied, tmp_path):
    bare = dataclasses.replace(tied.with_quantile(0.9), calibration_scores=jnp.zeros(0))
    bare.save(tmp_path / "d")
    assert identical(serialization.load(str(tmp_path / "d")), bare)


def test_a_pretty_manifest_a_reader_of_json_understands(saved):
    manifest = json.loads((saved / "manifest.json").read_text())
    assert manifest["format"] == "adjax detector"
    assert manifest["schema"] == 1
    for kind, expected in manifest["sha256"].items():
        assert hashlib.sha256(file_of(saved, kind).read_bytes()).hexdigest() == expected
    spec = json.loads(file_of(saved, "detector").read_text())["spec"]
    assert spec["scorer"] == "mahalanobis"
    assert spec["scorer_options"] == [["shrinkage", 0.25]]


# Damage


@pytest.mark.usefixtures("known_shapes")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bits", [*daily(["one of a byte", "all"], "one of a byte")])
def test_every_flipped_bit_is_refused(saved, kind, bits):
    """In every byte of the small files; of the arrays header, first and last bytes and a sample between."""
    file = file_of(saved, kind)
    content = file.read_bytes()
    places = range(len(content))
    if kind == "arrays":
        rng = np.random.default_rng(0)
        places = sorted({*range(12), *range(len(content) - 4, len(content)), *rng.integers(0, len(content), 40)})
    for place in places:
        for bit in range(8) if bits == "all" else [place % 8]:
            broken = bytearray(content)
            broken[place] ^= 1 << bit
            file.write_bytes(broken)
            with pytest.raises(ArtefactError):
                serialization.load(saved)
    file.write_bytes(content)
    serialization.load(saved)


@pytest.mark.parametrize("kind", KINDS)
def test_truncated_lengthened_or_missing_files_are_refused(saved, kind):
    file = file_of(saved, kind)
    content = file.read_bytes()
    for broken in (b"", content[:-1], content[: len(content) // 2], content + b"\0", content + b"\n"):
        file.write_bytes(broken)
        with pytest.raises(ArtefactError):
            serialization.load(saved)
    file.unlink()
    with pytest.raises(ArtefactError, match=f"no {kind}"):
        serialization.load(saved)
    file.mkdir()
    with pytest.raises(ArtefactError, match=f"no {kind}"):
        serialization.load(saved)


def test_no_detector_at_all_is_told(tmp_path):
    with pytest.raises(ArtefactError, match=r"nowhere is not a complete detector: no manifest\.json"):
        serialization.load(tmp_path / "nowhere")


def test_a_newer_schema_says_what_to_do(saved):
    newer = dataclasses.replace(serialization.FORMAT, schema=7)
    manifest = newer.content(json.loads((saved / "manifest.json").read_text())["sha256"])
    (saved / "manifest.json").write_bytes(manifest)
    with pytest.raises(ArtefactError, match="schema 7, this adjax reads up to 1: update adjax"):
        serialization.load(saved)


# Forgery: every sum agrees


def test_a_forgery_without_change_is_no_forgery(saved, tied):
    """Else the tests below would prove nothing."""
    forge_facts(saved, lambda facts: None)
    assert identical(serialization.load(saved), tied)


WRONG_ARRAYS = {
    "one missing": lambda a: a.pop("scorer/origin"),
    "one too many": lambda a: a.update(more=np.zeros(3)),
    "another shape": lambda a: a.update({"scorer/origin": np.zeros(83, np.float32)}),
    "another dtype": lambda a: a.update({"scorer/origin": np.zeros(84, np.float64)}),
    "another rank": lambda a: a.update({"threshold": np.zeros(1, np.float32)}),
    "another count of held-out images": lambda a: a.update(normal_levels=np.zeros(11, np.float32)),
    "another name": lambda a: a.update({"scorer/0rigin": a.pop("scorer/origin")}),
}


@pytest.mark.parametrize("change", WRONG_ARRAYS.values(), ids=WRONG_ARRAYS)
def test_arrays_that_the_spec_does_not_ask_for_are_refused(saved, change):
    arrays = load(file_of(saved, "arrays").read_bytes())
    change(arrays)
    forge(saved, arrays=save(arrays))
    with pytest.raises(ArtefactError, match=r"does not hold the arrays of its spec: .* is .*, must be "):
        serialization.load(saved)


@pytest.mark.parametrize(("count", "more"), [(3, ""), (5, "; and 2 more")])
def test_of_many_wrong_arrays_three_are_named(saved, count, more):
    arrays = load(file_of(saved, "arrays").read_bytes())
    wrong = sorted(arrays)[:count]
    forge(saved, arrays=save({name: x for name, x in arrays.items() if name not in wrong}))
    with pytest.raises(ArtefactError) as refused:
        serialization.load(saved)
    named = str(refused.value).partition("its spec: ")[2]
    assert [part.split(" ")[0] for part in named.removesuffix(more).split("; ")] == wrong[:3]
    assert ("more" in named) == bool(more)


WRONG_FACTS = {
    "no such method": lambda f: f["spec"].update(method="os.system"),
    "no such model": lambda f: f["spec"].update(model="../../etc/passwd"),
    "no such scorer": lambda f: f["spec"].update(scorer="euclid"),
    "no such option": lambda f: f["spec"].update(scorer_options=[["temperature", 1]]),
    "an option of the wrong type": lambda f: f["spec"].update(scorer_options=[["shrinkage", "much"]]),
    "an option that can't be hashed": lambda f: f["spec"].update(scorer_options=[["shrinkage", [1]]]),
    "options that are none": lambda f: f["spec"].update(scorer_options=[["shrinkage"]]),
    "an option beyond its limits": lambda f: f["spec"].update(scorer_options=[["shrinkage", 2]]),
    "another size": lambda f: f["spec"].update(image_shape=[9, 40, 1]),
    "a gigantic size": lambda f: f["spec"].update(image_shape=[10**9, 10**9, 3]),
    "a size that is none": lambda f: f["spec"].update(image_shape=[8, "8", 1]),
    "two dimensions": lambda f: f["spec"].update(image_shape=[8, 8]),
    "one class less": lambda f: f["spec"].update(classes=list("123456789")),
    "classes that can't be hashed": lambda f: f["spec"].update(classes=[[]] * 10),
    "no classes": lambda f: f["spec"].update(classes=[]),
    "null": lambda f: f["spec"].update(classes=None),
    "a field too many": lambda f: f["spec"].update(path="/etc/passwd"),
    "a field too few": lambda f: f["spec"].pop("model"),
    "no spec": lambda f: f.pop("spec"),
    "a spec that is none": lambda f: f.update(spec=[]),
    "no channels": lambda f: f.pop("channels"),
    "gigantic channels": lambda f: f.update(channels=10**30),
    "no count": lambda f: f.pop("held_out"),
    "a negative count": lambda f: f.update(held_out=-1),
    "a gigantic count": lambda f: f.update(held_out=10**30),
    "a count that is none": lambda f: f.update(held_out="ten"),
}


@pytest.mark.parametrize("change", WRONG_FACTS.values(), ids=WRONG_FACTS)
def test_a_spec_that_this_adjax_does_not_know_is_refused(saved, change):
    forge_facts(saved, change)
    with pytest.raises(ArtefactError, match=r"holds no detector that this adjax knows|arrays of its spec"):
        serialization.load(saved)


class Bomb:
    def __reduce__(self):
        return os.mkdir, ("bombed",)


@pytest.mark.parametrize("kind", ["arrays", "detector"])
def test_a_pickle_in_place_of_a_file_is_not_opened(saved, kind, monkeypatch):
    monkeypatch.chdir(saved)
    for content in (pickle.dumps(Bomb()), b"[" * 100_000, b"[]", b"{}", b"\xff\xfe", b"null"):
        forge(saved, **{kind: content})
        with pytest.raises(ArtefactError):
            serialization.load(saved)
    assert not Path("bombed").exists()


@pytest.mark.parametrize("module", [serialization, manifest, export])
def test_nothing_here_can_unpickle(module):
    tree = ast.parse(Path(module.__file__).read_text())
    imported = {
        name.split(".")[0]
        for node in ast.walk(tree)
        for name in (
            [a.name for a in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert not imported & {"pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "torch"}
    assert "np.load" not in Path(module.__file__).read_text()


@pytest.mark.parametrize(
    "forged",
    [
        lambda m: m["sha256"].update(arrays="../" * 8 + "etc/passwd"),
        lambda m: m["sha256"].update(arrays="/etc/passwd".ljust(64, "0")),
        lambda m: m["sha256"].update(passwd="0" * 64),
        lambda m: m["sha256"].update(arrays=None),
        lambda m: m["sha256"].update(arrays=m["sha256"]["arrays"].upper()),
        lambda m: m["sha256"].pop("arrays"),
        lambda m: m.pop("sha256"),
        lambda m: m.update(format="a progressive web app"),
        lambda m: m.update(schema=0),
        lambda m: m.update(schema="1"),
        lambda m: m.update(schema=True),
    ],
)
def test_a_manifest_leads_nowhere(saved, forged, monkeypatch):
    content = json.loads((saved / "manifest.json").read_text())
    forged(content)
    (saved / "manifest.json").write_bytes(manifest.to_json(content))
    read = []
    monkeypatch.setattr(Path, "read_bytes", lambda self, f=Path.read_bytes: read.append(self) or f(self))
    with pytest.raises(ArtefactError, match="damaged, or no detector's manifest"):
        serialization.load(saved)
    assert read == [saved / "manifest.json"]


def test_other_manifests_are_not_taken_for_ours(saved):
    for content in (b"{}", b"[]", b"3", b"null", b"[" * 100_000, b"\xff", b'{"format": "adjax detector"}'):
        (saved / "manifest.json").write_bytes(content)
        with pytest.raises(ArtefactError, match="damaged, or no detector's manifest"):
            serialization.load(saved)


# Saving, all or nothing


class Died(BaseException):
    """The process is gone: no `except Exception` tidies up."""


@contextmanager
def dying(monkeypatch, n: int):
    """The n-th call that changes the disk is the last one; gives a function that counts them."""
    calls = 0

    def mortal(call):
        def wrapper(*args, **kwargs):
            nonlocal calls
            calls += 1
            if calls == n:
                raise Died
            return call(*args, **kwargs)

        return wrapper

    with monkeypatch.context() as patch, suppress(Died):
        for name in ("mkdir", "open", "fsync", "replace", "rename", "unlink", "rmdir"):
            patch.setattr(os, name, mortal(getattr(os, name)))
        patch.setattr(builtins, "open", mortal(open))
        yield lambda: calls


def save_dying_everywhere(monkeypatch, tmp_path, prepare, detector):
    """Saves with a death at every call in turn, up to the one that survives; gives the directories."""
    for n in count(1):
        directory = tmp_path / str(n)
        prepare(directory)
        with dying(monkeypatch, n) as calls:
            serialization.save(detector, directory)
        yield directory
        if calls() < n:
            assert n > 8
            return


@pytest.mark.usefixtures("known_shapes")
def test_a_save_that_dies_leaves_the_old_detector_or_the_new_one(tied, tmp_path, monkeypatch):
    other = _detector("mahalanobis", seed=1)
    outcome = []
    for directory in save_dying_everywhere(monkeypatch, tmp_path, tied.save, other):
        loaded = serialization.load(directory)
        assert identical(loaded, tied) or identical(loaded, other)
        outcome.append("new" if identical(loaded, other) else "old")
        tied.save(directory)  # what was left behind is in nobody's way, and cleared up
        assert identical(serialization.load(directory), tied)
        assert len(list(directory.iterdir())) == 3
    assert outcome == sorted(outcome, reverse=True)
    assert {*outcome} == {"old", "new"}


@pytest.mark.usefixtures("known_shapes")
def test_a_first_save_that_dies_leaves_nothing_that_hinders_the_next(tied, tmp_path, monkeypatch):
    for directory in save_dying_everywhere(monkeypatch, tmp_path, lambda _: None, tied):
        with suppress(ArtefactError):
            assert identical(serialization.load(directory), tied)
        tied.save(directory)
        assert identical(serialization.load(directory), tied)
        assert len(list(directory.iterdir())) == 3


def test_the_manifest_comes_last_and_every_byte_is_on_disk_before_it(tied, tmp_path, monkeypatch):
    done = []
    monkeypatch.setattr(os, "fsync", lambda fd, f=os.fsync: done.append("sync") or f(fd))
    monkeypatch.setattr(os, "replace", lambda a, b, f=os.replace: done.append(Path(b).name) or f(a, b))
    tied.save(tmp_path / "d")
    files = [file_of(tmp_path / "d", kind).name for kind in ("arrays", "detector", "manifest")]
    assert done == [step for name in files for step in ("sync", name, "sync")]


def test_saving_over_a_damaged_file_mends_it(tied, saved):
    file_of(saved, "arrays").write_bytes(b"")
    tied.save(saved)
    assert identical(serialization.load(saved), tied)


def test_what_is_no_detector_is_never_written_over(tied, saved, tmp_path):
    foreign = tmp_path / "thesis"
    foreign.mkdir()
    (foreign / "chapter1.tex").write_text("In the beginning")
    with pytest.raises(ArtefactError, match="thesis is a directory of something else"):
        tied.save(foreign)
    with pytest.raises(ArtefactError, match=r"chapter1\.tex is a file"):
        tied.save(foreign / "chapter1.tex")
    (foreign / "manifest.json").write_text('{"name": "a progressive web app"}')
    with pytest.raises(ArtefactError, match="Name another directory"):
        tied.save(foreign)
    assert sorted(f.name for f in foreign.iterdir()) == ["chapter1.tex", "manifest.json"]


def test_files_beside_a_detector_are_left_alone(tied, saved):
    (saved / "README.md").write_text("mine")
    (saved / "arrays-mine.safetensors").write_text("mine, too")
    tied.with_quantile(0.5).save(saved)
    assert serialization.load(saved).threshold == 0.5
    assert (saved / "README.md").read_text() == "mine"
    assert (saved / "arrays-mine.safetensors").exists()
    assert len(list(saved.iterdir())) == 5


def test_an_empty_directory_will_do(tied, tmp_path):
    tied.save(tmp_path)
    assert identical(serialization.load(tmp_path), tied)


def test_a_stack_of_detectors_is_refused(tied, tmp_path):
    stack = jax.tree.map(lambda x: jnp.stack([x, x]), tied)
    with pytest.raises(ArtefactError, match="does not hold the arrays of its spec"):
        serialization.save(stack, tmp_path / "d")
    assert not (tmp_path / "d").exists()


FAMILIES = "gmm", "knn", "mahalanobis", "max_softmax", "patchcore", "vim"
each_scorer = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in FAMILIES else pytest.mark.slow) for name in scorers.SCORERS]
)


@each_scorer
def test_each_registered_scorer_is_saved(name):
    """A scorer whose state can't be told from its spec would be found here. Shapes alone: compiling takes seconds."""
    spec = _spec(name)
    images = jax.ShapeDtypeStruct((50, *spec.image_shape), np.float32)
    template = serialization._template(spec, 10)
    method, scorer = detectors.resolve(spec)
    outputs = jax.eval_shape(method.outputs, template.params, images)
    labels, classes = jnp.zeros(50, jnp.int32), len(spec.classes)
    state = jax.eval_shape(lambda x: scorers.fit(scorer, x, labels, classes, 20), outputs)
    shapes = [
        {k: (x.shape, x.dtype) for k, x in serialization._named(tree).items()} for tree in (state, template.scorer)
    ]
    assert shapes[0] == shapes[1]


@pytest.mark.slow
def test_a_grey_image_that_a_colour_network_sees(tmp_path):
    """A normalisation of three channels makes three of one; it is saved as it is."""
    spec = Spec("gmm", "hog", "mahalanobis", (8, 8, 1), ["normal"], {}, {}, {"cell_px": 4})
    normalise = Normalise(np.float32([0.5, 0.4, 0.3]), np.float32([0.2, 0.2, 0.3]))
    labels = np.zeros(50, np.int32)
    detector = detectors.fit(spec, {"network": {}}, normalise, IMAGES[:50], labels)
    serialization.save(detector, tmp_path / "d")
    loaded = serialization.load(tmp_path / "d")
    assert identical(loaded, detector)
    np.testing.assert_array_equal(loaded.score(IMAGES[:5]), detector.score(IMAGES[:5]))
    with pytest.raises(serialization.ArtefactError, match="2 channels for images of 1: must be"):
        serialization.save(dataclasses.replace(detector, normalise=Normalise(np.zeros(2), np.ones(2))), tmp_path / "e")


def test_a_grey_image_whose_cells_a_colour_network_describes():
    """Colour means of a cell are as many as the normalisation makes channels: shapes of `train`'s own choice."""
    scorer, layers = {"feature": "statistics"}, {"patch_layers": ("layer2", "layer3")}
    spec = Spec("gmm", "squeezenet", "patchwise", (32, 48, 1), ["normal"], scorer, {}, layers)
    template = serialization._template(spec, 10, channels=3)
    outputs = {"statistics": jax.ShapeDtypeStruct((2, 8, 12, 13), np.float32)}  # ten and three of colour
    fitted = detectors.resolve(spec).scorer
    state = jax.eval_shape(lambda x: scorers.fit(fitted, x, jnp.zeros(2, jnp.int32), 1), outputs)
    assert jax.tree.map(np.shape, state) == jax.tree.map(np.shape, template.scorer)
