"""The practice captchas: always the same for a number, whole and legible."""

import hashlib
import random
import secrets
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import captcha.image
import numpy as np
import pytest
from helpers import project
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from practice import forms, letters

NAMES = list(forms.FORMS)


def pixels(form, number, seed=0):
    return forms.draw(form, number, seed)[0].tobytes()


@pytest.mark.parametrize("form", NAMES)
def test_a_number_always_gives_its_own_image(form):
    again = (
        "import hashlib; from practice import forms\n"
        f"image, answer = forms.draw({form!r}, 5, 1)\n"
        "print(hashlib.sha256(image.tobytes()).hexdigest(), answer)"
    )
    elsewhere = subprocess.run(
        [sys.executable, "-c", again], cwd=project, capture_output=True, text=True, check=True
    ).stdout.split()
    image, answer = forms.draw(form, 5, 1)
    assert elsewhere == [hashlib.sha256(image.tobytes()).hexdigest(), answer]
    assert len({pixels(form, 5, seed=1), pixels(form, 6, seed=1), pixels(form, 5, seed=2)}) == 3


@pytest.mark.parametrize("form", NAMES)
def test_hundreds_of_images_are_all_different(form):
    count = 2000 if form == "digit" else 300
    assert len({pixels(form, number) for number in range(count)}) == count


@pytest.mark.parametrize(
    ("form", "size", "characters", "lengths"),
    [
        ("digit", (28, 28), "0123456789", {1}),
        ("simple", (200, 50), "2345678abcdefghkmnprwxy", {5}),
        ("ripple", (200, 50), "2345678bcdefgmnpwxy", {5}),
        ("noise", (160, 60), forms.NOISE_LETTERS, {4, 5, 6}),
        ("mixed", (200, 50), forms.MIXED_LETTERS, {4, 5, 6, 7}),
    ],
)
def test_each_form_has_its_size_and_uses_all_of_its_characters(form, size, characters, lengths):
    drawn = [forms.draw(form, number) for number in range(200)]
    assert {image.size for image, _ in drawn} == {size}
    assert {image.mode for image, _ in drawn} == {"RGB"}
    assert set("".join(answer for _, answer in drawn)) == set(characters)
    assert {len(answer) for _, answer in drawn} == lengths


@pytest.mark.parametrize("form", ["digit", "simple", "ripple", "mixed"])
def test_no_letter_is_cut_off_at_the_edge(form, monkeypatch):
    outside = []
    paste = Image.Image.paste

    def watched_paste(image, colour, box, mask):
        left, top, right, bottom = mask.getbbox()
        x, y = box
        if min(x + left, y + top) < 0 or x + right > image.width or y + bottom > image.height:
            outside.append((x, y, mask.getbbox()))
        paste(image, colour, box, mask)

    monkeypatch.setattr(Image.Image, "paste", watched_paste)
    for number in range(300):
        forms.draw(form, number)
    assert outside == []


def test_simple_letters_and_line_are_darker_than_any_ground():
    rng = random.Random(0)
    colours = np.array([letters.dark_colour(rng) for _ in range(1000)])
    grounds = [np.asarray(letters.light_ground(rng).convert("L")) for _ in range(100)]
    assert (colours @ [0.299, 0.587, 0.114]).max() < 110
    assert np.min(grounds) > 210


@given(st.integers(), st.lists(st.integers(0, 255), min_size=6, max_size=6), st.floats(1, 100))
def test_a_contrasting_colour_exists_and_differs_from_all_of_the_ground(seed, ends, least):
    ground = np.linspace(ends[:3], ends[3:], 200)[None]  # (1, 200, 3)
    colour = letters.contrasting(random.Random(seed), ground, least)
    for column in ground[0]:
        assert max(abs(c - g) for c, g in zip(colour, column, strict=True)) > least


def test_drawing_in_many_threads_changes_nothing():
    tasks = [(form, number) for number in range(40) for form in NAMES]
    expected = [pixels(*task) for task in tasks]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda task: pixels(*task), tasks)) == expected
    assert captcha.image.secrets is secrets  # what was lent for the noise form is given back
