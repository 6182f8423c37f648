"""What is done to the finished image: bending it, and what a camera or a file format does."""

import math
import random

import cv2
import numpy as np

from practice.steps.canvas import Palette, moved, places


def waves(rng: random.Random, canvas: np.ndarray, palette: Palette, hard: float) -> np.ndarray:
    """Shift rows and columns in waves."""
    y, x = places(canvas)
    side = len(canvas)
    across, along = (side * rng.uniform(0.01, 0.03 + 0.1 * hard) for _ in range(2))
    long_x, long_y = (2 * math.pi / (side * rng.uniform(0.6, 3)) for _ in range(2))
    dx = across * np.sin(y * long_y + rng.uniform(0, 6)) * rng.choice([0, 1, 1])
    dy = along * np.sin(x * long_x + rng.uniform(0, 6))
    return moved(canvas, x + dx, y + dy)


def ripple(rng: random.Random, canvas: np.ndarray, palette: Palette, hard: float) -> np.ndarray:
    """Bend the image in short waves all over, or in rings around a point."""
    y, x = places(canvas)
    side = len(canvas)
    amount = rng.uniform(0.3, 0.6 + 0.9 * hard) * side / 40
    wave = 2 * math.pi / rng.uniform(3, 12)
    if rng.random() < 0.5:
        return moved(canvas, x + amount * np.sin(y * wave), y + amount * np.sin(x * wave))
    dx, dy = x - rng.uniform(0, x.shape[1]), y - rng.uniform(0, side)
    distance = np.hypot(dx, dy) + 1
    shift = amount * np.sin(distance * wave) / distance
    return moved(canvas, x + shift * dx, y + shift * dy)


def bulge(rng: random.Random, canvas: np.ndarray, palette: Palette, hard: float) -> np.ndarray:
    """Blow the image up around a point, or pinch or twist it there."""
    y, x = places(canvas)
    height, width = canvas.shape[:2]
    dx, dy = x - rng.uniform(0.1, 0.9) * width, y - rng.uniform(0.2, 0.8) * height
    near = np.exp(-(dx**2 + dy**2) / (height * rng.uniform(0.4, 1)) ** 2)
    if rng.random() < 0.3:
        turn = rng.uniform(-0.7, 0.7) * hard * near
        return moved(canvas, x + turn * dy, y - turn * dx)
    pull = rng.uniform(-0.5, 0.4) * hard * near
    return moved(canvas, x + pull * dx, y + pull * dy)


def elastic(rng: random.Random, canvas: np.ndarray, palette: Palette, hard: float) -> np.ndarray:
    """Bend the image differently at each place."""
    y, x = places(canvas)
    height, width = canvas.shape[:2]
    noise = np.random.default_rng(rng.getrandbits(64))
    step = height * rng.uniform(0.15, 0.5)
    shape = (max(3, round(height / step)), max(3, round(width / step)), 2)
    coarse = noise.standard_normal(shape, np.float32) * (
        step * rng.uniform(0.03, 0.06 + 0.14 * hard)
    )
    smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return moved(canvas, x + smooth[:, :, 0], y + smooth[:, :, 1])


def perspective(
    rng: random.Random, canvas: np.ndarray, palette: Palette, hard: float
) -> np.ndarray:
    """Tilt the image in space, and turn it."""
    height, width = canvas.shape[:2]
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    most = height * (0.05 + 0.2 * hard)
    out = np.array([[rng.uniform(-0.4, 1) * most for _ in range(2)] for _ in range(4)], np.float32)
    inward = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]], np.float32)
    matrix = cv2.getPerspectiveTransform(corners, corners + 0.5 * out * inward)
    size = (width, height)
    return cv2.warpPerspective(canvas, matrix, size, borderMode=cv2.BORDER_REPLICATE)


# ---------------------------------------------------------------- cameras and file formats


def blurred(rng: random.Random, canvas: np.ndarray, palette: Palette, hard: float) -> np.ndarray:
    """Blur the image."""
    return cv2.GaussianBlur(canvas, (0, 0), rng.uniform(0.3, 0.5 + 1.3 * hard) * len(canvas) / 50)


def sharpened(rng: random.Random, canvas: np.ndarray, palette: Palette, hard: float) -> np.ndarray:
    """Exaggerate the edges."""
    amount = rng.uniform(0.5, 2)
    soft = cv2.GaussianBlur(canvas, (0, 0), 1)
    return cv2.addWeighted(canvas, 1 + amount, soft, -amount, 0)


def resampled(rng: random.Random, canvas: np.ndarray, palette: Palette, hard: float) -> np.ndarray:
    """Make the image smaller and larger again."""
    height, width = canvas.shape[:2]
    share = rng.uniform(max(0.5, 18 / height), 1) if height > 18 else 1
    small = (max(8, round(share * width)), max(8, round(share * height)))
    ways = [cv2.INTER_NEAREST, cv2.INTER_LINEAR, cv2.INTER_AREA]
    reduced = cv2.resize(canvas, small, interpolation=rng.choice(ways))
    return cv2.resize(reduced, (width, height), interpolation=rng.choice(ways))


def compressed(rng: random.Random, canvas: np.ndarray, palette: Palette, hard: float) -> np.ndarray:
    """Store the image as JPEG."""
    quality = [cv2.IMWRITE_JPEG_QUALITY, round(rng.uniform(70 - 50 * hard, 95))]
    return np.asarray(cv2.imdecode(cv2.imencode(".jpg", canvas, quality)[1], cv2.IMREAD_COLOR))


def few_colours(
    rng: random.Random, canvas: np.ndarray, palette: Palette, hard: float
) -> np.ndarray:
    """Leave a few levels of each colour, as in a palette; of grey images at times only two."""
    if palette.grey and rng.random() < 0.5:
        grey = canvas[:, :, 1]
        ground = palette.ground[1]
        limit = ground + palette.contrast * (0.5 if grey.mean() > ground else -0.5)
        canvas[:] = np.where(grey > limit, 255, 0)[:, :, None]
        return canvas
    step = rng.choice([32, 51, 64, 85])
    return (np.round(canvas / step) * step).clip(0, 255).astype(np.uint8)


BENDS = (waves, ripple, bulge, elastic, perspective)
CAMERA = (blurred, sharpened, resampled, compressed, few_colours)
