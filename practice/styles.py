"""Captchas as any website might draw them: every image has a style of its own.

A style is a list of choices, each drawn from a wide range and independently of the others: the
letters, how they are arranged and bent, the ground, what disturbs, and what a file format does to
the image. What all images have in common is that a person can read nearly all of them; a network
that has seen enough of them reads captchas that nobody showed it. practice/recipe.py trains one.
"""

import math
import random
from collections.abc import Callable, Sequence

import cv2
import numpy as np

from practice.glyphs import CAPITAL, CHARACTERS, DIGITS, EFFECTS, SMALL, Face, glyph, square
from practice.steps.canvas import Colour, Palette, any_colour, any_palette, ink, mix
from practice.steps.disturbances import DISTURBANCES
from practice.steps.grounds import GROUNDS
from practice.steps.transforms import BENDS, CAMERA

ALPHABETS = (DIGITS, SMALL, SMALL.upper(), DIGITS + SMALL, DIGITS + SMALL.upper(), CHARACTERS)
LENGTHS = (3, 8)  # of the texts
HEIGHTS = (22, 90)  # of the images, in pixels; small ones are as frequent as large ones
WIDEST = 9  # width / height

Letter = tuple[np.ndarray, int, int]  # mask (h, w) uint8; left and top of it in the image, pixels


def draw(
    rng: random.Random,
    faces: Sequence[Face],
    hardest: float = 1.0,
    without: Sequence[Callable] = (),
    surely: Sequence[Callable] = (),
) -> tuple[np.ndarray, str]:
    """Draw a captcha in a style of its own; return it, (H, W, 3) uint8, and the text on it.

    ``hardest``, 0 to 1, bounds how much the letters are bent and disturbed. ``without`` and
    ``surely`` are steps, or effects of glyphs.py, that are never or always taken.
    """

    def some(steps: Sequence, mean: float) -> list:
        """Return some of the steps in random order: ``mean`` of them on average."""
        share = mean / len(steps)
        taken = [s for s in steps if (rng.random() < share or s in surely) and s not in without]
        rng.shuffle(taken)
        return taken

    hard = hardest * rng.random() ** 1.25  # of the hardest a person reads little, too: fewer
    alphabet = rng.choice(ALPHABETS)
    text = "".join(rng.choice(alphabet) for _ in range(rng.randint(*LENGTHS)))
    height = round(math.exp(rng.uniform(math.log(HEIGHTS[0]), math.log(HEIGHTS[1]))))
    letters, width = arrange(rng, text, faces, height, hard, some(EFFECTS, 0.7)[:2])

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
    paste_letters(rng, canvas, letters, palette)
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
    capital = max(10, height * rng.uniform(0.3, 0.95))  # pixels; the height of a capital letter
    one_face = rng.random() < 0.6
    face = rng.choice(faces)
    share = rng.choice([1, 1, 0.5])  # of the letters that get them
    unlike = rng.choice([0, 0.05, 0.3]) * rng.random()  # in size
    turn = rng.choice([0, 0, 8, 20, 40]) * hard  # degrees, each letter
    lean = rng.uniform(-0.35, 0.35) * rng.choice([0, 1])  # of the whole text
    sway = rng.choice([0, 0.2, 0.5]) * hard  # each letter
    jump = rng.choice([0, 0.05, 0.3, 1])  # up and down, as a share of the room that there is
    slope, arc = (rng.uniform(-1, 1) * rng.choice([0, 0, hard]) for _ in range(2))
    narrow = rng.uniform(0.55, 1.3)
    # Between letters, as a share of a capital's height: most stand close or far apart. Below 0, as
    # a share of the letter's width: they touch or overlap.
    gap = rng.choice([rng.uniform(0, 0.3), rng.uniform(0.2, 1.2), -0.45 * hard * rng.random()])
    uneven = rng.choice([0, 0, 0.3, 0.8]) * rng.random()  # by how much the gaps differ
    monospaced = rng.choice([True, False])

    letters = []
    x = capital * margin(rng)
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
        room = height - len(mask)
        above = max(min(above, room - 1), 1) if room > 2 else room // 2
        letters.append((mask, round(x + (pitch - mask.shape[1]) / 2), above))
        own = max(gap + uneven * rng.uniform(-0.5, 1), min(gap, -0.3))
        x += pitch + own * capital if own > 0 else max((1 + own) * pitch, 0.2 * capital)
    return framed(letters, capital * margin(rng), WIDEST * height)


def framed(letters: list[Letter], margin: float, widest: int) -> tuple[list[Letter], int]:
    """Return letters and the image's width; if that is too much, smaller ones without margins."""
    start = min(left for _, left, _ in letters)
    right = max(left + mask.shape[1] for mask, left, _ in letters)
    if right + margin <= widest:
        return letters, round(right + margin)
    shift = max(0, min(start - 1, right + 2 - widest))
    scale = min(1, widest / (right + 2 - shift))
    if scale == 1:
        return [(mask, left - shift, top) for mask, left, top in letters], widest
    smaller = []
    for mask, left, top in letters:
        size = [max(1, round(scale * side)) for side in mask.shape[::-1]]
        lower = top + (len(mask) - size[1]) // 2
        fitting = cv2.resize(mask, size, interpolation=cv2.INTER_AREA)
        smaller.append((fitting, round(scale * (left - shift)), lower))
    return smaller, widest


def margin(rng: random.Random) -> float:
    """Return a margin beside the text, as a share of a capital's height: at times it is wide."""
    least, most = rng.choice([(0.1, 0.5), (0.1, 0.5), (0.3, 2), (0.3, 2), (0, 5)])
    return rng.uniform(least, most)


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
) -> None:
    """Write the letters into an image: plain, raised, shadowed, outlined, each on a tile."""
    second = ink(rng, palette.grey, palette.ground, palette.contrast)
    pale = rng.choice([1, 1, rng.uniform(0.4, 1)])
    manner = rng.choice(["plain"] * 6 + ["shadow", "raised", "gradient", "outlined", "tiles"])
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
        elif manner == "outlined":
            wide = cv2.copyMakeBorder(mask, 2, 2, 2, 2, cv2.BORDER_CONSTANT)
            paste(canvas, cv2.dilate(wide, square(3)), left - 2, top - 2, second, 1)
        elif manner == "tiles":
            ground = mix(palette.ground, any_colour(rng, palette.grey), rng.uniform(0.1, 0.3))
            canvas[max(0, top - 2) : top + len(mask) + 2, max(0, left) : left + mask.shape[1]] = (
                ground
            )
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
