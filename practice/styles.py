"""Captchas as any website might draw them: every image has a style of its own.

A style is a list of choices, each drawn from a wide range and independently of the others: the
letters, how they are arranged and bent, the ground, what disturbs, and what a file format does to
the image. What all images have in common is that a person can read nearly all of them; a network
that has seen enough of them reads captchas that nobody showed it. practice/recipe.py trains one.
"""

import math
import random
from collections.abc import Callable, Sequence
from typing import NamedTuple

import cv2
import numpy as np

from practice.glyphs import CAPITAL, CHARACTERS, DIGITS, EFFECTS, SMALL, Face, glyph

ALPHABETS = (DIGITS, SMALL, SMALL.upper(), DIGITS + SMALL, DIGITS + SMALL.upper(), CHARACTERS)
LENGTHS = (3, 8)  # of the texts
HEIGHTS = (22, 90)  # of the images, in pixels; small ones are as frequent as large ones
WIDEST = 9  # width / height

Colour = tuple[int, int, int]
Letter = tuple[np.ndarray, int, int]  # mask (h, w) uint8; left and top of it in the image, pixels


class Palette(NamedTuple):
    """The colours of a style."""

    grey: bool  # no colours at all
    ground: Colour
    contrast: int  # by how many levels the ink differs from the ground, in one channel at least
    inks: tuple[Colour, ...]  # of the letters: one for all, or several


Step = Callable[[random.Random, np.ndarray, Palette, float], np.ndarray]


def draw(
    rng: random.Random,
    faces: Sequence[Face],
    hardest: float = 1.0,
    without: Sequence[Callable] = (),
    surely: Sequence[Callable] = (),
) -> tuple[np.ndarray, str]:
    """Draw a captcha in a style of its own; return it, (H, W, 3) uint8, and the text on it.

    ``hardest``, 0 to 1, bounds how much the letters are bent and disturbed. ``without`` and
    ``surely`` are steps of this module, or effects of glyphs.py, that are never or always taken.
    """

    def some(steps: Sequence, mean: float) -> list:
        """Return some of the steps in random order: ``mean`` of them on average."""
        share = mean / len(steps)
        taken = [s for s in steps if (rng.random() < share or s in surely) and s not in without]
        rng.shuffle(taken)
        return taken

    hard = rng.uniform(0, hardest)
    alphabet = rng.choice(ALPHABETS)
    text = "".join(rng.choice(alphabet) for _ in range(rng.randint(*LENGTHS)))
    height = round(math.exp(rng.uniform(math.log(HEIGHTS[0]), math.log(HEIGHTS[1]))))
    letters, width = arrange(rng, text, faces, height, hard, some(EFFECTS, 0.4)[:2])

    palette = any_palette(rng, hard)
    canvas = np.empty((height, width, 3), np.uint8)
    canvas[:] = palette.ground
    grounds = some(GROUNDS, 0.4 + hard)
    under = some(DISTURBANCES, 0.6 * hard)
    bent = some(DISTURBANCES, 0.8 * hard)
    over = some(DISTURBANCES, 0.8 * hard)
    bends = some(BENDS, 0.3 + 1.2 * hard)
    for step in [*grounds, *under]:
        canvas = step(rng, canvas, palette, hard)
    paste_letters(rng, canvas, letters, palette, hard)
    for step in [*bent, *bends, *over, *some(CAMERA, 0.5 + hard)]:
        canvas = step(rng, canvas, palette, hard)
    if palette.grey:
        canvas[:] = cv2.cvtColor(canvas, cv2.COLOR_RGB2GRAY)[:, :, None]
    return canvas, text


# ---------------------------------------------------------------- letters


def arrange(
    rng: random.Random,
    text: str,
    faces: Sequence[Face],
    height: int,
    hard: float,
    effects: Sequence[Callable[[random.Random, np.ndarray], np.ndarray]],
) -> tuple[list[Letter], int]:
    """Return the letters of a text in their places, and how wide an image must be for them."""
    capital = max(10, height * rng.uniform(0.3, 0.8))  # pixels; the height of a capital letter
    one_face = rng.random() < 0.6
    face = rng.choice(faces)
    share = rng.choice([1, 1, 0.5])  # of the letters that get them
    unlike = rng.choice([0, 0.05, 0.25]) * hard  # in size
    turn = rng.choice([0, 0, 8, 20, 40]) * hard  # degrees, each letter
    lean = rng.uniform(-0.35, 0.35) * rng.choice([0, 1])  # of the whole text
    sway = rng.choice([0, 0.2, 0.5]) * hard  # each letter
    jump = rng.choice([0, 0.05, 0.3, 1])  # up and down, as a share of the room that there is
    slope, arc = (rng.uniform(-1, 1) * rng.choice([0, 0, hard]) for _ in range(2))
    narrow = rng.uniform(0.75, 1.3)
    # Between letters, as a share of a capital's height: most stand close or far apart. Below 0, as
    # a share of the letter's width: they touch or overlap.
    gap = rng.choice([rng.uniform(0, 0.3), rng.uniform(0.2, 1.2), -0.45 * hard * rng.random()])
    monospaced = rng.choice([True, False])

    letters = []
    x = capital * rng.choice([rng.uniform(0.1, 0.5), rng.uniform(0.3, 2)])
    for number, character in enumerate(text):
        if not one_face:
            face = rng.choice(faces)
        mask, top = glyph(face, character)
        middle = top + len(mask) / 2  # above the foot of the letters, negative
        for effect in effects:
            if rng.random() < share:
                mask = effect(rng, mask)
        scale = capital / CAPITAL * rng.uniform(1 - unlike, 1 + unlike)
        angle = math.radians(rng.uniform(-turn, turn))
        change = scale * np.array([
            [narrow * math.cos(angle), math.sin(angle)],
            [-narrow * math.sin(angle), math.cos(angle)],
        ]) @ [[1, -lean - rng.uniform(-sway, sway)], [0, 1]]  # fmt: skip
        mask = transformed(mask, change)
        pitch = max(mask.shape[1], 0.75 * capital) if monospaced else mask.shape[1]
        where = 2 * number / max(1, len(text) - 1) - 1  # -1 to 1
        rise = slope * where / 2 + arc * (where**2 - 0.5)
        free = (height - capital) / 2
        y = height / 2 + capital / 2 + free * (0.6 * rise + 0.4 * jump * rng.uniform(-1, 1))
        above = round(y + scale * middle - len(mask) / 2)
        above = max(min(above, height - len(mask) - 1), min(1, height - len(mask)))
        letters.append((mask, round(x + (pitch - mask.shape[1]) / 2), above))
        x += pitch + gap * capital if gap > 0 else max((1 + gap) * pitch, 0.2 * capital)
    right = max(left + mask.shape[1] for mask, left, _ in letters)
    x = max(x - max(0, gap) * capital, right)
    width = x + capital * rng.choice([rng.uniform(0.1, 0.5), rng.uniform(0.3, 2)])
    if width > WIDEST * height:  # a margin less, where the letters leave room
        width = max(WIDEST * height, right + 2)
    return letters, round(width)


def transformed(mask: np.ndarray, change: np.ndarray) -> np.ndarray:
    """Return a mask after a linear map (2, 2) of its x and y, as large as it then is."""
    height, width = mask.shape
    extent = np.abs(change) @ [width, height]
    new_width, new_height = max(3, math.ceil(extent[0])), max(3, math.ceil(extent[1]))
    size = math.sqrt(abs(np.linalg.det(change)))
    if size < 0.6:  # averaged first, so that thin strokes do not break
        half = (max(1, width // 2), max(1, height // 2))
        mask = cv2.resize(mask, half, interpolation=cv2.INTER_AREA)
        change = change @ np.diag([width / half[0], height / half[1]])
    old = np.array([mask.shape[1] - 1, mask.shape[0] - 1]) / 2
    shift = np.array([new_width - 1, new_height - 1]) / 2 - change @ old
    matrix = np.column_stack([change, shift])
    return cv2.warpAffine(mask, matrix, (new_width, new_height), flags=cv2.INTER_LINEAR)


def paste_letters(
    rng: random.Random,
    canvas: np.ndarray,
    letters: Sequence[Letter],
    palette: Palette,
    hard: float,
) -> None:
    """Write the letters into an image: in one colour or each in its own, raised or shadowed."""
    second = ink(rng, palette.grey, palette.ground, palette.contrast)
    pale = rng.choice([1, 1, rng.uniform(0.4, 1)])
    manner = rng.choice(["plain"] * 5 + ["shadow", "raised", "gradient"])
    offset = rng.choice([1, 2]) * (1 if len(canvas) < 40 else 2)
    dx, dy = rng.choice([-offset, 0, offset]), rng.choice([-offset, offset])
    for mask, left, top in letters:
        colour = rng.choice(palette.inks)
        if manner == "shadow":
            paste(canvas, mask, left + dx, top + dy, second, 0.7)
        elif manner == "raised":
            light, dark = (mix(palette.ground, end, 0.6) for end in ((255, 255, 255), (0, 0, 0)))
            paste(canvas, mask, left - dx, top - dy, light, 1)
            paste(canvas, mask, left + dx, top + dy, dark, 1)
        fill: Colour | np.ndarray = colour
        if manner == "gradient":
            down = np.linspace(0, 1, len(mask))[:, None, None]  # (h, 1, 1)
            fill = (1 - down) * colour + down * second  # (h, 1, 3)
        paste(canvas, mask, left, top, fill, pale)


def paste(
    canvas: np.ndarray,
    mask: np.ndarray,
    left: int,
    top: int,
    colour: Colour | np.ndarray,
    opacity: float,
) -> None:
    """Paint a colour, or one for each row (h, 1, 3), through a mask; what lies outside is lost."""
    height, width = canvas.shape[:2]
    first_row, first_column = max(0, -top), max(0, -left)
    last_row, last_column = min(len(mask), height - top), min(mask.shape[1], width - left)
    if first_row >= last_row or first_column >= last_column:
        return
    part = canvas[top + first_row : top + last_row, left + first_column : left + last_column]
    share = mask[first_row:last_row, first_column:last_column, None] * np.float32(opacity / 255)
    if isinstance(colour, np.ndarray):
        colour = colour[first_row:last_row]
    part += ((np.asarray(colour, np.float32) - part) * share).astype(np.int16).astype(np.uint8)


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
    """Return a colour for what disturbs: like the letters', any, or little unlike the ground."""
    kind = rng.random()
    if kind < 0.5:
        return rng.choice(palette.inks)
    colour = any_colour(rng, palette.grey)
    return colour if kind < 0.75 else mix(palette.ground, colour, rng.uniform(0.1, 0.5))


def mix(first: Colour, second: Colour, share: float) -> Colour:
    """Return a colour between two; ``share`` is that of the second."""
    red, green, blue = (round(a + share * (b - a)) for a, b in zip(first, second, strict=True))
    return red, green, blue


# ---------------------------------------------------------------- grounds


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


def shifted(canvas: np.ndarray, change: np.ndarray) -> np.ndarray:
    """Return an image plus a change in grey levels, (H, W, 3 or 1)."""
    return (canvas + change).clip(0, 255).astype(np.uint8)


# ---------------------------------------------------------------- what disturbs


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


def stroke(rng: random.Random, height: int, hard: float) -> int:
    """Return the thickness of a line, in pixels: mostly thin, at most a tenth of the height."""
    most = max(1, min(5, round(height * (0.04 + 0.06 * hard))))
    return rng.choice([1, 1, 2, rng.randint(1, 5)]) if most >= 5 else rng.randint(1, most)


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


# ---------------------------------------------------------------- bending


def waves(rng: random.Random, canvas: np.ndarray, palette: Palette, hard: float) -> np.ndarray:
    """Shift rows and columns in waves."""
    y, x = places(canvas)
    side = len(canvas)
    across, along = (side * rng.uniform(0.01, 0.03 + 0.07 * hard) for _ in range(2))
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


def places(canvas: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the y and x of each pixel, (H, W) float32 each."""
    y, x = np.mgrid[: canvas.shape[0], : canvas.shape[1]].astype(np.float32)
    return y, x


def moved(canvas: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return an image whose pixels come from the places x and y, (H, W) each, in another one."""
    x, y = x.astype(np.float32), y.astype(np.float32)
    return cv2.remap(canvas, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


# ---------------------------------------------------------------- what a file format does


def blurred(rng: random.Random, canvas: np.ndarray, palette: Palette, hard: float) -> np.ndarray:
    """Blur the image."""
    return cv2.GaussianBlur(canvas, (0, 0), rng.uniform(0.3, 0.5 + hard) * len(canvas) / 50)


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


GROUNDS = (gradient, specks, grain, clouds, stripes, grid, patches, strange_letters)
# Lines and curves are what most websites disturb with.
DISTURBANCES = (lines, lines, curves, curves, arcs, dots, specks, grid, inverted, frame)
BENDS = (waves, ripple, bulge, elastic, perspective)
CAMERA = (blurred, sharpened, resampled, compressed, few_colours)
