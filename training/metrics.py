"""How well a network reads: figures with their uncertainty."""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from training.dataset import Split
from utils import wilson_interval


class Scores(NamedTuple):
    """How well a network reads."""

    loss: float  # cross-entropy per position
    character_accuracy: float  # share of the characters read correctly
    image_accuracy: float  # share of the whole images read correctly


def score(logits: Tensor, split: Split) -> Scores:
    """Compare logits (N, length, classes) with the labels of a split."""
    targets = split.targets
    loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten()).item()
    read = logits.argmax(dim=2)  # (N, L)
    correct = read == targets
    written = (targets > 0) | (read > 0)  # blanks that both leave blank are no achievement
    characters = (correct & written).sum().item() / written.sum().item()
    return Scores(loss, characters, correct.all(dim=1).sum().item() / len(correct))


def describe(logits: Tensor, split: Split, charset: str) -> dict[str, Any]:
    """Return the figures of a split as they stand in metrics.json.

    An empty text among the confusions is a character that was missed, or read where there is none.
    """
    scores = score(logits, split)
    counts = confusion_counts(logits, split, len(charset) + 1)
    written = split.targets > 0  # (N, L)
    correct = (logits.argmax(dim=2) == split.targets) & written
    names = ["", *charset]
    pairs = [(counts[i, j], i, j) for i, j in zip(*counts.nonzero(), strict=True) if i != j]
    return {
        "images": len(split.labels),
        "character_accuracy": scores.character_accuracy,
        "image_accuracy": scores.image_accuracy,
        "image_accuracy_95": list(wilson_interval(scores.image_accuracy, len(split.labels))),
        "loss": scores.loss,
        "position_accuracy": (correct.sum(dim=0) / written.sum(dim=0).clamp(min=1)).tolist(),
        "characters": {
            names[i]: {"count": int(row.sum()), "character_accuracy": float(row[i] / row.sum())}
            for i, row in enumerate(counts)
            if i > 0 and row.any()
        },
        "confusions": [
            {"label": names[i], "prediction": names[j], "count": int(count)}
            for count, i, j in sorted(pairs, key=lambda pair: -pair[0])
        ],
    }


def confusion_counts(logits: Tensor, split: Split, classes: int) -> np.ndarray:
    """Return how often each class (row) was read as each class (column), (classes, classes)."""
    pairs = split.targets * classes + logits.argmax(dim=2)  # (N, L)
    return torch.bincount(pairs.flatten(), minlength=classes**2).reshape(classes, classes).numpy()
