"""Options that would be ignored, or run the same twice, are refused by name; presets and config.json are not."""

from __future__ import annotations

import dataclasses
import json
import shlex
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from adjax.augment import Augment
from adjax.data import DataError
from experiments import applies, config, presets, study, textures
from experiments.config import parse
from experiments.run import main, run

RESULTS = Path(config.__file__).parent / "results"
NOT_PAIR = "--protocol one_vs_rest, one_vs_other, imbalanced, holdout_fraction or folds"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("--normal 3", f"--normal 3 does nothing with --protocol pair: leave it out, or choose {NOT_PAIR}"),
        ("--anomalous 7", "--anomalous 7 does nothing with --protocol pair: leave it out, or choose --protocol one_vs"),
        ("--folds=5", "--folds 5 does nothing with --protocol pair"),
        ("--clusters 2", "--clusters 2 does nothing with --protocol pair"),
        ("--counts 9 3", "--counts 9 3 does nothing with --protocol pair: leave it out, or choose --protocol imba"),
        ("--method gan --ood fashion_mnist", "--ood fashion_mnist does nothing with --protocol one_vs_rest: leave"),
        ("--method gan --also made", "--also made does nothing with --protocol one_vs_rest"),
        ("--method gan --anomalous 3", "--anomalous 3 does nothing with --protocol one_vs_rest"),
        ("--method deep_svdd --clusters 2", "--clusters 2 does nothing with --method deep_svdd, which sees no lab"),
        ("--shrinkage 0.1 --scorer knn", "--shrinkage 0.1 does nothing with --scorer knn, it is of the scorers maha"),
        ("--method gan --shrinkage 0.1", "--shrinkage 0.1 does nothing with --scorer score"),
        ("--method gmm --shrinkage 0.1", "leave it out, or write --scorer-options shrinkage=0.1"),
        ("--scorer-options shrinkage=0.5 --shrinkage 0.1", "--shrinkage 0.1 and --scorer-options shrinkage=0.5 both"),
        ("--sweep --lam 3", "--lam and --sweep both say which λ are trained: leave one out"),
        ("--hparams lam=0.1,0.2 --lam 0.5 0.7", "--lam 0.5 0.7 and --hparams lam=0.1,0.2 both say what lam is: leave"),
        ("--hparams lam=0.1,0.2 --sweep", "--sweep and --hparams lam=0.1,0.2 both say what lam is"),
        ("--hparams weight_decay=0 --weight_decay 1", "--weight-decay 1.0 and --hparams weight_decay=0 both say"),
        ("--lam", "--lam has no value: name one or more, --lam 0.1, or leave it out"),
        (
            "--method gmm --epochs 5",
            "--epochs 5 does nothing with --method gmm, which trains nothing: leave it out, or",
        ),
        ("--method gmm --epochs 5", "leave it out, or choose --method autoencoder or deep_svdd"),
        (
            "--preset hog_ocsvm_fashion_mnist --patience=3",
            "--patience 3 does nothing with --method hog_ocsvm, which tr",
        ),
        ("--method random --batch-size 32", "--batch-size 32 does nothing with --method random"),
        ("--method gmm --learning-rate 0.1", "--learning-rate 0.1 does nothing with --method gmm"),
        ("--method gmm --weight-decay 0.1", "--weight-decay 0.1 does nothing with --method gmm"),
        ("--method gmm --turn-deg 5", "--rotation-deg 5.0 does nothing with --method gmm"),
        ("--method gmm --flip-horizontal", "--flip-horizontal does nothing with --method gmm"),
        ("--method gmm --layout vmap", "--layout vmap does nothing with --method gmm"),
        ("--method gmm --tensorboard", "--tensorboard does nothing with --method gmm"),
    ],
)
def test_what_would_be_ignored_is_refused_in_a_line(line, said):
    with pytest.raises(SystemExit) as end:
        parse(["--dataset", "digits", *line.split()])
    assert said in str(end.value.code)
    assert "\n" not in str(end.value.code)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("--method deep_svdd --normal 3 3", "--normal 3 3: 3 is there twice, name it once"),
        ("--lam 0.1 0.10", "--lam 0.1 0.1: 0.1 is there twice"),
        ("--also made made", "--also made made: made is there twice"),
        ("--scorers knn all knn", "--scorers knn all knn: knn is there twice"),
        ("--hparams lam=1 lam=2", "--hparams lam=1 lam=2: lam is there twice"),
        ("--model-options width=1 width=2", "--model-options width=1 width=2: width is there twice"),
    ],
)
def test_the_same_twice_is_refused(line, said, monkeypatch, capsys):
    """It had been run twice, and counted as two: n=2, ±0.0000."""
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit):
        parse(["--dataset", "digits", *line.split()])
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    "line",
    [
        "--protocol one_vs_other --method classifier --normal 1 --anomalous 7",
        "--protocol folds --method classifier --normal 0 --folds 5 --counts 9 5",
        "--preset gan_fashion_mnist --clusters 1",
        "--scorer mahalanobis_perclass --shrinkage 0",
        "--scorer patchwise --scorer-options scorer=mahalanobis --shrinkage 0.1",
        "--preset gan_random_sampling --protocol imbalanced",  # its clusters are a default
        "--preset ood_head_mnist --protocol pair --also",
        "--sweep",
        "--preset autoencoder_fashion_mnist --method random",  # its epochs are a default
        "--method gmm --shift-px 0 --patience None",  # so it is
        "--method gmm --scorer knn --seeds 2 --validation 0.2 --no-resume --no-resident",
    ],
)
def test_what_means_something_is_taken(line):
    parse(line.split())


def test_presets_and_committed_commands_are_taken():
    for name in presets.PRESETS:
        assert parse(["--preset", name]) == config.of_preset(name)
    lines = [json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))]
    commands = [x["command"] for x in (y.get("environment", y) for y in lines if isinstance(y, dict)) if "command" in x]
    commands = [words for words in map(shlex.split, commands) if "experiments.run" in words]
    assert len(commands) > 30
    for words in (
        *commands,
        *(shlex.split(text.format("runs/x")) for text in (textures.COMMAND, textures.COLOUR_COMMAND)),
    ):
        parse(words[3:])


def test_a_named_option_is_not_hidden_by_a_default():
    """A preset's --hparams and --scorer-options had won over the option that the command line names."""
    chosen = parse("--preset gan_fashion_mnist --learning-rate 0.01".split())
    assert "learning_rate=0.002" in presets.PRESETS["gan_fashion_mnist"]["hparams"]
    assert chosen.hparams == presets.PRESETS["gan_fashion_mnist"]["hparams"][1:]
    assert {row["learning_rate"] for row in chosen.settings({"learning_rate": 1.0, "w_abc": 0, "w_adversarial": 0,
                                                             "w_anomaly_adversarial": 0})} == {0.01}  # fmt: skip
    assert parse("--preset centerloss_sweep --method autoencoder".split()).lam == ()
    assert parse("--preset centerloss_sweep --method ood_head".split()).lam == presets.SWEEP_LAMS


def test_a_hyper_parameter_that_a_method_lacks_is_refused_before_anything_is_written(tmp_path, capsys):
    line = f"--method deep_svdd --dataset digits --normal 3 --validation 0.2 --lam 0.5 --out {tmp_path / 'run'}"
    assert main(line.split()) == 1
    assert "--lam 0.5: deep_svdd has no hyper-parameter lam: it has learning_rate" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("name", "why"), [("digits", "is normal already"), ("holdout:0", "is --ood already")])
def test_a_further_set_is_another_one(name, why):
    chosen = config.Config(dataset="digits", also=("made", name))
    with pytest.raises(DataError, match=f"--also {name}: that set {why}, name another or leave it out"):
        study.load(study.images(chosen), "classes")


def test_options_of_training_change_nothing_where_nothing_is_trained(tmp_path):
    """Else it would be wrong to refuse them."""
    line = "--method hog_ocsvm --dataset digits --normal 0 --validation 0.3 --quantile 0.9"
    one = parse([*line.split(), "--out", str(tmp_path / "one")])
    values: dict[str, Any] = dict.fromkeys(Augment._fields, True) | {"epochs": 3, "patience": 2, "batch_size": 7}
    values |= {"steps_per_dispatch": 2, "layout": "vmap"}
    unlike = {"learning_rate", "weight_decay", "tensorboard"}  # two are hyper-parameters, refused; one adds a file
    assert values.keys() == set(applies.TRAINING) - unlike
    other = dataclasses.replace(one, **values, out=tmp_path / "other")
    results = []
    for chosen in (one, other):
        assert run(chosen, Console(quiet=True)) == 0
        found = json.loads((chosen.directory() / "results.json").read_text())
        results.append({k: found[k] for k in ("members", "groups", "summary", "comparisons")})
    assert results[0] == results[1]
    manifests = [next(chosen.directory().rglob("manifest.json")).read_bytes() for chosen in (one, other)]
    assert manifests[0] == manifests[1]


def test_every_option_of_a_protocol_is_one_of_the_command():
    assert set(applies.OF_PROTOCOL) < set(config.Config.__dataclass_fields__)
    assert {name for protocols in applies.OF_PROTOCOL.values() for name in protocols} == set(study.PROTOCOLS)
