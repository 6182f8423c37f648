"""Beginning a training with the weights of another one."""

from collections.abc import Callable

import torch
from torch import Tensor

import model
from files.images import FOUND
from model import CaptchaNet
from reading import limits
from training.dataset import Dataset, sample_of


def new_net(data: Dataset, head: str, start: CaptchaNet | None) -> CaptchaNet:
    """Return a network to train on a dataset, on the fastest device.

    It begins with all that fits of the trained network ``start``, or from scratch.
    """
    widths, context = (start.widths, start.context) if start else (model.WIDTHS, False)
    net = CaptchaNet(data.charset, data.length, data.spec, head, widths, context)
    if start is None:
        net.set_normalisation(data.train.images)
    else:
        case = drawn_case(start, data.train.images, data.charset)
        copy_matching_weights(net, start, case)
    net.to(model.best_device())
    return net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


@torch.no_grad()
def copy_matching_weights(
    net: CaptchaNet, trained: CaptchaNet, case: Callable[[str], str] = str
) -> None:
    """Copy every weight that fits from a trained network.

    Image size, colour, label length and charset may differ. A character starts from its own row of
    the trained classifier, or, where there is none, from that of its other case, which looks alike.
    ``case`` is str.lower or str.upper if that is how the site draws all letters, whatever its
    labels say: then they start from these. ``trained`` must not be limited.
    """
    if trained.rows is not None:
        raise ValueError("a limited network is for reading only; load the model again.")
    own, theirs = net.state_dict(), trained.state_dict()
    number = {character: i for i, character in enumerate(trained.charset, start=1)}
    rows, their_rows = [0], [0]  # of the blank
    for row, character in enumerate(net.charset, start=1):
        drawn = (case(character), character, character.swapcase())
        their_row = next((number[one] for one in drawn if one in number), None)
        if their_row is not None:
            rows.append(row)
            their_rows.append(their_row)
    for name, value in own.items():
        if name == "temperature" or name not in theirs:
            continue
        given = theirs[name]
        if name in ("mean", "std"):  # what the filters are used to; grey gets the mean of three
            value.copy_(given if value.shape == given.shape else given.mean())
        elif "classifier" in name:
            if value.shape[1:] == given.shape[1:]:
                value[rows] = given[their_rows]
        elif name == "trunk.0.weight" and net.spec.channels != trained.spec.channels:
            # A grey image has the same value in all three channels: their weights add up.
            grey = given.sum(dim=1, keepdim=True)
            value.copy_(grey.expand_as(value) / net.spec.channels)
        elif value.shape == given.shape:
            value.copy_(given)


def drawn_case(trained: CaptchaNet, images: Tensor, charset: str) -> Callable[[str], str]:
    """Return str.lower or str.upper if all letters are drawn so, else str.

    A general network reads some of the images, (N, channels, H, W) uint8, as they are prepared for
    another one, whose ``charset`` says what can be read; any other network knows its own site's
    labels only.
    """
    wanted = limits.readable(charset, trained.charset)
    if trained.spec.cut != FOUND or len(images) == 0 or not wanted:
        return str
    sample = sample_of(images).expand(-1, trained.spec.channels, -1, -1)
    logits = model.read_logits(trained, sample) / trained.temperature.cpu()
    return limits.find_drawn_case(logits, trained.charset, wanted, None) or str
