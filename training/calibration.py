"""Confidence that means what it says, and what may be answered at which precision."""

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from training.dataset import Split, sample_of

FITTED_TO = 10_000  # images, at most, that a temperature is found by
PRECISIONS = (0.95, 0.99, 0.995, 0.999)  # that coverage_table() aims at


def confidences_of(logits: Tensor) -> Tensor:
    """Return how sure the network is of each whole image, (N,): the product over positions."""
    return logits.softmax(dim=2).amax(dim=2).prod(dim=1)


def fit_temperature(logits: Tensor, split: Split, spread: float = 0.2) -> float:
    """Return the number by which to divide the logits so that confidence means what it says.

    A network is more confident than it is accurate: its training pushes the probabilities of the
    images it knows towards 1. One number, found on images that it did not learn from, makes up for
    most of that and changes no prediction. (Guo et al. 2017, "On Calibration of Modern Neural
    Networks".)

    ``spread`` is how far its logarithm usually lies from 0 (a normal prior): twenty images without
    a mistake do not show that the network may be surer than it is, nor does one mistake among them
    show that it must doubt everything. With math.inf the images alone decide.
    """
    logits, targets = sample_of(logits, FITTED_TO), sample_of(split.targets, FITTED_TO)
    candidates = torch.logspace(-0.3, 0.7, 61)  # 0.5 to 5
    losses = [
        F.cross_entropy((logits / t).flatten(0, 1), targets.flatten(), reduction="sum")
        for t in candidates
    ]
    prior = (candidates.log() / spread) ** 2 / 2
    return candidates[(torch.stack(losses) + prior).argmin()].item()


def coverage_table(val_logits: Tensor, test_logits: Tensor, test: Split) -> list[dict[str, Any]]:
    """Return what share of the test images is answered when wrong answers must be rare.

    For each wanted precision, the lowest confidence that promises it is found on the validation
    images: calibrated confidences are probabilities of being correct, so their mean is the
    precision to expect. (A few dozen images are too few to count mistakes in a thousand; one sure
    mistake among them would leave next to nothing answered.) The test images only show what it
    then does.
    """
    val_confidences = confidences_of(val_logits).sort(descending=True).values.double()  # (N,)
    # expected[k - 1] is the precision of the k surest answers
    expected = val_confidences.cumsum(0) / torch.arange(1, len(val_confidences) + 1)
    confidences = confidences_of(test_logits)
    correct = (test_logits.argmax(dim=2) == test.targets).all(dim=1)
    rows = []
    for wanted in PRECISIONS:
        enough = (expected >= wanted).nonzero()  # how many answers may be given
        if len(enough):
            # rounded down to what predict.py shows, so that it can be typed
            threshold = min(0.9999, math.floor(1e4 * val_confidences[enough[-1]].item()) / 1e4)
            answered = confidences >= threshold
            precision = correct[answered].float().mean().item() if answered.any() else None
            rows.append({
                "wanted_precision": wanted,
                "min_confidence": threshold,
                "answered": answered.float().mean().item(),
                "precision": precision,
            })  # fmt: skip
    return rows
