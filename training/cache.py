"""The images as the network sees them: decoded once, then mapped from a file.

Of a large set the pixels go to ``images.cache`` in the split folder. A later training maps that
file into memory: it starts at once, and the system keeps in memory what is used and fits. The file
holds the pixels, one image after the other, and at its end a hash of all that they follow from.
With any other end it is made anew. split_data.py removes it with the folder.
"""

import contextlib
import hashlib
import math
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from files.atomic import replacing
from files.images import InputSpec, fit_image, read_image
from files.tables import lock
from utils import in_parallel, note

FORMAT = "captcha-recognizer images 1"  # to be counted up when fit_image() changes
CACHE_FROM = 10_000  # fewer images are decoded in seconds, and stay in memory


def load_images(files: Sequence[Path], spec: InputSpec, cache: Path | None) -> Tensor:
    """Return image files as the network's input, (N, channels, height, width) uint8.

    They lie in memory, if there are few of them or ``cache`` is None; else in that file, and must
    not be written to. Where it cannot be made (a folder that is read-only, a full disk), they lie
    in memory, too. Raises ValueError for an image that cannot be read.
    """
    shape = (len(files), spec.channels, spec.height, spec.width)
    if cache is not None and len(files) >= CACHE_FROM:
        try:
            return map_or_make(cache, files, spec, shape)
        except OSError as error:
            note(f"{cache} cannot be made ({error.strerror}); the images stay in memory.")
    images = np.empty(shape, np.uint8)
    for place, image in zip(images, decode(files, spec), strict=True):
        place[:] = image
    return torch.from_numpy(images)


def decode(files: Sequence[Path], spec: InputSpec) -> Iterator[np.ndarray]:
    """Give each image file as the network's input, (channels, height, width) uint8."""
    return in_parallel(lambda file: fit_image(read_image(file), spec), files, "reading")


def map_or_make(
    cache: Path, files: Sequence[Path], spec: InputSpec, shape: tuple[int, ...]
) -> Tensor:
    """Return the images of a cache file, which is made unless it is of these very images."""
    end = end_of(files, spec)
    images = map_images(cache, end, shape)
    if images is None:
        with one_at_a_time(cache.with_name(f".{cache.name}.lock")):
            images = map_images(cache, end, shape)  # another program may have made it meanwhile
            if images is None:
                with replacing(cache) as temporary, open(temporary, "wb") as file:
                    for image in decode(files, spec):
                        file.write(image.tobytes())
                    file.write(end)
                images = map_images(cache, end, shape)
    if images is None:
        raise OSError(0, "it is not what was written", str(cache))
    return images


def map_images(cache: Path, end: bytes, shape: tuple[int, ...]) -> Tensor | None:
    """Map the pixels of a cache file into memory; None if it is not there or has another end."""
    try:
        with cache.open("rb") as file:
            file.seek(math.prod(shape))
            if file.read(len(end) + 1) != end:
                return None
            pixels = np.memmap(file, np.uint8, "r", shape=shape)
    except FileNotFoundError:
        return None
    with warnings.catch_warnings():  # nothing writes to the images, so they need not be writable
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        return torch.from_numpy(pixels)


def end_of(files: Sequence[Path], spec: InputSpec) -> bytes:
    """Return a hash of the files' names, sizes and times, in order, and of how they are decoded."""
    digest = hashlib.sha256(f"{FORMAT} {tuple(spec)}\n".encode())
    for file in files:
        about = file.stat()
        line = f"{file.name} {about.st_size} {about.st_mtime_ns}\n"
        digest.update(line.encode(errors="surrogateescape"))
    return digest.digest()


@contextlib.contextmanager
def one_at_a_time(path: Path) -> Iterator[None]:
    """Wait until no other program is here."""
    while True:
        try:
            held = lock(path, "")
            break
        except ValueError:
            time.sleep(0.2)
    with held:
        yield
