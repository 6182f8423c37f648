"""Beginning a training with the weights of another one."""

import torch

from model import CaptchaNet


@torch.no_grad()
def copy_matching_weights(net: CaptchaNet, trained: CaptchaNet) -> None:
    """Copy every weight that fits from a trained network.

    Image size, colour, label length and charset may differ: characters that both networks know keep
    their rows of the classifier.
    """
    own, theirs = net.state_dict(), trained.state_dict()
    shared = [c for c in net.charset if c in trained.charset]
    rows = [0, *(net.charset.index(c) + 1 for c in shared)]  # 0 is the blank
    their_rows = [0, *(trained.charset.index(c) + 1 for c in shared)]
    for name, value in own.items():
        if name in ("mean", "std", "temperature") or name not in theirs:
            continue
        given = theirs[name]
        if "classifier" in name:
            if value.shape[1:] == given.shape[1:]:
                value[rows] = given[their_rows]
        elif name == "trunk.0.weight" and net.spec.channels != trained.spec.channels:
            # A grey image has the same value in all three channels: their weights add up.
            grey = given.sum(dim=1, keepdim=True)
            value.copy_(grey.expand_as(value) / net.spec.channels)
        elif value.shape == given.shape:
            value.copy_(given)
