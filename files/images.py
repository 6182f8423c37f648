"""Reading an image of any format, and fitting it to the network's input.

Images come from anywhere: a broken or forged one must end in a clear error within seconds, without
filling the memory.
"""

import hashlib
import io
import re
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from PIL import Image

MAX_PIXELS = 4_000_000  # a captcha has 10 000; decoding a huge image would only fill the memory
MAX_INPUT = 250_000  # pixels that a network sees; a forged model file could ask for any number
MOST_STRETCH = 4  # times as wide, or as narrow
MAX_BYTES = 4_000_000  # of one image file
MAX_PARTS = 2000  # chunks, segments or blocks in it; millions of them would take hours to read

Box = tuple[float, float, float, float]  # top, left, bottom, right as shares of height and width
WHOLE: Box = (0.0, 0.0, 1.0, 1.0)
WRITTEN = "written"  # the cut that differs for each image: where something is written in it
FOUND = "found"  # the cut of a general model, which reads any site: found from the images at hand


class InputSpec(NamedTuple):
    """What the network sees of an image: which part of it, at which size, in how many channels."""

    height: int
    width: int
    channels: int  # 3, or 1 for grey
    cut: Box | str = WHOLE  # a box, WRITTEN or FOUND
    stretch: float = 1.0  # how much wider it is seen than it is


def input_spec(values: dict[str, Any]) -> InputSpec:
    """Return the InputSpec that a model file gives as plain values; raises ValueError."""
    spec = InputSpec(**values)
    height, width, channels, cut, stretch = spec
    if any(type(number) is not int for number in spec[:3]) or channels not in (1, 3):
        raise ValueError("height and width must be whole numbers, and channels 1 or 3.")
    if min(height, width) < 16 or height * width > MAX_INPUT:
        raise ValueError(f"{width} x {height} pixels are too few or too many.")
    if type(stretch) not in (int, float) or not 1 / MOST_STRETCH <= stretch <= MOST_STRETCH:
        raise ValueError(f"nothing can be stretched by {stretch}.")
    if cut in (WRITTEN, FOUND):
        return spec
    top, left, bottom, right = map(float, cut)
    if not (0 <= top < bottom <= 1 and 0 <= left < right <= 1):
        raise ValueError(f"{cut} is no part of an image.")
    return spec._replace(cut=(top, left, bottom, right))


def content_hash(data: bytes) -> str:
    """Return the SHA-256 of a file's content in hex; images are named and split by it."""
    return hashlib.sha256(data).hexdigest()


def open_image(data: bytes, name: str) -> Image.Image:
    """Open an encoded image without decoding its pixels yet; ``name`` is for the error message.

    Raises ValueError if it is not a PNG, JPEG, GIF, WebP or BMP, or is larger than MAX_PIXELS.
    """
    if image_parts(data) > MAX_PARTS:
        raise ValueError(f"{name} has more than {MAX_PARTS} parts; a captcha has fewer.")
    if data.startswith(b"\xff\xd8"):
        # What a camera adds is not needed, and a forged block makes Pillow allocate gigabytes.
        data = data.replace(b"Exif\0\0", b"none\0\0").replace(b"MPF\0", b"none")
    try:
        image = Image.open(io.BytesIO(data), formats=["PNG", "JPEG", "GIF", "WEBP", "BMP"])
    except Exception as error:  # decoders of damaged data raise a dozen kinds
        raise ValueError(f"{name} is not an image that can be read.") from error
    if image.width * image.height > MAX_PIXELS:
        raise ValueError(
            f"{name} has {image.width} x {image.height} pixels, more than a captcha's "
            f"{MAX_PIXELS // 1_000_000} megapixels."
        )
    return image


def image_parts(data: bytes) -> int:
    """Return how many parts an encoded image has; counting stops beyond MAX_PARTS.

    A file can have far more parts than pixels, and for some kinds Pillow's time grows with their
    square. A scan of a JPEG, which goes through the whole image, counts as twenty; so does a
    compressed chunk of a PNG that holds no pixels.
    """
    count = 0
    if data.startswith(b"\x89PNG"):
        place = 8
        while place < len(data) and count <= MAX_PARTS:
            count += 20 if data[place + 4 : place + 8] in (b"iCCP", b"zTXt", b"iTXt") else 1
            place += 12 + int.from_bytes(data[place : place + 4], "big")
    elif data.startswith(b"\xff\xd8"):  # in the pixels, FF stands before 00 and D0 to D7 only
        count = len(re.findall(b"\xff[\xc0-\xcf\xd8-\xff]", data)) + 19 * data.count(b"\xff\xda")
    elif data.startswith(b"GIF8") and len(data) > 13:
        place = 13 + (6 << (data[10] & 7) if data[10] & 0x80 else 0)
        while place < len(data) and data[place] not in b",;" and count <= MAX_PARTS:
            extension = data[place] == ord("!")  # else a stray byte
            place += 2 if extension else 1
            while extension and place < len(data) and data[place] and count <= MAX_PARTS:
                place += 1 + data[place]
                count += 1
            place += extension
            count += 1
    return count


def decode_image(data: bytes, name: str) -> np.ndarray:
    """Decode an image of any format to RGB, (height, width, 3) uint8.

    Transparent parts become white: captchas drawn in black on a transparent ground would be all
    black otherwise. An animation gives its first frame. Raises ValueError.
    """
    image = open_image(data, name)
    try:
        if image.mode.startswith("I"):  # 16 bits of grey
            grey = (np.asarray(image).astype(np.uint32) >> 8).clip(0, 255).astype(np.uint8)
            return np.repeat(grey[:, :, None], 3, axis=2)
        if not image.has_transparency_data:
            return np.array(image.convert("RGB"))
        rgba = np.asarray(image.convert("RGBA")).astype(np.uint16)  # (H, W, 4)
    except Exception as error:  # see above: a cut or damaged file
        raise ValueError(f"{name} is damaged or cut off.") from error
    alpha = rgba[:, :, 3:]
    return ((rgba[:, :, :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


def image_extension(data: bytes, name: str) -> str:
    """Return the file extension that an encoded image should have, such as ``"png"``."""
    kind = str(open_image(data, name).format).lower()
    return {"jpeg": "jpg", "mpo": "jpg"}.get(kind, kind)


def read_encoded(path: Path) -> bytes:
    """Return the content of an image file. Raises ValueError if it is too large, or OSError."""
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"{path} is larger than {MAX_BYTES // 1_000_000} MB.")
    return path.read_bytes()


def read_image(path: Path) -> np.ndarray:
    """Read an image file as RGB, (height, width, 3) uint8. Raises ValueError or OSError."""
    return decode_image(read_encoded(path), str(path))


def crop(image: np.ndarray, cut: Box | str) -> np.ndarray:
    """Return the part of an RGB image (H, W, 3) that a cut names.

    It is the whole image for FOUND: nothing is known yet of the other images of its site.
    """
    height, width = image.shape[:2]
    top, left, bottom, right = box_of(image, cut)
    first_row, first_column = round(top * height), round(left * width)
    last_row = max(round(bottom * height), first_row + 1)
    last_column = max(round(right * width), first_column + 1)
    return image[first_row:last_row, first_column:last_column]


def box_of(image: np.ndarray, cut: Box | str) -> Box:
    """Return what a cut leaves of an RGB image (H, W, 3), as a box."""
    if isinstance(cut, str):
        return written_box(image) if cut == WRITTEN else WHOLE
    return cut


def written_box(image: np.ndarray) -> Box:
    """Return where something is written in an RGB image (H, W, 3), with a margin.

    Written is what differs from the median colour. Strokes of a single pixel, such as noise lines
    that cross the margins, do not count unless there is nothing else.
    """
    ground = np.median(image, axis=(0, 1))
    ink = (np.abs(image - ground).max(axis=2) > 8).astype(np.uint8)  # (H, W), pale letters too
    strokes = cv2.morphologyEx(ink, cv2.MORPH_OPEN, np.ones((2, 2), np.uint8))
    rows, columns = (strokes if strokes.any() else ink).nonzero()
    if not len(rows):
        return WHOLE
    height, width = ink.shape
    margin = 1 + (rows.max() - rows.min()) // 10
    return (
        max(0, rows.min() - margin) / height,
        max(0, columns.min() - margin) / width,
        min(height, rows.max() + 1 + margin) / height,
        min(width, columns.max() + 1 + margin) / width,
    )


def fit_image(image: np.ndarray, spec: InputSpec) -> np.ndarray:
    """Return an RGB image (H, W, 3) as the network's input, (channels, height, width) uint8.

    The image is stretched, cut, and scaled to fit. The space that remains gets the image's median
    colour, on the right and, in equal parts, above and below: the first character stays on the
    left, where the network expects it.
    """
    image = crop(stretched(image, spec.stretch), spec.cut)
    scale = min(spec.height / image.shape[0], spec.width / image.shape[1])
    new_height = max(1, min(spec.height, round(image.shape[0] * scale)))
    new_width = max(1, min(spec.width, round(image.shape[1] * scale)))
    if spec.channels == 1:
        image = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[:, :, None]  # (H, W, 1)
    ground = np.median(image, axis=(0, 1))
    # INTER_AREA averages the pixels that coincide, so thin strokes do not vanish.
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    small = cv2.resize(image, (new_width, new_height), interpolation=how)
    fitted = np.empty((spec.height, spec.width, spec.channels), np.uint8)
    fitted[:] = ground
    top = (spec.height - new_height) // 2
    fitted[top : top + new_height, :new_width] = small.reshape(new_height, new_width, spec.channels)
    return fitted.transpose(2, 0, 1)  # (C, H, W)


def stretched(image: np.ndarray, stretch: float) -> np.ndarray:
    """Return an RGB image (H, W, 3) so many times as wide."""
    height, width = image.shape[:2]
    if stretch == 1:
        return image
    how = cv2.INTER_AREA if stretch < 1 else cv2.INTER_LINEAR
    return cv2.resize(image, (stretched_width(width, stretch), height), interpolation=how)


def stretched_width(width: int, stretch: float) -> int:
    """Return how many pixels an image is wide after it is stretched; 1 or more."""
    return (width * round(1000 * stretch) + 999) // 1000  # whole numbers: ONNX knows no other
