#!/usr/bin/env bash
# On CPU, jnp.max and jnp.min of jax 0.10.2 lose a NaN once an array has 4,096 numbers or so: over the last axis, over all
# axes, and in a 2 x 2 window with stride 2; below that size they return NaN, as NumPy does at any size. An elementwise
# maximum keeps it where it stands alone, and loses it from that size on where a reduction is fused with it: a sum of
# relu(x), a distance cut off at zero. argmax, sums, clip, top_k and isnan(x).any() keep it. jax 0.12.0.1 does the same
# with reductions. A guard that tests the maximum for NaN works in small tests, and passes everything in real batches.
#
# Seen on Linux x86-64 (AMD EPYC): 256 x 8: max nan, min nan. 512 x 8: max 0.90347016, min -1.0096182; any(isnan) True.
# 256 x 8: relu nan, its sum nan. 4096 x 8: relu nan, its sum 1.2176776; clipped to 0 ... 9 and summed nan.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

"${PYTHON311:-python3.11}" -m venv env
env/bin/pip install --quiet jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6

JAX_PLATFORMS=cpu env/bin/python - <<'PYTHON'
import jax
import jax.numpy as jnp
import numpy as np

kept, fused = {}, {}
for rows in (256, 512, 4096):
    x = np.random.default_rng(0).normal(size=(rows, 8)).astype(np.float32)
    x[3, 4] = np.nan
    high, low = (np.asarray(jax.jit(f)(x)) for f in (lambda v: jnp.max(v, axis=1), lambda v: jnp.min(v, axis=1)))
    print(f"jax {jax.__version__}, {rows} x 8: max {high[3]}, min {low[3]}, NumPy {x.max(1)[3]}", end="; ")
    print(f"of all {jax.jit(jnp.max)(x)}, any(isnan) {bool(jax.jit(lambda v: jnp.isnan(v).any())(x))}")
    kept[rows] = bool(np.isnan(high[3])), bool(np.isnan(low[3]))
    relu, summed, clipped = (
        np.asarray(jax.jit(f)(x))[3]
        for f in (jax.nn.relu, lambda v: jax.nn.relu(v).sum(1), lambda v: jnp.clip(v, 0, 9).sum(1))
    )
    print(f"  relu {relu[4]}, its sum {summed}, clipped to 0 ... 9 and summed {clipped}")
    assert np.isnan(relu[4]) and np.isnan(clipped)
    fused[rows] = bool(np.isnan(summed))
    assert np.isnan(x.max(1)[3]) and bool(jnp.isnan(x).any())
assert kept == {256: (True, True), 512: (False, False), 4096: (False, False)}, kept
assert fused[256] and not fused[4096], fused
PYTHON
echo "still so"
