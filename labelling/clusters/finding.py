"""Find the characters of images without labels, and describe each by a row of numbers.

In two ways:

``cut``        They are cut out of the image (segmentation.py) and described by the directions of
               their edges (histograms of oriented gradients, Dalal and Triggs 2005).
``attention``  The network that ships says where it attends and what it finds there, touching
               letters included.
"""

import copy
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import torch
from sklearn.decomposition import PCA

import model
import utils
from files.framing import SAMPLE, spread
from files.images import InputSpec, box_of, stretched
from labelling.clusters import segmentation
from labelling.clusters.segmentation import Part
from model import CaptchaNet
from reading import limits
from utils import Prediction

SURE_LENGTH = 0.7  # the length of practice:digit is sure to 0.55, that of longer texts to 0.84
USUAL = 0.9  # if this share of images is cut into the same number of parts, all have that length


class Crop(NamedTuple):
    """Where a character was found."""

    image: int  # number of the image
    place: int  # 0 is the image's first character
    box: tuple[int, int, int, int]  # left, top, right, bottom in pixels


class Characters(NamedTuple):
    """The characters of many images, as one of the ways finds them."""

    way: str
    crops: list[Crop]  # N of them
    features: np.ndarray  # (N, D)


def find_characters(
    images: Sequence[np.ndarray],
    start: CaptchaNet,
    characters: str | None = None,
    length: int | None = None,
) -> tuple[list[Characters], list[Prediction]]:
    """Find the characters of images (H, W, 3) RGB of one form, both ways, and read the images.

    ``start`` is the network that ships; it is suited to the images. ``characters`` and ``length``
    are what can occur, where it is known.
    """
    cut = cut_all(images)
    net = suited(start, images, characters, length)
    usual = usual_count(cut.crops, len(images))
    if usual and not is_sure_of_length(net, images):
        # It takes a single digit for two characters, as no captcha has one; the cut counts better.
        net = suited(start, images, characters, usual)
    attended, read = attend_all(images, net)
    return [cut, attended], read


def suited(
    start: CaptchaNet, images: Sequence[np.ndarray], characters: str | None, length: int | None
) -> CaptchaNet:
    """Return a copy of a network that is suited to the site that the images are of.

    Groups are for what it cannot read, too: to characters or a length that it does not know it is
    not limited.
    """
    if characters and limits.readable(characters, start.known) != characters:
        characters = None
    if length and length > start.length:
        length = None
    net = copy.deepcopy(start)
    limits.suit(net, spread(images, SAMPLE), characters, length)
    return net


def is_sure_of_length(net: CaptchaNet, images: Sequence[np.ndarray]) -> bool:
    """Tell whether a network is mostly sure how many characters the images show."""
    some = torch.stack([model.prepare(net, image) for image in spread(images, SAMPLE)])
    logits = model.read_logits(net, some) / net.temperature.cpu()  # (N, L, classes)
    blank = logits.softmax(dim=2)[:, :, 0]  # (N, L)
    return blank.maximum(1 - blank).prod(dim=1).mean().item() >= SURE_LENGTH


def usual_count(crops: Sequence[Crop], images: int) -> int | None:
    """Return the number of crops that nearly all of the images have, if there is one."""
    counts = Counter(Counter(crop.image for crop in crops).values())
    count, times = counts.most_common(1)[0] if counts else (0, 0)
    return count if times >= USUAL * images else None


def cut_all(images: Sequence[np.ndarray]) -> Characters:
    """Cut the characters out of all images."""
    cuts = segmentation.fix_counts(
        [segmentation.cut(image) for image in utils.progress(images, "cutting")]
    )
    crops, parts = [], []
    for number, row in enumerate(cuts):
        for place, part in enumerate(row):
            crops.append(Crop(number, place, (part.left, part.top, part.right, part.bottom)))
            parts.append(part)
    return Characters("cut", crops, describe(parts))


def describe(parts: Sequence[Part], size_weight: float = 0.15) -> np.ndarray:
    """Describe parts by the directions of their edges and, a little, by their size, (N, D)."""
    if not parts:
        return np.empty((0, 0), np.float32)
    shapes = np.array([part.mask.shape for part in parts])  # (N, 2)
    edges = np.array([gradient_histogram(centred(part.mask)) for part in parts])
    size = np.log(shapes / np.median(shapes[:, 0]))  # tells an o from an O
    return np.hstack([edges, size_weight * size]).astype(np.float32)


def centred(mask: np.ndarray, side: int = 32, margin: int = 4) -> np.ndarray:
    """Scale a mask (h, w) into a square with its proportions kept, (side, side) float 0 to 1."""
    scale = (side - 2 * margin) / max(mask.shape)
    height, width = (max(1, round(scale * length)) for length in mask.shape)
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    scaled = cv2.resize(mask.astype(np.float32), (width, height), interpolation=how)
    square = np.zeros((side, side), np.float32)
    top, left = (side - height) // 2, (side - width) // 2
    square[top : top + height, left : left + width] = scaled
    return square


def gradient_histogram(square: np.ndarray, cell: int = 4, directions: int = 8) -> np.ndarray:
    """Return how strong edges are in each direction and cell of a square, as one row.

    Neighbouring cells and directions share what lies between them, so that a letter shifted by a
    pixel or turned by a few degrees is described alike. The square root keeps strong edges from
    outweighing the rest.
    """
    smooth = cv2.GaussianBlur(square, (0, 0), 1)
    dx, dy = cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1)
    strength = np.hypot(dx, dy)
    angle = np.arctan2(dy, dx) % (2 * np.pi) * directions / (2 * np.pi)  # 0 to directions
    cells = []
    for direction in range(directions):
        off = np.abs((angle - direction + directions / 2) % directions - directions / 2)
        share = strength * np.clip(1 - off, 0, 1)
        blurred = cv2.GaussianBlur(share, (0, 0), 0.7 * cell)
        cells.append(blurred[cell // 2 :: cell, cell // 2 :: cell])
    row = np.stack(cells).ravel()
    return np.sqrt(row / (row.sum() + 1e-6))


@torch.no_grad()
def attend_all(
    images: Sequence[np.ndarray], net: CaptchaNet
) -> tuple[Characters, list[Prediction]]:
    """Find characters with a network's attention, and read the images at one look.

    Raises ValueError if the network has no attention.
    """
    crops: list[Crop] = []
    features, read = [], []
    for start in utils.progress(range(0, len(images), 64), "attending"):
        some = images[start : start + 64]
        batch = torch.stack([model.prepare(net, image) for image in some])  # (B, channels, H, W)
        logits, maps, seen = net.attend(batch)  # (B, L, classes), (B, L, h, w), (B, C, h, w)
        if maps is None:
            raise ValueError("a network without attention cannot find characters.")
        read += model.as_predictions(logits / net.temperature, net.charset)
        attended = torch.einsum("blhw,bchw->blc", maps, seen)  # (B, L, C)
        is_character = (logits.argmax(dim=2) > 0).numpy()  # (B, L): no blank
        columns = (torch.arange(maps.shape[3]) + 0.5) * net.spec.width / maps.shape[3]
        middles = (maps.sum(dim=2) * columns).sum(dim=2) / maps.sum(dim=(2, 3)).clamp(min=1e-6)
        for i, image in enumerate(some):
            height, width = image.shape[:2]
            xs = columns_of(middles[i].numpy()[is_character[i]], image, net.spec)
            crops.extend(boxes_around(xs, height, width, start + i))
            features.append(attended[i].numpy()[is_character[i]])
    return Characters("attention", crops, np.concatenate(features)), read


def columns_of(xs: np.ndarray, image: np.ndarray, spec: InputSpec) -> np.ndarray:
    """Return which columns of an RGB image (H, W, 3) those are that fit_image() puts at ``xs``."""
    height, width = image.shape[:2]
    top, left, bottom, right = box_of(stretched(image, spec.stretch), spec.cut)
    part_height, part_width = (bottom - top) * height, (right - left) * width * spec.stretch
    scale = min(spec.height / part_height, spec.width / part_width)
    return xs / (scale * spec.stretch) + left * width


def boxes_around(xs: np.ndarray, height: int, width: int, image: int) -> list[Crop]:
    """Return crops of an image, as high as it and somewhat wider than the characters at ``xs``."""
    reach = 0.6 * (np.diff(xs).mean() if len(xs) > 1 else height)
    crops = []
    for place, x in enumerate(xs):
        left, right = max(0, int(x - reach)), min(width, int(x + reach) + 1)
        left = min(left, width - 1)
        crops.append(Crop(image, place, (left, 0, max(right, left + 1), height)))
    return crops


def condense(features: np.ndarray, dimensions: int = 60) -> np.ndarray:
    """Keep the directions in which features (N, D) vary most: (N, dimensions) or fewer."""
    keep = min(dimensions, *features.shape)
    return PCA(keep, random_state=0).fit_transform(features).astype(np.float32)
