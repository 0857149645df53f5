#!/usr/bin/env bash
# pydicom 3.0.2 with NumPy 2.4.6: its look-up functions compute in the integer type that they were handed, and say
# nothing. `apply_voi_lut` looks pixels up in uint8 where the table's entries have 8 bits, whatever the number of
# entries: of a table of 4096, which maps 12-bit greys to 8 bits as PS3.3 C.11.2.1.1 provides, every grey from 256 on
# gets the entry of grey modulo 256. `apply_modality_lut` subtracts the first stored value (-128) from signed 8-bit
# pixels in int8, which wraps: -128, 0 and 127 all get the first entry of an identity table. With 16-bit entries, or
# pixels handed over as int16, both are right.
#
# Seen: see `wanted` below.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

"${PYTHON311:-python3.11}" -m venv env
env/bin/pip install --quiet pydicom==3.0.2 numpy==2.4.6

cat >luts.py <<'PY'
import warnings

import numpy as np
from pydicom.dataset import Dataset
from pydicom.pixels import apply_modality_lut, apply_voi_lut

warnings.simplefilter("ignore")


def with_table(name, descriptor, entries, signed=0):
    table = Dataset()
    table.LUTDescriptor, table.LUTData = descriptor, entries
    table["LUTDescriptor"].VR = "SS" if signed else "US"
    table["LUTData"].VR = "US"
    image = Dataset()
    image.PixelRepresentation = signed
    if name == "ModalityLUTSequence":
        table.ModalityLUTType = "US"
    setattr(image, name, [table])
    return image


greys = np.array([256, 2048, 4095], np.uint16)
entries = [i // 16 for i in range(4096)]
for bits in (8, 16):
    found = apply_voi_lut(greys, with_table("VOILUTSequence", [4096, 0, bits], entries))
    print(f"VOI, entries of {bits} bits:", ", ".join(f"{g} -> {f}" for g, f in zip(greys, found)))
image = with_table("ModalityLUTSequence", [256, -128, 8], list(range(256)), signed=1)
for kind in (np.int8, np.int16):
    print(f"modality, {np.dtype(kind)}:", apply_modality_lut(np.array([-128, 0, 127], kind), image).tolist())
PY
env/bin/python luts.py | tee said
cat >wanted <<'TXT'
VOI, entries of 8 bits: 256 -> 0, 2048 -> 0, 4095 -> 15
VOI, entries of 16 bits: 256 -> 16, 2048 -> 128, 4095 -> 255
modality, int8: [0, 0, 0]
modality, int16: [0, 128, 255]
TXT
diff wanted said
echo "still so"
