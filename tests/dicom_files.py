"""DICOM files with invented names, and what their windows make of them by the formulas of PS3.3, for tests."""

from __future__ import annotations

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate

NAME = "Invented^Ingrid"
PLAIN, IMPLICIT, BIG = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.2"
DEFLATED, RLE = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.5"
JPEG, JPEG_12, JPEG_2000 = "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.90"
LOSSLESS, JPEG_LS, MPEG = "1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.100"


def save(path, samples, kind="MONOCHROME2", bits=None, syntax=PLAIN, frame=None, **elements):
    """Writes [H, W], [H, W, 3] or [frames, H, W]; `frame`: the bytes of one that is compressed already."""
    found = Dataset()
    found.file_meta = FileMetaDataset()
    found.file_meta.TransferSyntaxUID = PLAIN if syntax == RLE else syntax
    found.SOPClassUID, found.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.7", "1.2.826.0.1.3680043.8.498.1"
    found.PatientName, found.PatientID, found.InstitutionName = NAME, "id-of-nobody", "Hospital of Nowhere"
    colour = samples.shape[-1] == 3
    found.Rows, found.Columns = samples.shape[:2] if colour else samples.shape[-2:]
    found.SamplesPerPixel, found.PhotometricInterpretation = 3 if colour else 1, kind
    if colour:
        found.PlanarConfiguration = 0
    found.BitsAllocated = 8 * samples.dtype.itemsize
    found.BitsStored = bits or found.BitsAllocated
    found.HighBit, found.PixelRepresentation = found.BitsStored - 1, int(samples.dtype.kind == "i")
    if samples.ndim == 3 and not colour:
        found.NumberOfFrames = len(samples)
    body = samples.astype(samples.dtype.newbyteorder(">" if syntax == BIG else "<")).tobytes()
    found.PixelData = encapsulate([frame]) if frame else body + b"\0" * (len(body) % 2)
    for name, value in elements.items():
        if value is None:
            del found[name]
        else:
            setattr(found, name, value)
    if syntax == RLE:
        found.compress(RLE, generate_instance_uid=False)
    found.save_as(path, enforce_file_format=True)
    return path


def windowed(x, center, width, function="LINEAR"):
    """PS3.3 C.11.2.1.2.1, C.11.2.1.3.2 and C.11.2.1.3.1, with y from 0 to 255."""
    x = x.astype(float)
    if function == "SIGMOID":
        return np.rint(255 / (1 + np.exp(np.minimum(-4 * (x - center) / width, 700))))
    if function == "LINEAR":
        low, high = center - 0.5 - (width - 1) / 2, center - 0.5 + (width - 1) / 2
        between = ((x - (center - 0.5)) / max(width - 1, 1e-9) + 0.5) * 255
    else:
        low, high = center - width / 2, center + width / 2
        between = ((x - center) / width + 0.5) * 255
    return np.rint(np.select([x <= low, x > high], [0, 255], between))
