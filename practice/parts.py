"""Images for the training of the model that ships: drawn in parts, kept on disk as arrays."""

import multiprocessing
import random
import shutil
import time
from collections.abc import Callable, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from files.images import InputSpec, fit_image
from practice import forms, styles
from practice.glyphs import CHARACTERS, Face
from training import parallel
from training.parallel import Share

LENGTH = styles.LENGTHS[1]  # characters in the longest text
# Height and width of what the network sees, from square images to long ones. Images of a batch
# have one shape; all have about as many pixels.
SHAPES = ((56, 112), (48, 136), (40, 160), (32, 200), (32, 256))
OLDER = ("simple", "ripple", "noise", "mixed")  # forms that a share of the images has, too
OLDER_SHARE = 0.1


class Part(NamedTuple):
    """Images of one shape."""

    images: Tensor  # (N, 3, height, width) uint8; those of the CPU stay on disk until they are used
    targets: Tensor  # (N, LENGTH) uint8, class numbers: 0 is the blank past the text's end


def draw_image(
    name: str,
    faces: Sequence[Face],
    hardest: float = 1.0,
    without: Sequence[Callable] = (),
    surely: Sequence[Callable] = (),
) -> tuple[np.ndarray, str]:
    """Draw the image of a name, (H, W, 3) uint8; return it and its text."""
    rng = random.Random(name)
    if not surely and rng.random() < OLDER_SHARE:
        image, text = forms.FORMS[rng.choice(OLDER)](rng)
        return np.asarray(image), text
    return styles.draw(rng, faces, hardest, without, surely)


def draw_part(
    folder: Path,
    count: int,
    faces: Sequence[Face],
    seed: str,
    hardest: float = 1.0,
    without: Sequence[Callable] = (),
    surely: Sequence[Callable] = (),
) -> None:
    """Draw images and write them to a folder: for each shape an array of images and of targets.

    The same arguments give the same images, but for the version of a font or a library.
    """
    images: dict[tuple[int, int], list[np.ndarray]] = {shape: [] for shape in SHAPES}
    targets: dict[tuple[int, int], list[np.ndarray]] = {shape: [] for shape in SHAPES}
    for number in range(count):
        image, text = draw_image(f"{seed} {number}", faces, hardest, without, surely)
        shape = best_shape(image, random.Random(f"{seed} {number} shape"))
        images[shape].append(fit_image(image, InputSpec(*shape, 3)))
        target = np.zeros(LENGTH, np.uint8)
        target[: len(text)] = [CHARACTERS.index(character) + 1 for character in text]
        targets[shape].append(target)
    unfinished = folder.with_name(f"{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    for shape in SHAPES:
        if images[shape]:
            name = "{}x{}".format(*shape)
            np.save(unfinished / f"{name}.images.npy", np.stack(images[shape]))
            np.save(unfinished / f"{name}.targets.npy", np.stack(targets[shape]))
    unfinished.rename(folder)


def best_shape(image: np.ndarray, rng: random.Random) -> tuple[int, int]:
    """Return the shape that suits an image, or a neighbour of it: folders hold unlike images."""
    aspect = image.shape[1] / image.shape[0] * rng.uniform(0.7, 1.4)
    return min(SHAPES, key=lambda shape: abs(np.log(shape[1] / shape[0] / aspect)))


def open_part(folder: Path, device: torch.device | None = None) -> list[Part]:
    """Return the images of a folder, shape by shape, on a device; None: the CPU."""
    return [
        Part(*(torch.from_numpy(np.load(f, mmap_mode="c")).to(device) for f in (images, targets)))
        for images, targets in zip(
            sorted(folder.glob("*.images.npy")), sorted(folder.glob("*.targets.npy")), strict=True
        )
    ]


def keep_drawing(
    folder: Path,
    numbers: range,
    most: int,
    count: int,
    faces: Sequence[Face],
    seed: str,
    ramp: int,
    without: Sequence[Callable],
) -> None:
    """Draw the parts with these numbers, one after the other, those that are not there.

    Waits before the part that is ``most`` ahead of the oldest: who trains removes old ones. The
    first ``ramp`` parts go from easy images to hard ones: from scratch, hard ones alone teach
    nothing for long.
    """
    cv2.setNumThreads(1)
    trainer = multiprocessing.parent_process()
    for number in numbers:
        while is_alive(trainer) and number >= min(drawn(folder), default=numbers.start) + most:
            time.sleep(0.2)
        if not is_alive(trainer):  # it was killed; who goes on with the training draws anew
            return
        place = part_folder(folder, number)
        if not place.exists():
            hardest = min(1.0, 0.2 + 0.8 * number / ramp) if ramp else 1.0
            draw_part(place, count, faces, f"{seed} {number}", hardest, without)


def drawn(folder: Path) -> list[int]:
    """Return the numbers of the parts that are there."""
    return [int(place.name.removeprefix("part")) for place in folder.glob("part?????")]


def is_alive(process: BaseProcess | None) -> bool:
    """Tell whether a process has not ended; None stands for one that is always there."""
    return process is None or process.is_alive()


def part_folder(folder: Path, number: int) -> Path:
    """Return where a part is kept."""
    return folder / f"part{number:05d}"


class Window:
    """The latest parts, from which a training takes its images."""

    def __init__(self, folder: Path, size: int, device: torch.device) -> None:
        self.folder, self.size, self.device = folder, size, device
        self.parts: dict[int, list[Part]] = {}
        folder.mkdir(exist_ok=True)

    def move_to(self, newest: int, drawing: Sequence[BaseProcess]) -> None:
        """Have the parts up to this number, as soon as they are drawn; remove those too old."""
        numbers = range(max(0, newest - self.size + 1), newest + 1)
        self.parts = {number: self.parts[number] for number in numbers if number in self.parts}
        for old in drawn(self.folder):
            if parallel.is_first_here() and old < numbers.start:
                shutil.rmtree(part_folder(self.folder, old))
        for number in numbers:
            place = part_folder(self.folder, number)
            while not place.exists():
                if any(process.exitcode for process in drawing):
                    raise ValueError(f"the drawing of {self.folder} ended early.")
                time.sleep(0.2)
            if number not in self.parts:
                self.parts[number] = open_part(place, self.device)

    def random_batch(self, share: Share) -> tuple[Tensor, Tensor]:
        """Return images (B, 3, H, W) float32 of one shape, and their targets (B, L) int64.

        Of the batch that all processes draw, they are the share of this one.
        """
        every = [part for some in self.parts.values() for part in some]
        sizes = torch.tensor([float(len(part.targets)) for part in every])
        part = every[int(torch.multinomial(sizes, 1))]
        rows = torch.randint(len(part.targets), (share.batch,)).sort().values
        rows = share.of(rows).to(self.device)
        return part.images[rows].float(), part.targets[rows].long()
