"""How well a network reads: figures with their uncertainty, and pictures of what it gets wrong."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

import utils
from model import CaptchaNet
from training import plots
from training.augment import augment
from training.dataset import Side


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


def fit_temperature(logits: Tensor, side: Side, spread: float = 0.2) -> float:
    """Return the number by which to divide the logits so that confidence means what it says.

    A network is surer than it is right: its training pushes the probabilities of the images it
    knows towards 1. One number, found on images that it did not learn from, makes up for most of
    that and changes no reading. (Guo et al. 2017, "On Calibration of Modern Neural Networks".)

    ``spread`` is how far its logarithm lies from 0 in general (a normal prior): twenty images
    without a mistake do not show that the network may be surer than it is, nor one mistake among
    them that it must doubt everything. With math.inf the images alone decide.
    """
    candidates = torch.logspace(-0.3, 0.7, 61)  # 0.5 to 5
    losses = [
        F.cross_entropy((logits / t).flatten(0, 1), side.targets.flatten(), reduction="sum")
        for t in candidates
    ]
    prior = (candidates.log() / spread) ** 2 / 2
    return candidates[(torch.stack(losses) + prior).argmin()].item()


def confidences_of(logits: Tensor) -> Tensor:
    """Return how sure the network is of each whole image, (N,): the product over positions."""
    return logits.softmax(dim=2).amax(dim=2).prod(dim=1)


def confident_readings(logits: Tensor, images: Tensor, charset: str) -> Side:
    """Return the images that are read with confidence, with what was read as their labels.

    A network that learns from its own sure readings gets better where it was unsure. (Lee 2013,
    "Pseudo-Label"; the next network sees them augmented, as in Xie et al. 2020, "Self-training
    with Noisy Student".)
    """
    sure = confidences_of(logits) >= 0.9
    labels = utils.decode_labels(logits[sure].argmax(dim=2).numpy(), charset)
    targets = torch.from_numpy(utils.encode_labels(labels, charset, logits.shape[1]))
    return Side(labels, images[sure], targets)


def coverage_table(
    val_logits: Tensor, test_logits: Tensor, test_side: Side
) -> list[dict[str, float]]:
    """Return what share of the test images is answered when wrong answers must be rare.

    For each precision wanted, the least confidence that promises it is found on the validation
    images: calibrated confidences are chances of being right, so their mean is the precision to
    expect. (A few dozen images are too few to count mistakes in a thousand; one sure mistake among
    them would leave next to nothing answered.) The test images only show what it then does.
    """
    val_sure = confidences_of(val_logits).sort(descending=True).values.double()  # (N,)
    expected = val_sure.cumsum(0) / torch.arange(1, len(val_sure) + 1)  # of the first k answers
    test_sure = confidences_of(test_logits)
    test_right = (test_logits.argmax(dim=2) == test_side.targets).all(dim=1)
    rows = []
    for wanted in (0.95, 0.99, 0.995, 0.999):
        enough = (expected >= wanted).nonzero()  # how many answers may be given
        if len(enough):
            # rounded down to what predict.py shows, so that it can be typed
            threshold = min(0.9999, math.floor(1e4 * val_sure[enough[-1]].item()) / 1e4)
            answered = test_sure >= threshold
            rows.append({
                "wanted_precision": wanted,
                "min_confidence": threshold,
                "answered": answered.float().mean().item(),
                "precision": test_right[answered].float().mean().item() if answered.any() else None,
            })  # fmt: skip
    return rows


def describe(logits: Tensor, side: Side, charset: str) -> dict[str, object]:
    """Return the figures of a side as they stand in metrics.json.

    An empty text among the confusions is a character that was missed or seen where none is.
    """
    scores = score(logits, side)
    counts = confusion_counts(logits, side, len(charset) + 1)
    written = side.targets > 0  # (N, L)
    right = (logits.argmax(dim=2) == side.targets) & written
    names = ["", *charset]
    pairs = [(counts[i, j], i, j) for i, j in zip(*counts.nonzero(), strict=True) if i != j]
    return {
        "images": len(side.labels),
        "character_accuracy": scores.characters,
        "image_accuracy": scores.images,
        "image_accuracy_95": list(wilson_interval(scores.images, len(side.labels))),
        "loss": scores.loss,
        "positions": (right.sum(dim=0) / written.sum(dim=0).clamp(min=1)).tolist(),
        "characters": {
            names[i]: {"images": int(row.sum()), "accuracy": float(row[i] / row.sum())}
            for i, row in enumerate(counts)
            if i > 0 and row.any()
        },
        "confusions": [
            {"label": names[i], "read": names[j], "times": int(times)}
            for times, i, j in sorted(pairs, key=lambda pair: -pair[0])
        ],
    }


def confusion_counts(logits: Tensor, side: Side, classes: int) -> np.ndarray:
    """Return how often each class (row) was read as each class (column), (classes, classes)."""
    pairs = side.targets * classes + logits.argmax(dim=2)  # (N, L)
    return torch.bincount(pairs.flatten(), minlength=classes**2).reshape(classes, classes).numpy()


def print_figures(figures: dict) -> None:
    """Print the figures of metrics.json that matter most."""
    test = figures["test"]
    low, high = test["image_accuracy_95"]
    print(
        f"Test: {100 * test['image_accuracy']:.1f} % of {test['images']} images read right "
        f"(95 % interval {100 * low:.1f} to {100 * high:.1f} %), "
        f"{100 * test['character_accuracy']:.2f} % of their characters"
    )
    if test["confusions"]:
        worst = [
            f"{plots.visible(pair['label']) or 'nothing'} as "
            f"{plots.visible(pair['read']) or 'nothing'} ({pair['times']})"
            for pair in test["confusions"][:6]
        ]
        print(f"Most often mistaken: {', '.join(worst)}")
    val_images = figures["val"]["images"]
    row = next((row for row in figures["coverage"] if row["wanted_precision"] == 0.995), None)
    if row is None:
        print(f"None of {val_images} validation images is read surely enough for 99.5 % precision")
    else:
        share = row["precision"]
        right = "" if share is None else f", {100 * share:.1f} % of them right"
        print(
            f"Only confident answers (MIN_CONFIDENCE={row['min_confidence']}, found on "
            f"{val_images} validation images): {100 * row['answered']:.1f} % answered{right}"
        )


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
    counts = confusion_counts(logits, side, classes)
    plots.save(plots.confusion_matrix(counts, net.charset), folder / "confusion.png")

    images = side.images.numpy()
    confidences = logits.softmax(dim=2).amax(dim=2)  # (N, L)
    sureness = confidences_of(logits)
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
    else:
        (folder / "attention.png").unlink(missing_ok=True)  # that of another training


def draw_augmented(side: Side, folder: Path) -> None:
    """Draw some training images as they are, each beside what augmentation makes of it."""
    shown = np.linspace(0, len(side.labels) - 1, min(6, len(side.labels))).astype(int)
    images, titles = [], []
    for i in shown:
        changed = augment(side.images[i].repeat(4, 1, 1, 1))  # (4, C, H, W)
        images += [side.images[i].numpy(), *changed.byte().numpy()]
        titles += [plots.visible(side.labels[i]), *[""] * 4]
    colours = ["black"] * len(images)
    plots.save(plots.image_sheet(images, titles, colours, columns=5), folder / "augmented.png")
