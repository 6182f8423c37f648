"""The practice captchas: each form draws any number of them, and says what is written on them.

What a form draws depends on its name, a seed and a number only, so nothing need be stored.
"""

import math
import random
import secrets
import threading
from functools import lru_cache

import captcha.image
import cv2
import numpy as np
from PIL import Image, ImageDraw

from practice import styles
from practice.glyphs import Face, read_face
from practice.letters import (
    BASELINE,
    any_ground,
    contrasting,
    curve,
    dark_colour,
    font,
    font_file,
    in_large_pixels,
    letter,
    light_ground,
    ripples,
    speckled,
)

SERIF_LETTERS = "2345678abcdefghkmnprwxy"
RIPPLE_LETTERS = "2345678bcdefgmnpwxy"
# The noise form rotates and scales its letters until o is 0, z is 2, q is 9, u is n and r beside n
# is m. A person could not tell them apart, so there is lower case only, and one of each.
NOISE_LETTERS = "2345678abcdefghknprtwxy"

# The mixed form writes clear letters, but in many fonts: no o beside 0, no l beside 1.
MIXED_LETTERS = "123456789abcdefghijkmnpqrstuvwxyz"
MIXED_FONTS = [
    f"{family}{style}"
    for family, slanted in (("Sans", "Oblique"), ("SansMono", "Oblique"), ("Serif", "Italic"))
    for style in ("", "-Bold", f"-{slanted}", f"-Bold{slanted}")
]

# The wild form draws in any style (styles.py), with all text fonts that matplotlib ships.
OTHER_FONTS = [
    "STIXGeneral",
    "STIXGeneralBol",
    "STIXGeneralItalic",
    "cmr10",
    "cmb10",
    "cmss10",
    "cmtt10",
]

NOISE_LOCK = threading.Lock()


# ---------------------------------------------------------------- the forms of captcha


def draw(form: str, number: int, seed: int = 0) -> tuple[Image.Image, str]:
    """Draw captcha ``number`` of a form; return the RGB image and the text on it.

    The same form, number and seed always give the same image. Raises KeyError for another form.
    """
    return FORMS[form](random.Random(f"{seed} {form} {number}"))


def draw_digit(rng: random.Random) -> tuple[Image.Image, str]:
    """Draw one digit, 28x28, dark on light grey, with noise."""
    answer = rng.choice("0123456789")
    name = rng.choice(["Sans", "Sans-Bold", "Sans-Oblique", "SansMono", "Serif", "Serif-Bold"])
    mask = letter(answer, font(name, rng.randint(18, 24)), angle=rng.uniform(-12, 12))
    x = (28 - mask.width) // 2 + rng.randint(-4, 4)
    y = 22 - BASELINE + rng.randint(-3, 3)
    image = Image.new("L", (28, 28), rng.randint(190, 255))
    image.paste(rng.randint(0, 100), (x, y), mask)
    grain = np.random.default_rng(rng.getrandbits(64)).normal(0, 12, (28, 28))
    grey = (np.asarray(image) + grain).clip(0, 255).astype(np.uint8)
    return Image.fromarray(grey).convert("RGB"), answer


def draw_simple(rng: random.Random) -> tuple[Image.Image, str]:
    """Draw five coloured serif letters on a light ground, a dark curve across, 200x50."""
    answer = "".join(rng.choices(SERIF_LETTERS, k=5))
    image = light_ground(rng)
    x, pitch = rng.uniform(20, 36), rng.uniform(25, 32)  # the first letter's middle; to the next
    for character in answer:
        mask = letter(
            character,
            font(rng.choice(["Serif", "Serif-Bold", "Serif-Italic"]), rng.randint(29, 34)),
            angle=rng.uniform(-15, 15),
            shear=rng.uniform(-0.2, 0.2),
        )
        left = round(x - mask.width / 2 + rng.uniform(-3, 3))
        image.paste(dark_colour(rng), (left, rng.randint(32, 39) - BASELINE), mask)
        x += pitch
    points = [(x, rng.uniform(14, 40)) for x in (-2, 66, 134, 202)]
    image.paste((40, 40, 40), (0, 0), curve(points, [rng.uniform(1.3, 2.2)], pieces=24))
    return image, answer


def draw_ripple(rng: random.Random) -> tuple[Image.Image, str]:
    """Draw five black letters in ripples, two thin lines across, 200x50, as Kaptcha does."""
    answer = "".join(rng.choices(RIPPLE_LETTERS, k=5))
    text = Image.new("L", (200, 50))
    x = rng.uniform(27, 33)
    for character in answer:
        mask = letter(
            character,
            font("Sans-Bold", rng.randint(36, 39)),
            width=rng.uniform(0.84, 0.92),
            shear=rng.uniform(-0.05, 0.12),
        )
        text.paste(255, (round(x), rng.randint(39, 41) - BASELINE), mask)
        x += mask.width + rng.uniform(0, 2.5)
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
    answer = "".join(rng.choices(NOISE_LETTERS, k=rng.randint(4, 6)))
    # The package gets its random numbers from the module ``secrets``, which has no seed. For the
    # time of one image it gets ours instead; the lock keeps other threads from using them.
    with NOISE_LOCK:
        captcha.image.secrets = SeededSecrets(rng.getrandbits(64))  # type: ignore[assignment]
        try:
            return noise_drawer().generate_image(answer), answer
        finally:
            captcha.image.secrets = secrets


class SeededSecrets(random.Random):
    """What the package captcha uses of the module ``secrets``, reproducible."""

    randbelow = random.Random.randrange
    randbits = random.Random.getrandbits


@lru_cache
def noise_drawer() -> captcha.image.ImageCaptcha:
    """Return what draws the images in the package, with several fonts."""
    names = ["Sans", "Sans-Bold", "SansMono-Bold", "Serif", "Serif-Bold"]
    return captcha.image.ImageCaptcha(160, 60, fonts=[font_file(f"DejaVu{name}") for name in names])


def draw_mixed(rng: random.Random) -> tuple[Image.Image, str]:
    """Draw 4 to 7 characters as any site might: every image has a style of its own, 200x50.

    Light on dark or dark on light, one colour or many, wide or overlapping, in any DejaVu font,
    some letters pale or made of large pixels: what a network learns from these images helps it with
    others.
    """
    answer = "".join(rng.choices(MIXED_LETTERS, k=rng.randint(4, 7)))
    image = any_ground(rng)
    ground = np.asarray(image)[:1].astype(int)  # (1, 200, 3)
    one_colour, one_font = rng.random() < 0.4, rng.random() < 0.6
    size, turn, shear = rng.uniform(18, 40), rng.choice([0, 4, 15]), rng.uniform(-0.3, 0.3)
    unlike = rng.uniform(0.05, 0.35)  # by how much the letters of an image differ in size
    clear = rng.uniform(50, 100)  # by how much a letter differs from the ground, in grey levels
    room = min(190.0, len(answer) * size * rng.uniform(0.42, 1.1))  # for the whole text
    pixel_share, pale_share = rng.choice([0, 0, 0, 0.3, 1]), rng.choice([0, 0.3])  # of the letters
    x = rng.uniform(0.05, 1) * (195 - room) + 5
    face_name = rng.choice(MIXED_FONTS)
    colour = contrasting(rng, ground[:, int(x) : math.ceil(x + room)], clear)
    for number, character in enumerate(answer):
        if not one_font:
            face_name = rng.choice(MIXED_FONTS)
        face = font(face_name, round(size * rng.uniform(1 - unlike, 1 + unlike)))
        mask = letter(character, face, rng.uniform(0.8, 1), rng.uniform(-turn, turn), shear)
        if rng.random() < pixel_share:
            mask = in_large_pixels(mask, 3 if size > 28 else 2)
        if rng.random() < pale_share:
            opacity = rng.uniform(0.2, 0.6)
            mask = mask.point([round(opacity * value) for value in range(256)])
        _, top, _, bottom = mask.getbbox() or (0, 0, *mask.size)
        left = round(x + (number + 0.5) * room / len(answer) - mask.width / 2)
        left = max(0, min(left, 200 - mask.width))
        above = round(26 + 0.36 * size + rng.uniform(-3, 3)) - BASELINE
        if not one_colour:
            colour = contrasting(rng, ground[:, left : left + mask.width], clear)
        image.paste(colour, (left, max(-top, min(above, 50 - bottom))), mask)
    pen = ImageDraw.Draw(image)
    for _ in range(rng.choice([0, 0, 1, 3, 8])):
        line = [rng.uniform(0, side) for side in (200, 50, 200, 50)]
        pen.line(line, fill=contrasting(rng, ground, clear), width=1)
    if rng.random() < 0.3:
        image = speckled(rng, image)
    return image, answer


def draw_wild(rng: random.Random) -> tuple[Image.Image, str]:
    """Draw 3 to 8 characters in a style that no other image has, of any size."""
    image, answer = styles.draw(rng, wild_faces())
    return Image.fromarray(image), answer


@lru_cache
def wild_faces() -> list[Face]:
    """Return the faces of the wild form."""
    names = [f"DejaVu{name}" for name in MIXED_FONTS] + OTHER_FONTS
    return [face for name in names if (face := read_face(font_file(name)))]


FORMS = {
    "digit": draw_digit,
    "simple": draw_simple,
    "ripple": draw_ripple,
    "noise": draw_noise,
    "mixed": draw_mixed,
    "wild": draw_wild,
}
