"""The images of any style: always the same for a seed, legible, and each step does something."""

import random

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from practice import forms, glyphs, styles
from practice.steps.canvas import any_palette

STEPS = [*styles.GROUNDS, *styles.DISTURBANCES, *styles.BENDS, *styles.CAMERA]
NAMES = [step.__name__ for step in STEPS]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.floats(0, 1))
@example(11, 0.0)  # letters far apart
def test_any_style_is_an_image_of_reasonable_size_with_a_text_of_its_alphabet(seed, hardest):
    image, text = styles.draw(random.Random(seed), forms.wild_faces(), hardest)
    height, width, channels = image.shape
    assert image.dtype == np.uint8
    assert channels == 3
    assert styles.HEIGHTS[0] <= height <= styles.HEIGHTS[1]
    assert width <= styles.WIDEST * height
    assert 3 <= len(text) <= 8
    assert set(text) <= set(glyphs.CHARACTERS)
    again, _ = styles.draw(random.Random(seed), forms.wild_faces(), hardest)
    assert (image == again).all()


@pytest.mark.parametrize(
    ("lefts", "width", "height"),
    [((10, 50), 85, 20), ((100, 190), 200, 20), ((100, 400), 200, 13)],
    ids=["fits", "moves", "shrinks"],
)
def test_all_letters_are_inside_the_frame(lefts, width, height):
    letters = [(np.full((20, 10), 255, np.uint8), left, 5) for left in lefts]
    framed, found = styles.framed(letters, 25, 200)
    assert found == width
    (first, left, top), (second, right, _) = framed
    assert len(first) == len(second) == height
    assert 0 <= left < left + first.shape[1] <= right < right + second.shape[1] <= width
    assert top + height / 2 == pytest.approx(15, abs=1)


def test_lengths_and_characters_are_drawn_evenly():
    texts = [styles.draw(random.Random(n), forms.wild_faces())[1] for n in range(1500)]
    lengths = np.bincount([len(text) for text in texts])[3:]
    assert len(lengths) == 6
    assert lengths.min() > 0.7 * lengths.mean()
    for alphabet in (glyphs.DIGITS, glyphs.SMALL, glyphs.SMALL.upper()):
        counts = np.array([sum(text.count(c) for text in texts) for c in alphabet])
        assert counts.min() > 0.6 * counts.mean()


@pytest.mark.parametrize("hard", [0.3, 1])
@pytest.mark.parametrize("step", STEPS, ids=NAMES)
def test_each_step_changes_an_image_and_keeps_its_size(step, hard):
    changed = 0
    for seed in range(20):
        rng = random.Random(seed)
        noise = np.random.default_rng(seed).integers(0, 256, (rng.choice([22, 45, 90]), 130, 3))
        palette = any_palette(rng, hard)
        canvas = noise.astype(np.uint8)
        result = step(rng, canvas.copy(), palette, hard)
        assert result.shape == canvas.shape
        assert result.dtype == np.uint8
        changed += (result != canvas).any()
    assert changed >= 10


@pytest.mark.parametrize("effect", glyphs.EFFECTS, ids=lambda effect: effect.__name__)
def test_each_effect_leaves_a_letter_with_ink_and_changes_it(effect):
    face = forms.wild_faces()[0]
    for seed, character in enumerate("Ag8mWi1"):
        mask, _ = glyphs.glyph(face, character)
        result = effect(random.Random(seed), mask)
        assert result.dtype == np.uint8
        assert result.sum() > 0.1 * mask.sum()
        assert result.shape != mask.shape or (result != mask).any()


def test_what_is_never_and_what_is_always_taken_can_be_named(monkeypatch):
    taken = []

    def watched(rng, canvas, palette, hard):
        taken.append(1)
        return canvas

    monkeypatch.setattr(styles, "GROUNDS", (watched,))
    for seed in range(20):
        styles.draw(random.Random(seed), forms.wild_faces(), without=[watched])
    assert not taken
    for seed in range(20):
        styles.draw(random.Random(seed), forms.wild_faces(), surely=[watched])
    assert len(taken) == 20


def test_the_ink_differs_from_the_ground():
    for seed in range(300):
        rng = random.Random(seed)
        palette = any_palette(rng, 1)
        for colour in palette.inks:
            assert max(abs(a - b) for a, b in zip(colour, palette.ground, strict=True)) > 49


def test_no_letter_is_lost_at_the_edge_before_the_image_is_bent():
    for seed in range(200):
        rng = random.Random(seed)
        text = "".join(rng.choices(glyphs.CHARACTERS, k=rng.randint(3, 8)))
        height = rng.randint(*styles.HEIGHTS)
        letters, width = styles.arrange(rng, text, forms.wild_faces(), height, 1, [])
        for mask, left, top in letters:
            rows, columns = (mask > 128).nonzero()
            assert left + columns.min() >= 0
            assert left + columns.max() < width
            middle = top + (rows.min() + rows.max()) / 2
            assert 0 < middle < height


def test_the_faces_of_a_folder_are_those_that_can_write(tmp_path):
    for name in ("DejaVuSans", "STIXNonUni", "cmex10", "cmr10"):
        (tmp_path / f"{name}.ttf").symlink_to(forms.font_file(name))
    (tmp_path / "broken.ttf").write_bytes(b"no font")
    assert {face.family for face in glyphs.find_faces([tmp_path])} == {"DejaVu Sans", "cmr10"}


def test_faces_that_look_like_no_other_are_not_legible():
    symbols = glyphs.read_face(forms.font_file("cmsy10"))
    assert glyphs.legible([*forms.wild_faces(), symbols]) == forms.wild_faces()
