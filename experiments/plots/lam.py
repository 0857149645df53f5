"""One metric against the center-loss weight λ."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.transforms import ScaledTranslation

from experiments.plots.canvas import BLUE, INK, Records, References, canvas, draw_references, finish, number, save, say

METRICS = {
    "f1": "classification F1, macro",
    "ood_auroc": "OOD AUROC",
    "ood_aupr": "OOD AUPR, anomalies positive",
    "ood_f1": "OOD F1",
    "ood_f1_conformal": "OOD F1, conformal threshold",
    "ood_fpr95": "FPR95: OOD accepted where 95 % of normal is",
    "id_rejected": "normal images rejected",
    "id_rejected_conformal": "normal images rejected, conformal threshold",
}


def metric_against_lam(
    path: str | Path,
    members: Records,
    metric: str,
    *,
    title: str,
    reference: References | None = None,
    note: str = "",
) -> Path:
    """One metric against the center-loss weight λ: every run, and mean ± sample sd over the runs of each λ.

    Args:
      path: PNG to write; folders are made.
      members: as in results.json, `{"hparams": {"lam": float}, "seed": int, "metrics": {name: float}}`.
      metric: which entry of "metrics", in 0–1.
      title: what is measured on what.
      reference: others' figures: (label, value) is a broken line, (label, (low, high)) a band.
      note: printed in red on top.
    """
    return save(_figure(members, metric, title, reference or (), note), path)


def _figure(members: Records, metric: str, title: str, reference: References, note: str) -> Figure:
    figure, (ax,) = canvas(1, 6.4, 3.8)
    lams = np.array([float(f"{number(m['hparams'].get('lam')):.6g}") for m in members])  # 0.1, not float32's
    values = np.array([number(m["metrics"].get(metric)) for m in members])
    good = np.isfinite(lams) & np.isfinite(values)
    levels = np.unique(lams[good])
    groups = [values[good & (lams == x)] for x in levels]
    bend = min(levels[levels > 0], default=1.0)
    draw_references(ax, reference, "y")
    if len(levels):
        sizes = sorted({len(g) for g in groups})
        sd = [g.std(ddof=1) if len(g) > 1 else 0.0 for g in groups] if sizes[-1] > 1 else None
        runs = f"n = {'–'.join(f'{n}' for n in dict.fromkeys((sizes[0], sizes[-1])))} runs per λ"
        label = f"mean ± sample sd, {runs}" if sd else "n = 1 run per λ, spread unknown"
        mean = [g.mean() for g in groups]
        ax.errorbar(levels, mean, sd, c=BLUE, marker="o", capsize=4, lw=1.8, label=label)
        aside = ax.transData + ScaledTranslation(8 / 72, 0, figure.dpi_scale_trans)
        ax.plot(lams[good], values[good], "D", ms=4, mfc="w", mec=INK, transform=aside, label="one run")
    else:
        say(ax, f"no finite value of {metric!r}")
    ax.set_xscale("symlog", linthresh=bend, linscale=0.8)
    drawn = ax.xaxis.get_transform()
    low, high = drawn.transform(np.array([min(levels, default=0.0), max(levels, default=0.0)]))
    air = 0.08 * (high - low) or 0.5 * bend
    ax.set_xlim(*drawn.inverted().transform(np.array([low - air, high + air])))
    decades = [x for x in levels if x <= 0 or abs(np.log10(x) - np.round(np.log10(x))) < 1e-6]
    ticks = levels if len(levels) <= 8 else decades if len(decades) > 1 else levels[::4]
    ax.set_xticks(ticks, [f"{x:g}" for x in ticks])
    ax.set_xlabel(f"center-loss weight λ (no unit; log scale, linear below {bend:g})")
    ax.set_ylabel(f"{METRICS.get(metric, metric.replace('_', ' '))} (0–1)")
    missing = f"{(~good).sum()} of {len(good)} runs have no finite value: not drawn" * (not good.all())
    return finish(figure, title, note, *ax.get_legend_handles_labels(), remark=missing)
