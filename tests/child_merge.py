"""Run with eight fake devices: scorers fitted on one device, and on eight, each to its share. See test_streaming.py.

python child_merge.py NAME ...
"""

from __future__ import annotations

import sys

import jax
import numpy as np
from jax.sharding import AxisType, PartitionSpec
from scorer_cases import K, N, images, make, outputs

from adjax import scorers

if __name__ == "__main__":
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    x, y = images()
    mask = np.arange(N) % 7 > 0  # shares differ in how many rows count
    given = outputs(x)  # once: products of fewer rows may round otherwise, and a row's bits decide who is in a sample
    dim, own, seen = x.shape[1], PartitionSpec("data"), {}
    for name in sys.argv[1:]:
        scorer = make(name)
        stats = scorer.init(dim, K)
        program = str(jax.make_jaxpr(scorer.merge)(stats, stats))
        if seen.setdefault(program, name) != name:
            print(f"{name} merges as {seen[program]} does")
            continue

        def fitted(outputs, y, mask, scorer=scorer):
            return scorer.update(scorer.init(dim, K), outputs, y, mask)

        def merged(*share, scorer=scorer, fitted=fitted):
            return jax.tree.map(lambda leaf: leaf[None], scorers.merge_all(scorer, fitted(*share), "data"))

        shares = jax.jit(jax.shard_map(merged, mesh=mesh, in_specs=own, out_specs=own, check_vma=False))
        eight, one = jax.device_get((shares(given, y, mask), jax.jit(fitted)(given, y, mask)))
        jax.tree.map(lambda leaf: np.testing.assert_array_equal(leaf, leaf[:1].repeat(8, 0)), eight)
        scored = jax.jit(lambda stats, scorer=scorer: scorer.score(scorer.finalize(stats), given))
        found, expected = scored(jax.tree.map(lambda leaf: leaf[0], eight)), np.asarray(scored(one))
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max(), err_msg=name)
        print(f"{name} is alike on eight devices and one", flush=True)
