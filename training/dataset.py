"""The images of the split folder, and what is learnt from them before any training.

Charset, label length, image size and colour are not settings: the labelled images determine them.
"""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from files.framing import SAMPLE, find_frame, read_sample, spread
from files.images import InputSpec, content_hash, decode_image, fit_image, read_image
from files.split_names import CACHE, SPLITS, labelled_images, parse_split_name
from model import CaptchaNet
from reading import limits
from reading.scale import find_scale
from training.cache import load_images
from utils import image_files, in_parallel, note

FRAME_IMAGES = 1000  # training images, at most, by which the frame is found
MOST_UNLABELLED = 50_000  # images without labels, at most: a training sees no more of them

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


def load(
    folder: Path,
    train_images: int | None,
    seed: int,
    characters: str | None = None,
    start: CaptchaNet | None = None,
    unlabelled: Path | None = None,
) -> Dataset:
    """Read a folder that split_data.py made; with ``train_images`` only so many to train on.

    The charset has the ``characters`` too, whether or not a label has them. The training images and
    those of the folder ``unlabelled`` show which part of an image the network sees, and which scale
    suits the network ``start`` with which the training begins.
    """
    files = {name: labelled_images(folder / name) for name in SPLITS}
    if train_images is not None:
        files["train"] = choose(files["train"], train_images, seed)
    charset, length = learn_labels(files, characters or "")
    sample = [file for file, _ in spread(files["train"], FRAME_IMAGES)]
    seen = list(in_parallel(read_image, sample, "looking"))
    if unlabelled is not None:
        seen += read_sample(image_files(unlabelled))
    spec = find_frame(seen)
    if start is not None:
        spec = suited_scale(start, seen, spec, charset)
    paths = [file for name in SPLITS for file, _ in files[name]]
    cache = folder / CACHE if train_images is None else None  # which has all of the folder's images
    images = load_images(paths, spec, cache).split([len(files[name]) for name in SPLITS])
    train, val, test = (
        as_split(files[name], part, charset, length)
        for name, part in zip(SPLITS, images, strict=True)
    )
    return Dataset(charset, length, spec, train, val, test, paths)


def suited_scale(
    start: CaptchaNet, images: Sequence[np.ndarray], spec: InputSpec, charset: str
) -> InputSpec:
    """Return a frame in the scale that suits a trained network, if it reads such labels already."""
    knows = limits.readable(charset, start.known) == charset
    if start.head_name == "flatten" or not knows or len(images) < limits.LEAST_SAMPLE:
        return spec
    reader = copy.deepcopy(start).eval()
    limits.limit(reader, charset, None)
    return find_scale(reader, images, spec)


def without_labels(charset: str, length: int, spec: InputSpec) -> Dataset:
    """Return a dataset without an image, for a network that has nobody's labels to learn from."""
    images = torch.empty(0, spec.channels, spec.height, spec.width, dtype=torch.uint8)
    nothing = Split([], images, torch.empty(0, length, dtype=torch.int64))
    return Dataset(charset, length, spec, nothing, nothing, nothing, [])


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


def learn_labels(files: dict[str, list[tuple[Path, str]]], characters: str = "") -> tuple[str, int]:
    """Return the charset and the greatest length of all labels, by the files of each split.

    The ``characters`` are in the charset although no label may have them.
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
    return "".join(sorted(set("".join([*labels, characters])))), max(map(len, labels))


# ---------------------------------------------------------------- images and labels


def as_split(files: LabelledFiles, images: Tensor, charset: str, length: int) -> Split:
    """Return labelled files and their images, (N, channels, height, width), as a split."""
    labels = [label for _, label in files]
    return Split(labels, images, torch.from_numpy(encode_labels(labels, charset, length)))


def load_unlabelled(folder: Path, labelled: Sequence[Path], spec: InputSpec) -> Tensor:
    """Read the images of a folder as the network's input, (N, channels, height, width) uint8.

    Of more than MOST_UNLABELLED so many at most, evenly spread. Images that are in the split folder
    too are left out, above all those of test, and so are files that cannot be read.
    """
    known = {parsed[1] for file in labelled if (parsed := parse_split_name(file.name))}

    def read(file: Path) -> np.ndarray | ValueError | None:
        """Return an image as the network's input, or why it cannot be read; None: it is known."""
        data = file.read_bytes()
        if content_hash(data)[:8] in known:
            return None
        try:
            return fit_image(decode_image(data, str(file)), spec)
        except ValueError as error:
            return error

    there = image_files(folder)
    files = spread(there, MOST_UNLABELLED)
    if len(files) < len(there):
        note(f"Of the {len(there)} images in {folder}, {len(files)} are used, evenly spread.")
    images = np.empty((len(files), spec.channels, spec.height, spec.width), np.uint8)
    count = 0
    for image in in_parallel(read, files, "reading"):
        if isinstance(image, ValueError):
            note(f"left out: {image}")
        elif image is not None:
            images[count] = image
            count += 1
    if not count:
        raise ValueError(f"{folder} holds no image except those that are labelled already.")
    return torch.from_numpy(images[:count])


def sample_of(images: Tensor, most: int = SAMPLE) -> Tensor:
    """Return up to so many of many images, or of their targets or logits, evenly spread."""
    return images[list(spread(range(len(images)), most))]


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
