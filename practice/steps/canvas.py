"""What all steps share: the colours of a style, lines, and moving the pixels of an image.

A canvas is an RGB image, (H, W, 3) uint8, on which a step may draw. ``hard``, 0 to 1, bounds how
much it does.
"""

import random
from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np

Colour = tuple[int, int, int]


class Palette(NamedTuple):
    """The colours of a style."""

    grey: bool  # no colours at all
    ground: Colour
    contrast: int  # by how many levels the ink differs from the ground, in one channel at least
    inks: tuple[Colour, ...]  # of the letters: one for all, or several


Step = Callable[[random.Random, np.ndarray, Palette, float], np.ndarray]


# ---------------------------------------------------------------- colours


def any_palette(rng: random.Random, hard: float) -> Palette:
    """Return the colours of a style: grey or not, on a light ground, a dark one or any."""
    grey = rng.random() < 0.35
    kind = rng.random()
    if kind < 0.55:
        ground = [rng.randint(200, 255) for _ in range(3)]
    elif kind < 0.7:
        ground = [rng.randint(0, 60) for _ in range(3)]
    else:
        ground = [rng.randint(0, 255) for _ in range(3)]
    if grey or rng.random() < 0.3:
        ground = [ground[0]] * 3
    if rng.random() < 0.2:
        ground = [255] * 3
    contrast = round(rng.uniform(110 - 60 * hard, 170))
    red, green, blue = ground
    inks = [ink(rng, grey, (red, green, blue), contrast) for _ in range(rng.choice([1, 1, 2, 6]))]
    return Palette(grey, (red, green, blue), contrast, tuple(inks))


def any_colour(rng: random.Random, grey: bool) -> Colour:
    """Return any colour, or any grey."""
    if grey:
        return (rng.randint(0, 255),) * 3
    return rng.randint(0, 255), rng.randint(0, 255), rng.randint(0, 255)


def ink(rng: random.Random, grey: bool, ground: Colour, contrast: int) -> Colour:
    """Return a colour that differs enough from the ground."""
    for _ in range(20):
        colour = any_colour(rng, grey)
        if max(abs(a - b) for a, b in zip(colour, ground, strict=True)) > contrast:
            return colour
    return (0, 0, 0) if sum(ground) > 384 else (255, 255, 255)


def disturbing_colour(rng: random.Random, palette: Palette) -> Colour:
    """Return a colour for what disturbs: like the letters', the ground's, between, or any."""
    kind = rng.random()
    if kind < 0.45:
        return rng.choice(palette.inks)
    if kind < 0.55:  # over the letters, it cuts them
        return palette.ground
    colour = any_colour(rng, palette.grey)
    return colour if kind < 0.75 else mix(palette.ground, colour, rng.uniform(0.1, 0.5))


def mix(first: Colour, second: Colour, share: float) -> Colour:
    """Return a colour between two; ``share`` is that of the second."""
    red, green, blue = (round(a + share * (b - a)) for a, b in zip(first, second, strict=True))
    return red, green, blue


# ---------------------------------------------------------------- drawing


def shifted(canvas: np.ndarray, change: np.ndarray) -> np.ndarray:
    """Return an image plus a change in grey levels, (H, W, 3 or 1)."""
    return (canvas + change).clip(0, 255).astype(np.uint8)


def line(
    canvas: np.ndarray,
    start: tuple[float, float],
    end: tuple[float, float],
    colour: Colour,
    thick: int,
) -> None:
    """Draw a straight line with smooth edges."""
    polyline(canvas, np.array([start, end]), colour, thick)


def polyline(canvas: np.ndarray, path: np.ndarray, colour: Colour, thick: int) -> None:
    """Draw a line through points (N, 2), in pixels, with smooth edges."""
    points = np.round(path * 16).astype(np.int32)  # in sixteenths of a pixel
    cv2.polylines(canvas, [points], False, colour, thick, cv2.LINE_AA, shift=4)


def stroke(rng: random.Random, height: int, hard: float) -> int:
    """Return the thickness of a line, in pixels: mostly thin, at most a tenth of the height."""
    most = max(1, min(5, round(height * (0.04 + 0.06 * hard))))
    return rng.choice([1, 1, 2, rng.randint(1, 5)]) if most >= 5 else rng.randint(1, most)


def places(canvas: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the y and x of each pixel, (H, W) float32 each."""
    y, x = np.mgrid[: canvas.shape[0], : canvas.shape[1]].astype(np.float32)
    return y, x


def moved(canvas: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return an image whose pixels come from the places x and y, (H, W) each, in another one."""
    x, y = x.astype(np.float32), y.astype(np.float32)
    return cv2.remap(canvas, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
