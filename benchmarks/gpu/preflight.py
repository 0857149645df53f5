"""What a machine lacks, before the clock runs: `python -m benchmarks.gpu.preflight [--dry]`.

Needs nothing but Python itself to say it.
"""

from __future__ import annotations

import argparse
import re
import sys
import tomllib
from importlib import metadata
from pathlib import Path

NOT_NEEDED = {"tensorflow-datasets", "importlib-resources", "tifffile"}
"""Data are carried as .npz and read without them."""
PEER = "torch"


def needed(dry: bool) -> list[str]:
    """Names of the packages that the stages import, by pyproject.toml."""
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    lines = [*project["dependencies"], *project["optional-dependencies"]["experiments"]]
    names = [re.split(r"[^\w.-]", line)[0].replace("_", "-") for line in lines]
    return [*(name for name in names if name not in NOT_NEEDED), *([] if dry else [PEER])]


def missing(names: list[str]) -> list[str]:
    """Those that aren't installed."""
    lacking = []
    for name in names:
        try:
            metadata.version(name)
        except metadata.PackageNotFoundError:
            lacking.append(name)
    return lacking


def how(lacking: list[str]) -> str:
    """What to do about them."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return (
        f"missing here: {', '.join(lacking)}. Where there is a network:\n"
        f"  pip download --only-binary=:all: --python-version {version} -d wheels {' '.join(lacking)}\n"
        "carry the folder, and name it: --wheels wheels"
    )


def main() -> int:
    """Says what is missing; exit status 1 if anything is."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu.preflight", description=__doc__)
    parser.add_argument("--dry", action="store_true", help="no GPU and no PyTorch are needed")
    args = parser.parse_args()
    if lacking := missing(needed(args.dry)):
        print(how(lacking), file=sys.stderr)
        return 1
    import jax

    if not args.dry and jax.default_backend() != "gpu":
        print(f"JAX has no GPU here, but {jax.devices()}: --dry tries everything on them", file=sys.stderr)
        return 1
    print(
        f"{len(jax.devices())} × {jax.devices()[0].device_kind}, Python {sys.version.split()[0]}, jax {jax.__version__}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
