"""Picture files of every kind with the pixels that they stand for, made without the readers under test.

TIFF by tifffile and imagecodecs, PNG, BMP, PGM and PPM by OpenCV, WebP, GIF, BMP and JPEG by imagecodecs; what those
don't write (PNG of 1, 2 and 4 bits, with transparent values; PGM of odd maxima) is put together here, byte by byte.
What is expected is reckoned from the numbers that were written.
"""

from __future__ import annotations

import io
import itertools
import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

import cv2
import imagecodecs
import numpy as np
import tifffile

HEIGHT, WIDTH = 9, 13
ORDERS = {"II": "<", "MM": ">"}


class Golden(NamedTuple):
    """A file.

    Attributes:
      name: of the kind.
      content: its bytes.
      pixels: uint8[H, W, 1 or 3] that it stands for; None: nothing says it.
      why: a part of the reason, if there are no pixels.
      off: by how many levels a half-transparent pixel may differ, as it is rounded more than once.
    """

    name: str
    content: bytes
    pixels: np.ndarray | None
    why: str = ""
    off: int = 0


def files() -> list[Golden]:
    """All of them."""
    kinds = (_grey, _packed, _colours, _transparent, _palettes, _print, _others, _pages, _turned)
    return list(itertools.chain(*(kind() for kind in (*kinds, _png, _plain_formats))))


def _ramp(bits: int, channels: int = 0) -> np.ndarray:
    """Every level from black to white, or as many as there is room for; each channel otherwise."""
    n = HEIGHT * WIDTH
    levels = np.linspace(0, (1 << bits) - 1, n).round().astype(np.uint8 if bits <= 8 else np.uint16)
    if not channels:
        return levels.reshape(HEIGHT, WIDTH)
    order = [np.arange(n), np.arange(n)[::-1], np.roll(np.arange(n), n // 3), np.roll(np.arange(n)[::-1], n // 5)]
    return np.stack([levels[order[c % 4]] for c in range(channels)], -1).reshape(HEIGHT, WIDTH, channels)


def _eight(samples: np.ndarray, bits: int) -> np.ndarray:
    """uint8: white is 255, and nothing is rounded up."""
    if bits >= 8:
        return (samples.astype(int) // 2 ** (bits - 8)).astype(np.uint8)
    return (samples.astype(int) * 255 // (2**bits - 1)).astype(np.uint8)


def _shaped(pixels: np.ndarray) -> np.ndarray:
    return pixels if pixels.ndim == 3 else pixels[..., None]


def _on_white(colours: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    return np.rint((_shaped(colours).astype(float) * alpha + 255.0 * (255 - alpha)) / 255).astype(np.uint8)


def tiff(array: np.ndarray, order: str = "<", tags: dict[int, object] | None = None, **options) -> bytes:
    """A TIFF file of one page by tifffile; `tags` are changed in it."""
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, array, byteorder=order, metadata=None, **options)
    if tags:
        buffer.seek(0)
        with tifffile.TiffFile(buffer, mode="r+b") as file:
            for code, value in tags.items():
                file.pages[0].tags[code].overwrite(value)
    return buffer.getvalue()


def _compressions(bits: int, channels: int = 1) -> dict[str, dict]:
    """tifffile's options."""
    found: dict[str, dict] = {"raw": {}, "rows": {"rowsperstrip": 4}, "tiles": {"tile": (16, 16)}}
    for name in ("zlib", "lzw", "packbits", "lzma", "zstd"):
        found[name] = {"compression": name}
    found["lzw+rows"] = {"compression": "lzw", "rowsperstrip": 2}
    found["zlib+tiles"] = {"compression": "zlib", "tile": (16, 16)}
    if bits in (8, 16):
        found["zlib+predictor"] = {"compression": "zlib", "predictor": True}
    return found


def _grey() -> Iterator[Golden]:
    for bits, white, (mark, order) in itertools.product((8, 16), ("minisblack", "miniswhite"), ORDERS.items()):
        samples = _ramp(bits)
        expected = _eight(samples if white == "minisblack" else (1 << bits) - 1 - samples, bits)
        for name, options in _compressions(bits).items():
            content = tiff(samples, order, photometric=white, **options)
            yield Golden(f"tiff grey{bits} {white} {mark} {name}", content, _shaped(expected))
    yield Golden("bigtiff grey16", tiff(_ramp(16), bigtiff=True), _shaped(_eight(_ramp(16), 16)))
    yield Golden(
        "bigtiff grey16 MM miniswhite",
        tiff(_ramp(16), ">", bigtiff=True, photometric="miniswhite"),
        _shaped(_eight(65535 - _ramp(16), 16)),
    )


def _packed() -> Iterator[Golden]:
    """Depths whose samples share bytes: rows are padded to whole ones."""
    for bits, white, (mark, order) in itertools.product(
        (1, 2, 4, 6, 10, 12, 14), ("minisblack", "miniswhite"), ORDERS.items()
    ):
        samples = _ramp(bits)
        expected = _shaped(_eight(samples if white == "minisblack" else (1 << bits) - 1 - samples, bits))
        for name in ("raw", "lzw", "zlib"):
            content = packed(samples, bits, order, name, photometric=white)
            yield Golden(f"tiff grey{bits} {white} {mark} {name}", content, expected)
    for bits, name in itertools.product((4, 12), ("raw", "lzw")):
        samples = _ramp(bits, 3)[:, :12]  # whose rows fill bytes, threes of them
        content = packed(samples, bits, "<", name, photometric="rgb")
        yield Golden(f"tiff rgb{bits} {name}", content, _eight(samples, bits))


def packed(samples: np.ndarray, bits: int, order: str, compression: str, **options) -> bytes:
    """A TIFF file of bytes, told afterwards that they hold samples of so many bits."""
    height, width = samples.shape[:2]
    row = samples.reshape(height, -1)
    each = (row[..., None] >> np.arange(bits)[::-1]) & 1
    data = np.packbits(each.reshape(height, -1).astype(np.uint8), axis=1)
    channels = samples.shape[2] if samples.ndim == 3 else 1
    if channels == 3:
        data = data.reshape(height, -1, 3)
    how = {} if compression == "raw" else {"compression": compression}
    tags = {256: width, 258: bits if channels == 1 else (bits,) * channels}
    return tiff(data, order, tags, rowsperstrip=height, **how, **options)


def _colours() -> Iterator[Golden]:
    for bits, plane, (mark, order) in itertools.product((8, 16), ("contig", "separate"), ORDERS.items()):
        samples = _ramp(bits, 3)
        stored = samples if plane == "contig" else samples.transpose(2, 0, 1)
        for name, options in _compressions(bits, 3).items():
            content = tiff(np.ascontiguousarray(stored), order, photometric="rgb", planarconfig=plane, **options)
            yield Golden(f"tiff rgb{bits} {plane} {mark} {name}", content, _eight(samples, bits))


def _transparent() -> Iterator[Golden]:
    alpha = np.array([0, 255, 128], np.uint8)[np.arange(HEIGHT * WIDTH) % 3].reshape(HEIGHT, WIDTH, 1)
    for bits, channels, kind, plane, (mark, order), name in itertools.product(
        (8, 16),
        (1, 3),
        ("unassalpha", "assocalpha", "unspecified"),
        ("contig", "separate"),
        ORDERS.items(),
        ("raw", "zlib"),
    ):
        colours = _ramp(bits, channels)
        deep = alpha if bits == 8 else alpha.astype(np.uint16) * 257
        white = (1 << bits) - 1
        if kind == "assocalpha":
            colours = (colours.astype(np.int64) * deep // white).astype(colours.dtype)
        stored = np.concatenate([colours, deep], -1)
        if plane == "separate":
            stored = np.ascontiguousarray(stored.transpose(2, 0, 1))
        how = {} if name == "raw" else {"compression": name}
        photometric = "minisblack" if channels == 1 else "rgb"
        content = tiff(stored, order, photometric=photometric, planarconfig=plane, extrasamples=[kind], **how)
        seen = _eight(colours, bits)
        if kind == "unassalpha":
            seen = _on_white(seen, alpha)
        if kind == "assocalpha":
            seen = (seen.astype(int) + 255 - alpha).clip(0, 255).astype(np.uint8)
        off = 0 if kind == "unspecified" else 1
        yield Golden(f"tiff {channels}×{bits} {kind} {plane} {mark} {name}", content, seen, off=off)
    five = np.concatenate([_ramp(8, 3), alpha, alpha], -1)
    yield Golden("tiff rgb8 + 2", tiff(five, photometric="rgb", extrasamples=[0, 0]), _ramp(8, 3))
    deep = five.astype(np.uint16) * 257
    yield Golden("tiff rgb16 + 2", tiff(deep, photometric="rgb", extrasamples=[0, 0]), _ramp(8, 3))


def _palettes() -> Iterator[Golden]:
    rng = np.random.default_rng(0)
    for bits, eight, (mark, order), name in itertools.product(
        (1, 2, 4, 6, 8), (False, True), ORDERS.items(), ("raw", "lzw")
    ):
        table = rng.integers(0, 256 if eight else 65536, (3, 256), np.uint16)
        table[0, 0] = 255 if eight else 65535
        samples = _ramp(bits)
        how = {} if name == "raw" else {"compression": name}
        content = tiff(samples, order, photometric="palette", colormap=table, **how)
        if bits < 8:
            content = packed_palette(samples, bits, order, name, table[:, : 1 << bits])
        seen = (table if eight else table >> 8).astype(np.uint8)[:, samples].transpose(1, 2, 0)
        yield Golden(f"tiff palette{bits}, table of {8 if eight else 16}, {mark} {name}", content, seen)


def packed_palette(samples: np.ndarray, bits: int, order: str, compression: str, table: np.ndarray) -> bytes:
    """As `packed`, with a table of its own size."""
    content = packed(
        samples,
        bits,
        order,
        compression,
        photometric="minisblack",
        extratags=[(320, "H", table.size, table.ravel().tolist(), True)],
    )
    buffer = io.BytesIO(content)
    with tifffile.TiffFile(buffer, mode="r+b") as file:
        file.pages[0].tags[262].overwrite(3)
    return buffer.getvalue()


def _print() -> Iterator[Golden]:
    for bits, plane, (mark, order), name in itertools.product(
        (8, 16), ("contig", "separate"), ORDERS.items(), ("raw", "zlib")
    ):
        inks = _ramp(bits, 4)
        stored = inks if plane == "contig" else np.ascontiguousarray(inks.transpose(2, 0, 1))
        how = {} if name == "raw" else {"compression": name}
        content = tiff(stored, order, photometric="separated", planarconfig=plane, **how)
        c = _eight(inks, bits).astype(float)
        seen = np.rint((255 - c[..., :3]) * (255 - c[..., 3:]) / 255).astype(np.uint8)
        yield Golden(f"tiff cmyk{bits} {plane} {mark} {name}", content, seen, off=1)
    inks = tiff(_ramp(8, 4), photometric="separated", extratags=[(332, "H", 1, 2, True)])
    yield Golden("tiff of other inks", inks, None, "inks other than CMYK")


def _others() -> Iterator[Golden]:
    signed = "nothing says which"
    for kind, (mark, order), name in itertools.product(
        (np.int8, np.int16, np.int32, np.uint32, np.float32, np.float64), ORDERS.items(), ("raw", "zlib")
    ):
        how = {} if name == "raw" else {"compression": name}
        content = tiff((_ramp(8).astype(int) - 100).astype(kind), order, **how)
        yield Golden(f"tiff {np.dtype(kind).name} {mark} {name}", content, None, signed if kind != np.uint32 else "")
    bands = _ramp(8, 5)
    for plane in ("contig", "separate"):
        stored = bands if plane == "contig" else np.ascontiguousarray(bands.transpose(2, 0, 1))
        content = tiff(stored, photometric="minisblack", planarconfig=plane)
        yield Golden(f"tiff of five bands {plane}", content, None, "5 bands")
    photometric, other = (struct.pack("<HHI", code, 3, 1) for code in (262, 264))
    content = tiff(_ramp(8))
    assert content.count(photometric) == 1
    yield Golden("tiff without photometric", content.replace(photometric, other), None, "0 is black or white")
    many = tiff(np.zeros((HEIGHT, WIDTH, 12), np.uint8), photometric="rgb", planarconfig="contig", extrasamples=[0] * 9)
    yield Golden("tiff of 12 bands, RGB first", many, None, "12 bands")
    yield Golden("tiff lab", tiff(_ramp(8, 3), tags={262: 8}, photometric="rgb"), None, "nothing says which")
    colour = _ramp(8, 3)
    yield Golden(
        "tiff ycbcr, subsampling as by default",
        tiff(colour, tags={262: 6}, photometric="rgb"),
        None,
        "YCBCR",
    )
    for name in ("jpeg2000", "png"):
        content = tiff(colour, photometric="rgb", compression=name)
        yield Golden(f"tiff rgb8 {name}", content, None, f"a TIFF of compression {name.upper()}")
    smooth = cv2.GaussianBlur(cv2.resize(colour, (64, 48)), (0, 0), 3)
    lossy = imagecodecs.jpeg8_decode(
        imagecodecs.jpeg8_encode(smooth, level=95, colorspace="rgb", outcolorspace="rgb"),
        colorspace="rgb",
        outcolorspace="rgb",
    )
    content = tiff(smooth, photometric="rgb", compression="jpeg", compressionargs={"level": 95, "outcolorspace": "rgb"})
    yield Golden("tiff rgb8 jpeg", content, lossy, off=1)
    reversed_bits = np.packbits(np.unpackbits(_ramp(8)[..., None], axis=-1)[..., ::-1], axis=-1)[..., 0]
    for name in ("raw", "lzw"):
        yield Golden(
            f"tiff grey8, bits in reverse {name}",
            _from_the_low_end(reversed_bits if name == "raw" else _ramp(8), name),
            _shaped(_ramp(8)),
        )
    deep = _ramp(16)
    reversed_deep = np.packbits(np.unpackbits(deep.view(np.uint8).reshape(HEIGHT, -1, 1), axis=-1)[..., ::-1], axis=-1)
    fill = _from_the_low_end(reversed_deep.reshape(HEIGHT, -1).view(np.uint16), "raw")
    yield Golden("tiff grey16, bits in reverse", fill, _shaped(_eight(deep, 16)))


def _from_the_low_end(array: np.ndarray, compression: str) -> bytes:
    """A TIFF file whose FillOrder is 2, a tag that tifffile does not write: put in place of another beside it."""
    how = {} if compression == "raw" else {"compression": compression}
    content = tiff(array, extratags=[(263, "H", 1, 2, True)], **how)
    reverse = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
    if compression != "raw":  # the bits of what was compressed, rather than of what was to be
        with tifffile.TiffFile(io.BytesIO(content)) as file:
            start, size = file.pages[0].dataoffsets[0], file.pages[0].databytecounts[0]
        content = content[:start] + content[start : start + size].translate(reverse) + content[start + size :]
    head = struct.pack("<HHI", 263, 3, 1)
    assert content.count(head) == 1
    return content.replace(head, struct.pack("<HHI", 266, 3, 1))


def _pages() -> Iterator[Golden]:
    """Of each page: its pixels and its NewSubfileType."""
    whole, small = _ramp(8), _ramp(8)[::2, ::2]
    deep = _ramp(16)
    several = "several frames"
    for name, pages, expected, why in (
        ("pyramid", [(whole, 0), (small, 1), (small[::2], 1)], whole, ""),
        ("pyramid of 16 bits", [(deep, 0), (deep[::2, ::2], 1)], _eight(deep, 16), ""),
        ("preview before", [(small, 1), (whole, 0)], whole, ""),
        ("two pages", [(whole, 0), (whole, 0)], None, several),
        ("two pages of a document", [(whole, 2), (whole, 2)], None, several),
        ("two previews", [(whole, 1), (small, 1)], None, several),
        ("page and mask", [(whole, 0), (whole, 4)], None, "masks another"),
        ("one reduced page", [(whole, 1)], whole, ""),
    ):
        for mark, order in ORDERS.items():
            buffer = io.BytesIO()
            with tifffile.TiffWriter(buffer, byteorder=order) as writer:
                for pixels, _ in pages:
                    writer.write(pixels, subfiletype=0, metadata=None, photometric="minisblack", contiguous=False)
            buffer.seek(0)
            with tifffile.TiffFile(buffer, mode="r+b") as file:
                for page, (_, kind) in zip(file.pages, pages, strict=True):
                    page.tags[254].overwrite(kind)
            yield Golden(f"tiff {name} {mark}", buffer.getvalue(), None if expected is None else _shaped(expected), why)
    for name, first, expected, why in (("pyramid", 0, whole, ""), ("camera's raw", 1, None, "SubIFD")):
        buffer = io.BytesIO()
        with tifffile.TiffWriter(buffer) as writer:
            writer.write(whole, subifds=1, subfiletype=first, metadata=None)
            writer.write(small, subfiletype=1 - first, metadata=None)
        yield Golden(f"tiff {name} in SubIFDs", buffer.getvalue(), None if expected is None else _shaped(expected), why)
    stack = io.BytesIO()
    with tifffile.TiffWriter(stack, imagej=True) as writer:
        writer.write(np.stack([whole, whole]), truncate=True)
    yield Golden("tiff ImageJ stack", stack.getvalue(), None, several)
    volume = tiff(np.stack([whole] * 2), volumetric=True, photometric="minisblack", tile=(1, 16, 16))
    yield Golden("tiff volume", volume, None, "2 slices")


def _turned() -> Iterator[Golden]:
    turns = {
        1: lambda x: x,
        2: lambda x: x[:, ::-1],
        3: lambda x: x[::-1, ::-1],
        4: lambda x: x[::-1],
        5: lambda x: x.swapaxes(0, 1),
        6: lambda x: np.rot90(x, -1),
        7: lambda x: np.rot90(x, 2).swapaxes(0, 1),
        8: lambda x: np.rot90(x),
    }
    for value, turn in turns.items():
        tags = [(274, "H", 1, value, True)]
        for name, samples, options in (
            ("grey16", _ramp(16), {}),
            (
                "rgb16 separate",
                np.ascontiguousarray(_ramp(16, 3).transpose(2, 0, 1)),
                {"photometric": "rgb", "planarconfig": "separate"},
            ),
        ):
            seen = _shaped(_eight(_ramp(16) if name == "grey16" else _ramp(16, 3), 16))
            yield Golden(f"tiff {name}, orientation {value}", tiff(samples, extratags=tags, **options), turn(seen))


def png(width: int, height: int, depth: int, colour: int, rows: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG file by hand."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    body = b"".join(chunk(*c) for c in chunks) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + head + body


def _rows(samples: np.ndarray, bits: int) -> bytes:
    each = (samples.reshape(len(samples), -1, 1) >> np.arange(bits)[::-1]) & 1
    data = np.packbits(each.reshape(len(samples), -1).astype(np.uint8), axis=1)
    return b"".join(b"\0" + row.tobytes() for row in data)


def _png() -> Iterator[Golden]:
    for bits in (1, 2, 4, 8):
        samples, top = _ramp(bits), (1 << bits) - 1
        seen = _shaped(_eight(samples, bits))
        yield Golden(f"png grey{bits}", png(WIDTH, HEIGHT, bits, 0, _rows(samples, bits)), seen)
        for key in sorted({0, 1, top // 2, top - 1, top}):
            content = png(WIDTH, HEIGHT, bits, 0, _rows(samples, bits), (b"tRNS", struct.pack(">H", key)))
            yield Golden(
                f"png grey{bits}, {key} transparent",
                content,
                np.where(_shaped(samples) == key, 255, seen).astype(np.uint8),
            )
        table = np.random.default_rng(bits).integers(0, 256, (top + 1, 3), np.uint8)
        plte = (b"PLTE", table.tobytes())
        yield Golden(f"png palette{bits}", png(WIDTH, HEIGHT, bits, 3, _rows(samples, bits), plte), table[samples])
        clear = png(WIDTH, HEIGHT, bits, 3, _rows(samples, bits), plte, (b"tRNS", b"\xff\0"))
        yield Golden(
            f"png palette{bits}, 1 transparent",
            clear,
            np.where(_shaped(samples) == 1, 255, table[samples]).astype(np.uint8),
        )
    for bits, channels in itertools.product((8, 16), (1, 3)):
        samples = _ramp(bits, channels)
        ok, content = cv2.imencode(".png", samples[..., ::-1])
        assert ok
        yield Golden(f"png {channels}×{bits} by OpenCV", content.tobytes(), _eight(samples, bits))
        yield Golden(
            f"png {channels}×{bits} by imagecodecs", imagecodecs.png_encode(samples.squeeze()), _eight(samples, bits)
        )
        alpha = np.array([0, 255, 128], np.uint8)[np.arange(HEIGHT * WIDTH) % 3].reshape(HEIGHT, WIDTH, 1)
        deep = alpha.astype(samples.dtype) * (257 if bits == 16 else 1)
        content = imagecodecs.png_encode(np.concatenate([samples, deep], -1))
        yield Golden(f"png {channels}×{bits} + alpha", content, _on_white(_eight(samples, bits), alpha), off=1)
    deep_key = png(WIDTH, HEIGHT, 16, 0, _rows(_ramp(16), 16), (b"tRNS", b"\0\0"))
    yield Golden("png grey16, 0 transparent", deep_key, None, "16-bit grey with a transparent value")


def _plain_formats() -> Iterator[Golden]:
    grey, colour = _ramp(8), _ramp(8, 3)
    for suffix, samples in ((".bmp", grey), (".bmp", colour), (".pgm", grey), (".ppm", colour), (".pgm", _ramp(16))):
        ok, content = cv2.imencode(suffix, samples[..., ::-1] if samples.ndim == 3 else samples)
        assert ok
        bits = samples.dtype.itemsize * 8
        yield Golden(f"{suffix[1:]} {samples.ndim}×{bits} by OpenCV", content.tobytes(), _shaped(_eight(samples, bits)))
    yield Golden("bmp by imagecodecs", imagecodecs.bmp_encode(colour), colour)
    yield Golden("webp lossless", imagecodecs.webp_encode(colour, lossless=True), colour)
    table = np.stack([np.arange(256)] * 3, -1).astype(np.uint8)
    yield Golden("gif", imagecodecs.gif_encode(grey, colormap=table), np.repeat(_shaped(grey), 3, -1))
    for top in (1, 3, 15, 100, 255):
        levels = np.linspace(0, top, HEIGHT * WIDTH).round().astype(int).reshape(HEIGHT, WIDTH)
        seen = np.rint(levels * 255 / top).astype(np.uint8)
        binary = f"P5 {WIDTH} {HEIGHT} {top}\n".encode() + levels.astype(np.uint8).tobytes()
        yield Golden(f"pgm, white {top}", binary, _shaped(seen))
        text = f"P2 {WIDTH} {HEIGHT} {top}\n" + " ".join(map(str, levels.ravel()))
        yield Golden(f"pgm as text, white {top}", text.encode(), _shaped(seen))
    for top in (1023, 4095, 65535):
        levels = np.linspace(0, top, HEIGHT * WIDTH).round().astype(int).reshape(HEIGHT, WIDTH)
        binary = f"P5 {WIDTH} {HEIGHT} {top}\n".encode() + levels.astype(">u2").tobytes()
        yield Golden(f"pgm, white {top}", binary, _shaped((np.rint(levels * 65535 / top) // 256).astype(np.uint8)))
    smooth = cv2.GaussianBlur(cv2.resize(colour, (64, 48)), (0, 0), 3)
    for name, samples in (("grey", smooth[..., 0].copy()), ("rgb", smooth)):
        content = imagecodecs.jpeg8_encode(samples, level=95)
        yield Golden(f"jpeg {name}", content, _shaped(imagecodecs.jpeg8_decode(content)))
