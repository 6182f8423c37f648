"""scale.py: a network sees a site's images as high and as wide as it reads them most surely."""

import math

import cv2
import numpy as np
import pytest
import torch
from helpers import small_net
from hypothesis import given
from hypothesis import strategies as st

import model
import utils
from files.framing import LEAST_HEIGHT, find_frame
from files.images import InputSpec
from practice import forms
from reading import limits
from reading.scale import MOST_AREA, STRETCHES, find_scale, near


@pytest.mark.parametrize(("form", "share"), [("simple", 0.35), ("mixed", 0.5), ("ripple", 0.3)])
def test_letters_of_half_their_width_or_less_are_read_as_well(form, share):
    drawn = [forms.draw(form, number, seed=98) for number in range(60)]
    images = [np.asarray(image) for image, _ in drawn]
    narrow = [cv2.resize(i, None, fx=share, fy=1, interpolation=cv2.INTER_AREA) for i in images]
    characters = "".join(sorted({c for _, answer in drawn for c in answer.lower()}))

    def count_read(images, stretch=None):
        """How many are read, at the scale that is found or at this one, and the scale."""
        net, _ = model.load_model(utils.PRACTICE_MODEL)
        limits.suit(net, images, characters, None)
        if stretch:
            net.spec = find_frame(images, 3)
        read = model.read_images(net, torch.stack([model.prepare(net, image) for image in images]))
        texts = [prediction.text for prediction in read]
        return sum(t == a.lower() for t, (_, a) in zip(texts, drawn, strict=True)), net.spec

    as_drawn, spec = count_read(images)
    assert spec.stretch == 1
    as_it_comes, _ = count_read(narrow, stretch=1)
    found, spec = count_read(narrow)
    assert spec.stretch > 1.3
    assert found >= as_it_comes + 10
    assert found >= as_drawn - 15


FIRST = InputSpec(40, 120, 1, (0.0, 0.0, 1.0, 0.5))


@pytest.mark.parametrize(
    ("peak", "at_first", "at_peak", "moves"),
    [
        ((40, 1.44), 0.3, 0.4, True),
        ((32, 0.833), 0.3, 0.4, True),
        ((56, 1.0), 0.3, 0.4, True),
        ((40, 1.44), 0.3, 0.36, False),  # log odds of -0.85 and -0.58: not clearly surer
        ((40, 1.44), 0.975, 0.999, False),  # there is little to win
    ],
)
def test_the_surest_scale_is_found_step_by_step_if_it_is_clearly_surer(
    monkeypatch, peak, at_first, at_peak, moves
):
    """The confidence falls with the distance from its peak."""
    net = small_net("attention", "abcdefgh", 3, channels=3)
    net.temperature.fill_(2)
    height, stretch = peak
    width = 8 * math.ceil(120 * height / 40 * stretch / 8 - 0.25)

    def steps(high, wide):
        return abs(high - height) / 8 + abs(math.log(wide / high / (width / height), 1.2))

    read = []

    def logits_of(net, images):
        """Read one character, the same in each image; the rest surely."""
        assert images.shape[:2] == (30, 3)
        assert images.dtype == torch.uint8
        read.append(images.shape[2:])
        share = 1 - steps(*images.shape[2:]) / steps(40, 120)
        confidence = max(0.2, at_first + share * (at_peak - at_first))
        logits = torch.zeros(len(images), 3, 9)
        logits[:, :2, 1] = 100
        logits[:, 2, 1] = 2 * math.log(8 * confidence / (1 - confidence))  # against eight others
        return logits

    monkeypatch.setattr(model, "compute_logits", logits_of)
    images = list(np.full((30, 40, 120, 3), 200, np.uint8))
    spec = find_scale(net, images, FIRST)
    wanted = FIRST._replace(height=height, width=width, stretch=stretch)
    assert spec == (wanted if moves else FIRST)
    assert len(read) == len(set(read))  # no scale is read twice


@given(st.integers(4, 10), st.integers(2, 40), st.lists(st.integers(0, 5), max_size=12))
def test_steps_stay_within_the_limits_and_lead_back(height, width, steps):
    first = InputSpec(8 * height, 8 * width, 3)
    spec = first
    for step in steps:
        there = near(spec, first)
        for one in there:
            assert one.height >= LEAST_HEIGHT
            assert one.height * one.width <= MOST_AREA
            assert (one.height % 8, one.width % 8) == (0, 0)
            assert one.stretch in STRETCHES
            assert (one.height != spec.height) + (one.stretch != spec.stretch) <= 1
            if first.height * first.width <= MOST_AREA:
                assert spec in near(one, first)
        spec = there[step % len(there)] if there else spec
    back = near(spec._replace(height=first.height, stretch=1.0), first)
    assert first in back or first.height * first.width > MOST_AREA
