"""The old name of `adjax.data.datasets.npz`."""

import warnings

from adjax.data.datasets.npz import class_names as class_names
from adjax.data.datasets.npz import load_npz as load_npz

warnings.warn("adjax.data.npz is now adjax.data.datasets.npz", DeprecationWarning, stacklevel=2)
