"""Work given to a Ray cluster: `scoring` a source of pictures, for `predict --engine ray`; fitting a scorer."""

from adjax.cluster.connection import Cluster
from adjax.cluster.fitting import fit_stream

__all__ = ["Cluster", "fit_stream"]
