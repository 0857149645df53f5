#!/usr/bin/env bash
# lax.top_k of JAX 0.10.2 orders NaNs by their sign bit: one whose bit is set comes after all numbers, one without
# before them. 0/0 computed on x86-64 has it set, jnp.nan has not, so a NaN wins or loses a ranking by where it comes
# from. argsort(descending=True) puts both first; argsort and sort, ascending, put both last.
#
# Seen on Linux x86-64, CPU. Needs python3.11 (PYTHON311 names another).
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

"${PYTHON311:-python3.11}" -m venv here
here/bin/pip install --quiet jax==0.10.2 jaxlib==0.10.2

JAX_PLATFORMS=cpu here/bin/python - <<'PYTHON'
import jax
import jax.numpy as jnp
from jax import lax

computed = jax.jit(lambda zero: zero / zero)(jnp.float32(0))
for name, nan, first in (("jnp.nan", jnp.float32(jnp.nan), True), ("0/0", computed, False)):
    values = jnp.stack([jnp.float32(1), nan, jnp.float32(3), jnp.float32(2)])
    top, down, up = lax.top_k(values, 4)[1], jnp.argsort(values, descending=True), jnp.argsort(values)
    print(f"{name:8} sign bit {bool(jnp.signbit(nan))}  top_k {top}  argsort descending {down}  ascending {up}")
    assert bool(jnp.signbit(nan)) != first
    assert top.tolist() == ([1, 2, 3, 0] if first else [2, 3, 0, 1])
    assert down.tolist() == [1, 2, 3, 0]
    assert up.tolist() == [0, 3, 2, 1]
PYTHON
echo "still so"
