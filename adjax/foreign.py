"""The old name of `adjax.custom`."""

import warnings

from adjax.custom import detector_from as detector_from

warnings.warn("adjax.foreign is now adjax.custom", DeprecationWarning, stacklevel=2)
