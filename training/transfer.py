"""Beginning a training with the weights of another one, and going part of the way back to them."""

import torch
from torch import Tensor

import model
from files.images import FOUND
from model import CaptchaNet
from reading import limits
from reading.limits import Case
from training.dataset import Dataset, Split, sample_of
from training.metrics import score
from training.runs import copy_weights

SHARES = (0, 0.25, 0.5, 0.75, 1)  # of the way from a training's first weights to its last ones
USUAL_SHARE, SPREAD = 0.5, 0.25  # the best one, and how far from it that usually lies


def new_net(data: Dataset, head: str, start: CaptchaNet | None) -> CaptchaNet:
    """Return a network to train on a dataset, on the fastest device.

    It begins with all that fits of the trained network ``start``, or from scratch.
    """
    widths, context = (start.widths, start.context) if start else (model.WIDTHS, False)
    known = data.charset if start is None else to_know(data, start)
    net = CaptchaNet(known, data.length, data.spec, head, widths, context)
    if start is None:
        net.set_normalisation(data.train.images)
    else:
        copy_matching_weights(net, start)
    if known != data.charset:
        limits.limit(net, data.charset, None)
    net.to(model.best_device())
    return net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def to_know(data: Dataset, start: CaptchaNet) -> str:
    """Return the characters that a classifier has to tell apart to read the labels of a dataset.

    An "a" and an "A" that have one label look different. If ``start`` knows both, it would be a
    pity to teach them as one: the classifier keeps both, and a label stands for either; see
    CaptchaNet. If all letters of the images are drawn in one case, it keeps these.
    """
    case = drawn_case(start, data.train.images, data.charset)
    drawn = (limits.drawn_as(c, start.known, data.charset, case) or [c] for c in data.charset)
    return "".join(character for some in drawn for character in some)


def settle(net: CaptchaNet, start: CaptchaNet, val: Split) -> float:
    """Take back a part of what a training changed, as much as validation images are read best with.

    What a network knew before its training fits all sites, what it learnt then fits some images of
    one. Between the two lies a network that knows the site and has forgotten less. Of SHARES of the
    way, the most probable one is taken, and returned: few images say little, so a normal prior says
    that it lies in the middle. What ``start`` did not have stays as it is. (Wortsman et al. 2022,
    "Robust Fine-Tuning of Zero-Shot Models"; the prior is ours.)
    """
    last = copy_weights(net)

    def go(share: float) -> float:
        """Go a share of the way from the first weights to the last; return how wrong it seems."""
        net.load_state_dict(last)
        copy_matching_weights(net, start, 1 - share)
        loss = score(model.compute_logits(net, val.images), val).loss * val.targets.numel()
        return loss + ((share - USUAL_SHARE) / SPREAD) ** 2 / 2

    best = min(SHARES, key=go)
    go(best)
    if best < 1:
        print(f"Kept {100 * best:.0f} % of what was learnt now: validation is read best with that")
    return best


@torch.no_grad()
def copy_matching_weights(net: CaptchaNet, trained: CaptchaNet, share: float = 1) -> None:
    """Copy every weight that fits from a trained network, or move a ``share`` of the way to it.

    Image size, colour, label length and charset may differ. A character starts from its own row of
    the trained classifier, or, where there is none, from that of its other case, which looks alike.
    """
    own, theirs = net.state_dict(), trained.state_dict()
    number = {character: i for i, character in enumerate(trained.known, start=1)}
    rows, their_rows = [0], [0]  # of the blank
    for row, character in enumerate(net.known, start=1):
        their_row = number.get(character, number.get(character.swapcase()))
        if their_row is not None:
            rows.append(row)
            their_rows.append(their_row)
    for name, value in own.items():
        if name == "temperature" or name not in theirs:
            continue
        given = theirs[name].to(value.device)
        if name in ("mean", "std"):  # what the filters are used to; grey gets the mean of three
            value.copy_(given if value.shape == given.shape else given.mean())
        elif "classifier" in name:
            if value.shape[1:] == given.shape[1:]:
                value[rows] = value[rows].lerp(given[their_rows], share)
        elif name == "trunk.0.weight" and net.spec.channels != trained.spec.channels:
            # A grey image has the same value in all three channels: their weights add up.
            grey = given.sum(dim=1, keepdim=True)
            value.lerp_(grey.expand_as(value) / net.spec.channels, share)
        elif value.shape == given.shape and value.is_floating_point():  # no counts, no rows
            value.lerp_(given, share)


def drawn_case(trained: CaptchaNet, images: Tensor, charset: str) -> Case | None:
    """Return str.lower or str.upper if all letters are drawn so, else None.

    A general network reads some of the images, (N, channels, H, W) uint8, as they are prepared for
    another one, whose ``charset`` says what can be read; any other network knows its own site's
    labels only.
    """
    wanted = limits.readable(charset, trained.known)
    if trained.spec.cut != FOUND or len(images) == 0 or not wanted:
        return None
    sample = sample_of(images).expand(-1, trained.spec.channels, -1, -1)
    logits = model.read_logits(trained, sample) / trained.temperature.cpu()
    return limits.find_drawn_case(logits, trained.known, wanted, None)
