"""The images of the split folders in memory, and what is learnt from them before any training.

Charset, label length, image size and colour mode are not settings: the labelled images say them.
"""

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

import utils
from files.images import crop, decode_image, fit_image, read_image, written_box

max_area = 6400  # pixels that the network sees of an image: more takes longer


class Side(NamedTuple):
    """The images of one split folder, ready for the network."""

    labels: list[str]
    images: Tensor  # (N, channels, height, width) uint8
    targets: Tensor  # (N, length) int64, class numbers


def join(sides: Sequence[Side]) -> Side:
    """Return several sides as one, in their order."""
    labels = [label for side in sides for label in side.labels]
    images, targets = (torch.cat([getattr(s, name) for s in sides]) for name in Side._fields[1:])
    return Side(labels, images, targets)


def learn_labels(files: dict[str, list[tuple[Path, str]]]) -> tuple[str, int]:
    """Return the charset and the greatest length of all labels.

    What val and test have and the training labels lack is never read right, unless the network has
    it from another training; the check-up says so. Raises ValueError if a folder is empty, or if
    there is nothing to tell apart.
    """
    for side, found in files.items():
        if not found:
            raise ValueError(
                f"the folder {side} has no images; label more, then run split_data.py."
            )
    trained = {label for _, label in files["train"]}
    if len(trained) == 1:
        (label,) = trained
        raise ValueError(f"every training label is {label!r}: there is nothing to tell apart.")
    labels = [label for side in files.values() for _, label in side]
    return utils.make_charset(labels), max(map(len, labels))


def some_of(files: list[tuple[Path, str]], count: int, seed: int) -> list[tuple[Path, str]]:
    """Return ``count`` of the files, drawn by the seed; a larger count holds the smaller one."""
    if count > len(files):
        raise ValueError(f"TRAIN_IMAGES is {count}, but there are only {len(files)}.")
    order = np.random.default_rng(seed).permutation(len(files))
    return [files[i] for i in order[:count]]


def learn_shape(
    files: Sequence[Path],
) -> tuple[tuple[float, ...] | None, tuple[int, int], int]:
    """Return the part of an image that the network sees, at which size, in how many channels.

    The part is a box as fit_image takes it: where images of one size never differ, nothing
    is written; images of several sizes are each cut to what is written (None) if that is, in most,
    less than half of the image. It is seen at its own (height, width) if that is affordable, else
    shrunk; both are multiples of 8, because the trunk halves them up to three times. The channels
    are 3 if colour says something, else 1.
    """
    sample = [read_image(file) for file in files[:: max(1, len(files) // 500)]]
    shape, count = Counter(image.shape for image in sample).most_common(1)[0]
    if count > 0.9 * len(sample):  # an odd image or two decide nothing
        box = differing_box([image for image in sample if image.shape == shape])
    else:
        boxes = np.array([written_box(image) for image in sample])  # (N, 4)
        shares = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])  # of the area
        box = None if np.median(shares) < 0.5 else (0.0, 0.0, 1.0, 1.0)
    sample = [crop(image, box) for image in sample]
    # One banner among a thousand captchas must not make all others tiny, and if there are many,
    # three images in four shall be seen as large as is affordable; the wider ones are shrunk.
    aspects = [image.shape[1] / image.shape[0] for image in sample]
    usual, widest = np.percentile(aspects, [75, 98], method="lower")
    height = min(np.median([image.shape[0] for image in sample]), math.sqrt(max_area / usual))
    height = max(16, 8 * round(height / 8))
    aspect = min(widest, max(usual, max_area / height**2))  # the wider ones, too, if there is room
    width = max(16, 8 * math.ceil(height * aspect / 8 - 0.25))
    # A pixel is coloured if its channels differ by more than the compression of a JPEG explains.
    coloured = [(np.ptp(image.astype(np.int16), axis=2) > 20).mean() for image in sample]
    return box, (height, width), 3 if max(coloured) > 0.005 else 1


def differing_box(images: Sequence[np.ndarray]) -> tuple[float, ...]:
    """Return where RGB images (H, W, 3) of one size differ, with a margin, as shares.

    (top, left, bottom, right). An empty half of the image would make the characters smaller, and
    the network would first look for them there.
    """
    stack = np.stack(images)  # (N, H, W, 3)
    differ = (stack.max(axis=0) - stack.min(axis=0)).max(axis=2) > 64  # (H, W)
    if not differ.any():
        return 0.0, 0.0, 1.0, 1.0
    margin = differ.shape[0] // 2  # a longer word may come
    box = []
    for axis in (1, 0):  # rows, then columns
        used = differ.any(axis=axis).nonzero()[0]
        count = differ.shape[1 - axis]
        box.append((max(0, used[0] - margin) / count, min(count, used[-1] + 1 + margin) / count))
    (top, bottom), (left, right) = box
    return float(top), float(left), float(bottom), float(right)


def load_unlabelled(
    folder: Path,
    labelled: Sequence[Path],
    box: tuple[float, ...] | None,
    size: tuple[int, int],
    channels: int,
) -> Tensor:
    """Read the images of a folder as the network takes them, (N, channels, height, width) uint8.

    Those that lie in the split folders too are left out, above all those of test, and so are
    files that cannot be read.
    """
    known = {utils.parse_split_name(file.name)[1] for file in labelled}
    images = []
    for file in utils.progress(utils.image_files(folder), "reading"):
        data = file.read_bytes()
        if utils.content_hash(data)[:8] in known:
            continue
        try:
            image = decode_image(data, str(file))
        except ValueError as error:
            utils.note(f"left out: {error}")
            continue
        images.append(torch.from_numpy(fit_image(image, size, channels, box)))
    if not images:
        raise ValueError(f"{folder} holds no image beside those that are labelled already.")
    return torch.stack(images)


def load_side(
    files: Sequence[tuple[Path, str]],
    box: tuple[float, ...] | None,
    size: tuple[int, int],
    channels: int,
    charset: str,
    length: int,
) -> Side:
    """Read the images of one folder into memory, as the network takes them."""
    images = np.empty((len(files), channels, *size), np.uint8)
    for image, (file, _) in zip(images, utils.progress(files, "reading"), strict=True):
        image[:] = fit_image(read_image(file), size, channels, box)
    labels = [label for _, label in files]
    targets = torch.from_numpy(utils.encode_labels(labels, charset, length))
    return Side(labels, torch.from_numpy(images), targets)
