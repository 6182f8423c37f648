"""Cut the characters out of captcha images, without labels: by ink, by colour, by width.

The ground is estimated, what differs from it is ink; lines across are taken out; ink of one colour
that hangs together is a part. Over all images of a form the usual number of parts and their usual
width then show which parts are several characters, and which are pieces of one.
"""

from collections import Counter
from typing import NamedTuple

import cv2
import numpy as np

# All lengths below are shares of an image's height unless they say otherwise, all colours are in
# CIELAB, where a distance of 2 is just visible. Chosen on images that are not measured.
colour_radius = 16  # ink within this distance of a colour belongs to it
least_height, least_area = 0.15, 0.006  # of a part; less is dirt (area in shares of height squared)
line_thickness = 0.08  # a line is thinner than this, ...
line_reach = 0.2  # ... and reaches over more than this share of the width
fixed_count = 0.5  # if this share of images has the same number of parts, all should have it


class Part(NamedTuple):
    """What was cut out of an image and is probably one character."""

    left: int  # pixels from the image's left edge
    top: int
    mask: np.ndarray  # (height, width) bool: its pixels
    colour: np.ndarray  # (3,) CIELAB, their mean

    @property
    def right(self) -> int:
        """The first column right of the part."""
        return self.left + self.mask.shape[1]

    @property
    def bottom(self) -> int:
        """The first row below the part."""
        return self.top + self.mask.shape[0]


# ---------------------------------------------------------------- one image


def cut(image: np.ndarray) -> list[Part]:
    """Cut an RGB image (H, W, 3) into parts, from left to right."""
    lab = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)  # (H, W, 3)
    ink = find_ink(lab)
    line = find_lines(ink, line_reach) | find_lines(ink.T, 0.9).T  # the latter: a frame
    layers = colour_layers(lab, ink & ~line)
    height, width = ink.shape
    parts = []
    for number in range(1, layers.max() + 1):
        own = (layers == number).astype(np.uint8)
        # A line that was taken out, or that has another colour, cuts letters apart: bridge it.
        bridged = cv2.morphologyEx(own, cv2.MORPH_CLOSE, np.ones((5, 3), np.uint8))
        own = bridged & (own | ink | line)
        count, where, stats, _ = cv2.connectedComponentsWithStats(own, connectivity=8)
        for i in range(1, count):
            x, y, w, h, area = stats[i]
            is_line = w > 0.25 * width and area < line_thickness * height * w
            if h >= least_height * height and area >= least_area * height**2 and not is_line:
                mask = where[y : y + h, x : x + w] == i
                colour = lab[y : y + h, x : x + w][mask].mean(axis=0)
                parts.append(Part(int(x), int(y), mask, colour))
    return join_stacked(parts)


def find_ink(lab: np.ndarray) -> np.ndarray:
    """Return which pixels differ from the ground, (H, W) bool; ``lab`` is (H, W, 3)."""
    width = lab.shape[1]
    reach = max(8, width // 16)
    # The ground at a column is the median around it: letters cover less than half of the image.
    columns = np.linspace(0, width - 1, 32).astype(int)
    medians = [np.median(lab[:, max(0, x - reach) : x + reach + 1], axis=(0, 1)) for x in columns]
    ground = np.stack(
        [np.interp(np.arange(width), columns, channel) for channel in np.transpose(medians)], axis=1
    )  # (W, 3)
    distance = np.linalg.norm(lab - ground, axis=2).clip(0, 255).astype(np.uint8)  # (H, W)
    otsu, _ = cv2.threshold(distance, 0, 255, cv2.THRESH_OTSU)
    # Otsu's threshold suits strong letters on a noisy ground; on a clean one faint letters count.
    return distance > max(8, min(otsu, 30, 6 * np.median(distance)))


def find_lines(ink: np.ndarray, reach: float) -> np.ndarray:
    """Return the pixels of lines across, (H, W) bool: thin from top to bottom, and far-reaching."""
    height, width = ink.shape
    mask = ink.astype(np.uint8)
    tall = np.ones((max(3, round(line_thickness * height)), 1), np.uint8)
    thin = mask & (1 - cv2.morphologyEx(mask, cv2.MORPH_OPEN, tall))
    count, where, stats, _ = cv2.connectedComponentsWithStats(thin, connectivity=8)
    far = [i for i in range(1, count) if stats[i, cv2.CC_STAT_WIDTH] > reach * width]
    return np.isin(where, far)


def colour_layers(lab: np.ndarray, ink: np.ndarray) -> np.ndarray:
    """Deal the ink out to layers of one colour each: (H, W) numbers from 1 on, 0 without ink.

    The most frequent colour becomes a layer with all that is near it, then the most frequent of
    what is left, and so on.
    """
    layers = np.zeros(ink.shape, np.int32)
    # Edges are blends of two colours: look for colours where there is ink all around.
    core = cv2.erode(ink.astype(np.uint8), np.ones((2, 2), np.uint8)).astype(bool)
    least = max(8, int(ink.sum()) // 50)
    left, centres = lab[core if core.sum() >= least else ink], []  # (pixels, 3)
    while len(left) >= least and len(centres) < 12:
        cell = (left // 8).astype(int) @ [4096, 64, 1]  # cubes of side 8, numbered
        cells, counts = np.unique(cell, return_counts=True)
        centre = left[cell == cells[counts.argmax()]].mean(axis=0)
        near = np.linalg.norm(left - centre, axis=1) < colour_radius
        centre = left[near].mean(axis=0)
        near |= np.linalg.norm(left - centre, axis=1) < colour_radius
        if near.sum() >= least:
            centres.append(centre)
        left = left[~near]
    if centres:
        distances = np.linalg.norm(lab[ink][:, None] - np.array(centres), axis=2)
        layers[ink] = distances.argmin(axis=1) + 1
    return layers


def join_stacked(parts: list[Part]) -> list[Part]:
    """Join parts of which one stands above or within the other, and sort them from the left."""
    joined: list[Part] = []
    for part in sorted(parts, key=lambda part: -part.mask.sum()):
        for i, other in enumerate(joined):
            overlap = min(part.right, other.right) - max(part.left, other.left)
            if overlap > 0.6 * min(part.mask.shape[1], other.mask.shape[1]):
                joined[i] = join(part, other)
                break
        else:
            joined.append(part)
    return sorted(joined, key=lambda part: part.left + part.right)


def join(one: Part, other: Part) -> Part:
    """Return two parts as one."""
    left, top = min(one.left, other.left), min(one.top, other.top)
    shape = (max(one.bottom, other.bottom) - top, max(one.right, other.right) - left)
    mask = np.zeros(shape, bool)
    for part in (one, other):
        window = mask[part.top - top : part.bottom - top, part.left - left : part.right - left]
        window |= part.mask
    share = one.mask.sum() / (one.mask.sum() + other.mask.sum())
    return Part(left, top, mask, share * one.colour + (1 - share) * other.colour)


# ---------------------------------------------------------------- all images of one form


def mend(cuts: list[list[Part]]) -> list[list[Part]]:
    """Bring the images of one form to their usual number of parts, if there is one.

    ``cuts`` are the parts of each image. Where some are missing, the widest is split; where there
    are too many, the two neighbours that are most likely pieces of one are joined.
    """
    widths = [part.mask.shape[1] for parts in cuts for part in parts]
    if not widths:
        return cuts
    usual_width = float(np.median(widths))
    usual_count, times = Counter(len(parts) for parts in cuts).most_common(1)[0]
    if times < fixed_count * len(cuts):
        return cuts
    return [with_count(list(parts), usual_count, usual_width) for parts in cuts]


def with_count(parts: list[Part], count: int, usual_width: float) -> list[Part]:
    """Split or join parts until there are ``count``, or nothing is left that could be split."""
    while parts and len(parts) < count:
        i = max(range(len(parts)), key=lambda i: parts[i].mask.shape[1])
        if parts[i].mask.shape[1] < 1.3 * usual_width:
            break
        parts[i : i + 1] = split(parts[i])
    while len(parts) > count:
        pairs = zip(parts, parts[1:], strict=False)
        strangeness = [unlike_one(one, other, usual_width) for one, other in pairs]
        i = int(np.argmin(strangeness))
        if strangeness[i] < 25:
            parts[i : i + 2] = [join(parts[i], parts[i + 1])]
        else:
            del parts[min(range(len(parts)), key=lambda i: parts[i].mask.sum())]
    return parts


def unlike_one(one: Part, other: Part, usual_width: float) -> float:
    """Say how unlikely two neighbours are to be pieces of one: other colour, too wide, a gap."""
    width = max(one.right, other.right) - min(one.left, other.left)
    colour = float(np.linalg.norm(one.colour - other.colour))
    return colour + 30 * max(0, width / usual_width - 1.3) + 2 * max(0, other.left - one.right)


def split(part: Part) -> list[Part]:
    """Cut a part in two where the least ink stands, rather near its middle."""
    height, width = part.mask.shape
    off_middle = np.abs(np.arange(width) - width / 2) / width  # (W,)
    cost = part.mask.sum(axis=0) + 0.4 * height * off_middle
    at = width // 4 + int(cost[width // 4 : max(width // 4 + 1, width * 3 // 4)].argmin())
    at = min(max(at, 1), width - 1)
    return [trim(part, 0, at), trim(part, at, width)]


def trim(part: Part, start: int, end: int) -> Part:
    """Return columns ``start`` to ``end`` of a part, without the empty rows and columns around."""
    ys, xs = np.nonzero(part.mask[:, start:end])
    top, bottom, left, right = (
        (ys.min(), ys.max() + 1, start + xs.min(), start + xs.max() + 1)
        if len(xs)
        else (0, part.mask.shape[0], start, end)
    )
    mask = part.mask[top:bottom, left:right]
    return Part(int(part.left + left), int(part.top + top), mask, part.colour)
