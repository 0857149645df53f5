"""The report's plots: arrays in, one PNG out.

Each public function draws with matplotlib's object API (no pyplot, no global state, no window), writes a PNG
of at most 300 kB at 150 dpi and returns its path. Colours are Okabe & Ito's or viridis and never the only
cue: line styles, markers or labels say the same in grey print. Missing, NaN or degenerate data never raise;
what could not be drawn is counted in the plot. `note` stands in red on top, for what no reader may overlook.
"""

from experiments.plots.classes import auroc_by_class
from experiments.plots.failures import failures_gallery
from experiments.plots.features import feature_view
from experiments.plots.histogram import score_histogram
from experiments.plots.lam import metric_against_lam
from experiments.plots.pairs import reconstructions
from experiments.plots.roc import roc_by_member, roc_per_lam
from experiments.plots.samples import scores_by_sample
from experiments.plots.training import training_curves

__all__ = [
    "auroc_by_class",
    "failures_gallery",
    "feature_view",
    "metric_against_lam",
    "reconstructions",
    "roc_by_member",
    "roc_per_lam",
    "score_histogram",
    "scores_by_sample",
    "training_curves",
]
