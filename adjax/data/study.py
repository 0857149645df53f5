"""The old name of `adjax.data.protocols.benchmark`."""

import warnings

from adjax.data.protocols.benchmark import Benchmark as Study
from adjax.data.protocols.benchmark import Trial as Trial
from adjax.data.protocols.benchmark import make_benchmark as make_study
from adjax.data.protocols.benchmark import make_trial as make_trial

__all__ = ["Study", "Trial", "make_study", "make_trial"]
warnings.warn("adjax.data.study is now adjax.data.protocols.benchmark", DeprecationWarning, stacklevel=2)
