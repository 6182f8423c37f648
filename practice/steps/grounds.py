"""What the letters stand on: gradients, specks, textures, grids, and letters that do not count."""

import math
import random

import cv2
import numpy as np

from practice.glyphs import CHARACTERS
from practice.steps.canvas import Palette, any_colour, disturbing_colour, line, mix, shifted


def gradient(rng: random.Random, canvas: np.ndarray, palette: Palette, hard: float) -> np.ndarray:
    """Let the colour change along a line."""
    height, width = canvas.shape[:2]
    x, y = np.linspace(0, 1, width)[None, :, None], np.linspace(0, 1, height)[:, None, None]
    along = rng.choice([x, 1 - x, y, 1 - y, (x + y) / 2, abs(2 * x - 1)])
    other = np.array(any_colour(rng, palette.grey)) - palette.ground
    return shifted(canvas, along * other * rng.uniform(0.05, 0.2 + 0.5 * hard))


def specks(rng: random.Random, canvas: np.ndarray, palette: Palette, hard: float) -> np.ndarray:
    """Give some pixels, or small squares of them, another colour."""
    noise = np.random.default_rng(rng.getrandbits(64))
    step = rng.choice([1, 1, 2, 3]) if len(canvas) > 30 else 1
    height, width = canvas.shape[:2]
    shape = (height // step + 1, width // step + 1)
    share = rng.uniform(0, 0.05 + 0.2 * hard)
    colours = np.empty((*shape, 3), np.uint8)
    colours[:] = disturbing_colour(rng, palette)
    if rng.random() < 0.5:
        colours = noise.integers(0, 256, colours.shape, np.uint8)
    colours = colours.repeat(step, 0).repeat(step, 1)[:height, :width]
    chosen = (noise.random(shape) < share).repeat(step, 0).repeat(step, 1)[:height, :width]
    canvas[chosen] = colours[chosen]
    return canvas


def grain(rng: random.Random, canvas: np.ndarray, palette: Palette, hard: float) -> np.ndarray:
    """Add noise to every pixel."""
    noise = np.random.default_rng(rng.getrandbits(64))
    channels = rng.choice([1, 3])
    amount = rng.uniform(2, 10 + 30 * hard)
    return shifted(
        canvas, noise.standard_normal((*canvas.shape[:2], channels), np.float32) * amount
    )


def clouds(rng: random.Random, canvas: np.ndarray, palette: Palette, hard: float) -> np.ndarray:
    """Let the colour change smoothly from place to place, in large spots or a fine texture."""
    noise = np.random.default_rng(rng.getrandbits(64))
    height, width = canvas.shape[:2]
    step = rng.uniform(2, 25)
    rows, columns = max(2, round(height / step)), max(2, round(width / step))
    coarse = noise.standard_normal((rows, columns, rng.choice([1, 3])), np.float32)
    smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    smooth = smooth.reshape(height, width, -1) * rng.uniform(3, 10 + 35 * hard)
    return shifted(canvas, smooth)


def stripes(rng: random.Random, canvas: np.ndarray, palette: Palette, hard: float) -> np.ndarray:
    """Draw parallel stripes, or waves of light and dark, in any direction."""
    y, x = np.mgrid[: canvas.shape[0], : canvas.shape[1]].astype(np.float32)
    angle = rng.choice([0, math.pi / 2, rng.uniform(0, math.pi)])
    along = x * math.cos(angle) + y * math.sin(angle)
    wave = np.sin(along * 2 * math.pi / rng.uniform(3, 20) + rng.uniform(0, 6))
    if rng.random() < 0.6:
        wave = (wave > rng.uniform(0, 0.9)).astype(np.float32)
    change = np.array(disturbing_colour(rng, palette)) - palette.ground
    return shifted(canvas, wave[:, :, None] * change * rng.uniform(0.1, 0.2 + 0.4 * hard))


def grid(rng: random.Random, canvas: np.ndarray, palette: Palette, hard: float) -> np.ndarray:
    """Draw a grid or crosshatching of thin lines."""
    height, width = canvas.shape[:2]
    step, slant = rng.uniform(4, 20), rng.choice([0, 0, rng.uniform(-1, 1)])
    colour = disturbing_colour(rng, palette)
    colour = mix(palette.ground, colour, rng.uniform(0.3, 0.4 + 0.6 * hard))
    for start in np.arange(rng.uniform(0, step), width, step):
        line(canvas, (start, 0), (start + slant * height, height), colour, 1)
    if rng.random() < 0.7:
        for start in np.arange(rng.uniform(0, step), height, step):
            line(canvas, (0, start), (width, start - slant * height), colour, 1)
    return canvas


def patches(rng: random.Random, canvas: np.ndarray, palette: Palette, hard: float) -> np.ndarray:
    """Lay rectangles, discs or triangles of other colours on the ground."""
    height, width = canvas.shape[:2]
    weak = rng.uniform(0.1, 0.2 + 0.5 * hard)
    for _ in range(rng.randint(1, 12)):
        colour = mix(palette.ground, any_colour(rng, palette.grey), weak)
        points = np.array([[rng.uniform(0, width), rng.uniform(0, height)] for _ in range(3)])
        kind = rng.random()
        if kind < 0.4:
            start, end = points[:2].astype(int).tolist()
            cv2.rectangle(canvas, start, end, colour, -1)
        elif kind < 0.7:
            radius = round(height * rng.uniform(0.1, 0.5))
            cv2.circle(canvas, points[0].astype(int).tolist(), radius, colour, -1, cv2.LINE_AA)
        else:
            cv2.fillConvexPoly(canvas, points.astype(np.int32), colour, cv2.LINE_AA)
    return canvas


def strange_letters(
    rng: random.Random, canvas: np.ndarray, palette: Palette, hard: float
) -> np.ndarray:
    """Scatter small pale letters that do not belong to the text, or cut ones at the border."""
    height, width = canvas.shape[:2]
    font = rng.choice([cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_COMPLEX_SMALL])
    cut = rng.random() < 0.3
    for _ in range(rng.randint(3, 25)):
        weak = rng.uniform(0.3, 0.8) if cut else rng.uniform(0.1, 0.15 + 0.3 * hard)
        colour = mix(palette.ground, any_colour(rng, palette.grey), weak)
        size = height / 22 * rng.uniform(0.2, 0.4)
        y = rng.choice([rng.uniform(-2, 2), height + 10 * size]) if cut else rng.uniform(0, height)
        place = (round(rng.uniform(0, width)), round(y))
        cv2.putText(canvas, rng.choice(CHARACTERS), place, font, size, colour, 1, cv2.LINE_AA)
    return canvas


GROUNDS = (gradient, specks, grain, clouds, stripes, grid, patches, strange_letters)
