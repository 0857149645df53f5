"""The old name of `adjax.serialization`."""

import warnings

from adjax.serialization import ArtefactError as ArtefactError
from adjax.serialization import load as load
from adjax.serialization import save as save

warnings.warn("adjax.artefact is now adjax.serialization", DeprecationWarning, stacklevel=2)
