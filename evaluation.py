"""How well a network reads: figures with their uncertainty, and pictures of what it gets wrong."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

import plots
import utils
from model import CaptchaNet


class Side(NamedTuple):
    """The images of one split folder, ready for the network."""

    labels: list[str]
    images: Tensor  # (N, channels, height, width) uint8
    targets: Tensor  # (N, length) int64, class numbers


class Scores(NamedTuple):
    """How well a network reads."""

    loss: float  # cross-entropy per position
    characters: float  # share of the characters read right
    images: float  # share of the images read right as a whole


def score(logits: Tensor, side: Side) -> Scores:
    """Compare logits (N, length, classes) with the labels of a side."""
    targets = side.targets
    loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten()).item()
    read = logits.argmax(dim=2)  # (N, L)
    right = read == targets
    written = (targets > 0) | (read > 0)  # blanks that both leave blank are no achievement
    characters = (right & written).sum().item() / written.sum().item()
    return Scores(loss, characters, right.all(dim=1).sum().item() / len(right))


def wilson_interval(share: float, total: int) -> tuple[float, float]:
    """Return the 95 % interval of a share of ``total`` trials (Wilson 1927)."""
    z = 1.959964
    middle = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = (
        z
        / (1 + z * z / total)
        * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    )
    return max(0.0, min(share, middle - half)), min(1.0, max(share, middle + half))


def describe(scores: Scores, side: Side) -> dict[str, object]:
    """Return the figures of a side as they stand in metrics.json."""
    return {
        "images": len(side.labels),
        "character_accuracy": scores.characters,
        "image_accuracy": scores.images,
        "image_accuracy_95": list(wilson_interval(scores.images, len(side.labels))),
        "loss": scores.loss,
    }


def draw_pictures(
    net: CaptchaNet,
    side: Side,
    logits: Tensor,
    history: Sequence[dict[str, float]],
    folder: Path,
) -> None:
    """Draw the curves of the training, and what the network does with the test images."""
    curves = plots.LiveCurves()
    curves.draw(history)
    plots.save(curves.figure, folder / "curves.png")

    classes = len(net.charset) + 1
    read = logits.argmax(dim=2)  # (N, L)
    pairs = torch.bincount((side.targets * classes + read).flatten(), minlength=classes**2)
    counts = pairs.reshape(classes, classes).numpy()  # row: label, column: what was read
    plots.save(plots.confusion_matrix(counts, net.charset), folder / "confusion.png")

    images = side.images.numpy()
    confidences = logits.softmax(dim=2).amax(dim=2)  # (N, L)
    sureness = confidences.prod(dim=1)
    texts = utils.decode_labels(read.numpy(), net.charset)
    wrong = (read != side.targets).any(dim=1).nonzero().flatten().tolist()
    wrong.sort(key=lambda i: -sureness[i])
    mistakes = [(images[i], side.labels[i], texts[i], sureness[i].item()) for i in wrong]
    plots.save(plots.mistakes_sheet(mistakes, len(texts)), folder / "mistakes.png")

    if net.head == "attention":
        shown = np.linspace(0, len(texts) - 1, min(6, len(texts))).astype(int)
        with torch.no_grad():
            _, maps = net.eval().look(side.images[shown].to(net.mean.device))
        sheet = plots.attention_sheet(
            images[shown], maps.cpu().numpy(), [texts[i] for i in shown], confidences[shown].numpy()
        )
        plots.save(sheet, folder / "attention.png")
