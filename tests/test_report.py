"""The report: what it says is what the scores say, it needs nothing but itself, and no name in it is ever markup."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import io
import json
import re
import shutil
import subprocess
import sys
import tomllib
from html.parser import HTMLParser
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from PIL import Image
from sklearn import metrics as sk

import adjax
from adjax import conformal
from adjax.report import (
    MAX_BYTES,
    Figure,
    Pictures,
    Report,
    Sweep,
    Table,
    View,
    choose,
    pack,
    page,
    pictures,
    render,
    write,
)
from experiments import report, views
from experiments.intervals import of_view, wilson

ROOT = Path(__file__).parents[1]
HOSTILE = ("<img src=x onerror=1>.png", "</script><script>alert(1)</script>", "<!--<script>", "\"'&amp;{{title}}")


def view(n=400, seed=0, name="all", known=True, **options) -> View:
    rng = np.random.default_rng(seed)
    truth = (rng.random(n) < 0.4).astype(int)
    scores = np.round(rng.normal(size=n) + 1.5 * truth, 1).astype(np.float32)
    return View(
        name=name,
        scores=scores,
        threshold=1.0,
        truth=truth if known else None,
        labels=rng.integers(0, 3, n),
        classes=("a", "b", "c"),
        held_out=np.sort(rng.normal(size=99)).astype(np.float32),
        **options,
    )


def shown(scores, names=(), size=8) -> Pictures:
    rows = choose(scores)[:6]
    own = [names[i % len(names)] for i in rows] if names else ()
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (len(rows), size, size, 1)).astype(np.uint8)
    return Pictures(rows, images, images[::-1], images[..., 0].astype(float), own)


def whole() -> Report:
    """Everything that a report can hold, and every text of it hostile."""
    evil = HOSTILE[0]
    one = view(features=np.random.default_rng(0).normal(size=(400, 2)))
    one = dataclasses.replace(
        one, name=evil, classes=HOSTILE[:3], stranger=evil, features_about=evil, pictures=shown(one.scores, HOSTILE)
    )
    table = Table(HOSTILE, [HOSTILE, (HOSTILE[1], 1, 0.5, None)], ("own", HOSTILE[3]), evil)
    return Report(
        title=evil,
        lead=HOSTILE[1],
        note=HOSTILE[2],
        figures=[Figure(*HOSTILE)],
        headline=table,
        views=[one],
        members=table,
        sweep=Sweep(evil, (0, 1), {HOSTILE[1]: [(0.5, 0.1, 3), (float("nan"), 0.0, 1)]}),
        errors=table,
        facts={evil: [(HOSTILE[1], HOSTILE[2])]},
        command=HOSTILE[1],
    )


class Parsed(HTMLParser):
    """Tags with their attributes, and the text of each kind of element."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.texts, self.open = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "input", "br", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data):
        self.texts.append((self.open[-1] if self.open else "", data))

    def of(self, tag):
        return [text for inside, text in self.texts if inside == tag]


def data_of(text):
    return json.loads(Parsed(text).of("script")[0])


def decoded(text, dtype):
    return np.frombuffer(base64.b64decode(text), dtype)


def test_nothing_in_it_points_anywhere():
    parsed = Parsed(render(whole()))
    for tag, attributes in parsed.tags:
        assert tag not in ("link", "iframe", "object", "embed", "base", "form", "img"), tag
        assert not {name for name in attributes if name.startswith("on") or name in ("src", "style", "action")}
        assert attributes.get("href", "#").startswith("#")
    (style,) = parsed.of("style")
    assert "url(" not in style
    assert "@import" not in style
    (script,) = parsed.of("script")[1:]
    assert not re.findall(
        r"\b(fetch|XMLHttpRequest|WebSocket|eval|innerHTML|outerHTML|insertAdjacentHTML|import)\b", script
    )
    assert re.findall(r"https?://\S+?\"", script) == ['http://www.w3.org/2000/svg"']


def test_its_policy_lets_nothing_run_but_its_own_script():
    parsed = Parsed(render(whole()))
    (policy,) = (a["content"] for t, a in parsed.tags if t == "meta" and "http-equiv" in a)
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["img-src"] == "data:"
    for kind, text in (("script", parsed.of("script")[1]), ("style", parsed.of("style")[0])):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert rules[f"{kind}-src"] == f"'sha256-{digest}'"
    first = [tag for tag, _ in parsed.tags].index("style")
    assert any("http-equiv" in a for _, a in parsed.tags[:first]), "the policy must come before what it is for"


def test_text_is_text_whatever_it_holds():
    text = render(whole())
    parsed = Parsed(text)
    assert not parsed.open
    assert [tag for tag, _ in parsed.tags].count("script") == 2
    assert parsed.of("title") == [HOSTILE[0]]
    assert parsed.of("h1") == [HOSTILE[0]]
    cells = set(parsed.of("td") + parsed.of("th"))
    assert set(HOSTILE) <= cells
    data = data_of(text)
    assert data["views"][0]["name"] == HOSTILE[0]
    assert data["views"][0]["classes"] == list(HOSTILE[:3])
    assert {p["name"] for p in data["views"][0]["pictures"]} <= set(HOSTILE)
    (raw,) = re.findall(r'id="data">(.*?)</script>', text, re.DOTALL)
    assert not set("<>&") & set(raw)


def test_scores_are_packed_to_the_bit():
    scores = np.array([0.1, np.nan, np.inf, -np.inf, 1e-40, 0.1], np.float32)
    one = View("x", scores, float("inf"), np.array([0, 1, 1, 0, 0, 1]), np.array([0, 1, -1, 0, 2, 2]), ("a", "b", "c"))
    packed = data_of(render(Report("t", views=[one])))["views"][0]
    np.testing.assert_array_equal(decoded(packed["scores"], "<f4"), scores)
    np.testing.assert_array_equal(decoded(packed["truth"], "u1"), one.truth)
    np.testing.assert_array_equal(decoded(packed["labels"], "<i2"), one.labels)
    assert packed["rows"] is None
    assert packed["threshold"] == "Infinity"
    assert packed["counts"] == [3, 3]


def test_many_scores_are_a_stated_sample_that_keeps_every_rate():
    rng = np.random.default_rng(0)
    truth = (rng.random(50_000) < 0.03).astype(int)
    scores = rng.normal(size=50_000) + 2 * truth
    rows = pack.thin(scores, truth, 10_000)
    assert len(rows) <= 10_000
    assert (np.diff(rows) > 0).all()
    for kind in (0, 1):
        every, kept = scores[truth == kind], scores[rows][truth[rows] == kind]
        assert kept.min() == every.min()
        assert kept.max() == every.max()
        for threshold in np.quantile(every, [0.001, 0.1, 0.5, 0.9, 0.999]):
            assert abs((kept > threshold).mean() - (every > threshold).mean()) < 1.5 / len(kept)
    packed = pack.pack(Report("t", views=[View("x", scores, 1.0, truth)] * 5))["views"][0]
    assert len(decoded(packed["rows"], "<u4")) <= pack.MAX_SCORES // 5
    assert sum(packed["counts"]) == 50_000
    np.testing.assert_array_equal(pack.thin(scores[:100], truth[:100], 100), np.arange(100))


def test_the_worst_of_both_kinds_are_chosen():
    one = view(n=3000)
    scores = one.scores + np.random.default_rng(1).normal(size=3000) * 1e-3
    scores[one.truth == 0] = np.where(np.arange((one.truth == 0).sum()) % 500 == 7, np.nan, scores[one.truth == 0])
    rows = choose(scores, one.truth, worst=24, between=36)
    assert (np.diff(rows) > 0).all()
    assert len(rows) <= 24 + 24 + 36
    normal, anomalous = np.flatnonzero(one.truth == 0), np.flatnonzero(one.truth == 1)
    worst_alarms = normal[np.argsort(np.where(np.isnan(scores[normal]), np.inf, scores[normal]))[-24:]]
    assert set(worst_alarms) | set(anomalous[np.argsort(scores[anomalous])[:24]]) <= set(rows)
    for threshold in np.nanquantile(scores, [0.2, 0.5, 0.8]):
        near = np.sort(np.abs(scores[rows][np.isfinite(scores[rows])] - threshold))
        assert near[5] < 1, "nothing to look at near this threshold"
    top = choose(scores)
    assert set(np.argsort(np.where(np.isnan(scores), np.inf, scores))[-24:]) <= set(top)
    assert len(choose(np.zeros(0), np.zeros(0))) == 0
    assert list(choose(np.array([1.0]), np.array([1]))) == [0]


@pytest.mark.parametrize("channels", [1, 3])
def test_thumbnails_are_the_images(channels):
    image = np.random.default_rng(0).integers(0, 256, (1, 28, 20, channels)).astype(np.uint8)
    (uri,) = pictures.uris(image, 96)
    again = np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))).reshape(28, 20, channels)
    np.testing.assert_array_equal(again, image[0])
    (small,) = pictures.uris(np.repeat(np.repeat(image, 8, 1), 8, 2), 64)
    assert Image.open(io.BytesIO(base64.b64decode(small.partition(",")[2]))).size == (46, 64)
    assert pictures.heat(np.array([[[0.0, np.nan], [1.0, 0.5]]]), 0, 1).shape == (1, 2, 2, 3)
    assert pictures.extent(np.array([np.nan, 2.0, -1.0, np.inf])) == (-1, 2)


@pytest.mark.slow
def test_twelve_large_views_stay_below_the_limit():
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (36, 96, 96, 3)).astype(np.uint8)
    one = view(n=30_000)
    one = dataclasses.replace(one, held_out=rng.normal(size=50_000), features=rng.normal(size=(30_000, 2)))
    one = dataclasses.replace(one, pictures=Pictures(np.arange(36), noise, noise, noise[..., 0].astype(float)))
    text = render(Report("t", views=[one] * 12))
    assert len(text.encode()) < MAX_BYTES


def test_too_large_a_page_is_refused_with_the_mend():
    rows = [["x" * 1000]] * 6000
    with pytest.raises(ValueError, match=r"6\.\d MB: must be below 5 MB; give fewer"):
        render(Report("t", errors=Table(["path"], rows)))


def sections(text):
    return [a["id"] for t, a in Parsed(text).tags if t == "section"]


def test_a_section_is_there_if_what_it_shows_is():
    assert sections(render(Report("t"))) == []
    assert sections(render(whole())) == list(page.TITLES)
    scored = View("photos/", np.arange(9.0), 5.0, held_out=np.arange(3.0), pictures=shown(np.arange(9.0)))
    assert sections(render(Report("t", views=[scored]))) == ["threshold", "gallery", "samples"]
    assert "bar" in {a.get("id") for _, a in Parsed(render(Report("t", views=[scored]))).tags}
    assert "bar" not in {a.get("id") for _, a in Parsed(render(Report("t"))).tags}


def test_rows_that_do_not_fit_the_scores_are_refused():
    with pytest.raises(ValueError, match="view 'x': 2 truth, but 3 scores"):
        View("x", np.zeros(3), 1.0, np.zeros(2))


def test_written_whole_or_not_at_all(tmp_path):
    path = write(Report("first"), tmp_path / "report.html")
    before = path.read_text()
    with pytest.raises(ValueError, match="MB"):
        write(Report("t", errors=Table(["path"], [["x" * MAX_BYTES]])), path)
    assert path.read_text() == before
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node, to run the page's own arithmetic")
def test_the_page_counts_what_scikit_learn_counts():
    one = view(n=700)
    scores = one.scores.copy()
    scores[[3, 5, 9]] = np.nan
    one = dataclasses.replace(one, scores=scores)
    data = json.dumps(pack.pack(Report("t", views=[one])))
    questions = """
    const v = VIEWS[0];
    console.log(JSON.stringify({auroc: v.auroc, aupr: v.aupr, at: v.outcome(1), nan: v.pValue(NaN),
      at5: v.conformal(0.05), at1: v.conformal(0.01), less: String(v.conformal(0.009)),
      zero: v.pValue(0.05), best: v.outcome(v.bestF1).f1, q: v.normal.quantile(0.3)}));"""
    code = f"const document = {{getElementById: () => ({{textContent: {json.dumps(data)}}})}};\n"
    code += page._asset("js/data.js") + questions
    done = subprocess.run(["node", "-e", code], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    ranked = np.where(np.isnan(scores), 1e9, scores)
    flagged = ~(scores <= 1.0)
    assert found["auroc"] == pytest.approx(sk.roc_auc_score(one.truth, ranked), abs=1e-12)
    assert found["aupr"] == pytest.approx(sk.average_precision_score(one.truth, ranked), abs=1e-12)
    (tn, fp), (fn, tp) = sk.confusion_matrix(one.truth, flagged)
    assert [found["at"][k] for k in ("tn", "fp", "fn", "tp")] == [tn, fp, fn, tp]
    assert found["at"]["f1"] == pytest.approx(sk.f1_score(one.truth, flagged))
    assert found["at"]["precision"] == pytest.approx(sk.precision_score(one.truth, flagged))
    assert found["at"]["accuracy"] == pytest.approx(sk.accuracy_score(one.truth, flagged))
    assert found["nan"] == pytest.approx(1 / 100)
    promised = [float(conformal.conformal(one.held_out, alpha)) for alpha in (0.05, 0.01)]
    assert [found["at5"], found["at1"]] == pytest.approx(promised)
    assert found["less"] == "NaN"  # 99 images can promise 1 %, and no less
    assert found["zero"] == pytest.approx((1 + (one.held_out >= 0.05).sum()) / 100)
    best = max(sk.f1_score(one.truth, ~(scores <= t)) for t in np.unique(scores[np.isfinite(scores)]))
    assert found["best"] == pytest.approx(best)
    known = scores[(one.truth == 0) & np.isfinite(scores)]
    assert found["q"] == pytest.approx(np.quantile(known, 0.3), abs=1e-6)


def test_wilson_is_right_at_the_ends_and_in_between():
    assert wilson(0, 10) == pytest.approx((0.0, 0.27753), abs=1e-4)  # as statsmodels gives
    assert wilson(5, 50) == pytest.approx((0.04348, 0.21361), abs=1e-4)
    assert wilson(10, 10)[1] == pytest.approx(1.0)
    assert all(map(np.isnan, wilson(0, 0)))


@pytest.mark.slow
def test_intervals_hold_the_figures_of_the_view():
    limits = of_view(view())
    assert set(limits) == {"auroc", "aupr", "fpr95", "f1", "id_rejected"}
    one = view()
    for name, value in (
        ("auroc", sk.roc_auc_score(one.truth, one.scores)),
        ("f1", sk.f1_score(one.truth, one.scores > 1)),
        ("id_rejected", (one.scores[one.truth == 0] > 1).mean()),
    ):
        assert limits[name][0] < value < limits[name][1]


def run_directory(folder: Path, name="centerloss_default", seed=0) -> Path:
    """As experiments.run leaves it: committed results, made-up scores."""
    folder.mkdir(parents=True)
    (folder / "results.json").write_text((ROOT / "experiments" / "results" / f"{name}.json").read_text())
    one = view(seed=seed)
    views.save(
        folder / views.FILE, [dataclasses.replace(one, pictures=shown(one.scores)), view(seed=seed + 1, name="b")]
    )
    return folder


def test_views_come_back_as_they_were(tmp_path):
    one = view(features=np.ones((400, 2), np.float32), nominal=0.025, stranger="x", features_about="a plane")
    one = dataclasses.replace(one, pictures=dataclasses.replace(shown(one.scores), maps=None))
    bare = View("bare", np.zeros(3, np.float32), 0.5)
    views.save(tmp_path / "scores.npz", [one, bare])
    again, bare_again = views.load(tmp_path / "scores.npz")
    for field in dataclasses.fields(View):
        if field.name != "pictures":
            np.testing.assert_array_equal(getattr(again, field.name), getattr(one, field.name))
            np.testing.assert_array_equal(getattr(bare_again, field.name), getattr(bare, field.name))
    np.testing.assert_array_equal(again.pictures.images, one.pictures.images)
    np.testing.assert_array_equal(again.pictures.reconstructions, one.pictures.reconstructions)
    assert again.pictures.maps is None
    assert bare_again.pictures is None
    assert [p.name for p in tmp_path.iterdir()] == ["scores.npz"]


def test_scores_are_never_unpickled(tmp_path):
    np.savez(tmp_path / "scores.npz", **{"0/scores": np.array([{}], object)})
    with pytest.raises(ValueError, match="holds no scores of a run"):
        views.load(tmp_path / "scores.npz")
    with pytest.raises(ValueError, match="is missing: run the experiment again"):
        views.load(tmp_path / "none.npz")


@pytest.mark.slow
def test_a_run_is_written_again_from_its_directory(tmp_path, capsys):
    run = run_directory(tmp_path / "one")
    assert report.main([str(run)]) == 0
    text = (run / "report.html").read_text()
    assert capsys.readouterr().out.strip() == str(run / "report.html")
    parsed = Parsed(text)
    results = json.loads((run / "results.json").read_text())
    assert results["environment"]["command"] in parsed.of("code")
    assert f"{results['summary']['ood_auroc']['mean']:.4f}" in parsed.of("dd")
    assert {r["name"] for r in results["references"]} <= set(parsed.of("th"))
    assert results["dataset"]["sha256"]["train"] in parsed.of("td")
    assert results["environment"]["versions"]["jax"] in parsed.of("td")
    assert len(data_of(text)["views"]) == 2
    assert parsed.of("th")[0] == "OOD AUROC"  # beside the names, where a phone shows it


def test_several_runs_stand_side_by_side(tmp_path):
    first, second = run_directory(tmp_path / "x" / "one"), run_directory(tmp_path / "y" / "one", seed=5)
    third = run_directory(tmp_path / "forest", "autoencoder_fashion_mnist")
    out = tmp_path / "both.html"
    assert report.main([str(first), str(second), str(third), "--out", str(out)]) == 0
    data = data_of(out.read_text())
    assert [v["name"] for v in data["views"]] == [str(first), str(second), "forest"]
    assert {str(first), str(second), "forest"} <= set(Parsed(out.read_text()).of("th"))
    np.testing.assert_array_equal(decoded(data["views"][1]["scores"], "<f4"), view(seed=5).scores)
    table = report.of_runs({"a": report.read(first), "b": report.read(third)}).headline
    column = {row[0]: row[table.columns.index("AUROC")] for row in table.rows}
    for name, run, metric in (("a", first, "ood_auroc"), ("b", third, "auroc")):
        summary = json.loads((run / "results.json").read_text())["summary"]
        assert column[name].startswith(f"{summary[metric]['mean']:.4f}")
    f1, of_classes = (table.columns.index(name) for name in ("F1", "class F1"))
    summary = json.loads((first / "results.json").read_text())["summary"]
    assert table.rows[0][f1].startswith(f"{summary['ood_f1']['mean']:.4f}")
    assert table.rows[0][of_classes].startswith(f"{summary['f1']['mean']:.4f}")
    assert table.rows[1][of_classes] == ""
    assert column["tied Mahalanobis, LeNet-5 (OpenOOD)"] == "0.9888"
    assert table.kinds.count("own") == 2


def test_what_is_no_run_is_said(tmp_path, capsys):
    assert report.main([str(tmp_path)]) == 1
    assert f"{tmp_path} is no finished run" in capsys.readouterr().err


def test_every_asset_is_packaged_and_used():
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["adjax"]
    package = Path(adjax.__file__).parent
    assets = [p.relative_to(package).as_posix() for p in (package / "report" / "assets").rglob("*") if p.is_file()]
    assert len(assets) > 20
    assert all(any(PurePosixPath(a).match(pattern) for pattern in patterns) for a in assets)
    assert {Path(a).stem for a in assets if "/js/" in a} == set(page.SCRIPTS)
    assert {Path(a).stem for a in assets if "/sections/" in a} == set(page.TITLES)


def test_it_costs_nothing_until_it_is_asked_for():
    code = "import sys, adjax.report as r; r.render(r.Report('t')); assert not {'jax', 'PIL'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
