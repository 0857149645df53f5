"""1, 15 and 150 networks as one program: `python -m benchmarks.gpu.members --out FOLDER`.

LeNet-5 with center loss, batch 128, images on the device. A member's share of the time is what sweeps and folds cost.
"""

from __future__ import annotations

import jax

from adjax import surface
from benchmarks.gpu.rows import Rows, arguments, median_s
from benchmarks.training import LENET, program

MEMBERS, DRY = (1, 15, 150), (1, 3)
PRECISIONS = "default", "highest"
"""Of JAX's matmuls and convolutions: what the device likes (TF32 on NVIDIA), and float32."""


def main() -> int:
    """Times every number of members."""
    args = arguments("members", __doc__).parse_args()
    rows = Rows("members", args.out, args.dry)
    batch, steps, runs = (32, 2, 2) if args.dry else (128, 32, 7)
    for precision in PRECISIONS:
        alone = 0.0
        for members in DRY if args.dry else MEMBERS:
            name = f"LeNet, {members} members, {precision}"
            with rows.guarded(name), jax.default_matmul_precision(precision):
                ours = program(LENET, batch, steps, members, lam=[0.1] * members)
                seconds = median_s(ours.work, runs) / steps
                alone = seconds if members == 1 else alone
                rows.add(
                    name,
                    members=members,
                    precision=precision,
                    ms_a_step=1e3 * seconds,
                    images_per_s=members * batch / seconds,
                    times_one=members * alone / seconds if alone else None,
                    compile_s=ours.compile_s,
                    memory_mib=ours.memory_mib,
                    gflops=ours.gflop / steps / seconds,
                )
    return rows.status()


if __name__ == "__main__":
    surface.script(main)
