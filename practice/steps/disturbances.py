"""What crosses the letters: lines, curves, arcs, dots, inverted discs, a frame."""

import math
import random

import cv2
import numpy as np

from practice.steps.canvas import Palette, disturbing_colour, line, polyline, stroke
from practice.steps.grounds import grid, specks


def lines(rng: random.Random, canvas: np.ndarray, palette: Palette, hard: float) -> np.ndarray:
    """Draw straight lines, short or across the image."""
    height, width = canvas.shape[:2]
    colour, one_colour = disturbing_colour(rng, palette), rng.random() < 0.5
    across, thick = rng.random() < 0.6, stroke(rng, height, hard)
    for _ in range(round(rng.uniform(1, 2 + (8 if across else 30) * hard))):
        if not one_colour:
            colour = disturbing_colour(rng, palette)
        start = (rng.uniform(0, width), rng.uniform(0, height))
        if across:
            end = (rng.uniform(0, width), rng.uniform(0, height))
        else:
            reach, angle = height * rng.uniform(0.1, 0.5), rng.uniform(0, 2 * math.pi)
            end = (start[0] + reach * math.cos(angle), start[1] + reach * math.sin(angle))
        line(canvas, start, end, colour, thick)
    return canvas


def curves(rng: random.Random, canvas: np.ndarray, palette: Palette, hard: float) -> np.ndarray:
    """Draw Bézier curves and sine waves through the letters."""
    height, width = canvas.shape[:2]
    t = np.linspace(0, 1, 40)[:, None]
    for _ in range(rng.choice([1, 1, 2, 3])):
        if rng.random() < 0.6:
            a, b, c, d = (
                np.array([x * width, rng.uniform(0, height)])
                for x in (rng.uniform(-0.1, 0.2), rng.random(), rng.random(), rng.uniform(0.8, 1.1))
            )
            path = a * (1 - t) ** 3 + 3 * b * t * (1 - t) ** 2 + 3 * c * t**2 * (1 - t) + d * t**3
        else:
            wave = np.sin(2 * math.pi * (t * rng.uniform(0.5, 4) + rng.random()))
            y = height * (rng.uniform(0.3, 0.7) + rng.uniform(0.1, 0.4) * wave)
            path = np.concatenate([t * width, y], axis=1)  # (40, 2)
        polyline(canvas, path, disturbing_colour(rng, palette), stroke(rng, height, hard))
    return canvas


def arcs(rng: random.Random, canvas: np.ndarray, palette: Palette, hard: float) -> np.ndarray:
    """Draw parts of ellipses, rings and boxes."""
    height, width = canvas.shape[:2]
    for _ in range(round(rng.uniform(1, 2 + 6 * hard))):
        x, y = round(rng.uniform(0, width)), round(rng.uniform(0, height))
        radii = [round(height * rng.uniform(0.1, 1)) for _ in range(2)]
        colour, thick = disturbing_colour(rng, palette), stroke(rng, height, hard)
        if rng.random() < 0.2:
            corner = (x + radii[0], y + radii[1])
            cv2.rectangle(canvas, (x, y), corner, colour, thick, cv2.LINE_AA)
        else:
            end = rng.choice([360, rng.uniform(30, 300)])
            turn = rng.uniform(0, 360)
            cv2.ellipse(canvas, (x, y), radii, turn, 0, end, colour, thick, cv2.LINE_AA)
    return canvas


def dots(rng: random.Random, canvas: np.ndarray, palette: Palette, hard: float) -> np.ndarray:
    """Sprinkle dots."""
    height, width = canvas.shape[:2]
    radius, colour = rng.choice([0, 1, 1, 2]), disturbing_colour(rng, palette)
    one_colour = rng.random() < 0.5
    for _ in range(round(rng.uniform(5, 20 + 80 * hard))):
        if not one_colour:
            colour = disturbing_colour(rng, palette)
        place = (rng.randrange(width), rng.randrange(height))
        cv2.circle(canvas, place, radius, colour, -1, cv2.LINE_AA)
    return canvas


def inverted(rng: random.Random, canvas: np.ndarray, palette: Palette, hard: float) -> np.ndarray:
    """Invert the colours within discs, or of a part of the image."""
    height, width = canvas.shape[:2]
    region = np.zeros((height, width), np.uint8)
    if rng.random() < 0.3:
        edge = rng.uniform(0.2, 0.8)
        region[:, : round(edge * width)] = 1
    else:
        for _ in range(rng.randint(1, 4)):
            place = (rng.randrange(width), rng.randrange(height))
            cv2.circle(region, place, round(height * rng.uniform(0.2, 0.6)), 1, -1)
    canvas[region > 0] = 255 - canvas[region > 0]
    return canvas


def frame(rng: random.Random, canvas: np.ndarray, palette: Palette, hard: float) -> np.ndarray:
    """Draw a border around the image."""
    height, width = canvas.shape[:2]
    inset = rng.choice([0, 0, 1, 2])
    corners = (inset, inset), (width - 1 - inset, height - 1 - inset)
    cv2.rectangle(canvas, *corners, disturbing_colour(rng, palette), rng.choice([1, 1, 2]))
    return canvas


# Lines and curves are what most websites disturb with.
DISTURBANCES = (lines, lines, curves, curves, arcs, dots, specks, grid, inverted, frame)
