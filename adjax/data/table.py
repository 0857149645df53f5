"""The old name of `adjax.data.datasets.table`."""

import warnings

from adjax.data.datasets.table import class_names as class_names
from adjax.data.datasets.table import load_table as load_table
from adjax.data.datasets.table import read_table as read_table
from adjax.data.datasets.table import read_unlabelled as read_unlabelled

warnings.warn("adjax.data.table is now adjax.data.datasets.table", DeprecationWarning, stacklevel=2)
