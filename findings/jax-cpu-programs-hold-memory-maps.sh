#!/usr/bin/env bash
# Every program that JAX compiles for a CPU keeps memory maps of its own for as long as it is kept, whatever its size.
# Linux allows a process 65,530 (vm.max_map_count), which nothing in JAX counts or mentions. A test suite of 4,000 tests
# in long-lived processes had tens of thousands; twice in a day one of them ended inside XLA instead of with an error, and
# since it lets go of programs above 30,000 maps, none has. `jax.clear_caches()` gives the maps back.
#
# Here 300 small programs are compiled, far from the limit: their maps are counted, and again once they are let go.
# Seen on Linux x86-64: 9.0 maps a program, none once they are let go, of JAX 0.10.2 and of 0.12.0.1.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

for version in 0.10.2 0.12.0.1; do
  python=${PYTHON311:-python3.11}
  [ "$version" = 0.10.2 ] || python=${PYTHON313:-python3.13}
  "$python" -m venv "$version"
  "$version"/bin/pip install --quiet "jax==$version" "jaxlib==$version"
  "$version"/bin/python - <<'PYTHON'
import gc
from pathlib import Path

import jax
import jax.numpy as jnp


def maps():
    return Path("/proc/self/maps").read_bytes().count(b"\n")


x = jnp.arange(8.0)
jax.jit(lambda x: x + 1)(x).block_until_ready()
before = maps()
kept = [jax.jit(lambda x, n=n: jnp.sort(jnp.sin(x) * n).sum()) for n in range(300)]
for function in kept:
    function(x).block_until_ready()
held = maps() - before
jax.clear_caches()
gc.collect()
left = maps() - before
print(f"jax {jax.__version__}: {held / 300:.1f} maps a program, {left / 300:.1f} once they are let go")
assert held > 2 * 300
assert left < held / 3
PYTHON
done
