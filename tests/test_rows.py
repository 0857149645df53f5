"""Rows of the results tables: what is recorded of them, what ends their training, and what is said beside them."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

from adjax import data
from adjax.models import vgg16
from experiments import (
    config,
    console,
    evaluate,
    figures,
    judging,
    members,
    presets,
    readme,
    record,
    run,
    study,
    vgg16_trunk,
)
from experiments.references import SETTINGS, TUNED_ON_TEST
from experiments.training import Best, validation_error


def test_a_group_records_what_its_members_share():
    rows = [{"hparams": {"weight_decay": 0.1, "weight_normal": w}} for w in (0.54, 0.55)]
    assert judging.common(rows) == {"weight_decay": 0.1}
    assert judging.common(rows[:1]) == {"weight_decay": 0.1, "weight_normal": 0.54}
    settings = [{"weight_decay": 0.1}, {"weight_decay": 0.2}]
    assert (
        console.setting_name(rows[0]["hparams"], settings) == "weight_decay=0.1"
    )  # fold by fold there is no one weight


def params(value: float) -> dict:
    return {"w": np.array([value, 2 * value], np.float32)}


def test_the_epoch_with_the_least_error_is_kept(tmp_path):
    best = Best(tmp_path, 2, 0, of="error")
    for step, errors in ((10, (0.5, 0.2)), (20, (0.4, 0.3)), (30, (np.nan, 0.2))):
        best.offer(step, params(step), np.array(errors))
    assert best.record() == {"step": [20, 10], "validation_error": [0.4, 0.2]}
    assert best.params(params(0))["w"].tolist() == [20, 20]
    assert best.said() == "error 0.3000"
    assert Best(tmp_path, 2, 20, of="error").record() == best.record()
    assert Best(tmp_path, 2, 20).record()["step"] == [0, 0]  # an AUROC is another record
    assert Best(tmp_path / "new", 1, 0, of="error").record()["validation_error"] == [np.inf]


def test_held_out_errors_are_averaged_member_by_member():
    said = validation_error(lambda own, m: np.array([0.0, own["w"]]) + m, 2)(params(3.0))
    np.testing.assert_allclose(said, [1.5, 4.0])


@pytest.mark.parametrize("method", ["autoencoder", "deep_svdd"])
def test_only_a_method_that_reconstructs_stops_without_anomalies(method, monkeypatch, tmp_path):
    chosen = replace(config.of_method(method), dataset="digits", normal=(0,), seeds=1, patience=2, batch_size=32)
    given = study.images(chosen)
    recipe, shape = members.recipe(chosen), given.train.images.shape[1:]
    loaded = study.load(given, recipe.supervision(shape))
    built = recipe.build(shape, loaded.classes, steps=10)
    table = members.members(chosen, chosen.settings(dict(built.method.hparams)), loaded.benchmark.trials)
    seen = []
    monkeypatch.setattr(members.training, "run", lambda *given: seen.append(given[8]))
    fit = lambda loaded: members.fit(chosen, None, built, None, loaded, table, tmp_path)  # noqa: E731
    if method == "deep_svdd":
        with pytest.raises(ValueError, match="it takes a method that reconstructs"):
            fit(loaded)
        return
    fit(loaded)
    assert seen[0].of == "error"
    none = tuple(t._replace(validation=t.validation[:0], validation_truth=t.validation_truth[:0]) for t in
                 loaded.benchmark.trials)  # fmt: skip
    with pytest.raises(ValueError, match="--validation above 0"):
        fit(loaded._replace(benchmark=loaded.benchmark._replace(trials=none)))


def test_patience_without_held_out_images_says_so(tmp_path, capsys):
    line = f"--method classifier --dataset digits --normal 3 --batch-size 32 --threshold logit --out {tmp_path / 'run'}"
    assert run.main([*line.split(), "--validation", "0"]) == 1
    assert "--patience 3 chooses an epoch by held-out images, and --validation 0" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    assert config.parse([*line.split(), "--validation", "0", "--patience", "None"]).patience is None


def test_the_ceiling_of_a_small_set_takes_smaller_batches(monkeypatch, tmp_path):
    """It is trained after the GAN, which would have been for nothing."""
    chosen = replace(config.of_method("gan"), dataset="digits", protocol="imbalanced", normal=(3,), counts=(60, 30))
    given = study.images(chosen)
    monkeypatch.setattr(judging, "fit", lambda plain, *_: plain)
    ceiling = judging.train_ceiling(chosen, Console(quiet=True), study.load(given, "anomalies"), tmp_path)
    assert ceiling.config.batch_size == 75
    assert config.of_preset("classifier_fashion_mnist").batch_size == 128


def test_the_ceiling_is_of_the_first_seed(monkeypatch, tmp_path):
    chosen = replace(config.of_preset("gan_random_sampling"), dataset="digits", normal=(3, 5), seeds=2, seed=4)
    given, fitted = study.images(chosen), []
    monkeypatch.setattr(judging, "fit", lambda *args: fitted.append(args))
    loaded = study.load(given, "anomalies")
    ceiling = judging.train_ceiling(chosen, Console(quiet=True), loaded, tmp_path)
    assert [(t.seed, t.name["class"]) for t in loaded.benchmark.trials] == [(4, "3"), (4, "5"), (5, "3"), (5, "5")]
    assert ceiling.trials == loaded.benchmark.trials[:2]
    ((plain, *_, of, table, _),) = fitted
    assert (plain.seeds, len(table.seed), of.benchmark.trials) == (1, 2, ceiling.trials)
    judged = []
    monkeypatch.setattr(judging, "member", lambda params, m: m)
    monkeypatch.setattr(evaluate, "judge", lambda *args: judged.append(args) or SimpleNamespace(metrics={"auroc": 1.0}))
    found = judging._ceiling(ceiling._replace(trained=SimpleNamespace(params=None)), loaded)
    assert found["auroc"]["n"] == 2
    assert [(m, trial.seed) for _, m, _, _, trial, *_ in judged] == [(0, 4), (1, 4)]


def test_clusters_reach_the_draw_of_anomalies():
    chosen = replace(config.of_preset("gan_random_sampling"), dataset="digits", normal=(3,), seeds=1)
    drawn = [study.load(study.images(replace(chosen, clusters=k)), "anomalies").benchmark.trials[0] for k in (1, 3)]
    assert chosen.clusters == 1
    assert drawn[0].rows.tolist() != drawn[1].rows.tolist()
    with pytest.raises(ValueError, match="--clusters 0: must be between 1 and 1,000"):
        replace(chosen, clusters=0)


@pytest.mark.parametrize(("name", "at"), [("half", 0.0), ("logit", 2.0)])
def test_half_is_the_networks_own_answer(name, at, monkeypatch):
    asked = []
    monkeypatch.setattr(evaluate.thresholds, "classwise_quantile", lambda _, level: asked.append(level) or level[0])
    fitted = SimpleNamespace(calibration=None, threshold=None)
    monkeypatch.setattr(evaluate.dataclasses, "replace", lambda one, **new: SimpleNamespace(**{**vars(one), **new}))
    found = evaluate.with_threshold(fitted, evaluate.Rule(name, 0.95, 2.0), np.zeros(0), np.zeros(0))
    assert float(asked[0][0, 0]) == at
    assert float(found.threshold) == at


def onnx(arrays: dict[str, np.ndarray]) -> bytes:
    """A model of initializers alone, in protocol buffers' wire format."""

    def varint(n: int) -> bytes:
        return bytes([n & 127 | 128]) + varint(n >> 7) if n > 127 else bytes([n])

    def field(number: int, value: bytes | int) -> bytes:
        if isinstance(value, int):
            return varint(number << 3) + varint(value)
        return varint(number << 3 | 2) + varint(len(value)) + value

    graph = b""
    for k, (name, x) in enumerate(arrays.items()):
        packed = field(1, b"".join(varint(n) for n in x.shape))  # both forms of a list of numbers are written
        dims = packed if k % 2 else b"".join(field(1, n) for n in x.shape)
        graph += field(5, dims + field(2, 1) + field(8, name.encode()) + field(9, x.astype("<f4").tobytes()))
    return field(1, 8) + field(7, graph)


def theirs() -> dict[str, np.ndarray]:
    rng, arrays = np.random.default_rng(0), {"dense/ReadVariableOp:0": np.zeros((2, 2))}
    for name in vgg16.LAYERS:
        arrays[f"functional_1/{name}_1/convolution/ReadVariableOp:0"] = rng.normal(size=(5, 4, 3, 3))
        arrays[f"functional_1/{name}_1/Squeeze:0"] = rng.normal(size=200)
    return arrays


def test_a_trunk_is_read_in_keras_layout():
    given = theirs()
    found = vgg16_trunk.trunk(onnx(given))
    assert len(found) == 2 * len(vgg16.LAYERS)
    kernel = given["functional_1/block3_conv2_1/convolution/ReadVariableOp:0"].astype(np.float32)
    np.testing.assert_array_equal(found["block3_conv2/kernel"][2, 1, 3, 4], kernel[4, 3, 2, 1])
    assert found["block3_conv2/kernel"].shape == (3, 3, 4, 5)
    np.testing.assert_array_equal(
        found["block5_conv3/bias"], np.float32(given["functional_1/block5_conv3_1/Squeeze:0"])
    )


def test_a_file_that_is_no_trunk_is_refused():
    given = theirs()
    del given["functional_1/block2_conv1_1/Squeeze:0"]
    with pytest.raises(ValueError, match="lacks 1 arrays of VGG16, first block2_conv1/bias"):
        vgg16_trunk.trunk(onnx(given))
    whole = onnx(theirs())
    for broken in (whole[:-3], b"\x0f" + whole, b"\x80"):
        with pytest.raises(ValueError, match="name another"):
            vgg16_trunk.trunk(broken)


def test_both_methods_of_the_paper_are_drawn_at_the_ends_of_a_sweep(tmp_path, monkeypatch):
    drawn = []
    for name in ("metric_against_lam", "roc_per_lam"):
        monkeypatch.setattr(figures.plots, name, lambda path, *given, **_: drawn.append((path.name, given)) or path)

    def one(method: str, score: float):
        spec = SimpleNamespace(names=(method, "lenet5", "score"))
        further = {evaluate.PAPER: np.array([score, score])}
        own = SimpleNamespace(spec=spec)
        return SimpleNamespace(detector=own, further=further, scores=np.array([-score, 0.0]), truth=np.array([0, 1]))

    of_lam = {lam: [one("ood_head", lam), one("ood_head", lam + 10)] for lam in (0.1, 0.0, 1.0)}
    rows = [{"metrics": {"ood_f1": 0.9}, "scorers": {evaluate.PAPER: {"ood_f1": 0.8}}}]
    assert len(figures._of_both_methods(tmp_path, rows, of_lam, "t", "2 seeds", "")) == 2
    curves, against = drawn[0][1][0], drawn[1][1][0]
    assert [name for name, *_ in curves] == [
        "supervised head, λ = 0",
        "supervised head, λ = 1",
        "Mahalanobis per class, λ = 0",
        "Mahalanobis per class, λ = 1",
    ]
    assert curves[1][1].tolist() == [-1, 0, -11, 0]  # both seeds
    assert curves[3][1].tolist() == [1, 1, 11, 11]
    assert against[0]["metrics"] == {"ood_f1": 0.8}
    assert figures._of_both_methods(tmp_path, rows, {0.0: [one("centerloss", 0)]}, "t", "", "") == []


def results(auroc: float, published: float | str, pca: float) -> dict:
    return {
        "summary": {"auroc": {"mean": auroc}},
        "references": [{"metrics": {"auroc": published}}],
        "comparisons": {"pixel PCA, 30 components": {"auroc": pca}},
    }


def test_a_row_says_what_beats_it():
    assert readme._better(results(0.95, 0.96, 0.97)) == "a published figure and PCA"
    assert readme._better(results(0.95, "0.96–0.97", 0.90)) is None  # a range is shown beside it
    assert readme._better(results(0.49999, 0.5, 0.4)) is None  # equal to the places shown


def test_a_regressors_table_has_its_r2_beside_the_auroc():
    found = {"summary": {"auroc": {"mean": 0.9, "sd": 0, "n": 1}}, "config": {}}
    without = list(console.columns(found))
    assert "r2" not in without
    found["summary"]["r2"] = {"mean": 0.7, "sd": 0, "n": 1}
    shown = console.columns(found)
    assert list(shown) == ["auroc", "r2", *without[1:]]
    assert console.cells(found["summary"], shown)[:2] == ["0.9000", "0.7000"]


def test_results_do_not_tell_where_weights_lie():
    chosen = config.of_preset("gmm_vgg16_block3")
    assert record.portable(chosen) == chosen.json()
    assert record.portable(replace(chosen, weights="/home/me/vgg16.safetensors"))["weights"] == "vgg16.safetensors"


def test_every_committed_row_says_whose_settings_it_has_and_whether_it_was_tuned():
    for preset in presets.PRESETS:
        if (readme.RESULTS / f"{preset}.json").exists() and preset != "centerloss":
            assert SETTINGS[preset]
            assert TUNED_ON_TEST[preset]
    assert SETTINGS.keys() == TUNED_ON_TEST.keys() <= presets.PRESETS.keys()


def test_a_table_tells_settings_and_tuning_and_the_papers_form_at_each_lambda():
    found = json.loads((readme.RESULTS / "centerloss_sweep.json").read_text())
    said = readme.table(found, "centerloss_sweep")
    assert "Tuned on the test set? No: all λ are shown." in said
    assert said.count("| mahalanobis_perclass, λ = ") == 4  # the fifth is the kept one, among the comparisons
    own = [m["scorers"][evaluate.PAPER]["ood_f1"] for m in found["members"][:3]]
    (row,) = (line for line in said.splitlines() if line.startswith("| mahalanobis_perclass, λ = 0 |"))
    assert f"{np.mean(own):.4f}" in row
    assert "Tuned" not in readme.table(found)


def test_assignment_presets_are_the_reports_split():
    chosen = config.of_preset("autoencoder_assignment_conv_bce")
    images = data.Split(np.zeros((6000, 2, 2, 1), np.uint8), np.repeat(np.int32([0, 1]), [5000, 1000]))
    trial = study.PROTOCOLS[chosen.protocol](
        images, images, ("0", "1"), supervision="normal", validation=chosen.validation, normal=0, counts=chosen.counts
    ).trials[0]
    assert len(trial.rows) + len(trial.held_out) == 4500
    assert np.bincount(trial.truth).tolist() == [500, 500]
