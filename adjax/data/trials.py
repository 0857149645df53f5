"""The old name of `adjax.data.protocols`."""

import warnings

from adjax.data.protocols import PROTOCOLS as PROTOCOLS
from adjax.data.protocols import Trial as Trial
from adjax.data.protocols import folds as folds
from adjax.data.protocols import holdout_fraction as holdout_fraction
from adjax.data.protocols import imbalanced as imbalanced
from adjax.data.protocols import one_vs_other as one_vs_other
from adjax.data.protocols import one_vs_rest as one_vs_rest

warnings.warn("adjax.data.trials is now adjax.data.protocols", DeprecationWarning, stacklevel=2)
