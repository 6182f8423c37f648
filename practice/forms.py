"""The practice captchas: each form draws as many as one wants, and says what is written on them.

What a form draws depends on its name, a seed and a number only, so nothing need be stored.
"""

import colorsys
import importlib.util
import math
import random
import secrets
import threading
from functools import lru_cache
from pathlib import Path

import captcha.image
import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

serif_letters = "2345678abcdefghkmnprwxy"
ripple_letters = "2345678bcdefgmnpwxy"
# The noise form turns and scales its letters until o is 0, z is 2, q is 9, u is n and r beside n
# is m. A person could not tell them apart, so there is lower case only, and one of each.
noise_letters = "2345678abcdefghknprtwxy"

# The mixed form writes clear letters, but in many fonts: no o beside 0, no l beside 1.
mixed_letters = "123456789abcdefghijkmnpqrstuvwxyz"
mixed_fonts = [
    f"{family}{style}"
    for family, slanted in (("Sans", "Oblique"), ("SansMono", "Oblique"), ("Serif", "Italic"))
    for style in ("", "-Bold", f"-{slanted}", f"-Bold{slanted}")
]

letter_cell = 64  # pixels; letter() draws into a square of this side, ...
letter_baseline = 44  # ... with the foot of the letters at this height
noise_lock = threading.Lock()


# ---------------------------------------------------------------- the forms of captcha


def draw(form: str, number: int, seed: int = 0) -> tuple[Image.Image, str]:
    """Draw captcha ``number`` of a form; return the RGB image and the text on it.

    The same form, number and seed always give the same image. Raises KeyError for another form.
    """
    return forms[form](random.Random(f"{seed} {form} {number}"))


def draw_digit(rng: random.Random) -> tuple[Image.Image, str]:
    """Draw one digit, 28x28, dark on light grey, with noise."""
    answer = rng.choice("0123456789")
    name = rng.choice(["Sans", "Sans-Bold", "Sans-Oblique", "SansMono", "Serif", "Serif-Bold"])
    shape = letter(answer, font(name, rng.randint(18, 24)), angle=rng.uniform(-12, 12))
    x = (28 - shape.width) // 2 + rng.randint(-4, 4)
    y = 22 - letter_baseline + rng.randint(-3, 3)
    image = Image.new("L", (28, 28), rng.randint(190, 255))
    image.paste(rng.randint(0, 100), (x, y), shape)
    grain = np.random.default_rng(rng.getrandbits(64)).normal(0, 12, (28, 28))
    grey = (np.asarray(image) + grain).clip(0, 255).astype(np.uint8)
    return Image.fromarray(grey).convert("RGB"), answer


def draw_simple(rng: random.Random) -> tuple[Image.Image, str]:
    """Draw five coloured serif letters on a light ground, a dark curve across, 200x50."""
    answer = "".join(rng.choices(serif_letters, k=5))
    image = light_ground(rng)
    x, pitch = rng.uniform(20, 36), rng.uniform(25, 32)  # the first letter's middle; to the next
    for character in answer:
        shape = letter(
            character,
            font(rng.choice(["Serif", "Serif-Bold", "Serif-Italic"]), rng.randint(29, 34)),
            angle=rng.uniform(-15, 15),
            shear=rng.uniform(-0.2, 0.2),
        )
        left = round(x - shape.width / 2 + rng.uniform(-3, 3))
        image.paste(dark_colour(rng), (left, rng.randint(32, 39) - letter_baseline), shape)
        x += pitch
    points = [(x, rng.uniform(14, 40)) for x in (-2, 66, 134, 202)]
    image.paste((40, 40, 40), (0, 0), curve(points, [rng.uniform(1.3, 2.2)], pieces=24))
    return image, answer


def draw_ripple(rng: random.Random) -> tuple[Image.Image, str]:
    """Draw five black letters in ripples, two thin lines across, 200x50, as Kaptcha does."""
    answer = "".join(rng.choices(ripple_letters, k=5))
    text = Image.new("L", (200, 50))
    x = rng.uniform(27, 33)
    for character in answer:
        shape = letter(
            character,
            font("Sans-Bold", rng.randint(36, 39)),
            width=rng.uniform(0.84, 0.92),
            shear=rng.uniform(-0.05, 0.12),
        )
        text.paste(255, (round(x), rng.randint(39, 41) - letter_baseline), shape)
        x += shape.width + rng.uniform(0, 2.5)
    rippled = np.asarray(text)
    for sources in ripples():
        rippled = cv2.remap(rippled, *sources, cv2.INTER_LINEAR)
    grey = np.linspace(192, 250, 200).astype(np.uint8)  # nearly white on the right
    image = Image.fromarray(np.tile(grey, (50, 1)))
    image.paste(0, (0, 0), Image.fromarray(rippled))
    for xs in [(20, 20, 50, 50), (20, 50, 100, 180)]:  # a short line on the left and a long one
        points = [(x, rng.uniform(0, 50)) for x in xs]
        image.paste(0, (0, 0), curve(points, [3.6, 2.7, 1.8], pieces=8))
    return image.convert("RGB"), answer


def draw_noise(rng: random.Random) -> tuple[Image.Image, str]:
    """Draw 4 to 6 letters and digits with the package captcha from PyPI, 160x60."""
    answer = "".join(rng.choices(noise_letters, k=rng.randint(4, 6)))
    # The package takes its random numbers from the module ``secrets``, which has no seed. For the
    # time of one image it gets ours instead; the lock keeps other threads from using them.
    with noise_lock:
        captcha.image.secrets = SeededSecrets(rng.getrandbits(64))
        try:
            return noise_drawer().generate_image(answer), answer
        finally:
            captcha.image.secrets = secrets


def draw_mixed(rng: random.Random) -> tuple[Image.Image, str]:
    """Draw 4 to 7 characters as any site might: every image has a style of its own, 200x50.

    Light on dark or dark on light, one colour or many, wide or overlapping, in any DejaVu font,
    some letters pale or made of large pixels: what a network learns from these images it can use on
    others.
    """
    answer = "".join(rng.choices(mixed_letters, k=rng.randint(4, 7)))
    # the ground's colours on the left and on the right, (1, 2, 3)
    sides = np.array([[[rng.randint(0, 255) for _ in range(3)] for _ in range(2)]])
    if rng.random() < 0.5:
        sides[:] = sides.mean(axis=2, keepdims=True)  # a grey one
    if rng.random() < 0.6:
        sides = 255 - sides // 6  # a light one
    image = Image.fromarray(sides.astype(np.uint8)).resize((200, 50), Image.Resampling.BILINEAR)
    ground = np.asarray(image)[:1].astype(int)  # (1, 200, 3)
    one_colour, one_font = rng.random() < 0.4, rng.random() < 0.6
    size, turn, shear = rng.uniform(18, 40), rng.choice([0, 4, 15]), rng.uniform(-0.3, 0.3)
    unlike = rng.uniform(0.05, 0.35)  # by how much the letters of an image differ in size
    clear = rng.uniform(50, 100)  # by how much a letter differs from the ground, in grey levels
    room = min(190.0, len(answer) * size * rng.uniform(0.42, 1.1))  # for the whole text
    pixel_share, pale_share = rng.choice([0, 0, 0, 0.3, 1]), rng.choice([0, 0.3])  # of the letters
    x = rng.uniform(0.05, 1) * (195 - room) + 5
    face_name = rng.choice(mixed_fonts)
    colour = contrasting(rng, ground[:, int(x) : math.ceil(x + room)], clear)
    for number, character in enumerate(answer):
        if not one_font:
            face_name = rng.choice(mixed_fonts)
        face = font(face_name, round(size * rng.uniform(1 - unlike, 1 + unlike)))
        shape = letter(character, face, rng.uniform(0.8, 1), rng.uniform(-turn, turn), shear)
        if rng.random() < pixel_share:
            shape = in_large_pixels(shape, 3 if size > 28 else 2)
        if rng.random() < pale_share:
            opacity = rng.uniform(0.2, 0.6)
            shape = shape.point([round(opacity * value) for value in range(256)])
        _, top, _, bottom = shape.getbbox()
        left = round(x + (number + 0.5) * room / len(answer) - shape.width / 2)
        left = max(0, min(left, 200 - shape.width))
        above = round(26 + 0.36 * size + rng.uniform(-3, 3)) - letter_baseline
        if not one_colour:
            colour = contrasting(rng, ground[:, left : left + shape.width], clear)
        image.paste(colour, (left, max(-top, min(above, 50 - bottom))), shape)
    pen = ImageDraw.Draw(image)
    for _ in range(rng.choice([0, 0, 1, 3, 8])):
        ends = [rng.uniform(0, side) for side in (200, 50, 200, 50)]
        pen.line(ends, fill=contrasting(rng, ground, clear), width=1)
    if rng.random() < 0.3:
        noise = np.random.default_rng(rng.getrandbits(64))
        dots = noise.random((50, 200, 1)) < rng.uniform(0, 0.08)
        speckled = np.where(dots, noise.integers(0, 256, (50, 200, 3)), np.asarray(image))
        image = Image.fromarray(speckled.astype(np.uint8))
    return image, answer


forms = {
    "digit": draw_digit,
    "simple": draw_simple,
    "ripple": draw_ripple,
    "noise": draw_noise,
    "mixed": draw_mixed,
}


# ---------------------------------------------------------------- what they are drawn with


@lru_cache
def font(name: str, size: int) -> ImageFont.FreeTypeFont:
    """Return a DejaVu font, twice as large as asked for: letter() halves it again."""
    # The layout engine is named because the other one is not installed everywhere.
    return ImageFont.truetype(font_file(name), 2 * size, layout_engine=ImageFont.Layout.BASIC)


def font_file(name: str) -> str:
    """Return the path of one of the DejaVu fonts that matplotlib ships."""
    package = importlib.util.find_spec("matplotlib")  # finds it without the time to import it
    folder = Path(package.origin).parent / "mpl-data" / "fonts" / "ttf"
    return str(folder / f"DejaVu{name}.ttf")


def letter(
    character: str,
    face: ImageFont.FreeTypeFont,
    width: float = 1.0,
    angle: float = 0.0,
    shear: float = 0.0,
) -> Image.Image:
    """Draw one character, made narrower, slanted (shear) and turned (angle in degrees).

    Returns a mask as wide as the character and ``letter_cell`` high.
    """
    large = Image.new("L", (2 * letter_cell, 2 * letter_cell))
    foot = (letter_cell, 2 * letter_baseline)  # the middle of the letter's foot
    ImageDraw.Draw(large).text(foot, character, fill=255, font=face, anchor="ms")
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    change = np.array([[cos, sin], [-sin, cos]]) @ [[width, -shear], [0, 1]] / 2
    # Pillow asks the other way round: from where does a pixel of the result come?
    back = np.linalg.inv(change)
    (a, b), (d, e) = back
    c, f = letter_cell - back @ [letter_cell / 2, letter_cell / 2]  # the centre stays the centre
    size, how = (letter_cell, letter_cell), Image.Resampling.BILINEAR
    small = large.transform(size, Image.Transform.AFFINE, (a, b, c, d, e, f), how)
    left, _, right, _ = small.getbbox()
    return small.crop((left, 0, right, letter_cell))


def in_large_pixels(shape: Image.Image, side: int) -> Image.Image:
    """Return a letter's mask made of black and white squares of this side, in pixels."""
    small = shape.reduce(side).point(lambda value: 255 * (value > 90))
    return small.resize((side * small.width, side * small.height), Image.Resampling.NEAREST)


def curve(points: list[tuple[float, float]], widths: list[float], pieces: int) -> Image.Image:
    """Draw a Bézier curve with four points, in straight pieces; return a 200x50 mask.

    The first pieces have the widths given, in pixels, and the rest the last of them.
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
    ends = np.array([[rng.randint(220, 255) for _ in range(3)] for _ in range(2)], np.uint8)
    return Image.fromarray(ends[None]).resize((200, 50), Image.Resampling.BILINEAR)


def dark_colour(rng: random.Random) -> tuple[int, int, int]:
    """Return a random strong colour that is dark enough to be read on a light ground."""
    rgb = np.array(colorsys.hsv_to_rgb(rng.random(), rng.uniform(0.7, 1), rng.uniform(0.5, 0.9)))
    brightness = rgb @ [0.3, 0.59, 0.11]  # to the eye, green is the brightest and blue the darkest
    red, green, blue = (255 * rgb * min(1, 0.4 / brightness)).astype(int).tolist()
    return red, green, blue


def contrasting(rng: random.Random, ground: np.ndarray, least: float) -> tuple[int, int, int]:
    """Return a random colour that differs from all of the ground, (1, N, 3), by ``least`` levels.

    The difference of two colours is that of the channel in which they differ most.
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
    # First short waves around the centre, as round a stone: they make the letters there grainy.
    distance = np.maximum(np.hypot(x - 100, y - 25), 0.1)
    rings = 1.5 * np.sin(np.pi * distance - 10) * (1 - distance / 50).clip(0) * 2 / distance
    water = (x + (x - 100) * rings, y + (y - 25) * rings)
    # Then long waves all over.
    return [water, (x + 2.6 * np.sin(y / 15), y + 1.7 * np.sin(x / 5))]


class SeededSecrets(random.Random):
    """What the package captcha uses of the module ``secrets``, reproducible."""

    randbelow = random.Random.randrange
    randbits = random.Random.getrandbits


@lru_cache
def noise_drawer() -> captcha.image.ImageCaptcha:
    """Return the package's drawer, with several fonts."""
    names = ["Sans", "Sans-Bold", "SansMono-Bold", "Serif", "Serif-Bold"]
    return captcha.image.ImageCaptcha(160, 60, fonts=[font_file(name) for name in names])
