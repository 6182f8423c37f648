"""Which part of a site's images the network sees, and at which size: found from a sample."""

import contextlib
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from files.images import WHOLE, WRITTEN, Box, InputSpec, crop, read_image, written_box

MAX_AREA = 6400  # pixels that the network sees of an image: more takes longer
LEAST_HEIGHT, MOST_ASPECT = 32, 8  # of what the network sees; longer images are shrunk to fit
HEIGHT = 40  # small images are enlarged to it: the model that ships was trained at this size
SAMPLE = 200  # images of a site, at most, by which a general model is suited to it
LEAST_IMAGES = 10  # fewer do not show where nothing is ever written
MAX_ASPECT = 100  # wider or higher images than this are no captchas; they would fill the memory

Item = TypeVar("Item")


def spread(items: Sequence[Item], count: int) -> Sequence[Item]:
    """Return at most ``count`` of the items, evenly spread."""
    return items[:: max(1, math.ceil(len(items) / count))]


def read_sample(files: Sequence[Path]) -> Iterator[np.ndarray]:
    """Read up to SAMPLE of the files, evenly spread, as RGB images (H, W, 3).

    Those that cannot be read are left out.
    """
    for file in spread(files, SAMPLE):
        with contextlib.suppress(ValueError, OSError):
            yield read_image(file)


def find_frame(images: Sequence[np.ndarray], channels: int | None = None) -> InputSpec:
    """Return which part of such RGB images (H, W, 3) the network sees, at which size.

    Ten or more images of one size are cut to where they differ: elsewhere nothing is written.
    Others are each cut to what is written in them if that is, in most of them, less than half of
    the image. The part is seen at its own size, small ones about 40 pixels high, if that is
    affordable, else shrunk; height and width are multiples of 8, because the trunk halves them up
    to three times. If ``channels`` is None there are 3 where colour carries information, else 1.
    """
    size, count = Counter(image.shape for image in images).most_common(1)[0]
    cut: Box | str
    if len(images) >= LEAST_IMAGES and count > 0.9 * len(images):  # an odd one decides nothing
        cut = differing_box([image for image in images if image.shape == size])
    else:
        boxes = np.array([written_box(image) for image in images])  # (N, 4)
        shares = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])  # of the area
        cut = WRITTEN if np.median(shares) < 0.5 else WHOLE
    parts = [crop(image, cut) for image in images]
    # One banner among a thousand captchas must not make all others tiny. But three in four images
    # should be seen as large as is affordable; wider ones are shrunk.
    aspects = np.clip([part.shape[1] / part.shape[0] for part in parts], 1 / MAX_ASPECT, MAX_ASPECT)
    usual, widest = np.percentile(aspects, [75, 98], method="lower")
    height = max(HEIGHT, np.median([part.shape[0] for part in parts]))
    height = max(LEAST_HEIGHT, 8 * round(min(height, math.sqrt(MAX_AREA / usual)) / 8))
    aspect = max(usual, MAX_AREA / height**2)  # wider ones, too, if there is room
    aspect = min(widest, aspect, MOST_ASPECT)
    width = max(16, 8 * math.ceil(height * aspect / 8 - 0.25))
    if channels is None:
        # A pixel is coloured if its channels differ by more than JPEG compression explains.
        coloured = [(np.ptp(part.astype(np.int16), axis=2) > 20).mean() for part in parts]
        channels = 3 if max(coloured) > 0.005 else 1
    return InputSpec(height, width, channels, cut)


def differing_box(images: Sequence[np.ndarray]) -> Box:
    """Return where RGB images (H, W, 3) of one size differ, with a margin.

    An empty half of the image would make the characters smaller, and the network would first look
    for them there.
    """
    stack = np.stack(images)  # (N, H, W, 3)
    differ = (stack.max(axis=0) - stack.min(axis=0)).max(axis=2) > 64  # (H, W)
    if not differ.any():
        return WHOLE
    margin = differ.shape[0] // 2  # a longer word may come
    ranges = []
    for axis in (1, 0):  # rows, then columns
        used = differ.any(axis=axis).nonzero()[0]
        count = differ.shape[1 - axis]
        ranges.append((max(0, used[0] - margin) / count, min(count, used[-1] + 1 + margin) / count))
    (top, bottom), (left, right) = ranges
    return float(top), float(left), float(bottom), float(right)
