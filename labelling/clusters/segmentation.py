"""Cut the characters out of captcha images, without labels: by ink, by colour, by width.

The background is estimated and what differs from it is ink. Lines across the image are removed;
connected ink of one colour is a part. Over all images of a form, the usual number of parts and
their usual width then show which parts are several characters, and which are pieces of one.
"""

from collections import Counter
from typing import NamedTuple

import cv2
import numpy as np

# Lengths are shares of an image's height unless stated otherwise. Colours are in CIELAB, where a
# distance of 2 is just visible. The values were chosen on images that are not used to measure.
COLOUR_RADIUS = 16  # ink within this distance of a colour belongs to it
LEAST_HEIGHT, LEAST_AREA = 0.15, 0.006  # of a part; less is dirt (area in shares of height squared)
LINE_THICKNESS = 0.08  # a line is thinner than this, ...
LINE_REACH = 0.2  # ... and longer than this share of the width
FIXED_COUNT = 0.5  # if this share of images has the same number of parts, all should have it


class Part(NamedTuple):
    """What was cut out of an image and is probably one character."""

    left: int  # pixels from the image's left edge
    top: int  # pixels from its upper edge
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
    line = find_lines(ink, LINE_REACH) | find_lines(ink.T, 0.9).T  # the second finds frames
    layers = colour_layers(lab, ink & ~line)
    height, width = ink.shape
    parts = []
    for number in range(1, layers.max() + 1):
        own = (layers == number).astype(np.uint8)
        # A line that was removed, or that has another colour, leaves a gap in a letter: bridge it.
        bridged = cv2.morphologyEx(own, cv2.MORPH_CLOSE, np.ones((5, 3), np.uint8)) > 0
        own = (bridged & (ink | line)).astype(np.uint8)
        count, where, stats, _ = cv2.connectedComponentsWithStats(own, connectivity=8)
        for i in range(1, count):
            x, y, w, h, area = stats[i]
            is_line = w > 0.25 * width and area < LINE_THICKNESS * height * w
            if h >= LEAST_HEIGHT * height and area >= LEAST_AREA * height**2 and not is_line:
                mask = where[y : y + h, x : x + w] == i
                colour = lab[y : y + h, x : x + w][mask].mean(axis=0)
                parts.append(Part(int(x), int(y), mask, colour))
    return join_stacked(parts)


def find_ink(lab: np.ndarray) -> np.ndarray:
    """Return which pixels of a CIELAB image (H, W, 3) differ from the background, (H, W) bool."""
    width = lab.shape[1]
    reach = max(8, width // 16)
    # The background of a column is the median around it: letters cover less than half of an image.
    columns = np.linspace(0, width - 1, 32).astype(int)
    medians = [np.median(lab[:, max(0, x - reach) : x + reach + 1], axis=(0, 1)) for x in columns]
    background = np.stack(
        [np.interp(np.arange(width), columns, channel) for channel in np.transpose(medians)], axis=1
    )  # (W, 3)
    distance = np.linalg.norm(lab - background, axis=2).clip(0, 255).astype(np.uint8)  # (H, W)
    otsu, _ = cv2.threshold(distance, 0, 255, cv2.THRESH_OTSU)
    # Otsu's threshold suits strong letters on a noisy background; on a clean one faint ones count.
    return distance > max(8, min(otsu, 30, 6 * np.median(distance)))


def find_lines(ink: np.ndarray, reach: float) -> np.ndarray:
    """Return the pixels of lines across, (H, W) bool: thin, and longer than ``reach`` widths."""
    height, width = ink.shape
    mask = ink.astype(np.uint8)
    tall = np.ones((max(3, round(LINE_THICKNESS * height)), 1), np.uint8)
    thick = cv2.morphologyEx(mask, cv2.MORPH_OPEN, tall) > 0
    thin = (ink & ~thick).astype(np.uint8)
    count, where, stats, _ = cv2.connectedComponentsWithStats(thin, connectivity=8)
    long = [i for i in range(1, count) if stats[i, cv2.CC_STAT_WIDTH] > reach * width]
    return np.isin(where, long)


def colour_layers(lab: np.ndarray, ink: np.ndarray) -> np.ndarray:
    """Assign ink to layers of one colour each: (H, W) numbers from 1 on, 0 where there is no ink.

    The most frequent colour and all that is near it become a layer, then the most frequent colour
    of the remaining ink, and so on. ``lab`` is (H, W, 3) CIELAB, ``ink`` (H, W) bool.
    """
    layers = np.zeros(ink.shape, np.int32)
    # Edges blend two colours: search where there is ink all around.
    core = cv2.erode(ink.astype(np.uint8), np.ones((2, 2), np.uint8)).astype(bool)
    least = max(8, int(ink.sum()) // 50)
    left = lab[core if core.sum() >= least else ink]  # (pixels, 3)
    centres: list[np.ndarray] = []
    while len(left) >= least and len(centres) < 12:
        cell = (left // 8).astype(int) @ [4096, 64, 1]  # cubes of side 8, numbered
        cells, counts = np.unique(cell, return_counts=True)
        centre = left[cell == cells[counts.argmax()]].mean(axis=0)
        near = np.linalg.norm(left - centre, axis=1) < COLOUR_RADIUS
        centre = left[near].mean(axis=0)
        near |= np.linalg.norm(left - centre, axis=1) < COLOUR_RADIUS
        if near.sum() >= least:
            centres.append(centre)
        left = left[~near]
    if centres:
        distances = np.linalg.norm(lab[ink][:, None] - np.array(centres), axis=2)
        layers[ink] = distances.argmin(axis=1) + 1
    return layers


def join_stacked(parts: list[Part]) -> list[Part]:
    """Join parts that stand above or within one another, and sort them from left to right."""
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
    mask = np.zeros((max(one.bottom, other.bottom) - top, max(one.right, other.right) - left), bool)
    for part in (one, other):
        window = mask[part.top - top : part.bottom - top, part.left - left : part.right - left]
        window |= part.mask
    share = one.mask.sum() / (one.mask.sum() + other.mask.sum())
    return Part(left, top, mask, share * one.colour + (1 - share) * other.colour)


# ---------------------------------------------------------------- all images of one form


def fix_counts(cuts: list[list[Part]]) -> list[list[Part]]:
    """Give the images of one form their usual number of parts, if there is one.

    ``cuts`` are the parts of each image. Where parts are missing, the widest is halved. Where there
    are too many, the two neighbours that are most likely pieces of one character are joined.
    """
    widths = [part.mask.shape[1] for parts in cuts for part in parts]
    if not widths:
        return cuts
    usual_width = float(np.median(widths))
    usual_count, times = Counter(len(parts) for parts in cuts).most_common(1)[0]
    if times < FIXED_COUNT * len(cuts) or usual_count == 0:
        return cuts
    return [with_count(list(parts), usual_count, usual_width) for parts in cuts]


def with_count(parts: list[Part], count: int, usual_width: float) -> list[Part]:
    """Halve or join parts until there are ``count``, or none is wide enough to be halved."""
    while parts and len(parts) < count:
        i = max(range(len(parts)), key=lambda i: parts[i].mask.shape[1])
        if parts[i].mask.shape[1] < 1.3 * usual_width:
            break
        parts[i : i + 1] = halve(parts[i])
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
    """Rate how unlikely two neighbours are pieces of one: unlike colours, too wide, or a gap."""
    width = max(one.right, other.right) - min(one.left, other.left)
    colour = float(np.linalg.norm(one.colour - other.colour))
    return colour + 30 * max(0, width / usual_width - 1.3) + 2 * max(0, other.left - one.right)


def halve(part: Part) -> list[Part]:
    """Cut a part in two where there is least ink, preferably near its middle."""
    height, width = part.mask.shape
    off_middle = np.abs(np.arange(width) - width / 2) / width  # (W,)
    cost = part.mask.sum(axis=0) + 0.4 * height * off_middle
    at = width // 4 + int(cost[width // 4 : max(width // 4 + 1, width * 3 // 4)].argmin())
    at = min(max(at, 1), width - 1)
    return [trim(part, 0, at), trim(part, at, width)]


def trim(part: Part, start: int, end: int) -> Part:
    """Return columns ``start`` to ``end`` of a part, without empty rows and columns at the edge."""
    ys, xs = np.nonzero(part.mask[:, start:end])
    top, bottom, left, right = (
        (ys.min(), ys.max() + 1, start + xs.min(), start + xs.max() + 1)
        if len(xs)
        else (0, part.mask.shape[0], start, end)
    )
    mask = part.mask[top:bottom, left:right]
    return Part(int(part.left + left), int(part.top + top), mask, part.colour)
