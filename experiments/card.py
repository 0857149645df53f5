"""The model card of each detector that a run keeps: its own figures, not the mean of all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from adjax import metrics
from adjax.auto import record
from adjax.report import Table, card
from experiments.console import columns, member_name
from experiments.evaluate import Judged
from experiments.intervals import wilson
from experiments.report import heading


def write(directory: Path, results: dict[str, Any], m: int, judged: Judged) -> Path:
    """Writes the card of member m beside its detector; returns its path.

    Args:
      directory: where the detector was saved.
      results: as in results.json.
      m: which of `results["members"]`.
      judged: that member.
    """
    return card.write(of_member(results, m, judged), directory)


def of_member(results: dict[str, Any], m: int, judged: Judged) -> card.Card:
    """What there is to say of one detector."""
    data, ood, where, weights = (results[k] for k in ("dataset", "ood", "environment", "weights"))
    member, spec = results["members"][m], judged.detector.spec
    name = member_name({k: v for k, v in member.items() if k not in ("hparams", "metrics", "scorers")})
    hparams = ", ".join(f"{k} = {v:g}" for k, v in member["hparams"].items())
    about = [f"An adjax detector: {', '.join(spec.names)}; {name}. Higher scores are more anomalous."]
    about += [results["note"]] if results["note"] else []
    normal = judged.truth == 0
    rows = [
        ("normal images", data["name"]),
        ("classes it knows", ", ".join(spec.classes)),
        ("trained on", f"{data['counts']['train']:,} images"),
        ("held out of training", f"{len(judged.detector.calibration_scores):,} normal images"),
        ("tested on", f"{normal.sum():,} normal and {(~normal).sum():,} anomalous images ({ood['name']})"),
        *((f"SHA-256, {data['name']}, {split}", sha) for split, sha in data["sha256"].items()),
        *((f"SHA-256, {ood['name']}, {split}", sha) for split, sha in ood["sha256"].items()),
    ]
    made = [
        ("command", where["command"]),
        ("hyper-parameters", hparams),
        ("date", where["date"]),
        ("git revision", where["revision"] or "none"),
        ("hardware", f"{where['cores']} cores of {where['cpu']} ({where['devices']['platform']})"),
        ("precision", record.precision(spec.precision, where["devices"]["platform"])),
        ("versions", ", ".join(f"{k} {v}" for k, v in {"Python": where["python"], **where["versions"]}.items())),
    ]
    return card.Card(
        title=heading(results),
        about=about,
        data=rows,
        figures=figures(results, m, judged),
        calibration=calibration(results, judged),
        weights=[(k, str(v)) for k, v in weights.items()] if weights else [("none", "trained from random weights")],
        made=made,
    )


def figures(results: dict[str, Any], m: int, judged: Judged) -> Table:
    """This member's figures; intervals where other test images are what would change them."""
    found = results["members"][m]["metrics"]
    auroc = metrics.auroc_interval(judged.scores, judged.truth)
    flagged = ~(judged.scores <= float(judged.detector.threshold))
    normal = judged.truth == 0
    limits = {
        "auroc": (float(auroc.low), float(auroc.high)),
        "id_rejected": wilson(int(flagged[normal].sum()), int(normal.sum())),
    }
    rows = []
    for name, (title, form) in columns(results).items():
        if name in found:
            low, high = limits.get(name.removeprefix("ood_"), (np.nan, np.nan))
            interval = f"{form.format(low)}–{form.format(high)}" if np.isfinite([low, high]).all() else ""
            rows.append([title, form.format(found[name]), interval])
    return Table(["figure", "on the test images", "95% interval"], rows)


def calibration(results: dict[str, Any], judged: Judged) -> list[str]:
    """How the threshold came about, what it does on the test images, and what can be promised."""
    rule, quantile = results["config"]["threshold"], results["config"]["quantile"]
    meaning = {
        "quantile": f"the {quantile:.1%} quantile of each class's own training distances",
        "conformal": f"conformal: at most {1 - quantile:.1%} of normal images flagged, by the held-out ones",
        "best_f1": "the best F1 on labelled validation images",
        "mean_sigma": "mean + 3σ of the training scores",
        "logit": "more likely anomalous than not, class weights undone",
        "half": "a probability of one half, as the network gives it",
    }
    n, normal = len(judged.detector.calibration_scores), judged.truth == 0
    realised = float((~(judged.scores[normal] <= float(judged.detector.threshold))).mean())
    said = [
        f"Threshold {float(judged.detector.threshold):.6g}, set by: {meaning.get(rule, rule)}.",
        f"It flags {realised:.2%} of the normal test images.",
    ]
    if n:
        said.append(
            f"p-values come from {n:,} normal images that nothing was fitted to: the smallest is {1 / (n + 1):.2g}, "
            "and with_false_positive_rate can promise no less than that."
        )
    else:
        said.append("No normal images were held out: there are no p-values, and no rate can be promised.")
    return said
