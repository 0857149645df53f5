"""The old name of `adjax.data.datasets.synthetic`."""

import warnings

from adjax.data.datasets.synthetic import load_photographs as load_photographs
from adjax.data.datasets.synthetic import outliers as outliers
from adjax.data.datasets.synthetic import photograph_crops as photograph_crops

warnings.warn("adjax.data.synthetic is now adjax.data.datasets.synthetic", DeprecationWarning, stacklevel=2)
