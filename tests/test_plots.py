"""Plots: valid PNGs, the right numbers in the artists, the note in sight, and no input that breaks one."""

import sys

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image
from sklearn import metrics as sk
from tiers import daily

from experiments import plots

NOTE = "FALLBACK DATA: digits, not MNIST"
NAN, INF = float("nan"), float("inf")


def member(lam, value, seed=0):
    return {"hparams": {"lam": lam}, "seed": seed, "metrics": {"ood_f1": value}}


def members():
    rng = np.random.default_rng(0)
    return [member(lam, rng.random(), seed) for lam in (0, 0.001, 0.1, 1) for seed in range(3)]


def curve(label="λ = 0.1", n=400, seed=0):
    rng = np.random.default_rng(seed)
    labels = (rng.random(n) < 0.4).astype(int)
    return label, np.round(rng.normal(size=n) + 1.5 * labels, 1), labels


def panel(n=300, m=200, dim=16, classes=10, title="λ = 0.1"):
    rng = np.random.default_rng(0)
    labels = np.arange(n) % classes
    centers = 5 * rng.random((classes, dim))
    features = centers[labels] + 0.1 * rng.normal(size=(n, dim))
    return title, features, labels, 0.2 * rng.normal(size=(m, dim)), [f"name {k}" for k in range(classes)]


def record(step, **metrics):
    return {"step": step, "metrics": metrics}


def study(n=400, share=0.5, seed=0):
    """Scores, labels, images that bear their row number, and reconstructions that miss by a tenth."""
    rng = np.random.default_rng(seed)
    truth = (rng.random(n) < share).astype(int)
    images = np.broadcast_to((np.arange(n) % 200).astype(np.uint8)[:, None, None, None], (n, 5, 4, 1))
    return rng.normal(size=n) + 2 * truth, truth, images, images / 255 + 0.1


def of_class(name, value, seed=0):
    return {"class": name, "seed": seed, "metrics": {"auroc": value}}


def classes():
    rng = np.random.default_rng(0)
    return [of_class(f"class {k}", 0.6 + 0.03 * k + 0.01 * rng.random(), seed) for seed in range(3) for k in range(10)]


def draw_failures(path, **options):
    scores, truth, images, again = study()
    return plots.failures_gallery(path, images, scores, truth, 1.0, title="T", reconstructions=again, **options)


def draw_reconstructions(path, **options):
    scores, truth, images, again = study()
    return plots.reconstructions(path, images, again, scores, truth, title="T", **options)


RECORDS = [record(10 * i, loss=[4.0 / i, 2.0 / i, 3.0 / i], accuracy=[0.5, 0.7, 0.9]) for i in range(1, 9)]
REFERENCE = [("paper: 0.2–0.4", (0.2, 0.4)), ("other: 0.3", 0.3)]
DRAW = {
    "metric": lambda p, **k: plots.metric_against_lam(p, members(), "ood_f1", title="T", reference=REFERENCE, **k),
    "roc": lambda p, **k: plots.roc_per_lam(p, [curve(), curve("λ = 1", seed=1)], title="T", **k),
    "features": lambda p, **k: plots.feature_view(p, 2 * [panel(n=150, m=60)], **k),
    "histogram": lambda p, **k: plots.score_histogram(p, np.arange(9.0), np.arange(5.0, 900.0), 7.0, title="T", **k),
    "training": lambda p, **k: plots.training_curves(p, RECORDS, **k),
    "members": lambda p, **k: plots.roc_by_member(p, [curve(), curve("Bag", seed=1)], title="T", **k),
    "samples": lambda p, **k: plots.scores_by_sample(p, *study()[:2], 1.0, title="T", **k),
    "failures": draw_failures,
    "reconstructions": draw_reconstructions,
    "classes": lambda p, **k: plots.auroc_by_class(p, classes(), title="T", references=REFERENCE, **k),
}


def texts(figure):
    figure.draw_without_rendering()
    every = [t for t in figure.findobj(lambda a: hasattr(a, "get_text")) if t.get_text()]
    return "\n".join(t.get_text() for t in every)


@pytest.mark.parametrize("kind", [*daily(list(DRAW), "training")])
def test_a_small_valid_png_with_the_note_on_top(kind, tmp_path):
    plain = DRAW[kind](tmp_path / "new" / "folder" / "plain.png")
    noted = DRAW[kind](tmp_path / "noted.png", note=NOTE)
    assert plain == tmp_path / "new" / "folder" / "plain.png"
    for path in (plain, noted):
        assert path.stat().st_size < plots.canvas.MAX_BYTES
        with Image.open(path) as image:
            image.verify()
            assert image.format == "PNG"
            assert all(500 <= side <= 2400 for side in image.size)
            assert round(image.info["dpi"][0]) == plots.canvas.DPI

    def red(path):
        pixels = np.asarray(Image.open(path).convert("RGB"), int)[:45]
        return (np.abs(pixels - 255 * np.array(to_rgb(plots.canvas.NOTE))).sum(-1) < 40).sum()

    assert red(plain) == 0
    assert red(noted) > 300
    assert noted.read_bytes() == DRAW[kind](tmp_path / "again.png", note=NOTE).read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("note", [NOTE, "A LONG NOTE THAT GOES ON " * 12])
def test_note_title_and_axes_do_not_overlap(note):
    title = "Classification F1 against the weight of the center loss: MNIST → Fashion-MNIST, LeNet-5"
    figure = plots.lam._figure(members(), "ood_f1", title, (), note)
    figure.draw_without_rendering()
    above, heading = (t.get_window_extent() for t in figure.texts)
    assert "".join(figure.texts[0].get_text().split()) == "".join(note.split())
    assert figure.texts[0].get_color() == plots.canvas.NOTE
    assert figure.bbox.x0 <= above.x0 < above.x1 <= figure.bbox.x1
    assert figure.bbox.y1 >= above.y1
    assert above.y0 >= heading.y1
    assert heading.y0 >= figure.axes[0].get_window_extent().y1


def test_pyplot_and_its_global_state_stay_untouched():
    for name in [name for name in sys.modules if name.startswith(plots.__name__)]:
        assert "pyplot" not in vars(sys.modules[name])
    before = set(sys.modules)
    plots.roc._figure([curve()], "T", "")
    assert "matplotlib.pyplot" not in set(sys.modules) - before


def test_metric_draws_every_run_and_mean_and_sample_sd():
    runs = [*members(), member(0.1, NAN), member(0.1, None), {"hparams": {"lam": 1}, "metrics": {}}]
    runs += [member(float(np.float32(0.1)), 0.25, seed=3)]  # the same λ as 0.1
    figure = plots.lam._figure(runs, "ood_f1", "T", REFERENCE, "")
    ax = figure.axes[0]
    values = {
        lam: [m["metrics"]["ood_f1"] for m in members() if m["hparams"]["lam"] == lam] for lam in (0, 0.001, 0.1, 1)
    }
    values[0.1].append(0.25)
    (bars,) = ax.containers
    x, y = np.asarray(bars.lines[0].get_data(), float)  # errorbar keeps objects
    np.testing.assert_allclose(x, list(values))
    np.testing.assert_allclose(y, [np.mean(v) for v in values.values()])
    ends = np.array(bars.lines[2][0].get_segments())[:, :, 1]
    np.testing.assert_allclose((ends[:, 1] - ends[:, 0]) / 2, [np.std(v, ddof=1) for v in values.values()])
    (points,) = [line for line in ax.lines if line.get_label() == "one run"]
    assert sorted(points.get_ydata()) == sorted(v for own in values.values() for v in own)
    assert ax.get_xscale() == "symlog"
    assert [t.get_text() for t in ax.get_xticklabels()] == ["0", "0.001", "0.1", "1"]
    said = texts(figure)
    for words in ("n = 3–4 runs", "3 of 16 runs", "paper: 0.2–0.4", "other: 0.3", "OOD F1 (0–1)"):
        assert words in said
    (band,) = ax.patches
    assert (band.get_y(), band.get_y() + band.get_height()) == pytest.approx((0.2, 0.4))


def test_roc_lines_are_sklearns():
    curves = [curve(), curve("few", n=50, seed=1)]
    figure = plots.roc._figure(curves, "T", "")
    for ax in figure.axes:
        for (name, scores, labels), line in zip(curves, ax.lines, strict=False):
            fpr, tpr, _ = sk.roc_curve(labels, scores, drop_intermediate=False)
            np.testing.assert_allclose(line.get_xdata(), fpr, atol=1e-12)
            np.testing.assert_allclose(line.get_ydata(), tpr, atol=1e-12)
            auroc = sk.roc_auc_score(labels, scores)
            assert np.trapezoid(line.get_ydata(), line.get_xdata()) == pytest.approx(auroc)
            assert f"{name}: AUROC {auroc:.4f} ±" in line.get_label()
            assert f"n = {(labels == 0).sum()} + {labels.sum()}" in line.get_label()


def test_roc_interval_is_that_of_the_tables():
    from adjax import metrics

    _, scores, labels = curve()
    got, want = plots.roc._roc(scores, labels), metrics.auroc_interval(scores.astype(np.float32), labels)
    assert got.auroc == pytest.approx(float(want.value), abs=1e-6)
    assert got.half == pytest.approx(float(want.value - want.low), rel=1e-4)


def test_roc_nan_is_most_anomalous_and_infinities_are_scores():
    got = plots.roc._roc([0.0, -INF, NAN, INF, 5.0], [0, 0, 1, 1, 0])
    assert got.auroc == 1
    np.testing.assert_allclose(got.fpr, [0, 0, 1 / 3, 2 / 3, 1])
    assert plots.roc._roc([NAN, INF], [0, 1]).auroc == 0.5
    assert np.isnan(plots.roc._roc([1.0, 2.0], [1, 1]).auroc)


def test_roc_by_member_sorts_and_the_area_below_the_mean_curve_is_the_mean_auroc():
    curves = [curve("a", seed=1), curve("b", n=77, seed=2), curve("no anomaly", seed=3), curve("c", n=31, seed=4)]
    curves[2] = (*curves[2][:2], 0 * curves[2][2])
    whole = plots.roc._figure(curves, "T", "", "anomalous", mean=True).axes[0]
    aurocs = {name: sk.roc_auc_score(y, s) for name, s, y in curves if y.any()}
    names = [line.get_label().split(":")[0] for line in whole.lines[:4]]
    assert names == [*sorted(aurocs, key=aurocs.get), "no anomaly"]
    mean = whole.lines[4]
    assert np.trapezoid(mean.get_ydata(), mean.get_xdata()) == pytest.approx(np.mean(list(aurocs.values())), abs=1e-12)
    assert mean.get_label() == f"mean of 3: AUROC {np.mean(list(aurocs.values())):.4f}"
    for rate in (0.05, 0.3, 0.9123):  # away from the steps
        own = [np.interp(rate, *sk.roc_curve(y, s)[:2]) for _, s, y in curves if y.any()]
        assert np.interp(rate, mean.get_xdata(), mean.get_ydata()) == pytest.approx(np.mean(own), abs=1e-9)


def test_feature_plane_is_linear_orthogonal_and_keeps_zero():
    _, features, labels, ood, _ = panel()
    view = plots.features._project(features, labels, ood)
    shifted = plots.features._project(np.r_[features, np.zeros((1, 16))], np.r_[labels, 0], ood)
    np.testing.assert_allclose(shifted.points[-1], 0, atol=1e-12)
    assert (np.linalg.norm(view.points, axis=1) <= np.linalg.norm(features, axis=1) + 1e-9).all()
    assert (np.linalg.norm(view.ood, axis=1) <= np.linalg.norm(ood, axis=1) + 1e-9).all()
    for k in view.classes:
        np.testing.assert_allclose(view.centers[k], view.points[labels == k].mean(0))
    centers = np.array([features[labels == k].mean(0) for k in range(10)])
    singular = np.linalg.svd(centers, compute_uv=False)
    np.testing.assert_allclose(view.shares, singular[:2] ** 2 / (singular**2).sum())
    assert view.centers[:, 0].mean() > 0
    np.testing.assert_allclose(view.norms[1], np.median(np.linalg.norm(ood, axis=1)))


def test_feature_view_marks_zero_centers_and_subsamples():
    name, features, labels, ood, names = panel(n=4000, m=5000)
    features[7, 3] = NAN
    figure = plots.features._figure([(name, features, labels, ood, names)], "T", "")
    (ax,) = figure.axes
    drawn = sum(len(c.get_offsets()) for c in ax.collections)
    assert drawn == plots.canvas.MAX_POINTS
    (zero,) = [line for line in ax.lines if line.get_label() == "zero vector"]
    assert (list(zero.get_xdata()), list(zero.get_ydata())) == ([0], [0])
    keep = np.arange(4000) != 7
    view = plots.features._project(features[keep], labels[keep], ood)
    np.testing.assert_allclose([t.get_position() for t in ax.texts], view.centers)
    said = texts(figure)
    for words in ("1,500 of 3,999 ID, 1,500 of 5,000 OOD", "1 not finite", "3: name 3", "median ‖f‖"):
        assert words in said
    (left, right), (low, high) = ax.get_xlim(), ax.get_ylim()
    assert right - left == pytest.approx(high - low)


def test_histogram_shares_and_threshold():
    rng = np.random.default_rng(0)
    normal, anomalous = rng.random(1000), np.r_[rng.lognormal(3, 2, 996), NAN, NAN, INF, 0.5]
    figure = plots.histogram._figure(normal, anomalous, 0.9, "T", "")
    (ax,) = figure.axes
    assert ax.get_xscale() == "symlog"
    outlines = [p for p in ax.patches if not p.get_fill()]
    for outline, values in zip(outlines, (normal, anomalous), strict=True):
        share, edges, _ = outline.get_data()
        assert share.sum() == pytest.approx(100 * np.isfinite(values).mean())
        assert np.abs(edges - 0.9).min() < 1e-9
        below = share[edges[1:] < 0.9 + 1e-9].sum()
        assert below == pytest.approx(100 * np.mean(values <= 0.9))
    assert ax.lines[-1].get_xdata()[0] == 0.9
    flagged = np.mean(~(anomalous <= 0.9))
    assert f"OOD, n = 1,000: {flagged:.2%} flagged; 3 NaN or infinite" in texts(figure)


def test_histogram_of_light_tails_is_linear_and_far_from_zero_clips():
    rng = np.random.default_rng(0)
    light = plots.histogram._figure(rng.normal(size=99), rng.normal(3, 1, 99), 0.01, "T", "").axes[0]
    assert light.get_xscale() == "linear"
    far = plots.histogram._figure(rng.normal(-1e3, 1, 99), rng.normal(0, 1e6, 99), -997, "T", "").axes[0]
    assert far.get_xscale() == "linear"
    assert "all beyond" in far.get_xlabel()
    assert np.ptp(far.get_xlim()) < 100
    for outline in far.patches:
        assert outline.get_data()[0].sum() == pytest.approx(100)


def test_samples_stand_at_their_index_and_are_counted_whole():
    scores, truth, *_ = study(n=9000, share=0.02)
    scores[:3] = NAN, INF, -INF
    ax = plots.samples._figure(scores, truth, 1.0, "T", ("good", "bad"), "").axes[0]
    low, high = ax.get_ylim()
    rows = []
    for dots, kind in zip(ax.collections, (0, 1), strict=True):
        at = np.ma.getdata(dots.get_offsets())
        rows.append(at[:, 0].astype(int))
        assert (truth[rows[-1]] == kind).all()
        want = np.clip(np.where(np.isnan(scores), INF, scores)[rows[-1]], low, high)
        np.testing.assert_allclose(at[:, 1], want)
    np.testing.assert_array_equal(rows[1], np.flatnonzero(truth))  # a small group is not thinned
    assert len(rows[0]) + len(rows[1]) == plots.canvas.MAX_POINTS
    order = np.searchsorted(np.flatnonzero(truth == 0), rows[0])
    assert np.ptp(np.diff(order)) <= 1  # evenly spaced
    assert ax.lines[0].get_ydata()[0] == 1.0
    said = texts(ax.figure)
    normal = scores[truth == 0]
    assert f"good, n = {len(normal):,}: {np.mean(~(normal <= 1)):.2%} flagged" in said
    assert f"{len(rows[0]):,} of {len(normal):,} good" in said


def test_samples_with_a_heavy_tail_get_a_log_axis_beyond_the_threshold():
    scores, truth, *_ = study()
    assert plots.samples._figure(scores, truth, 1.0, "T", ("a", "b"), "").axes[0].get_yscale() == "linear"
    heavy = np.where(truth == 1, np.exp(3 * scores), scores)
    ax = plots.samples._figure(heavy, truth, 2.5, "T", ("a", "b"), "").axes[0]
    assert ax.get_yscale() == "symlog"
    assert "log scale beyond ±2.5" in ax.get_ylabel()


def numbers(ax, mark=""):
    found = [t.get_text() for t in ax.texts if t.get_text().startswith(mark)]
    return [int(x[len(mark) :]) for x in found if x[len(mark) :].isdigit()]


@pytest.mark.parametrize("again", [False, True])
def test_failures_are_the_worst_of_each_kind_the_worst_first(again):
    scores, truth, images, made = study()
    scores[5], truth[5] = NAN, 0
    figure = plots.failures._figure(images, scores, truth, 1.0, "T", 7, made if again else None, "")
    (ax,) = figure.axes
    ranked = np.where(np.isnan(scores), INF, scores)
    alarms, misses = np.flatnonzero((truth == 0) & (ranked > 1)), np.flatnonzero((truth == 1) & (ranked <= 1))
    worst = [*alarms[np.argsort(-ranked[alarms])][:7], *misses[np.argsort(ranked[misses])][:7]]
    assert worst[0] == 5
    assert numbers(ax, "#") == worst
    shades = [int(x.get_array()[0, 0, 0]) for x in ax.images]
    own = shades[::2] if again else shades
    assert own == [i % 200 for i in worst]
    if again:
        np.testing.assert_allclose(shades[1::2], np.clip(np.array(own) + 25.5, 0, 255), atol=1)
    said = texts(figure)
    assert f"{scores[worst[-1]]:.4g}" in said
    assert f"False alarms: {len(alarms)} of {(truth == 0).sum()} normal images flagged" in said
    assert f"Misses: {len(misses)} of {(truth == 1).sum()} anomalous images not flagged" in said


def test_without_failures_the_nearest_are_shown_and_called_so():
    scores, truth, images, _ = study()
    (ax,) = plots.failures._figure(images, scores, truth, 99.0, "T", 3, None, "").axes
    normal = np.flatnonzero(truth == 0)
    assert numbers(ax, "#")[:3] == list(normal[np.argsort(-scores[normal])][:3])
    assert f"No false alarm among {len(normal)} normal images; shown: the 3 nearest" in texts(ax.figure)
    (ax,) = plots.failures._figure(images, scores, truth, -99.0, "T", 3, None, "").axes
    anomalous = np.flatnonzero(truth == 1)
    assert numbers(ax, "#")[3:] == list(anomalous[np.argsort(scores[anomalous])][:3])
    assert f"No miss among {len(anomalous)} anomalous images; shown: the 3 nearest" in texts(ax.figure)


def test_reconstructions_are_spread_over_the_scores_with_one_scale_of_differences():
    scores, truth, images, made = study()
    off = 0.1 + 0.2 * truth
    made = images / 255 + off[:, None, None, None]
    figure = plots.pairs._figure(images, made, scores, truth, "T", 5, "")
    (ax,) = figure.axes
    shades = np.array([x.get_array()[2, 2, 0] for x in ax.images]).reshape(2, 3, 5)
    said = texts(figure).replace("\n", " ")
    for kind in (0, 1):
        rows = np.flatnonzero(truth == kind)
        rows = rows[np.argsort(scores[rows])]
        show = rows[np.linspace(0, len(rows) - 1, 5).round().astype(int)]
        np.testing.assert_array_equal(shades[kind, 0], show % 200)
        np.testing.assert_allclose(shades[kind, 1], np.clip(255 * (show % 200 / 255 + off[show]), 0, 255), atol=1)
        np.testing.assert_allclose(shades[kind, 2], 255 * off[show] / 0.3, atol=1)
        assert all(f"{scores[i]:.3g}" in said for i in show)
    assert "white = 0.3," in said


def test_thumbnails_keep_colours_and_proportions_and_show_nan_in_red():
    photos = np.random.default_rng(0).random((4, 300, 150, 4))
    small = plots.sheet.rgb(plots.sheet.unit(photos), 60)
    assert 60 * small[0].size / 3 <= plots.sheet.MAX_PIXELS
    assert small.shape[1] / small.shape[2] == pytest.approx(2, rel=0.05)
    np.testing.assert_allclose(small.mean((1, 2)) / 255, photos[..., :3].mean((1, 2)), atol=0.01)
    holed = np.zeros((1, 2, 2, 1))
    holed[0, 0, 1] = NAN
    shown = plots.sheet.rgb(plots.sheet.unit(holed), 1)[0]
    np.testing.assert_array_equal(shown[0, 1], np.round(255 * np.array(to_rgb(plots.canvas.NOTE))))
    assert shown[1].max() == 0
    with pytest.raises(ValueError, match=r"\(3, 3\): expected \[N, H, W, C\]"):
        plots.sheet.unit(np.zeros((3, 3)))
    with pytest.raises(ValueError, match="3 scores, but 2 labels"):
        plots.scores.by_truth([1, 2, 3], [0, 1])


@pytest.mark.slow
def test_a_wide_heading_does_not_shrink_the_sheet():
    scores, truth, images, _ = study()
    figure = plots.failures._figure(images, scores, truth, 99.0, "T", 12, None, "")
    plots.sheet.heading(figure.axes[0], 0, "wide " * 40)
    figure.draw_without_rendering()
    assert figure.axes[0].get_window_extent().width > 0.9 * figure.bbox.x1
    lines = [t.get_window_extent() for t in figure.axes[0].texts if t.get_text().startswith(("No ", "Misses"))]
    assert len(lines) == 2
    assert all(line.x1 < figure.bbox.x1 for line in lines)


def test_class_dots_means_order_and_references():
    runs = [*classes(), of_class("hard", NAN, 0), of_class("hard", 0.55, 1)]
    ax = plots.classes._figure(runs, "T", REFERENCE, "").axes[0]
    own = {}
    for m in runs:
        own.setdefault(m["class"], []).append(m["metrics"]["auroc"])
    means = {name: np.nanmean(x) for name, x in own.items()}
    order = sorted(means, key=means.get)
    assert order[0] == "hard"
    assert [t.get_text() for t in ax.get_yticklabels()] == order
    assert ax.yaxis_inverted()
    dots = [line for line in ax.lines if line.get_marker() == "o" and len(line.get_xdata())]
    for row, (name, line) in enumerate(zip(order, dots, strict=True)):
        assert sorted(line.get_xdata()) == sorted(x for x in own[name] if np.isfinite(x))
        assert set(line.get_ydata()) == {row}
    (ticks,) = [line for line in ax.lines if line.get_label() == "mean of a class"]
    np.testing.assert_allclose(ticks.get_xdata(), [means[name] for name in order])
    (total,) = [line for line in ax.lines if str(line.get_label()).startswith("mean of 11")]
    assert total.get_xdata()[0] == pytest.approx(np.mean(list(means.values())))
    said = texts(ax.figure)
    for words in ("1 of 32 runs", "paper: 0.2–0.4", "other: 0.3", f"{means['hard']:.4f}"):
        assert words in said
    assert "±" not in said  # no seed has all classes but one
    seeds = [np.mean([m["metrics"]["auroc"] for m in classes() if m["seed"] == s]) for s in range(3)]
    said = texts(plots.classes._figure(classes(), "T", (), ""))
    assert f"mean of 10 classes {np.mean(seeds):.4f} ± {np.std(seeds, ddof=1):.4f}, n = 3 seeds" in said


def test_training_curves_mean_and_band():
    late = {**RECORDS[-1], "step": 90, "metrics": {"loss": [1.0, NAN, 2.0]}}
    figure = plots.training._figure([late, *RECORDS], "T", "")  # any order, a metric that pauses
    losses, accuracies = figure.axes
    (loss,), (accuracy,) = losses.lines, accuracies.lines
    np.testing.assert_allclose(loss.get_xdata(), np.arange(10, 91, 10))
    np.testing.assert_allclose(loss.get_ydata(), [*(3.0 / np.arange(1, 9)), 1.5])
    np.testing.assert_allclose(accuracy.get_ydata(), np.full(8, 0.7))
    band = losses.collections[0].get_paths()[0].vertices
    assert (band[:, 1].max(), band[:, 1].min()) == pytest.approx((4.0, 0.25))
    assert "loss, n = 3, 1 not always finite" in texts(figure)


ONES = np.ones(20)
PICTURES = np.zeros((20, 6, 6, 2))
DEGENERATE = {
    "no member": lambda p: plots.metric_against_lam(p, [], "ood_f1", title="T"),
    "no such metric": lambda p: plots.metric_against_lam(p, members(), "f2", title="T", reference=REFERENCE),
    "one λ, one seed": lambda p: plots.metric_against_lam(p, [member(0.1, 0.5)], "ood_f1", title=""),
    "only λ = 0": lambda p: plots.metric_against_lam(p, [member(0, 0.5), member(0, 0.5)], "ood_f1", title="T"),
    "odd λ": lambda p: plots.metric_against_lam(
        p, [member(x, 0.5) for x in (-1, NAN, INF, None, *np.linspace(0.11, 0.93, 12))], "ood_f1", title="T"
    ),
    "reference NaN": lambda p: plots.metric_against_lam(
        p, members(), "ood_f1", title="T", reference=[("a", NAN), ("b", (NAN, NAN))]
    ),
    "no curve": lambda p: plots.roc_per_lam(p, [], title="T"),
    "one class": lambda p: plots.roc_per_lam(p, [("a", ONES, ONES), ("b", ONES, 0 * ONES), ("c", [], [])], title="T"),
    "all equal": lambda p: plots.roc_per_lam(p, [("a", ONES, np.arange(20) % 2)], title="T"),
    "all NaN": lambda p: plots.roc_per_lam(p, [("a", NAN * ONES, np.arange(20) % 2)], title="T"),
    "one of each": lambda p: plots.roc_per_lam(p, [("a", [0.0, 1.0], [0, 1])], title="T"),
    "no panel": lambda p: plots.feature_view(p, []),
    "no image": lambda p: plots.feature_view(p, [("a", np.zeros((0, 8)), [], np.zeros((0, 8)), [])]),
    "only OOD": lambda p: plots.feature_view(p, [("a", np.zeros((0, 8)), [], panel()[3], [])]),
    "no OOD": lambda p: plots.feature_view(p, [(*panel()[:3], [], ["few", "names"])]),
    "one feature": lambda p: plots.feature_view(p, [panel(dim=1)]),
    "one class of features": lambda p: plots.feature_view(p, [panel(classes=1)]),
    "one image": lambda p: plots.feature_view(p, [panel(n=1, m=1, classes=1)]),
    "23 classes": lambda p: plots.feature_view(p, [panel(classes=23), panel(classes=23)]),
    "all zero": lambda p: plots.feature_view(p, [("a", np.zeros((9, 8)), np.arange(9), np.zeros((9, 8)), [])]),
    "all NaN features": lambda p: plots.feature_view(
        p, [("a", np.full((9, 8), NAN), np.arange(9), np.full((9, 8), INF), [])]
    ),
    "no score": lambda p: plots.score_histogram(p, [], [], NAN, title="T"),
    "one side": lambda p: plots.score_histogram(p, np.arange(9.0), [], 3, title="T"),
    "equal scores": lambda p: plots.score_histogram(p, ONES, ONES, 1, title="T"),
    "zero scores": lambda p: plots.score_histogram(p, 0 * ONES, 0 * ONES, 0, title="T"),
    "NaN scores": lambda p: plots.score_histogram(p, NAN * ONES, INF * ONES, INF, title="T"),
    "huge scores": lambda p: plots.score_histogram(
        p, np.random.default_rng(0).random(99), np.geomspace(1, 3e38, 99), 0.97, title="T"
    ),
    "negative heavy": lambda p: plots.score_histogram(
        p, np.linspace(-1, 1, 99), -np.geomspace(1, 1e4, 99), -INF, title="T"
    ),
    "no member curve": lambda p: plots.roc_by_member(p, [], title="T"),
    "member curves of one class": lambda p: plots.roc_by_member(p, [("a", ONES, ONES), ("b", [], [])], title="T"),
    "13 members": lambda p: plots.roc_by_member(p, [curve(f"{k}", n=30, seed=k) for k in range(13)], title="T"),
    "no sample": lambda p: plots.scores_by_sample(p, [], [], NAN, title="T"),
    "one sample": lambda p: plots.scores_by_sample(p, [1.0], [1], 1.0, title="T"),
    "NaN samples": lambda p: plots.scores_by_sample(p, [NAN, INF, -INF, NAN], [0, 0, 1, 1], INF, title="T"),
    "samples far from zero": lambda p: plots.scores_by_sample(
        p, np.r_[np.random.default_rng(0).normal(-1e3, 1, 99), 3e38], np.arange(100) == 99, -997, title="T"
    ),
    "no image to fail": lambda p: plots.failures_gallery(p, np.zeros((0, 8, 8, 1)), [], [], NAN, title="T"),
    "failures of one kind": lambda p: plots.failures_gallery(p, PICTURES, ONES, ONES, 0.5, title="T", per_side=1),
    "NaN failures": lambda p: plots.failures_gallery(
        p, NAN * PICTURES, NAN * ONES, np.arange(20) % 2, NAN, title="T", reconstructions=INF + PICTURES, per_side=2
    ),
    "nothing wanted": lambda p: plots.failures_gallery(p, PICTURES, ONES, np.arange(20) % 2, 0, title="T", per_side=0),
    "no image to reconstruct": lambda p: plots.reconstructions(
        p, np.zeros((0, 8, 8, 1)), np.zeros((0, 8, 8, 1)), [], [], title="T"
    ),
    "NaN reconstructions": lambda p: plots.reconstructions(
        p, PICTURES, NAN * PICTURES, NAN * ONES, ONES, title="T", columns=30
    ),
    "perfect reconstructions": lambda p: plots.reconstructions(
        p, PICTURES, PICTURES, ONES, np.arange(20) % 2, title="T", columns=1
    ),
    "no class": lambda p: plots.auroc_by_class(p, [], title="T"),
    "classes without value": lambda p: plots.auroc_by_class(
        p, [of_class("a", NAN), {"class": None, "metrics": {}}], title="T", references=[("a", NAN), ("b", (NAN, 1))]
    ),
    "one member without class": lambda p: plots.auroc_by_class(p, [{"metrics": {"auroc": 1}}], title="T"),
    "100 classes": lambda p: plots.auroc_by_class(p, [of_class(f"{k}", k / 99) for k in range(100)], title="T"),
    "no record": lambda p: plots.training_curves(p, []),
    "one record": lambda p: plots.training_curves(p, RECORDS[:1]),
    "scalars": lambda p: plots.training_curves(p, [record(1, loss=1.0), record(2, loss=0.5)]),
    "NaN records": lambda p: plots.training_curves(p, [record(i, loss=[NAN], acc=[INF]) for i in range(3)]),
    "ragged records": lambda p: plots.training_curves(p, [record(1, loss=[]), record(2, loss=[1, 2])]),
}


@pytest.mark.slow
@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("case", DEGENERATE)
def test_degenerate_input_still_gives_a_picture_and_no_warning(case, tmp_path, monkeypatch):
    monkeypatch.setattr(plots.canvas, "DPI", 50)  # a third of the time
    with Image.open(DEGENERATE[case](tmp_path / "p.png")) as image:
        image.verify()


def noisy(side):
    figure = plots.features._figure([panel()], "T", NOTE)
    noise = np.random.default_rng(0).random((side, side, 3))
    figure.axes[0].imshow(noise, extent=(-5, 20, -10, 10), interpolation="nearest")
    return figure


@pytest.mark.slow
@pytest.mark.parametrize(("side", "mode"), [(350, "RGB"), (480, "P")])
def test_a_picture_that_is_too_large_gives_up_shades_not_pixels(side, mode, tmp_path, monkeypatch):
    path = plots.canvas.save(noisy(side), tmp_path / "p.png")
    assert path.stat().st_size < plots.canvas.MAX_BYTES
    monkeypatch.setattr(plots.canvas, "MAX_BYTES", 1e9)
    exact = Image.open(plots.canvas.save(noisy(side), tmp_path / "exact.png")).convert("RGB")
    with Image.open(path) as image:
        assert image.mode == mode
        assert image.size == exact.size
        off = np.abs(np.asarray(image.convert("RGB"), int) - np.asarray(exact, int)).max(-1)
    assert mode == "P" or off.max() <= 7
