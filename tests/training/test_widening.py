"""A wider network reads as the one that it began with."""

import pytest
import torch
from helpers import random_images

from files.images import FOUND, InputSpec
from model import CaptchaNet
from training.widening import widen


@pytest.mark.parametrize("context", [True, False])
@pytest.mark.parametrize("widths", [(6, 10, 12, 16, 20), (4, 8, 12, 8, 16), (4, 8, 8, 8, 16)])
def test_a_widened_network_says_the_same_and_all_that_is_new_can_learn(widths, context):
    """Also where it is not wider everywhere, or nowhere."""
    torch.manual_seed(0)
    spec = InputSpec(32, 64, 3, FOUND)
    old = CaptchaNet("abc", 4, spec, widths=(4, 8, 8, 8, 16), context=context)
    images = random_images(16, old)
    for _ in range(5):  # so that batch norm knows something, and
        old(images)
    for weights in old.parameters():  # nothing is zero any more
        weights.data.add_(0.1 * torch.randn_like(weights))
    new = CaptchaNet("abc", 4, spec, widths=widths, context=context)
    widen(new, old)
    old.eval()
    assert torch.allclose(new.eval()(images), old(images), atol=1e-4)
    # After one step the new channels are listened to, and soon all of their weights are used.
    optimizer = torch.optim.SGD(new.parameters(), 0.01)
    before = {name: weights.detach().clone() for name, weights in new.named_parameters()}
    for _ in range(4):
        optimizer.zero_grad()
        new(images).square().mean().backward()
        optimizer.step()
    for name, weights in new.named_parameters():
        assert weights.isfinite().all()
        if weights.ndim == 4:
            moved = (weights != before[name]).flatten(1).any(dim=1)
            # In front of a ReLU, some channels may be dead.
            assert moved.float().mean() >= (0.5 if "conv" in name else 1), name
