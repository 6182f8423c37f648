import numpy as np
import pytest
import torch

from training.augment import augment, invert, warp


def test_augmentation_of_strength_zero_changes_nothing():
    images = torch.rand(4, 3, 24, 40) * 255
    assert torch.allclose(augment(images, strength=0), images, atol=0.01)


@pytest.mark.parametrize("width", [64, 160, 640])
def test_augmentation_keeps_the_letters_at_both_ends_however_long_the_image(width):
    image = torch.full((1, 40, width), 220, dtype=torch.uint8)
    image[:, 14:26, 12:24] = image[:, 14:26, -24:-12] = 40  # two letters
    torch.manual_seed(0)
    changed = augment(image.repeat(300, 1, 1, 1))  # (300, 1, 40, W)
    for end in (changed[..., : width // 2], changed[..., width // 2 :]):
        dark = (end < 130).sum(dim=(1, 2, 3)) / 144  # of a letter
        assert (dark > 0.6).float().mean() > 0.95


def test_augmentation_changes_each_image_differently_and_stays_in_range():
    images = torch.full((2, 1, 24, 40), 128, dtype=torch.uint8)
    images[:, :, 8:16, 10:30] = 20
    changed = augment(images)
    assert changed.shape == images.shape
    assert 0 <= changed.min() < changed.max() <= 255
    assert not torch.allclose(changed[0], changed[1], atol=5)
    assert images.unique().tolist() == [20, 128]  # the original is left alone


def test_a_turn_is_a_turn_also_in_a_wide_image(monkeypatch):
    monkeypatch.setattr(torch, "rand", lambda *size, **_: torch.ones(*size))
    images = torch.zeros(1, 1, 41, 121)
    images[0, 0, 20, 20:101] = 255  # a level line, 80 long
    turned = warp(images, turn=0.1, stretch=0, lean=0, shift=0, bend=0)[0, 0]
    rows = turned.argmax(dim=0)
    assert abs((rows[30] - rows[90]).item()) == pytest.approx(60 * np.tan(0.1), abs=1.5)


def test_about_a_share_of_the_channels_is_inverted_and_no_other_value_appears():
    torch.manual_seed(0)
    images = torch.randint(0, 256, (500, 3, 2, 2)).float()
    changed = invert(images, 0.3)
    kept = (changed == images).all(dim=(2, 3))
    assert 0.65 < kept.float().mean() < 0.75
    assert ((changed == 255 - images).all(dim=(2, 3)) | kept).all()
    assert len(kept.sum(dim=1).unique()) == 4
