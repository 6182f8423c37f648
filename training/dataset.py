"""The split folder in memory, and what is learnt from it before any training.

Charset, label length, image size and colour are not settings: the labelled images determine them.
"""

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from files.images import (
    WHOLE,
    WRITTEN,
    Box,
    InputSpec,
    content_hash,
    crop,
    decode_image,
    fit_image,
    read_image,
    written_box,
)
from files.split_names import SPLITS, labelled_images, parse_split_name
from utils import image_files, note, progress

MAX_AREA = 6400  # pixels that the network sees of an image: more takes longer

LabelledFiles = Sequence[tuple[Path, str]]  # image files with their labels


class Split(NamedTuple):
    """The images of one split, ready for the network."""

    labels: list[str]
    images: Tensor  # (N, channels, height, width) uint8
    targets: Tensor  # (N, length) int64, class numbers

    def subset(self, chosen: Tensor) -> "Split":
        """Return the images that ``chosen``, (N,) bool, selects."""
        labels = [self.labels[i] for i in chosen.nonzero().flatten().tolist()]
        return Split(labels, self.images[chosen], self.targets[chosen])


class Dataset(NamedTuple):
    """All that a training needs to know about its data."""

    charset: str
    length: int  # characters in the longest label
    spec: InputSpec
    train: Split
    val: Split
    test: Split
    files: list[Path]  # of train, val and test, in this order


def load(folder: Path, train_images: int | None, seed: int) -> Dataset:
    """Read a folder that split_data.py made; with ``train_images`` only so many to train on."""
    files = {name: labelled_images(folder / name) for name in SPLITS}
    if train_images is not None:
        files["train"] = choose(files["train"], train_images, seed)
    charset, length = learn_labels(files)
    spec = learn_input([file for file, _ in files["train"]])
    train, val, test = (load_split(files[name], spec, charset, length) for name in SPLITS)
    paths = [file for name in SPLITS for file, _ in files[name]]
    return Dataset(charset, length, spec, train, val, test, paths)


def choose(files: LabelledFiles, count: int, seed: int) -> list[tuple[Path, str]]:
    """Return ``count`` random files; a larger count includes those of a smaller one."""
    if count > len(files):
        raise ValueError(f"TRAIN_IMAGES is {count}, but there are only {len(files)}.")
    order = np.random.default_rng(seed).permutation(len(files))
    return [files[i] for i in order[:count]]


def join(splits: Sequence[Split]) -> Split:
    """Return several splits as one, in their order."""
    labels = [label for split in splits for label in split.labels]
    images, targets = (torch.cat([getattr(s, name) for s in splits]) for name in Split._fields[1:])
    return Split(labels, images, targets)


# ---------------------------------------------------------------- learnt from the files


def learn_labels(files: dict[str, list[tuple[Path, str]]]) -> tuple[str, int]:
    """Return the charset and the greatest length of all labels, by the files of each split.

    Characters that only val and test have are never read correctly, unless the network knows them
    from another training; the check-up says so. Raises ValueError if a split is empty, or if there
    is nothing to tell apart.
    """
    for split, found in files.items():
        if not found:
            raise ValueError(
                f"the folder {split} has no images; label more, then run split_data.py."
            )
    trained = {label for _, label in files["train"]}
    if len(trained) == 1:
        (label,) = trained
        raise ValueError(f"every training label is {label!r}: there is nothing to tell apart.")
    labels = [label for split in files.values() for _, label in split]
    return "".join(sorted(set("".join(labels)))), max(map(len, labels))


def learn_input(files: Sequence[Path]) -> InputSpec:
    """Return which part of an image the network sees, at which size, in how many channels.

    Images of one size are cut to where they differ: elsewhere nothing is written. Images of several
    sizes are each cut to what is written in them if that is, in most of them, less than half of the
    image. The part is seen at its own size if that is affordable, else shrunk; height and width are
    multiples of 8, because the trunk halves them up to three times. There are 3 channels if colour
    carries information, else 1.
    """
    sample = [read_image(file) for file in files[:: max(1, len(files) // 500)]]
    size, count = Counter(image.shape for image in sample).most_common(1)[0]
    cut: Box | str
    if count > 0.9 * len(sample):  # an odd image or two decide nothing
        cut = differing_box([image for image in sample if image.shape == size])
    else:
        boxes = np.array([written_box(image) for image in sample])  # (N, 4)
        shares = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])  # of the area
        cut = WRITTEN if np.median(shares) < 0.5 else WHOLE
    sample = [crop(image, cut) for image in sample]
    # One banner among a thousand captchas must not make all others tiny. But three in four images
    # should be seen as large as is affordable; wider ones are shrunk.
    aspects = [image.shape[1] / image.shape[0] for image in sample]
    usual, widest = np.percentile(aspects, [75, 98], method="lower")
    height = min(np.median([image.shape[0] for image in sample]), math.sqrt(MAX_AREA / usual))
    height = max(16, 8 * round(height / 8))
    aspect = min(widest, max(usual, MAX_AREA / height**2))  # wider ones, too, if there is room
    width = max(16, 8 * math.ceil(height * aspect / 8 - 0.25))
    # A pixel is coloured if its channels differ by more than JPEG compression explains.
    coloured = [(np.ptp(image.astype(np.int16), axis=2) > 20).mean() for image in sample]
    return InputSpec(height, width, 3 if max(coloured) > 0.005 else 1, cut)


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


# ---------------------------------------------------------------- into memory


def load_split(files: LabelledFiles, spec: InputSpec, charset: str, length: int) -> Split:
    """Read labelled images into memory, as the network's input."""
    images = np.empty((len(files), spec.channels, spec.height, spec.width), np.uint8)
    for image, (file, _) in zip(images, progress(files, "reading"), strict=True):
        image[:] = fit_image(read_image(file), spec)
    labels = [label for _, label in files]
    targets = torch.from_numpy(encode_labels(labels, charset, length))
    return Split(labels, torch.from_numpy(images), targets)


def load_unlabelled(folder: Path, labelled: Sequence[Path], spec: InputSpec) -> Tensor:
    """Read the images of a folder as the network's input, (N, channels, height, width) uint8.

    Images that are in the split folder too are left out, above all those of test, and so are files
    that cannot be read.
    """
    known = {parsed[1] for file in labelled if (parsed := parse_split_name(file.name))}
    images = []
    for file in progress(image_files(folder), "reading"):
        data = file.read_bytes()
        if content_hash(data)[:8] in known:
            continue
        try:
            image = decode_image(data, str(file))
        except ValueError as error:
            note(f"left out: {error}")
            continue
        images.append(torch.from_numpy(fit_image(image, spec)))
    if not images:
        raise ValueError(f"{folder} holds no image except those that are labelled already.")
    return torch.stack(images)


def encode_labels(labels: Sequence[str], charset: str, length: int) -> np.ndarray:
    """Return labels as class numbers, (len(labels), length) int64.

    Class 0 is the blank, which fills the positions past a label's end; character i of the charset
    is class i + 1. Raises ValueError for a label that is too long or has an unknown character.
    """
    number = {character: i for i, character in enumerate(charset, start=1)}
    encoded = np.zeros((len(labels), length), np.int64)
    for row, label in zip(encoded, labels, strict=True):
        if len(label) > length:
            raise ValueError(f"the label {label!r} is longer than {length} characters.")
        unknown = [character for character in label if character not in number]
        if unknown:
            raise ValueError(f"the label {label!r} has {unknown[0]!r}, not one of {charset!r}.")
        row[: len(label)] = [number[character] for character in label]
    return encoded
