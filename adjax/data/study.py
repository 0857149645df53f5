"""The old name of `adjax.data.protocols.study`."""

import warnings

from adjax.data.protocols.study import Study as Study
from adjax.data.protocols.study import Trial as Trial
from adjax.data.protocols.study import make_study as make_study
from adjax.data.protocols.study import make_trial as make_trial

warnings.warn("adjax.data.study is now adjax.data.protocols.study", DeprecationWarning, stacklevel=2)
