"""Reading images from a program, with a trained model or the one that ships.

import predict

reader = predict.Reader("data/model/captcha.safetensors")
text, confidence, character_confidences = reader.read("a.png")
"""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

import model
import utils
from files.framing import find_frame, read_sample
from files.images import FOUND, MAX_BYTES, MAX_PIXELS, decode_image, fit_image, read_image
from reading import limits
from utils import Prediction

Image = Path | str | bytes | np.ndarray  # a file, what is in a file, or pixels


class Reader:
    """Reads images with a model; several threads may use one, and a program may have several.

    ``model_file`` is what train_script.py wrote, or "practice". ``characters`` and ``length`` are
    what can occur, where it is known; see predict.py.

    A general model such as practice reads a site best when it knows some of the site's images:
    ``sample`` is a folder or files of it, twenty or more. Without a sample each image is framed by
    itself, and a text may have any length. Other models need no sample.

    Raises ValueError if the model or the sample cannot be used, or cannot read the characters.
    """

    def __init__(
        self,
        model_file: Path | str,
        characters: str | None = None,
        length: int | None = None,
        sample: Path | str | Sequence[Path | str] | None = None,
    ) -> None:
        self.net, _ = model.load_model(utils.model_file(model_file))
        # Weights in the order of the images save a sixth of the time for one image.
        net = self.net.to(model.best_device())
        net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.is_general = self.net.spec.cut == FOUND
        if sample is None:
            files = []
        elif isinstance(sample, Path | str):
            files = utils.image_files(Path(sample))
        else:
            files = [Path(file) for file in sample]
        # How many characters a general model finds that all images of the sample have; else None.
        self.found = limits.suit(self.net, read_sample(files), characters, length)

    def read(self, image: Image) -> Prediction:
        """Read one image: a file, the bytes of one, or pixels in RGB (H, W, 3) or grey (H, W).

        Raises ValueError or OSError for what is no image.
        """
        return self.read_all([image])[0]

    def read_all(self, images: Sequence[Image]) -> list[Prediction]:
        """Read many images at once, which is faster; each is what read() takes.

        Raises ValueError or OSError if one of them is no image.
        """
        fitted = [self.fit(pixels(image)) for image in images]
        batches = defaultdict(list)  # by size: without a sample a general model has several
        for number, tensor in enumerate(fitted):
            batches[tensor.shape].append(number)
        predictions: dict[int, Prediction] = {}
        for numbers in batches.values():
            read = model.read_images(self.net, torch.stack([fitted[i] for i in numbers]))
            predictions.update(zip(numbers, read, strict=True))
        return [predictions[number] for number in range(len(images))]

    def fit(self, image: np.ndarray) -> torch.Tensor:
        """Return an RGB image (H, W, 3) as the network's input, (channels, height, width) uint8."""
        spec = self.net.spec
        if spec.cut == FOUND:
            spec = find_frame([image], spec.channels)
        return torch.from_numpy(fit_image(image, spec))


def pixels(image: Image) -> np.ndarray:
    """Return an image of any kind as RGB (H, W, 3) uint8. Raises ValueError or OSError."""
    if isinstance(image, bytes):
        if len(image) > MAX_BYTES:
            raise ValueError(f"the image is larger than {MAX_BYTES // 1_000_000} MB.")
        return decode_image(image, "the image")
    if isinstance(image, Path | str):
        if not Path(image).is_file():  # a device could be read for ever
            raise ValueError(f"there is no file {image}.")
        return read_image(Path(image))
    if image.ndim == 2:
        image = np.repeat(image[:, :, None], 3, axis=2)
    height, width, channels = (*image.shape, 0, 0, 0)[:3]
    if image.dtype != np.uint8 or image.ndim != 3 or channels != 3:
        raise ValueError(f"an array must be (H, W, 3) or (H, W) uint8, not {image.shape}.")
    if not 0 < height * width <= MAX_PIXELS:
        raise ValueError(f"the image has {width} x {height} pixels, too few or too many.")
    return image


def as_plain(name: str, read: Prediction | str, min_confidence: float) -> dict[str, Any]:
    """Return what is said of an image in JSON: what was read, or in a sentence why nothing was.

    The answer is None where the confidence is below ``min_confidence``.
    """
    if isinstance(read, str):
        return {"image": name, "error": read}
    answer = read.text if read.confidence >= min_confidence else None
    return {"image": name, "answer": answer, **read._asdict()}
