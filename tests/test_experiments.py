"""The command as its users see it: what it writes, what it refuses, and that a stopped run goes on unchanged."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from training import events

import adjax
from adjax import train
from adjax.data import DataError
from adjax.report import card
from experiments import figures, judging, readme, report, rundir, study, tensorboard, views
from experiments.run import main

QUICK = ["--dataset", "digits", "--epochs", "4", "--batch-size", "64"]
MEMBERS = ["--lam", "0", "0.1", "--seeds", "2", "--seed", "3"]
TENSORBOARD = ["--tensorboard"] * (find_spec("tensorboardX") is not None)


@pytest.fixture(scope="module")
def first_run(tmp_path_factory) -> tuple[Path, train.Program]:
    """A small but whole run, two λ with two seeds; and its program. Plots take as long as all else: `test_plots.py`."""
    out, programs = tmp_path_factory.mktemp("run"), []
    real = train.compile_program
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "compile_program", lambda *a, **b: programs.append(real(*a, **b)) or programs[-1])
        patch.setattr(figures, "draw", lambda *_: [])
        assert main([*QUICK, *MEMBERS, *TENSORBOARD, "--out", str(out)]) == 0
    (program,) = programs
    return out, program


@pytest.fixture(scope="module")
def finished(first_run) -> Path:
    return first_run[0]


@pytest.fixture
def compiled_already(first_run, monkeypatch):
    """A further run is given the first one's program: of the same options it is the same, of fewer epochs it differs in
    the schedule of the learning rate, and a run that is refused does not use it."""
    monkeypatch.setattr(train, "compile_program", lambda *_, **__: first_run[1])


@pytest.fixture
def without_plots(monkeypatch):
    monkeypatch.setattr(figures, "draw", lambda *_: [])


def test_run_directory_is_complete(finished):
    results = json.loads((finished / "results.json").read_text())
    assert results["schema"] == rundir.SCHEMA
    for name in ("method", "model", "dataset", "ood", "config", "summary", "timing", "environment", "references"):
        assert name in results
    assert len(results["dataset"]["sha256"]["train"]) == 64
    assert [m["hparams"]["lam"] for m in results["members"]] == [0, 0, 0.1, 0.1]
    assert [m["seed"] for m in results["members"]] == [3, 4] * 2
    assert results["kept"]["member"] == 2
    wanted = {"accuracy", "f1", "ood_auroc", "ood_fpr95", "ood_aupr", "ood_f1", "id_rejected"}
    for member in results["members"]:
        assert wanted <= member["metrics"].keys()
        assert all(0 <= v <= 1 for v in member["metrics"].values())
    assert results["summary"]["accuracy"]["n"] == 2
    by_hand = np.mean([m["metrics"]["ood_auroc"] for m in results["members"][2:4]])
    assert results["summary"]["ood_auroc"]["mean"] == pytest.approx(by_hand)
    assert {"compile_s", "train_s", "train_images_per_s", "score_images_per_s"} <= results["timing"].keys()
    assert json.loads((finished / "config.json").read_text())["lam"] == [0, 0.1]
    steps = [record["step"] for record in rundir.read_log(finished / "metrics.jsonl")]
    assert steps == sorted(set(steps))


def test_report_and_card_speak_of_the_run(finished):
    results = json.loads((finished / "results.json").read_text())
    shown = views.load(finished / views.FILE)
    kept, metrics = shown[0], results["members"][results["kept"]["member"]]["metrics"]
    assert len(shown) == len(results["members"])
    assert "λ=0.1" in kept.name
    assert roc_auc_score(kept.truth, kept.scores) == pytest.approx(metrics["ood_auroc"], abs=1e-6)
    flagged = ~(kept.scores <= np.float32(kept.threshold))
    assert flagged[kept.truth == 0].mean() == pytest.approx(metrics["id_rejected"])
    page = (finished / "report.html").read_text()
    assert f">{results['summary']['ood_auroc']['mean']:.4f}<" in page
    assert (finished / "report.html").stat().st_size < 1_000_000
    assert card.speaks_of(finished / "detector")
    assert report.main([str(finished), "--out", str(finished / "again.html")]) == 0
    assert (finished / "again.html").read_text() == page


def test_trained_network_beats_untrained_one(finished):
    results = json.loads((finished / "results.json").read_text())
    untrained = results["comparisons"]["same network, untrained"]
    assert results["summary"]["accuracy"]["mean"] > untrained["accuracy"]["mean"] + 0.4


def test_kept_detector_gives_the_reported_figures(finished):
    results = json.loads((finished / "results.json").read_text())
    task = study.task("digits", "holdout:0")
    detector = adjax.load(finished / "detector")
    member = results["members"][results["kept"]["member"]]["metrics"]
    assert float((detector.classify(task.test.images) == task.test.labels).mean()) == pytest.approx(member["accuracy"])
    assert float(np.mean(detector.predict(task.test.images))) == pytest.approx(member["id_rejected"])


@pytest.mark.parametrize(("lams", "against"), [((0.1, 0.1), 0), ((0, 0.1), 2)])
def test_one_lambda_draws_no_plot_against_it(tmp_path, monkeypatch, lams, against):
    drawn = []
    for name in ("metric_against_lam", "roc_per_lam", "feature_view"):
        monkeypatch.setattr(figures.plots, name, lambda *_, name=name, **__: drawn.append(name) or tmp_path / name)
    own = SimpleNamespace(spec=SimpleNamespace(names=("centerloss", "lenet5", "layers")))
    outputs = {"features": np.zeros((4, 2))}
    one = SimpleNamespace(outputs=outputs, truth=np.array([0, 0, 1, 1]), scores=np.arange(4.0), detector=own)
    test = SimpleNamespace(labels=np.arange(4) % 2)
    trials = [SimpleNamespace(test=np.arange(4))]
    loaded = SimpleNamespace(benchmark=SimpleNamespace(test=test, trials=trials), classes=("a", "b"))
    results = {
        "note": "",
        "members": [{"hparams": {"lam": lam}} for lam in lams],
        "kept": {"hparams": {"lam": 0.1}},
        "references": [],
        "dataset": {"name": "d"},
    }
    assert len(figures._classes_plots(tmp_path, results, [one, one], loaded, "t")) == 2 + against
    assert drawn.count("metric_against_lam") == against


@pytest.mark.slow
def test_more_lambdas_than_the_feature_plot_has_panels(tmp_path):
    """Then it shows the least, the greatest and the kept detector's own."""
    assert main([*QUICK, "--lam", "0", "0.1", "0.3", "1", "--seeds", "2", "--out", str(tmp_path)]) == 0
    results = json.loads((tmp_path / "results.json").read_text())
    assert [m["hparams"]["lam"] for m in results["members"]] == [0, 0, 0.1, 0.1, 0.3, 0.3, 1, 1]
    assert results["kept"]["member"] == 2
    assert len(list(tmp_path.glob("*.png"))) == 8


@pytest.mark.slow
@pytest.mark.usefixtures("compiled_already", "without_plots")
@pytest.mark.parametrize("named", [("max_logit",), ("max_logit", "odin", "padim")], ids=len)
def test_further_scorers_train_nothing_and_read_the_same_outputs(finished, tmp_path, named):
    finished = shutil.copytree(finished, tmp_path / "run")
    before = json.loads((finished / "results.json").read_text())
    assert main([*QUICK, *MEMBERS, "--out", str(finished), "--scorers", *named]) == 0
    after = json.loads((finished / "results.json").read_text())
    assert [m["metrics"] for m in after["members"]] == [m["metrics"] for m in before["members"]]
    assert after["timing"]["resumed_from_step"] > 0
    new = {name: row for name, row in after["comparisons"].items() if name not in before["comparisons"]}
    assert set(new) == set(named)
    assert all(0 <= row[name]["mean"] <= 1 for row in new.values() for name in ("ood_auroc", "ood_fpr95_ood_positive"))
    assert len({row["ood_auroc"]["mean"] for row in new.values()}) == len(named)
    task, detector = study.task("digits", "holdout:0"), adjax.load(finished / "detector")
    normal, ood = (-detector.outputs(x)["logits"].max(-1) for x in (task.test.images, task.ood.images))
    by_hand = roc_auc_score(np.repeat([0, 1], [len(normal), len(ood)]), np.concatenate([normal, ood]))
    kept = after["members"][after["kept"]["member"]]["scorers"]["max_logit"]
    assert kept["ood_auroc"] == pytest.approx(by_hand, abs=2e-3)  # the quantile ties what its table doesn't part
    assert kept["ood_auroc_low"] < kept["ood_auroc"] < kept["ood_auroc_high"]


@pytest.mark.slow
def test_a_scorer_that_the_network_cannot_feed_is_refused_before_anything_is_done(finished, capsys):
    before = {path: path.read_bytes() for path in finished.iterdir() if path.is_file()}
    assert main([*QUICK, *MEMBERS, "--out", str(finished), "--scorers", "score"]) == 1
    assert "--scorers score: this network's outputs can feed" in capsys.readouterr().err.replace("\n", " ")
    assert {path: path.read_bytes() for path in finished.iterdir() if path.is_file()} == before


@pytest.mark.usefixtures("compiled_already")
@pytest.mark.parametrize("change", [["--batch-size", "32"], ["--epochs", "7"], ["--ood", "holdout:1"]])
def test_run_that_does_not_fit_the_checkpoint_is_refused(finished, change, capsys):
    before = (finished / "results.json").read_bytes()
    options = [*QUICK, *MEMBERS, "--out", str(finished), *change]
    assert main(options) == 1
    error = capsys.readouterr().err
    assert change[0].strip("-").replace("-", "_") in error
    assert "--no-resume" in error
    assert (finished / "results.json").read_bytes() == before


@pytest.mark.slow  # three processes; test_resume.py kills one every day
def test_stopped_run_goes_on_bit_for_bit(tmp_path):
    command = [sys.executable, "-m", "experiments.run", *QUICK, "--epochs", "30", "--seeds", "1"]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    subprocess.run([*command, "--out", whole], check=True, stdout=subprocess.DEVNULL, timeout=300)
    process = subprocess.Popen([*command, "--out", parts], stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 240
    log = parts / "metrics.jsonl"
    while not (log.exists() and log.stat().st_size > 400):
        assert process.poll() is None, "ended before it could be stopped"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 0
    assert not (parts / "results.json").exists()
    subprocess.run([*command, "--out", parts], check=True, stdout=subprocess.DEVNULL, timeout=300)
    results = json.loads((parts / "results.json").read_text())
    assert results["timing"]["resumed_from_step"] > 0
    assert results["members"] == json.loads((whole / "results.json").read_text())["members"]
    sums = "detector/manifest.json"
    assert (parts / sums).read_bytes() == (whole / sums).read_bytes()


def test_tensorboard_has_the_numbers_of_the_log(finished):
    pytest.importorskip("tensorboardX")
    records = rundir.read_log(finished / "metrics.jsonl")
    folders = sorted(path.name for path in (finished / tensorboard.NAME).iterdir())
    names = ["lam=0_seed=3", "lam=0_seed=4", "lam=0.1_seed=3", "lam=0.1_seed=4"]
    assert folders == sorted(names)
    for m, name in enumerate(names):
        wanted = [(r["step"], k, v[m]) for r in records for k, v in r["metrics"].items()]
        found, _ = events(finished / tensorboard.NAME / name)
        assert [x[:2] for x in found] == [x[:2] for x in wanted]
        np.testing.assert_allclose([x[2] for x in found], [x[2] for x in wanted], rtol=1e-5)


@pytest.mark.slow
def test_a_run_is_made_again_from_its_config_to_the_bit(finished, tmp_path, capsys):
    again = tmp_path / "again"
    assert main(["--config", str(finished / "config.json"), "--no-tensorboard", "--out", str(again)]) == 0
    one, two = (json.loads((path / "results.json").read_text()) for path in (finished, again))
    assert [(m["hparams"], m["seed"], m["metrics"]) for m in one["members"]] == [
        (m["hparams"], m["seed"], m["metrics"]) for m in two["members"]
    ]
    assert {**one["config"], "tensorboard": False} == two["config"]
    losses = [[r["metrics"] for r in rundir.read_log(path / "metrics.jsonl")] for path in (finished, again)]
    assert losses[0] == losses[1]
    assert not (again / tensorboard.NAME).exists()


def test_a_command_is_told_without_the_paths_of_a_machine(monkeypatch):
    given = [
        "run",
        "--out",
        "/home/me/run",
        "--seeds",
        "3",
        "--peer",
        "/home/me/env/python",
        "--weights=/home/me/a.pth",
    ]
    monkeypatch.setattr(sys, "argv", given)
    assert rundir.environment("p")["command"] == "python -m p --seeds 3 --peer python --weights=a.pth"


def test_every_run_says_what_it_was_made_by(finished):
    where = json.loads((finished / "environment.json").read_text())
    assert {"command", "versions", "revision", "devices", "python"} <= where.keys()
    assert {"adjax", "jax", "flax", "numpy"} <= where["versions"].keys()
    config = json.loads((finished / "config.json").read_text())
    assert (config["dataset"], config["ood"], config["seed"], config["lam"]) == ("digits", "holdout:0", 3, [0, 0.1])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--validation", "0.2"], "--batch-size 128 exceeds the 106 training images of the smallest member: lower it"),
        (
            ["--validation", "0.2", "--batch-size", "64", "--shift-px", "8"],
            "--shift-px 8: must lie between 0 and 7 for images of 8 px",
        ),
    ],
)
def test_what_can_not_be_trained_leaves_nothing_behind(options, said, tmp_path, capsys):
    svdd = "--method deep_svdd --dataset digits --normal 3 --out".split()
    assert main([*svdd, str(tmp_path / "run"), *options]) == 1
    assert said in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def _no_mnist(monkeypatch):
    real = study.task

    def task(dataset, ood, data_dir=None, **options):
        if dataset == "mnist":
            raise DataError("mnist can't be had: tried [nothing]")
        return real(dataset, ood, data_dir, **options)

    monkeypatch.setattr(study, "task", task)


@pytest.mark.slow
@pytest.mark.usefixtures("compiled_already")
def test_only_the_unset_data_set_falls_back_and_says_so(monkeypatch, tmp_path, capsys):
    _no_mnist(monkeypatch)
    plots = []
    monkeypatch.setattr(figures, "draw", lambda directory, results, *_: plots.append(results["note"]) or [])
    assert main([*QUICK[2:], *MEMBERS, "--epochs", "1", "--out", str(tmp_path / "run")]) == 0
    assert "STAND-IN DATA" in capsys.readouterr().out
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert "STAND-IN DATA" in results["note"]
    assert results["dataset"]["name"] == "digits"
    assert plots == [results["note"]]
    assert "STAND-IN DATA" in (tmp_path / "run" / "report.html").read_text()


def test_named_data_set_is_never_replaced(monkeypatch, tmp_path, capsys):
    _no_mnist(monkeypatch)
    assert main(["--dataset", "mnist", "--epochs", "1", "--out", str(tmp_path / "run")]) == 1
    assert "mnist can't be had: tried [nothing]" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--epochs", "0"], "--epochs 0: must be between 1 and 1,000,000"),
        (["--epochs", "1000000000000000000"], "must be between 1 and 1,000,000"),
        (["--seed", "-1"], "--seed -1: must be between 0 and 2,147,483,647"),
        (["--seed", "2147483647", "--seeds", "2"], "the last seed must be below 2³¹"),
        (["--seeds", "100000000"], "--seeds 100000000: must be between 1 and 10,000"),
        (["--steps-per-dispatch", "2147483648"], "must be between 1 and 100,000"),
        (["--shift-px", "2147483648"], "--shift-px 2147483648: must be between 0 and 4,096"),
        (["--shrinkage", "1.5"], "--shrinkage 1.5: must be between 0 and 1"),
        (["--lam", "-1"], "--lam -1"),
        (["--learning-rate", "nan"], "--learning-rate nan"),
        (["--quantile", "0"], "--quantile 0 with --threshold quantile: must be above 0"),
        (["--quantile", "1", "--threshold", "conformal"], "must be above 0 (below 1 if conformal)"),
        (["--batchsize", "3"], "--batch-size"),  # the typo hint
        (["--method", "centerlos"], "centerloss"),
    ],
)
def test_mistakes_on_the_command_line_are_explained(options, said, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit) as end:
        main(options)
    printed = capsys.readouterr()
    if isinstance(end.value.code, str):  # what Python prints before it exits with 1
        assert said in end.value.code
    else:
        assert end.value.code == 2
        assert said in printed.err + printed.out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--method", "autoencoder"], "takes 19 held-out images, and there are 13: hold out more, --validation 0.16"),
        (["--preset", "hog_ocsvm_fashion_mnist"], "--validation 0.16 will do, or take another"),
        (["--threshold", "conformal", "--quantile", "0.995"], "takes 199 held-out images"),
        (["--threshold", "conformal", "--quantile", "0.9995"], "normal images are too few for it, give more"),
        (["--threshold", "best_f1"], "--threshold best_f1 needs labelled anomalies"),
        (["--threshold", "logit"], "--threshold logit is of a network's own probability, and scorer 'layers_partial'"),
        (["--threshold", "half", "--method", "classifier", "--scorer", "energy"], "and scorer 'energy' of method"),
        (["--threshold", "logit", "--method", "deep_svdd"], "scorer 'score' of method 'deep_svdd' gives none"),
        (
            ["--threshold", "mean_sigma", "--scorer", "mahalanobis"],
            "scorer 'mahalanobis' gives 9, one for each of the 9",
        ),
        (
            ["--scorer", "gmm", "--scorer-options", "components=5000"],
            "scorer 'gmm': 5000 components take at least as many",
        ),
        (["--hparams", "learning_rate=-1"], "--hparams learning_rate=-1: must be finite and above 0"),
        (["--hparams", "weight_decay=0,-5"], "--hparams weight_decay=-5, 0: must be finite and at least 0"),
        (["--score-table", "nowhere.csv"], "cannot read nowhere.csv"),
    ],
)
def test_a_threshold_that_the_images_cannot_give_is_refused_before_training(options, message, monkeypatch, capsys):
    def compiled(*_, **__):
        raise AssertionError("compiled")

    monkeypatch.setattr(train, "compile_program", compiled)
    monkeypatch.setattr(judging, "judge", compiled)  # of what trains nothing
    assert main(["--dataset", "digits", *options]) == 1
    said = capsys.readouterr().err.replace("\n", " ")
    assert message in said
    if enough := re.search(r"--validation ([\d.]+) will do", said):
        with pytest.raises(AssertionError, match="compiled"):  # as far as training
            main(["--dataset", "digits", *options, "--validation", enough[1], "--debug"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--scorer", "knn", "--scorer-options", "kk=3"],
            "--scorer-options kk: scorer 'knn' has no option 'kk'; it has k",
        ),
        (
            ["--scorer", "layers", "--scorer-options", "names=features,pool3"],
            "scorer 'layers', names pool3: the network gives features, hidden, logits, pool1, pool2",
        ),
        (["--scorer-options", "k=3"], "--scorer-options k: scorer 'mahalanobis' has no option 'k'; it has covariance"),
        (
            ["--scorer", "knn", "--scorer-options", "k=three"],
            "error: --scorer-options k=three: scorer 'knn' takes a number there, 10 unless another is given",
        ),
        (["--model-options", "wdth=3"], "--model-options wdth: model 'lenet5' has no option 'wdth'; it has "),
        (["--method-options", "warmup_step=3"], "did you mean warmup_steps?"),
        (["--model", "vgg16"], "--weights FILE"),
    ],
)
def test_what_can_not_be_built_is_refused_in_a_line(options, message, capsys):
    assert main(["--dataset", "digits", "--epochs", "1", *options]) == 1
    assert message in capsys.readouterr().err.replace("\n", " ")


@pytest.mark.slow
def test_a_mistake_ends_the_process_without_a_traceback():
    options, said = ["--epochs", "0"], "--epochs 0: must be between 1 and 1,000,000"
    env = {**os.environ, "COLUMNS": "200"}
    result = subprocess.run(
        [sys.executable, "-m", "experiments.run", *options], capture_output=True, text=True, env=env, timeout=120
    )
    assert result.returncode in (1, 2)
    assert said in result.stderr + result.stdout
    assert "Traceback" not in result.stderr


def test_help_teaches(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit) as end:
        main(["--help"])
    assert not end.value.code
    printed = capsys.readouterr().out
    for name in "method dataset ood model lam seeds sweep epochs batch-size out resume data-dir".split():
        assert f"--{name}" in printed
    assert "Fashion-MNIST" in printed


def test_metrics_log_drops_what_came_after_the_checkpoint(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "metrics": {}}\n{"step": 2, "metrics": {}}\n{"step": 3, "met')
    log = rundir.MetricsLog(path, 1)
    log.write(2, {"loss": np.ones(1)})
    log.close()
    assert [r["step"] for r in rundir.read_log(path)] == [1, 2]


@pytest.mark.parametrize("page", readme.PAGES, ids=lambda page: page.name)
def test_pages_show_the_committed_results(page):
    text = page.read_text()
    blank = re.sub(
        r"(<!-- (?:results: [\w.]+|overview|calibration(?: of features)?) -->\n).*?(<!-- end -->)",
        r"\1\2",
        text,
        flags=re.DOTALL,
    )
    assert len(blank) < len(text)
    assert readme.render(blank) == text, f"{page.name} is behind experiments/results: python -m experiments.readme"


def test_rows_keep_when_they_were_made(tmp_path):
    old = {"environment": {"date": "2026-01-02", "revision": "a", "cores": 2}, "rows": [{"n": 1}, {"n": 2}]}
    rundir.write_json(tmp_path / "rows.json", old)
    rows = rundir.earlier_rows(tmp_path / "rows.json")
    assert rows[1] == {"n": 2, "made": {"date": "2026-01-02", "revision": "a"}}
    assert rundir.days(rows) == "2026-01-02"
    rows.append({"n": 3, "made": rundir.dated({"date": "2026-03-04", "revision": "b", "cores": 8})})
    rundir.write_json(tmp_path / "rows.json", {**old, "rows": rows})
    again = rundir.earlier_rows(tmp_path / "rows.json")
    assert again == rows
    assert rundir.days(again) == "2026-01-02 to 2026-03-04 (2 revisions)"
    assert rundir.earlier_rows(tmp_path / "none.json") == []
