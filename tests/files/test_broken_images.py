"""read_image: no broken or wicked file crashes it, stops it or fills the memory."""

import io
import re
import resource
import struct
import time
import zlib

import numpy as np
import pytest
from helpers import run_script
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from files.images import decode_image, read_image


def encoded(mode="L", kind="PNG", size=(60, 20), **options):
    file = io.BytesIO()
    Image.new(mode, size, 100).save(file, kind, **options)
    return file.getvalue()


def chunk(name, data=b""):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def in_png(*chunks):
    """A PNG with further chunks between its header and its pixels."""
    data = encoded()
    return data[:33] + b"".join(chunks) + data[33:]


def in_gif(*blocks):
    data = encoded("P", "GIF")
    place = data.index(b",")
    return data[:place] + b"".join(blocks) + data[place:]


def segment(marker, data):
    return marker + struct.pack(">H", len(data) + 2) + data


def in_jpeg(*segments):
    data = encoded(kind="JPEG").replace(b"JFIF", b"none")
    return data[:2] + b"".join(segments) + data[2:]


def many_scans(count):
    data = encoded(kind="JPEG", size=(2000, 2000), progressive=True)
    return data[:-2] + data[data.rindex(b"\xff\xda") : -2] * count + data[-2:]


def greedy_tags(count, size):
    """A table of a camera's notes in which each refers to all of the others."""
    notes = b"".join(struct.pack(">HHII", n + 1, 7, size, 0) for n in range(count))
    return b"MM\0*\0\0\0\x08" + struct.pack(">H", count) + notes + bytes(4)


zipped = b"a\0\0" + zlib.compress(bytes(990_000), 9)
wicked = {
    "a compressed text of 500 MB": in_png(
        chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(500_000_000), 1))
    ),
    "compressed profiles of a megabyte": in_png(*[chunk(b"iCCP", zipped)] * 3000),
    "a million chunks": in_png(chunk(b"teXt") * 300_000),
    "a million empty pixels": in_png(chunk(b"IDAT") * 300_000),
    "a million comments": in_gif(b"!\xfe\x01a\0" * 700_000),
    "a comment of a million parts": in_gif(b"!\xfe", b"\x02hi" * 1_000_000, b"\0"),
    "a million stray bytes": in_gif(b"\1" * 3_000_000),
    "a million scans": many_scans(200_000),
    "a million markers": in_jpeg(b"\xff\xe4\x00\x02" * 900_000),
    "a million fill bytes": in_jpeg(b"\xff" * 3_900_000),
    "notes that refer to each other": in_jpeg(
        segment(b"\xff\xe1", b"Exif\0\0" + greedy_tags(5400, 60_000))
    ),
    "notes in pieces": in_jpeg(
        *[
            segment(b"\xff\xe1", b"Exif\0\0" + part)
            for part in re.findall(b"(?s).{1,60000}", greedy_tags(60_000, 700_000))
        ]
    ),
    "pictures that refer to each other": in_jpeg(
        segment(b"\xff\xe2", b"MPF\0" + greedy_tags(5400, 60_000))
    ),
    "16383 x 16383 pixels in 38 bytes": encoded("RGB", "WEBP", lossless=True).replace(
        struct.pack("<I", 59 | 19 << 14)[:3], struct.pack("<I", 16383 | 16383 << 14)[:3], 1
    ),
}


@pytest.mark.parametrize("name", wicked)
def test_wicked_images_are_read_or_refused_soon_and_in_little_memory(tmp_path, name):
    file = tmp_path / "wicked"
    file.write_bytes(wicked[name])
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    try:
        assert read_image(file).shape == (20, 60, 3)
    except ValueError as error:
        assert "wicked" in str(error)  # noqa: PT017
    assert time.process_time() - start < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 512 * 1024


def test_a_thousand_broken_images_are_each_read_or_refused():
    """benchmarks/fuzz_files.py, on fewer; it fails on a crash, a hang or too much memory."""
    done = run_script("benchmarks/fuzz_files.py", "COUNT=1000", "FIRST=1000000", cwd="/")
    read, refused = map(int, re.match(r"read (\d+), refused (\d+) of 1000", done.stdout).groups())
    assert read + refused == 1000
    assert min(read, refused) > 100  # else the breaking would break too little or too much


@settings(deadline=None)
@given(
    st.sampled_from(["1", "L", "P", "RGB", "LA", "RGBA", "CMYK"]),
    st.sampled_from(["PNG", "JPEG", "GIF", "WEBP", "BMP"]),
    st.integers(0, 2**32),
)
def test_reading_is_the_same_with_and_without_a_transparent_part(mode, kind, seed):
    """An image without one is decoded in a shorter way, which must not change a pixel."""
    pixels = np.random.default_rng(seed).integers(0, 256, (7, 9, 4), dtype=np.uint8)
    image = Image.fromarray(pixels, "RGBA").convert("RGB" if mode == "CMYK" else mode).convert(mode)
    file = io.BytesIO()
    try:
        image.save(file, kind)
    except (OSError, ValueError):  # not every kind has every mode
        return
    rgba = np.asarray(Image.open(file).convert("RGBA")).astype(float)
    alpha = rgba[:, :, 3:] / 255
    slow = rgba[:, :, :3] * alpha + 255 * (1 - alpha)
    assert np.abs(decode_image(file.getvalue(), "x") - slow).max() <= 0.5 + 1e-9
