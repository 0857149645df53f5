#!/usr/bin/env bash
# JAX 0.10.2 with SciPy 1.17.1 and threadpoolctl 3.8.0 on Linux: jaxlib's decompositions on a CPU run in the OpenBLAS of
# SciPy's wheel, which `import jax` does not load and the first decomposition does. So threadpool_limits(1) set between
# the two, the usual place in a program, limits NumPy's OpenBLAS only, and says nothing: JAX's LAPACK has all cores.
# With other programs on these cores one of its threads then waits for another that is not given a core: on two of
# them ten decompositions of 500 x 500 took 0.3 to 7 s, and 0.15 s with one thread. `import scipy.linalg` before the
# limit, or OPENBLAS_NUM_THREADS in the environment, holds.
#
# Seen on Linux x86-64, two cores: "limit after import jax: before [1], after [1, 'cores']", then "limit after import
# scipy.linalg as well: before [1, 1], after [1, 1]".
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
unset OPENBLAS_NUM_THREADS OMP_NUM_THREADS MKL_NUM_THREADS
[ "$(nproc)" -gt 1 ] || { echo "needs two cores"; exit 1; }

"${PYTHON311:-python3.11}" -m venv env
env/bin/pip install --quiet jax==0.10.2 jaxlib==0.10.2 scipy==1.17.1 threadpoolctl==3.8.0 numpy==2.4.6

cat >limits.py <<'PY'
import os
import sys

import jax
import jax.numpy as jnp
from threadpoolctl import threadpool_info, threadpool_limits

said = "limit after import jax"
if sys.argv[1:] == ["scipy"]:
    import scipy.linalg  # noqa: F401

    said = "limit after import scipy.linalg as well"


def threads():
    found = sorted(pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas")
    return ["cores" if n == os.cpu_count() else n for n in found]


threadpool_limits(1, "blas")
before = threads()
jax.jit(jnp.linalg.eigh)(jnp.eye(3))[0].block_until_ready()
print(f"{said}: before {before}, after {threads()}")
PY

env/bin/python limits.py | tee one
env/bin/python limits.py scipy | tee both
[ "$(cat one)" = "limit after import jax: before [1], after [1, 'cores']" ]
[ "$(cat both)" = "limit after import scipy.linalg as well: before [1, 1], after [1, 1]" ]
echo "still so"
