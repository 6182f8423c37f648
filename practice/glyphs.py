"""The letters of many fonts as masks, and what can be done to a mask: hollow, dotted, in pixels."""

import math
import random
from collections.abc import Iterable, Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

DIGITS, SMALL = "0123456789", "abcdefghijklmnopqrstuvwxyz"
CHARACTERS = DIGITS + SMALL.upper() + SMALL
CAPITAL = 40  # pixels; the height of a face's capital H in a mask


class Face(NamedTuple):
    """One face of a font file."""

    path: str
    family: str
    size: int  # at which its capital H is CAPITAL pixels high


class Glyph(NamedTuple):
    """A character of a face."""

    mask: np.ndarray  # (h, w) uint8, 255 where there is ink
    top: int  # of the mask, in pixels below the foot of the letters: mostly negative


def find_faces(folders: Iterable[Path]) -> list[Face]:
    """Return the faces below some folders that can write all of CHARACTERS, by path.

    Faces that lack characters, or draw some alike, are no use: symbols, other scripts, and fonts of
    capitals alone, in which a small letter could not be told from a capital.
    """
    files = sorted({f.resolve() for folder in folders for f in folder.rglob("*.[ot]tf")})
    return [face for file in files if (face := read_face(str(file))) and is_complete(face)]


@cache
def read_face(path: str) -> Face | None:
    """Return the face of a font file, or None if there is no capital H to measure it by."""
    try:
        font = ImageFont.truetype(path, 100, layout_engine=ImageFont.Layout.BASIC)
        left, top, right, bottom = font.getbbox("H", anchor="ls")
    except (OSError, ValueError):
        return None
    if bottom - top < 20 or right - left < 5:
        return None
    return Face(path, font.getname()[0] or Path(path).stem, round(100 * CAPITAL / (bottom - top)))


@cache
def font_of(face: Face) -> ImageFont.FreeTypeFont:
    """Return a face at the size at which its capitals are CAPITAL pixels high."""
    # The basic layout engine, as the other one is not installed everywhere.
    return ImageFont.truetype(face.path, face.size, layout_engine=ImageFont.Layout.BASIC)


@cache
def glyph(face: Face, character: str) -> Glyph:
    """Return a character of a face as a mask without empty rows and columns."""
    side = 5 * CAPITAL
    image = Image.new("L", (side, side))
    foot = (side // 2, side // 2 + CAPITAL // 2)
    ImageDraw.Draw(image).text(foot, character, fill=255, font=font_of(face), anchor="ms")
    left, top, right, bottom = image.getbbox() or (0, 0, 1, 1)
    return Glyph(np.asarray(image)[top:bottom, left:right].copy(), top - foot[1])


def is_complete(face: Face) -> bool:
    """Tell whether a face has a readable glyph of its own for each of CHARACTERS."""
    try:
        glyphs = [glyph(face, character) for character in CHARACTERS]
    except OSError:  # a damaged font
        return False
    heights = [len(one.mask) for one in glyphs]
    widths = [one.mask.shape[1] for one in glyphs]
    if min(heights) < 8 or max(heights) > 3 * CAPITAL or max(widths) > 3 * CAPITAL:
        return False
    # Many a face draws I like l.
    return len({(one.mask.tobytes(), one.top) for one in glyphs}) >= len(CHARACTERS) - 2


def legible(faces: Sequence[Face], least: float = 0.75) -> list[Face]:
    """Return the faces of whose glyphs at least this share is read correctly, case ignored.

    Some faces are pictures, or so adorned that nobody would write a captcha in them. Who reads is a
    classifier of the glyphs of the other families: random features and least squares, in five
    folds. (Rahimi and Recht 2008, "Weighted Sums of Random Kitchen Sinks".)
    """
    noise = np.random.default_rng(0)
    pixels = np.stack([small(glyph(face, c).mask) for face in faces for c in CHARACTERS])
    features = np.maximum(pixels @ noise.standard_normal((pixels.shape[1], 1500), np.float32), 0)
    features = np.column_stack([features, np.ones(len(features), np.float32)])  # (N, 1501)
    lower = CHARACTERS.lower()
    targets = np.eye(128, dtype=np.float32)[[ord(c) for c in lower] * len(faces)]  # (N, 128)
    families = sorted({face.family for face in faces})
    folds = np.array([families.index(face.family) % 5 for face in faces]).repeat(len(lower))
    correct = np.zeros(len(features), bool)
    for fold in range(5):
        x, y, other = features[folds != fold], targets[folds != fold], features[folds == fold]
        ridge = 1e-3 * len(x) * np.eye(x.shape[1], dtype=np.float32)
        weights = np.linalg.solve(x.T @ x + ridge, x.T @ y)
        read = (other @ weights).argmax(axis=1)
        correct[folds == fold] = read == targets[folds == fold].argmax(axis=1)
    shares = correct.reshape(len(faces), -1).mean(axis=1)
    return [face for face, share in zip(faces, shares, strict=True) if share >= least]


def small(mask: np.ndarray) -> np.ndarray:
    """Return a mask as 256 numbers: 16 x 16 pixels with the mean taken off."""
    pixels = cv2.resize(mask, (16, 16), interpolation=cv2.INTER_AREA).astype(np.float32).ravel()
    return (pixels - pixels.mean()) / (pixels.std() + 1) / 16


# ---------------------------------------------------------------- what can be done to a mask


def bolder(rng: random.Random, mask: np.ndarray) -> np.ndarray:
    """Make the strokes thicker, by up to a tenth of a capital's height."""
    side = rng.choice([2, 3, 4])
    return cv2.dilate(cv2.copyMakeBorder(mask, 2, 2, 2, 2, cv2.BORDER_CONSTANT), square(side))


def thinner(rng: random.Random, mask: np.ndarray) -> np.ndarray:
    """Make the strokes thinner, where they stay whole."""
    thin = cv2.erode(mask, square(rng.choice([2, 3])))
    return thin if thin.sum() > 0.35 * mask.sum() else mask


def hollow(rng: random.Random, mask: np.ndarray) -> np.ndarray:
    """Leave the outline."""
    wide = cv2.copyMakeBorder(mask, 3, 3, 3, 3, cv2.BORDER_CONSTANT)
    return cv2.morphologyEx(wide, cv2.MORPH_GRADIENT, square(rng.choice([3, 4])))


def double_edged(rng: random.Random, mask: np.ndarray) -> np.ndarray:
    """Put a second outline around the letter."""
    wide = cv2.copyMakeBorder(mask, 6, 6, 6, 6, cv2.BORDER_CONSTANT)
    ring = cv2.dilate(wide, square(9)) - cv2.dilate(wide, square(5))
    return cv2.max(wide if rng.random() < 0.6 else cv2.erode(wide, square(3)), ring)


def extruded(rng: random.Random, mask: np.ndarray) -> np.ndarray:
    """Give the letter depth: an outline, and behind it the edge of a block."""
    wide = cv2.copyMakeBorder(mask, 7, 7, 7, 7, cv2.BORDER_CONSTANT)
    block, dx, dy = wide, rng.choice([-1, 1]), rng.choice([-1, 1])
    for step in range(1, rng.choice([3, 4, 6])):
        block = cv2.max(block, np.roll(wide, (step * dy, step * dx), (0, 1)))
    front = cv2.erode(wide, square(3)) if rng.random() < 0.5 else wide
    edges = cv2.morphologyEx(block, cv2.MORPH_GRADIENT, square(3))
    return cv2.max(block - front, edges) if rng.random() < 0.5 else block - front


def relief(rng: random.Random, mask: np.ndarray) -> np.ndarray:
    """Leave the edges that a light from one side shows, and at times a trace of the others."""
    wide = cv2.copyMakeBorder(mask, 5, 5, 5, 5, cv2.BORDER_CONSTANT)
    reach = rng.choice([2, 3, 4])
    way = rng.choice([(0, 1), (1, 1), (1, -1), (1, 0), (-1, 1), (-1, -1)])
    behind = np.roll(wide, (reach * way[0], reach * way[1]), (0, 1))
    lit = cv2.absdiff(wide, behind) if rng.random() < 0.4 else cv2.subtract(behind, wide)
    if rng.random() < 0.7:
        return cv2.max(lit, cv2.morphologyEx(wide, cv2.MORPH_GRADIENT, square(2)))
    return lit


def dotted(rng: random.Random, mask: np.ndarray) -> np.ndarray:
    """Make the letter of dots."""
    step, thick = rng.choice([4, 5, 6]), rng.choice([2, 3])
    y, x = np.ogrid[: mask.shape[0], : mask.shape[1]]
    return mask * ((y % step < thick) & (x % step < thick))


def striped(rng: random.Random, mask: np.ndarray) -> np.ndarray:
    """Make the letter of slanted stripes, or cut it by some."""
    y, x = np.ogrid[: mask.shape[0], : mask.shape[1]]
    step, slope = rng.choice([4, 5, 6, 10]), rng.choice([-1, 0, 0, 1])
    gap = rng.choice([1, 2]) if step < 10 else rng.choice([2, 3])
    along = y + slope * x if rng.random() < 0.7 else x + slope * y
    return mask * (along % step >= gap)


def crumbled(rng: random.Random, mask: np.ndarray) -> np.ndarray:
    """Take out random pixels, or small patches."""
    step = rng.choice([1, 2, 3])
    noise = np.random.default_rng(rng.getrandbits(64))
    height, width = mask.shape
    kept = noise.random((height // step + 1, width // step + 1)) > rng.uniform(0.1, 0.4)
    return mask * kept.repeat(step, 0).repeat(step, 1)[:height, :width]


def in_pixels(rng: random.Random, mask: np.ndarray) -> np.ndarray:
    """Make the letter of large black and white squares."""
    rows = rng.choice([8, 10, 12])
    columns = max(2, round(mask.shape[1] * rows / CAPITAL))
    rows = max(3, round(mask.shape[0] * rows / CAPITAL))
    small = cv2.resize(mask, (columns, rows), interpolation=cv2.INTER_AREA)
    square_ink = np.uint8(255) * (small > 100)
    return cv2.resize(square_ink, mask.shape[::-1], interpolation=cv2.INTER_NEAREST)


def warped(rng: random.Random, mask: np.ndarray) -> np.ndarray:
    """Bend the letter by itself, in a wave."""
    wide = cv2.copyMakeBorder(mask, 5, 5, 5, 5, cv2.BORDER_CONSTANT)
    y, x = np.mgrid[: wide.shape[0], : wide.shape[1]].astype(np.float32)
    wave = 2 * math.pi / (CAPITAL * rng.uniform(0.6, 2))
    dx, dy = (rng.uniform(2, 5) * np.sin(along * wave + rng.uniform(0, 6)) for along in (y, x))
    return cv2.remap(wide, x + dx, y + dy, cv2.INTER_LINEAR)


def split(rng: random.Random, mask: np.ndarray) -> np.ndarray:
    """Cut the letter across, and move the upper part aside."""
    wide = cv2.copyMakeBorder(mask, 0, 0, 6, 6, cv2.BORDER_CONSTANT)
    cut = round(len(wide) * rng.uniform(0.3, 0.7))
    shift = rng.choice([-1, 1]) * rng.randint(2, 6)
    return np.concatenate([np.roll(wide[:cut], shift, axis=1), wide[cut:]])


@lru_cache
def square(side: int) -> np.ndarray:
    """Return a square of ones, (side, side)."""
    return np.ones((side, side), np.uint8)


# What is left of a letter when only its edges are drawn is met more often than the rest.
EFFECTS = (
    bolder, thinner, hollow, hollow, double_edged, extruded, extruded, relief, relief, dotted,
    striped, crumbled, in_pixels, warped, split,
)  # fmt: skip
