"""A trained network put into a wider one, which reads the same at first and can learn more."""

import math

import torch
from torch import Tensor

from model import CaptchaNet, SelfAttention


@torch.no_grad()
def widen(net: CaptchaNet, trained: CaptchaNet) -> None:
    """Give ``net`` the weights of ``trained``, which has no more channels anywhere.

    The new channels get what they had, random weights, from the old and the new ones; but what was
    there before does not listen to them yet. So the logits are the same, and every new weight has a
    gradient. (After Chen et al. 2016, "Net2Net: Accelerating Learning via Knowledge Transfer",
    which copies channels instead.)
    """
    last = trained.trunk[-1]
    heads = last.heads if isinstance(last, SelfAttention) else 1
    own = net.state_dict()
    for name, old in trained.state_dict().items():
        new = own[name]
        if new.shape == old.shape:
            new.copy_(old)
        elif ".query." in name or ".key." in name or ".value." in name:
            within = channels_by_head(len(old), len(new), heads)
            # The scores are divided by the square root of a head's channels.
            factor = math.sqrt(len(new) / len(old)) if ".query." in name else 1
            if ".query." in name:
                new.zero_()  # what a new channel of the key says counts for nothing yet
            new[within] = 0
            new[within, : old.shape[1]] = old * factor
        elif ".out." in name:
            new.zero_()
            new[: len(old), channels_by_head(old.shape[1], new.shape[1], heads)] = old
        elif new.ndim == 4:  # a filter bank (channels, channels_in, h, w)
            new[: len(old)] = 0
            new[: len(old), : old.shape[1]] = old
        elif name.startswith("head."):
            new.zero_()
            new[tuple(slice(size) for size in old.shape)] = old
        else:  # batch norm
            new[: len(old)] = old


def channels_by_head(old: int, new: int, heads: int) -> Tensor:
    """Return where each of ``old`` channels of self-attention stands among ``new`` ones, (old,).

    The first channels belong to the first head, and so on.
    """
    channel = torch.arange(old)
    return channel // (old // heads) * (new // heads) + channel % (old // heads)
