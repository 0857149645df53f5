#!/usr/bin/env bash
# Pillow 13.0.0 opens these TIFF files without an error or a warning, and gives other values than are in them. tifffile
# made them, and reads back what it wrote.
#
#   compressed, big-endian, signed 16 or 32 bits or float32   every value with its bytes reversed; uncompressed: right
#   uncompressed planes of 16-bit RGB                         bytes taken for samples; compressed: right
#   compressed planes of 8-bit grey and alpha                 another alpha; uncompressed: an error
#   a palette whose table has entries of 8 bits               black; libtiff takes such a table for one of 8 bits
#
# Seen on Linux x86-64. Needs python3.11 (PYTHON311 names another).
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

"${PYTHON311:-python3.11}" -m venv here
here/bin/pip install --quiet pillow==13.0.0 tifffile==2026.3.3 imagecodecs==2026.3.6 numpy==2.4.6

here/bin/python - <<'PYTHON'
import numpy as np
import tifffile
from PIL import Image


def read(array, **options):
    """What Pillow makes of a file, and what is in it."""
    tifffile.imwrite("a.tif", array, **options)
    with Image.open("a.tif") as image:
        got = np.asarray(image)
    return got, tifffile.imread("a.tif")


ramp = np.arange(1, 101).reshape(10, 10)
for kind in ("int16", "int32", "float32"):
    for compression in (None, "zlib", "lzw"):
        for order in "<>":
            got, wanted = read(ramp.astype(kind), byteorder=order, compression=compression)
            reverse = bool((got.astype(kind).byteswap() == wanted).all())
            said = "right" if (got == wanted).all() else "bytes reversed" if reverse else "other"
            print(f"{kind:8} {order} {compression!s:5} {said}")
            assert (got == wanted).all() == (order == "<" or compression is None)
            assert reverse == (order == ">" and compression is not None)

planes = np.random.default_rng(0).integers(0, 65536, (3, 10, 10), np.uint16)
for compression in (None, "zlib"):
    got, wanted = read(planes, photometric="rgb", planarconfig="separate", compression=compression)
    off = np.abs(got.astype(int) - (wanted >> 8).transpose(1, 2, 0)).max()
    print(f"planes of 16-bit RGB {compression}: off by at most {off}")
    assert (off == 0) == (compression is not None)

planes = np.stack([ramp, 255 - ramp]).astype(np.uint8)
options = {"photometric": "minisblack", "planarconfig": "separate", "extrasamples": ["unassalpha"]}
got, wanted = read(planes, compression="zlib", **options)
off = np.abs(got.astype(int) - wanted.transpose(1, 2, 0)).max((0, 1))
print(f"planes of grey and alpha: off by at most {off}")
assert off[0] == 0 < off[1]

table = np.tile(np.arange(256, dtype=np.uint16), (3, 1))
tifffile.imwrite("a.tif", ramp.astype(np.uint8), photometric="palette", colormap=table)
got = np.asarray(Image.open("a.tif").convert("RGB"))
print("palette of 8 bits: brightest", got.max())
assert got.max() == 0
PYTHON
echo "still so"
