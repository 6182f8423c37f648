"""What the practice captchas are drawn with: letters, curves, grounds and colours."""

import colorsys
import importlib.util
import math
import random
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image, ImageDraw, ImageFont

CELL = 64  # pixels; letter() draws into a square of this side, ...
BASELINE = 44  # ... with the foot of the letters at this height


@lru_cache
def font(name: str, size: int) -> ImageFont.FreeTypeFont:
    """Return a DejaVu font, twice as large as asked for: letter() halves it again."""
    # The basic layout engine, as the other one is not installed everywhere.
    return ImageFont.truetype(
        font_file(f"DejaVu{name}"), 2 * size, layout_engine=ImageFont.Layout.BASIC
    )


def font_file(name: str) -> str:
    """Return the path of one of the fonts that matplotlib ships."""
    package = importlib.util.find_spec("matplotlib")  # importing it would take long
    if package is None or package.origin is None:
        raise ModuleNotFoundError("matplotlib is not installed; its fonts are needed.")
    folder = Path(package.origin).parent / "mpl-data" / "fonts" / "ttf"
    return str(folder / f"{name}.ttf")


def letter(
    character: str,
    face: ImageFont.FreeTypeFont,
    width: float = 1.0,
    angle: float = 0.0,
    shear: float = 0.0,
) -> Image.Image:
    """Return one character as a mask, made narrower, slanted (shear) and rotated (in degrees).

    The mask, in grey levels, is as wide as the character and CELL high.
    """
    large = Image.new("L", (2 * CELL, 2 * CELL))
    foot = (CELL, 2 * BASELINE)  # the middle of the letter's foot
    ImageDraw.Draw(large).text(foot, character, fill=255, font=face, anchor="ms")
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    change = np.array([[cos, sin], [-sin, cos]]) @ [[width, -shear], [0, 1]] / 2
    # Pillow wants the inverse: where in the original does a pixel of the result come from?
    inverse = np.linalg.inv(change)
    (a, b), (d, e) = inverse
    c, f = CELL - inverse @ [CELL / 2, CELL / 2]  # the centre stays the centre
    size, method = (CELL, CELL), Image.Resampling.BILINEAR
    small = large.transform(size, Image.Transform.AFFINE, (a, b, c, d, e, f), method)
    left, _, right, _ = small.getbbox() or (0, 0, *size)
    return small.crop((left, 0, right, CELL))


def in_large_pixels(mask: Image.Image, side: int) -> Image.Image:
    """Return a letter's mask made of black and white squares of this side, in pixels."""
    small = mask.reduce(side).point(lambda value: 255 * (value > 90))
    return small.resize((side * small.width, side * small.height), Image.Resampling.NEAREST)


def curve(
    points: Sequence[tuple[float, float]], widths: Sequence[float], pieces: int
) -> Image.Image:
    """Return a Bézier curve with four points, made of straight pieces, as a 200x50 mask.

    The first pieces have the given widths, in pixels; the others have the last of these.
    """
    t = np.linspace(0, 1, pieces + 1)[:, None]
    a, b, c, d = np.array(points) * 4  # four times as large, reduced below: smooth edges
    path = a * (1 - t) ** 3 + 3 * b * t * (1 - t) ** 2 + 3 * c * t**2 * (1 - t) + d * t**3
    large = Image.new("L", (800, 200))
    pen = ImageDraw.Draw(large)
    for i in range(pieces):
        width = widths[min(i, len(widths) - 1)]
        pen.line([*path[i], *path[i + 1]], fill=255, width=round(4 * width))
    return large.reduce(4)


def light_ground(rng: random.Random) -> Image.Image:
    """Return a light 200x50 ground whose colour changes a little from left to right."""
    return shaded([[rng.randint(220, 255) for _ in range(3)] for _ in range(2)])


def any_ground(rng: random.Random) -> Image.Image:
    """Return a 200x50 ground whose colour changes from left to right: grey or coloured, any."""
    ends = np.array([[rng.randint(0, 255) for _ in range(3)] for _ in range(2)])
    if rng.random() < 0.5:
        ends[:] = ends.mean(axis=1, keepdims=True)  # a grey one
    if rng.random() < 0.6:
        ends = 255 - ends // 6  # a light one
    return shaded(ends)


def shaded(ends: ArrayLike) -> Image.Image:
    """Return a 200x50 ground with these colours at its left and right end, (2, 3)."""
    row = np.asarray(ends, np.uint8)[None]
    return Image.fromarray(row).resize((200, 50), Image.Resampling.BILINEAR)


def speckled(rng: random.Random, image: Image.Image) -> Image.Image:
    """Return an image of which some pixels, up to 8 %, have a random colour."""
    noise = np.random.default_rng(rng.getrandbits(64))
    shape = (image.height, image.width)
    dots = noise.random((*shape, 1)) < rng.uniform(0, 0.08)
    pixels = np.where(dots, noise.integers(0, 256, (*shape, 3)), np.asarray(image))
    return Image.fromarray(pixels.astype(np.uint8))


def dark_colour(rng: random.Random) -> tuple[int, int, int]:
    """Return a random strong colour that is dark enough to be legible on a light ground."""
    rgb = np.array(colorsys.hsv_to_rgb(rng.random(), rng.uniform(0.7, 1), rng.uniform(0.5, 0.9)))
    brightness = rgb @ [0.3, 0.59, 0.11]  # the eye sees green brightest and blue darkest
    red, green, blue = (255 * rgb * min(1, 0.4 / brightness)).astype(int).tolist()
    return red, green, blue


def contrasting(rng: random.Random, ground: np.ndarray, least: float) -> tuple[int, int, int]:
    """Return a random colour that differs from all of the ground, (1, N, 3), by ``least`` levels.

    The difference between two colours is that of the channel in which they differ most.
    """
    while True:
        colour = np.array([rng.randint(0, 255) for _ in range(3)])
        if abs(ground - colour).max(axis=2).min() > least:
            red, green, blue = colour.tolist()
            return red, green, blue


@lru_cache
def ripples() -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the x and y that each pixel of a 200x50 image comes from, for each of two ripples."""
    y, x = np.mgrid[:50, :200].astype(np.float32)
    # First short waves around the centre, as around a stone: they make the letters there grainy.
    distance = np.maximum(np.hypot(x - 100, y - 25), 0.1)
    rings = 1.5 * np.sin(np.pi * distance - 10) * (1 - distance / 50).clip(0) * 2 / distance
    water = (x + (x - 100) * rings, y + (y - 25) * rings)
    # Then long waves all over.
    return [water, (x + 2.6 * np.sin(y / 15), y + 1.7 * np.sin(x / 5))]
