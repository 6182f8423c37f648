"""Reading an image whatever its format, and fitting it to what the network takes.

Images come from anywhere: a broken or forged one must end in a clear error, soon, and not in hours
or gigabytes.
"""

import io
import re
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

MAX_PIXELS = 4_000_000  # a captcha has 10 000; decoding a huge image would only fill the memory
MAX_BYTES = 4_000_000  # of one image file
MAX_PARTS = 2000  # chunks, segments or blocks in it; made of millions, it would take hours to read


def open_image(data: bytes, name: str) -> Image.Image:
    """Open an encoded image without decoding its pixels yet; ``name`` is for the error message.

    Raises ValueError if it is not a PNG, JPEG, GIF, WebP or BMP, or is larger than MAX_PIXELS.
    """
    if image_parts(data) > MAX_PARTS:
        raise ValueError(f"{name} has more than {MAX_PARTS} parts; the image of a captcha has not.")
    if data.startswith(b"\xff\xd8"):
        # What a camera writes is not needed, and a forged one makes Pillow take gigabytes.
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
    """Return of how many parts an encoded image consists; beyond MAX_PARTS it stops counting.

    A file can have far more parts than pixels, and some take Pillow a time that grows with their
    square. A scan of a JPEG, which goes through the whole image, counts as twenty, as does what
    is compressed in a PNG besides the pixels.
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
    """Decode an image of any kind to RGB, (height, width, 3) uint8.

    Transparent parts become white: captchas drawn in black on a transparent ground would be all
    black otherwise. Of an animation the first frame is taken. Raises ValueError.
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
    kind = open_image(data, name).format.lower()
    return {"jpeg": "jpg", "mpo": "jpg"}.get(kind, kind)


def read_image(path: Path) -> np.ndarray:
    """Read an image file as RGB, (height, width, 3) uint8. Raises ValueError or OSError."""
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"{path} is larger than {MAX_BYTES // 1_000_000} MB.")
    return decode_image(path.read_bytes(), str(path))


def crop(image: np.ndarray, box: Sequence[float] | None) -> np.ndarray:
    """Return the part of an RGB image (H, W, 3) in a box (top, left, bottom, right) of shares.

    None stands for the part where something is written, see written_box.
    """
    box = written_box(image) if box is None else box
    height, width = image.shape[:2]
    top, left = round(box[0] * height), round(box[1] * width)
    bottom, right = round(box[2] * height), round(box[3] * width)
    return image[top : max(bottom, top + 1), left : max(right, left + 1)]


def written_box(image: np.ndarray) -> tuple[float, ...]:
    """Return where something is written in an RGB image (H, W, 3), with a margin, as shares.

    (top, left, bottom, right). Written is what differs from the median colour; strokes of a single
    pixel, such as noise lines that cross the margins, do not count unless there is nothing else.
    """
    ground = np.median(image, axis=(0, 1))
    ink = (np.abs(image - ground).max(axis=2) > 8).astype(np.uint8)  # (H, W), pale letters too
    strokes = cv2.morphologyEx(ink, cv2.MORPH_OPEN, np.ones((2, 2), np.uint8))
    rows, columns = (strokes if strokes.any() else ink).nonzero()
    if not len(rows):
        return 0.0, 0.0, 1.0, 1.0
    height, width = ink.shape
    margin = 1 + (rows.max() - rows.min()) // 10
    return (
        max(0, rows.min() - margin) / height,
        max(0, columns.min() - margin) / width,
        min(height, rows.max() + 1 + margin) / height,
        min(width, columns.max() + 1 + margin) / width,
    )


def fit_image(
    image: np.ndarray,
    size: tuple[int, int],
    channels: int,
    box: Sequence[float] | None = (0, 0, 1, 1),
) -> np.ndarray:
    """Scale an RGB image (H, W, 3) into ``size`` = (height, width), keeping its proportions.

    ``box`` = (top, left, bottom, right) is the part to take, as shares of height and width; None
    is the part where something is written, in each image by itself. What remains free is filled
    with the image's median colour, on the right and, in equal parts, above and below: the first
    character stays on the left, where the network looks for it.
    Returns uint8 (channels, height, width); one channel is grey.
    """
    height, width = size
    image = crop(image, box)
    scale = min(height / image.shape[0], width / image.shape[1])
    new_height = max(1, min(height, round(image.shape[0] * scale)))
    new_width = max(1, min(width, round(image.shape[1] * scale)))
    if channels == 1:
        image = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[:, :, None]  # (H, W, 1)
    ground = np.median(image, axis=(0, 1))
    # INTER_AREA averages the pixels that fall together, so thin strokes do not vanish.
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    small = cv2.resize(image, (new_width, new_height), interpolation=how)
    fitted = np.empty((height, width, channels), np.uint8)
    fitted[:] = ground
    top = (height - new_height) // 2
    fitted[top : top + new_height, :new_width] = small.reshape(new_height, new_width, channels)
    return fitted.transpose(2, 0, 1)  # (C, H, W)
