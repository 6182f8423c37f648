"""What predict.py does with an image, from its pixels to its confidences, as one graph.

The same steps as files/images.py and model.read_images(), written with tensors alone, so that
export.py can write them to an ONNX file: there is no step that depends on one image of a batch.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from files.images import WRITTEN, Box, InputSpec, stretched_width
from model import SURE, CaptchaNet, look_again

Edges = tuple[Tensor, Tensor, Tensor, Tensor]  # top, left, bottom, right in pixels, (N,) each


class ReadingGraph(nn.Module):
    """RGB images of one size (N, H, W, 3) uint8 -> what is read in them.

    The classes (N, length), 0 for no character; their confidences (N, length); and the confidence
    of each whole text (N,).
    """

    def __init__(self, net: CaptchaNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Cut, scale, read, look again where it is unsure; see model.read_logits()."""
        fitted = fit_images(images, self.net.spec)  # (N, C, height, width)
        logits = self.net(fitted).log_softmax(dim=2)  # (N, L, classes)
        unsure = logits.amax(dim=2).sum(dim=1).exp() < SURE  # (N,)
        logits = torch.cond(unsure.any(), self.look_at_unsure, same, (fitted, logits, unsure))
        confidences, classes = (logits / self.net.temperature).softmax(dim=2).max(dim=2)
        return classes, confidences, confidences.prod(dim=1)

    def look_at_unsure(self, fitted: Tensor, logits: Tensor, unsure: Tensor) -> Tensor:
        """Return logits (N, L, classes), those of unsure images (N,) the mean of five looks."""
        chosen = unsure.nonzero()[:, 0]
        torch._check(chosen.shape[0] > 0)
        again = look_again(self.net, fitted[chosen], logits[chosen])
        return logits.index_copy(0, chosen, again)


def same(fitted: Tensor, logits: Tensor, unsure: Tensor) -> Tensor:
    """Return the logits as they are: no image is unsure."""
    return logits.clone()


def fit_images(images: Tensor, spec: InputSpec) -> Tensor:
    """Return RGB images (N, H, W, 3) as fit_image() does, (N, C, height, width), as float32.

    OpenCV computes the same in whole numbers. Where it enlarges, in about one pixel of a hundred
    its shortcuts, other ones on each processor, lead to the next level of grey.
    """
    x = images.permute(0, 3, 1, 2).float()  # (N, 3, H, W)
    if spec.stretch != 1:
        x = stretch_images(x, spec.stretch)
    edges = written_edges(x) if spec.cut == WRITTEN else box_edges(x, spec.cut)
    top, left, bottom, right = edges
    if spec.channels == 1:
        red, green, blue = x.split(1, dim=1)
        x = torch.floor((9798 * red + 19235 * green + 3735 * blue + 16384) / 32768)
    inside = span(x, 2, top, bottom)[:, None, :, None] & span(x, 3, left, right)[:, None, None]
    # Outside the cut nothing counts: no level is as high as 256.
    ground = medians(x.where(inside, 256), (bottom - top) * (right - left)).floor()  # (N, C)

    height, width = bottom - top, right - left
    scale = torch.minimum(spec.height / height, spec.width / width)
    new_height = (height * scale).round().clamp(1, spec.height)
    new_width = (width * scale).round().clamp(1, spec.width)
    shrink, margin = scale < 1, ((spec.height - new_height) / 2).floor()
    rows = torch.arange(spec.height, device=x.device) - margin[:, None]  # (N, height), of the cut
    columns = torch.arange(spec.width, device=x.device).expand(x.shape[0], -1)  # (N, width)
    by_row = weights(rows, height / new_height, height, shrink, index(x, 2) - top[:, None])
    by_column = weights(columns, width / new_width, width, shrink, index(x, 3) - left[:, None])
    upper, lower = (part.float()[:, None] for part in by_row)
    both = (by_column[0] + by_column[1]).float()[:, None]

    x = x @ both.transpose(2, 3)  # (N, C, H, width)
    mean = (upper + lower) @ x  # (N, C, height, width)
    half = ((height == 2 * new_height) & (width == 2 * new_width))[:, None, None, None]
    mean = (mean + 0.5).floor().where(half, mean.round())
    x = (x / 16).floor()
    enlarged = (upper @ x / 65536).floor() + (lower @ x / 65536).floor()
    small = mean.where(shrink[:, None, None, None], ((enlarged + 2) / 4).floor())
    used_rows = (rows >= 0) & (rows < new_height[:, None])
    used = used_rows[:, None, :, None] & (columns < new_width[:, None])[:, None, None]
    return small.where(used, ground[:, :, None, None])


def stretch_images(x: Tensor, stretch: float) -> Tensor:
    """Return images (N, C, H, W) so many times as wide, as stretched() does."""
    new_width = stretched_width(x.shape[3], stretch)
    width = index(x, 3)[-1:] + 1  # (1,)
    place = torch.arange(new_width, device=x.device, dtype=torch.float64)[None]  # (1, new)
    shrink = torch.full_like(width, stretch) < 1
    first, second = weights(place, width / new_width, width, shrink, index(x, 3)[None])
    x = x @ (first + second).float().transpose(1, 2)  # (N, C, H, new)
    return x.round() if stretch < 1 else (((x / 512).floor() + 2) / 4).floor()


def weights(
    place: Tensor, step: Tensor, size: Tensor, shrink: Tensor, pixel: Tensor
) -> tuple[Tensor, Tensor]:
    """Return how much of each pixel of an axis goes into each new one, (N, new, old), twice.

    ``place`` (N, new) and ``pixel`` (N, old) are counted from the cut, ``step`` and ``size`` (N,)
    are old pixels per new one, and of the cut. Where a cut shrinks: the shares of the old pixels
    that the new one covers, and 0. Where not: of the two old pixels around the new one's middle,
    the first and the second, in 2048ths, which is how OpenCV has them. At the ends of an axis both
    are the same pixel.
    """
    place, pixel, step = place[:, :, None], pixel[:, None], step[:, None, None]
    end = torch.minimum((place + 1) * step, pixel + 1)
    shares = (end - torch.maximum(place * step, pixel)).clamp(min=0) / step
    middle = (place + 0.5) * step - 0.5
    before, last = middle.floor(), size[:, None, None] - 1
    first, second = (pixel == (before + i).clamp(min=0).minimum(last) for i in (0, 1))
    nearness, shrink = middle - before, shrink[:, None, None]
    first = first * (2048 * (1 - nearness)).round()
    second = second * (2048 * nearness).round()
    return shares.where(shrink, first), second.where(~shrink, 0)


def index(x: Tensor, axis: int) -> Tensor:
    """Return 0, 1, 2, ... along an axis of images."""
    return torch.arange(x.shape[axis], device=x.device, dtype=torch.float64)


def span(x: Tensor, axis: int, first: Tensor, end: Tensor) -> Tensor:
    """Return which places of an axis of images lie from ``first`` to before ``end``, (N, size)."""
    place = index(x, axis)
    return (place >= first[:, None]) & (place < end[:, None])


def medians(x: Tensor, count: Tensor) -> Tensor:
    """Return the medians (N, C) of the ``count`` (N,) smallest of whole numbers (N, C, H, W).

    Both numbers in the middle are found bit by bit: they lie above as many others as their ranks.
    """
    middle = (count - 1) / 2
    ranks = torch.stack([middle.floor(), middle.ceil()])[:, :, None]  # (2, N, 1)
    low = torch.zeros_like(x[:, :, 0, 0]).expand(2, -1, -1)  # (2, N, C)
    for step in (128, 64, 32, 16, 8, 4, 2, 1):
        below = (x < (low + step)[:, :, :, None, None]).sum(dim=(3, 4))
        low = torch.where(below <= ranks, low + step, low)
    return low.mean(dim=0)


def box_edges(x: Tensor, cut: Box | str) -> Edges:
    """Return the same cut of all images, see crop()."""
    if isinstance(cut, str):
        raise ValueError("a general model must be suited to images before it is exported.")
    zero = torch.zeros_like(x[:, 0, 0, 0], dtype=torch.float64)  # (N,)
    height, width = (index(x, axis).amax(dim=0) + 1 for axis in (2, 3))
    top, left = (cut[0] * height).round(), (cut[1] * width).round()
    bottom = (cut[2] * height).round().maximum(top + 1)
    right = (cut[3] * width).round().maximum(left + 1)
    return zero + top, zero + left, zero + bottom, zero + right


def written_edges(x: Tensor) -> Edges:
    """Return where something is written in RGB images (N, 3, H, W), see written_box()."""
    whole = box_edges(x, (0.0, 0.0, 1.0, 1.0))
    ground = medians(x, whole[2] * whole[3])[:, :, None, None]
    ink = ((x - ground).abs().amax(dim=1, keepdim=True) > 8).float()  # (N, 1, H, W)
    strokes = 1 - F.max_pool2d(F.pad(1 - ink, (1, 0, 1, 0)), 2, 1)
    strokes = F.max_pool2d(F.pad(strokes, (1, 0, 1, 0)), 2, 1)
    ink = strokes.where(strokes.amax(dim=(1, 2, 3), keepdim=True) > 0, ink)
    first_row, last_row = ends(ink.amax(dim=(1, 3)) > 0)
    first_column, last_column = ends(ink.amax(dim=(1, 2)) > 0)
    margin = 1 + ((last_row - first_row) / 10).floor()
    found = (
        (first_row - margin).clamp(min=0),
        (first_column - margin).clamp(min=0),
        (last_row + 1 + margin).minimum(whole[2]),
        (last_column + 1 + margin).minimum(whole[3]),
    )
    nothing = last_row < 0
    top, left, bottom, right = (w.where(nothing, f) for w, f in zip(whole, found, strict=True))
    return top, left, bottom, right


def ends(flags: Tensor) -> tuple[Tensor, Tensor]:
    """Return the first and last place (N,) of true flags (N, size); -1 is the last of none."""
    place = torch.arange(flags.shape[1], device=flags.device, dtype=torch.float64)
    first = torch.where(flags, place, torch.inf).amin(dim=1)
    return first, torch.where(flags, place, -1.0).amax(dim=1)
