#!/usr/bin/env bash
# A program that JAX compiles for a CPU allocates its temporaries at every call and frees them after it. Where they take
# more than 32 MiB, glibc maps fresh pages for them each time, and each page is cleared at its first touch: 20,000 faults
# a call for 78 MiB, a third of the time of this program. The settings that look meant for it don't help: glibc takes no
# MALLOC_MMAP_THRESHOLD_ above 32 MiB, and says nothing; and JAX runs the program on a thread of its own, whose heap can't
# hold such a block. With no maps at all and one heap for all threads the pages are kept.
#
# Seen on Linux x86-64, glibc 2.36, with JAX 0.10.2 and 0.12.0.1: 20,000 to 23,000 faults a call by default, as many with
# both thresholds at 1 GiB, at most 5,000 with MALLOC_MMAP_MAX_=0, MALLOC_ARENA_MAX=1 and MALLOC_TRIM_THRESHOLD_ at 1 GiB.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

cat > faults.py <<'PYTHON'
import resource
import sys

import jax
import jax.numpy as jnp


def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


run = jax.jit(lambda x, w, v: jnp.tanh(x @ w) @ v)
given = jnp.ones((20_000, 256)), jnp.ones((256, 1024)), jnp.ones((1024, 1))
temporary = run.lower(*given).compile().memory_analysis().temp_size_in_bytes
for _ in range(3):
    run(*given).block_until_ready()
before = faults()
for _ in range(5):
    run(*given).block_until_ready()
found, pages = (faults() - before) / 5, temporary / resource.getpagesize()
print(f"jax {jax.__version__}, {sys.argv[1]}: {found:,.0f} faults a call, of {pages:,.0f} pages of temporaries")
assert (found < pages / 3) if sys.argv[1] == "one heap" else (found > 0.8 * pages)
PYTHON

gib=1073741824
for version in 0.10.2 0.12.0.1; do
  python=${PYTHON311:-python3.11}
  [ "$version" = 0.10.2 ] || python=${PYTHON313:-python3.13}
  "$python" -m venv "$version"
  "$version"/bin/pip install --quiet "jax==$version" "jaxlib==$version"
  "$version"/bin/python faults.py "by default"
  MALLOC_MMAP_THRESHOLD_=$gib MALLOC_TRIM_THRESHOLD_=$gib "$version"/bin/python faults.py "thresholds of 1 GiB"
  MALLOC_MMAP_MAX_=0 MALLOC_ARENA_MAX=1 MALLOC_TRIM_THRESHOLD_=$gib "$version"/bin/python faults.py "one heap"
done
