#!/usr/bin/env bash
# A data set uint8[60000, 784] that lies on a TPU, of which a jitted loop looks up 128 rows a step, is copied whole at
# every call. jit lets the compiler choose how its arguments lie, and what pads least in tiles of 128 lanes are columns
# of 60,000; a gather wants rows, so the compiler begins the program with a copy of all, into rows. Nothing is said of
# it, and the array is right. Given `Format(Layout((0, 1)), sharding)` in the place of the sharding, it lies in rows and
# nothing is copied. The TPU's compiler runs without a TPU, so this needs none.
#
# Seen of libtpu 0.0.52 for a v5e, with JAX 0.10.2 and 0.12.0.1: 102 MB moved by a program that looks up 3.2 MB of
# images, one copy; in rows 1.2 MB, as the compiler counts a loop's body once, and no copy.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

for version in 0.10.2 0.12.0.1; do
  python=${PYTHON311:-python3.11}
  [ "$version" = 0.10.2 ] || python=${PYTHON313:-python3.13}
  "$python" -m venv "$version"
  "$version"/bin/pip install --quiet "jax==$version" "jaxlib==$version" libtpu==0.0.52
  TPU_SKIP_MDS_QUERY=1 JAX_PLATFORMS=cpu "$version"/bin/python - 2>/dev/null <<'PYTHON'
import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import topologies
from jax.experimental.layout import Format, Layout
from jax.sharding import SingleDeviceSharding

chip = topologies.get_topology_desc(platform="tpu", topology_name="v5e:2x2").devices[0]
there = SingleDeviceSharding(chip)


def sums(images, order):
    def step(i, total):
        return total + images[order[i]].astype(jnp.float32).sum(0)

    return jax.lax.fori_loop(0, len(order), step, jnp.zeros(784))


def compiled(where):
    images = jax.ShapeDtypeStruct((60_000, 784), np.uint8, sharding=where)
    order = jax.ShapeDtypeStruct((32, 128), np.int32, sharding=there)
    program = jax.jit(sums).lower(images, order).compile()
    copies = [line for line in program.as_text().splitlines() if "= u8[60000,784]" in line and " copy(" in line]
    return program.cost_analysis()["bytes accessed"] / 1e6, len(copies)


for how, where in (("as jit has it", there), ("in rows", Format(Layout((0, 1)), there))):
    moved, copies = compiled(where)
    print(f"jax {jax.__version__}, {how}: {moved:.1f} MB moved, {copies} copies of all images")
    assert (moved > 90) == (copies == 1) == (how != "in rows")
PYTHON
done
