"""The old name of `adjax.data.datasets.folder`."""

import warnings

from adjax.data.datasets.folder import list_folder as list_folder
from adjax.data.datasets.folder import load_folder as load_folder

warnings.warn("adjax.data.folder is now adjax.data.datasets.folder", DeprecationWarning, stacklevel=2)
