"""Published experiments by name, one-class protocols through the command, and what early stopping keeps."""

from __future__ import annotations

import functools
import hashlib
import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from drawn import weight
from PIL import Image
from safetensors.numpy import save_file
from tiers import daily
from weight_files import as_published

import adjax
from adjax import data, methods, models, train
from adjax._trees import by_path
from adjax.data.datasets import imagenet30
from adjax.data.protocols import Trial
from adjax.methods import METHODS
from adjax.models import efficientnet
from adjax.models.weight_maps import MODELS
from experiments import config, console, evaluate, figures, judging, members, presets, run
from experiments.training import Best

LABELLED = "--preset classifier_fashion_mnist --dataset digits --normal 0 1 --validation 0.3 --batch-size 32".split()
pytestmark = pytest.mark.usefixtures("without_plots")
QUICK = [*LABELLED, "--epochs", "6", "--patience", "2"]


@pytest.fixture(scope="module")
def without_plots():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures, "draw", lambda *_: [])
        yield


@functools.cache
def made(method, model, shape, classes, model_options, method_options):
    """Of several presets of one network the first one traces it."""
    network = models.make(model, shape, classes, **dict(model_options))
    return methods.make(method, network, shape, classes, steps=10, **dict(method_options))


NAMES = sorted(presets.PRESETS)
DEAR = {name for name in NAMES if name.startswith(("imagenet30", "gmm_pretrained"))}


@pytest.mark.parametrize("name", [*daily(NAMES, *(name for name in NAMES if name not in DEAR))])
def test_a_preset_names_what_there_is(name):
    """Method, network and scorer take the options that the preset gives them, and its hyper-parameters exist."""
    chosen = config.of_preset(name)
    shape = (64, 64, 3) if chosen.dataset == "imagenet30" else (28, 28, 1)
    classes = 1 if METHODS[chosen.method] and chosen.protocol != "pair" else 10
    options = (tuple(sorted(chosen.options(of).items())) for of in ("model", "method"))
    method = made(chosen.method, chosen.model, shape, classes, *options)
    assert chosen.settings(dict(method.hparams))
    scorer = chosen.scorer or method.scorer
    adjax.scorers.make(scorer, **replace(chosen, scorer=scorer).options("scorer"))
    assert chosen.directory().parts[0] == "runs"


@pytest.mark.slow
def test_imagenet30_starts_from_a_file_of_weights(tmp_path, monkeypatch):
    """On made pictures in the published layout, and drawn weights in torchvision's names."""
    rng, pictures, file = np.random.default_rng(0), tmp_path / "sets/imagenet30", tmp_path / "b0.safetensors"
    for half, count in (("one_class_train", 4), ("one_class_test", 2)):
        for number, name in enumerate(imagenet30.CLASSES):
            (pictures / half / name / "n0").mkdir(parents=True)
            for i in range(count):
                pixels = np.clip(8 * number + rng.normal(0, 20, (40, 50, 3)), 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(pictures / half / name / "n0" / f"{i}.JPEG")
    stages = (efficientnet.Stage(1, 3, 1, 1, 8), efficientnet.Stage(2, 5, 2, 2, 12))
    monkeypatch.setattr(efficientnet, "STAGES", stages)  # of 7, of which the compilation takes a minute
    naming = next(n for n in MODELS["efficientnet_b0"][1]("") if n.library == "torchvision")
    network = models.make("efficientnet_b0", (32, 32, 3), 1000)
    shapes = jax.eval_shape(network.init, jax.random.key(0))
    named = as_published(by_path(jax.tree.map(lambda x: np.zeros(x.shape, np.float32), shapes)), naming)
    save_file({name: weight(name, x.shape) for name, x in named.items()}, file)
    drawn = by_path(models.weights.load_weights(file, "efficientnet_b0").params)
    asked = f"--preset imagenet30_a_b --data-dir {tmp_path / 'sets'} --weights {file} --out {tmp_path / 'run'}"
    assert run.main([*asked.split(), *"--side-px 32 --epochs 1 --batch-size 16".split()]) == 0
    said = json.loads((tmp_path / "run/results.json").read_text())
    assert said["weights"]["source"] == "b0.safetensors (torchvision)"
    assert said["weights"]["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    detector = adjax.load(tmp_path / "run/detector")
    assert detector.spec.classes == imagenet30.CLASSES[:10]
    trained = by_path(detector.params["network"])
    for name, x in drawn.items():  # a step of Adam moves a weight by no more than its learning rate
        if not name.startswith("head/") and "/mean" not in name and "/var" not in name:
            np.testing.assert_allclose(trained[name], x, atol=0.01)


@pytest.mark.parametrize("method", sorted(METHODS))
def test_a_method_alone_is_the_experiment_of_its_source(method):
    chosen = config.parse(["--method", method])
    assert chosen.method == method
    assert chosen == config.of_preset(chosen.preset)
    assert config.parse([f"--method={method}", "--seeds", "2"]).seeds == 2


def test_a_method_without_a_preset_does_the_main_job(monkeypatch):
    """One file and one line are enough to run it."""
    monkeypatch.setitem(METHODS, "new", METHODS["autoencoder"])
    assert config.of_method("new") == config.Config(method="new", model="conv_autoencoder", lam=())


def test_a_preset_gives_the_defaults_and_options_change_them():
    chosen = config.parse(["--preset", "centerloss_mnist_zero", "--seeds", "2"])
    assert (chosen.ood, chosen.seeds) == ("holdout:0", 2)


def test_a_name_that_is_no_preset_gets_the_nearest():
    with pytest.raises(SystemExit, match="did you mean gan_mnist"):
        config.parse(["--preset", "gan_mnst"])


def test_settings_are_every_combination():
    chosen = replace(config.Config(), lam=(), hparams=("a=1,2", "b=3"))
    assert chosen.settings({"a": 0.0, "b": 0.0, "c": 5.0}) == [{"a": a, "b": 3.0, "c": 5.0} for a in (1.0, 2.0)]
    with pytest.raises(ValueError, match="no hyper-parameter learnin: it has learning; did you mean learning"):
        replace(chosen, hparams=("learnin=1",)).settings({"learning": 0.0})
    with pytest.raises(ValueError, match="a=x: must be numbers"):
        replace(chosen, hparams=("a=x",)).settings({"a": 0.0})
    with pytest.raises(ValueError, match=r"--hparams a=1,1.0: 1.0 is there twice, name it once"):
        replace(chosen, hparams=("a=1,1.0",)).settings({"a": 0.0})
    with pytest.raises(ValueError, match="--lam 3: new has no hyper-parameter lam: it has a; leave it out"):
        replace(chosen, method="new", lam=(3,), hparams=()).settings({"a": 0.0})
    with pytest.raises(ValueError, match="--sweep: new has no hyper-parameter lam: it has a; leave it out"):
        replace(chosen, method="new", sweep=True, hparams=()).settings({"a": 0.0})
    with pytest.raises(ValueError, match="--method-options x: must be name=value"):
        replace(chosen, method_options=("x",)).options("method")


def test_option_values_are_numbers_words_or_text():
    chosen = replace(config.Config(), model_options=("a=3", "b=0.5", "c=true", "d=none", "e=batch"))
    assert repr(chosen.options("model")) == "{'a': 3, 'b': 0.5, 'c': True, 'd': None, 'e': 'batch'}"


def test_rare_anomalies_weigh_as_much_as_normals():
    rows = np.arange(10, dtype=np.int32)
    trial = Trial({"seed": 0}, 0, rows, np.int32([0] * 8 + [1] * 2), rows[:0], rows[:0], rows[:0], rows, rows)
    setting = {"weight_normal": 1.0, "weight_anomalous": 1.0}
    table = members.members(config.Config(), [setting], (trial,))
    np.testing.assert_allclose([table.hparams[name][0] for name in setting], [10 / 16, 10 / 4])
    assert judging.log_odds(table, 0) == pytest.approx(np.log(4))  # so the threshold is where the weights are undone
    ran = SimpleNamespace(settings=[{**setting, "lam": 0.1}], pairs=[(0, 0)], table=table)
    assert judging.used(ran, 0) == {"weight_normal": 0.625, "weight_anomalous": 2.5, "lam": 0.1}  # as recorded
    given = replace(config.Config(), hparams=("weight_normal=3",))
    table = members.members(given, [{**setting, "weight_normal": 3.0}], (trial,))
    np.testing.assert_allclose([table.hparams[name][0] for name in setting], [3, 10 / 4])


@pytest.fixture(scope="module")
def first_run(tmp_path_factory, without_plots):
    """Two one-vs-rest classifiers, stopped early; and their program."""
    out, programs = tmp_path_factory.mktemp("labelled"), []
    real = train.compile_program
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "compile_program", lambda *a, **b: programs.append(real(*a, **b)) or programs[-1])
        assert run.main([*QUICK, "--out", str(out)]) == 0
    (program,) = programs
    return out, program


@pytest.fixture(scope="module")
def finished(first_run):
    return first_run[0]


@pytest.mark.slow
def test_each_class_has_its_row_and_its_detector(finished):
    results = json.loads((finished / "results.json").read_text())
    assert [(m["class"], m["seed"]) for m in results["members"]] == [("0", 0), ("1", 0)]
    wanted = {"auroc", "aupr", "fpr95", "f1", "accuracy"}
    assert all(wanted <= m["metrics"].keys() for m in results["members"])
    by_hand = np.mean([m["metrics"]["auroc"] for m in results["members"]])
    assert results["summary"]["auroc"]["mean"] == pytest.approx(by_hand)
    assert results["references"] == []  # digits are not what the paper measured
    rows = dict(console.by_member(results))
    assert rows["class=1"]["auroc"]["mean"] == results["members"][1]["metrics"]["auroc"]

    test = data.load("digits", "test")
    for member, label in zip(results["members"], (0, 1), strict=True):
        detector = adjax.load(finished / "detectors" / str(label))
        truth = test.labels != label
        assert (detector.predict(test.images) == truth).mean() == pytest.approx(member["metrics"]["accuracy"])
        assert member["metrics"]["auroc"] > 0.9


@pytest.mark.slow
def test_it_beats_the_untrained_network(finished):
    results = json.loads((finished / "results.json").read_text())
    untrained = results["comparisons"]["same network, untrained"]["auroc"]["mean"]
    assert results["summary"]["auroc"]["mean"] > untrained + 0.1


@pytest.mark.slow
def test_a_run_that_stopped_early_stays_as_it_is(first_run, monkeypatch):
    finished, program = first_run
    monkeypatch.setattr(train, "compile_program", lambda *_, **__: program)  # of the same options it's the same
    before, log = json.loads((finished / "results.json").read_text()), (finished / "metrics.jsonl").read_text()
    assert Best.ended_at(finished / "best")
    assert run.main([*QUICK, "--out", str(finished)]) == 0
    after = json.loads((finished / "results.json").read_text())
    assert (finished / "metrics.jsonl").read_text() == log
    assert after["members"] == before["members"]
    assert after["early_stopping"] == before["early_stopping"]
    assert max(before["early_stopping"]["validation_auroc"]) > 0.9


@pytest.mark.slow
def test_a_run_whose_checkpoints_were_deleted_does_not_end_where_it_did(first_run, tmp_path, monkeypatch):
    finished, program = first_run
    monkeypatch.setattr(train, "compile_program", lambda *_, **__: program)
    again = shutil.copytree(finished, tmp_path / "again")
    shutil.rmtree(again / "checkpoints")
    record = json.loads((again / "best" / "best.json").read_text())
    (again / "best" / "best.json").write_text(json.dumps({**record, "ended_at": 1}))
    assert run.main([*QUICK, "--out", str(again)]) == 0
    kept = [json.loads((folder / "results.json").read_text())["early_stopping"] for folder in (finished, again)]
    assert kept[0] == kept[1]


def test_patience_without_labelled_anomalies_is_refused(tmp_path, capsys):
    options = "--preset deep_svdd_fashion_mnist --dataset digits --normal 0 --seeds 1 --patience 1 --batch-size 32"
    options += " --validation 0.2"
    assert run.main([*options.split(), "--out", str(tmp_path)]) == 1
    assert "--patience needs labelled anomalies" in capsys.readouterr().err


def params(value: float) -> dict:
    return {"network": {"w": np.full((2, 3), value, np.float32)}}


def test_the_best_epoch_of_each_member_is_kept(tmp_path):
    best = Best(tmp_path, 2, 0)
    best.offer(10, params(1), np.array([0.5, 0.9]))
    best.offer(20, params(2), np.array([0.6, 0.8]))
    best.offer(30, params(3), np.array([0.6, np.nan]))  # no better: the earlier epoch stays
    assert best.since(30) == 10
    again = Best(tmp_path, 2, 20)
    for one in (best, again):
        np.testing.assert_array_equal(one.params(params(0))["network"]["w"][:, 0], [2, 1])
        assert one.record() == {"step": [20, 10], "validation_auroc": [0.6, 0.9]}
    assert Best.ended_at(tmp_path) is None
    assert best.end(30)
    assert Best.ended_at(tmp_path) == 30
    assert Best(tmp_path, 2, 0).record()["step"] == [0, 0]  # a run without a checkpoint starts afresh
    other = Best(tmp_path / "other", 2, 0, writes=False)  # of a process that isn't the first
    other.offer(5, {"w": np.array([1.0, 2.0])}, np.array([0.7, 0.6]))
    assert other.end(5)
    assert other.params({"w": np.zeros(2)})["w"].tolist() == [1.0, 2.0]
    assert other.record()["step"] == [5, 5]
    assert not (tmp_path / "other").exists()


def test_nothing_kept_is_the_last_state(tmp_path):
    best = Best(tmp_path, 2, 0)
    best.offer(1, params(1), np.array([np.nan, np.nan]))
    assert best.params(params(7))["network"]["w"][0, 0] == 7
    assert best.end(3)
    assert Best.ended_at(tmp_path) == 3
    assert Best(tmp_path, 2, 3).params(params(7))["network"]["w"][0, 0] == 7


def test_spread_over_seeds_is_that_of_their_means():
    rows = [{"seed": s, "metrics": {"auroc": v}} for s, v in ((0, 0.6), (0, 1.0), (1, 0.7), (1, 0.9))]
    found = evaluate.summary(rows)["auroc"]
    assert (found["mean"], found["n"], found["seeds"]) == (pytest.approx(0.8), 4, 2)
    assert found["sd_seeds"] == pytest.approx(0)
    assert found["sd"] == pytest.approx(np.std([0.6, 1, 0.7, 0.9], ddof=1))


@pytest.mark.slow
def test_a_table_of_labels_in_a_table_of_probabilities_out(tmp_path):
    """The assignment: labels in a CSV, images in a folder, few anomalies, probabilities for images without a label."""
    split = data.load("digits", "train")
    rows = np.concatenate([np.flatnonzero(split.labels == 0), np.flatnonzero(split.labels == 1)[:30]])
    unknown = [*rows[:3], *rows[-2:]]
    (tmp_path / "images").mkdir()
    for row in rows:
        Image.fromarray(split.images[row, ..., 0]).save(tmp_path / "images" / f"{row}.png")
    lines = [f"{row}.png,{int(split.labels[row] != 0)}" for row in rows]
    (tmp_path / "train.csv").write_text("\n".join(["file,label", *lines[::2]]))
    (tmp_path / "test.csv").write_text("\n".join(["file,label", *lines[1::2]]))
    (tmp_path / "unknown.csv").write_text("\n".join(["file", *(f"{row}.png" for row in unknown)]))
    options = f"--method classifier --dataset {tmp_path / 'train.csv'} --protocol one_vs_other --normal 0 --anomalous 1"
    more = f"--batch-size 16 --epochs 8 --threshold logit --score-table {tmp_path / 'unknown.csv'}"
    assert run.main([*options.split(), *more.split(), "--out", str(tmp_path / "run")]) == 0
    lines = (tmp_path / "run" / "probabilities.csv").read_text().splitlines()
    detector = adjax.load(tmp_path / "run" / "detectors" / "0_1")
    expected = np.asarray(detector.outputs(split.images[unknown])["probability"])
    found = np.array([float(line.split(",")[1]) for line in lines[1:]])
    assert [line.split(",")[0] for line in lines[1:]] == [f"{row}.png" for row in unknown]
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert found[:3].max() < found[3:].min()
