"""Images without labels help: those that are read with confidence join the training.

A network that learns from its own confident predictions gets better where it was unsure. (Lee 2013,
"Pseudo-Label"; the next network sees them augmented, as in Xie et al. 2020, "Self-training with
Noisy Student".)
"""

import math
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

import model
from training.calibration import confidences_of, fit_temperature
from training.dataset import Dataset, Split, encode_labels, join, load_unlabelled
from training.runs import Training

ROUNDS = 2  # what the second network reads, the third may learn from
CONFIDENT = 0.9  # a prediction with this confidence becomes a label


def go_on(
    training: Training, data: Dataset, folder: Path, train: Callable[[Dataset], Training]
) -> list[Training]:
    """Train anew, ROUNDS times, with what the network before reads confidently in a folder.

    ``train`` trains a new network on a dataset. Returns the trainings; the last one counts. Images
    of the split folder are left out.
    """
    unlabelled = load_unlabelled(folder, data.files, data.spec)
    trainings = [training]
    for _ in range(ROUNDS):
        net = trainings[-1].best_net()
        logits = model.read_logits(net, unlabelled)
        val_logits = model.read_logits(net, data.val.images)
        # Careful, because nobody checks these labels: no confidence is raised.
        logits /= max(1, fit_temperature(val_logits, data.val, math.inf))
        pseudo = confident_predictions(logits, unlabelled, data.charset)
        print(
            f"{len(pseudo.labels)} of {len(unlabelled)} images without labels are read with "
            "confidence; they join the training, which starts anew:"
        )
        trainings.append(train(data._replace(train=join([data.train, pseudo]))))
    return trainings[1:]


def confident_predictions(logits: Tensor, images: Tensor, charset: str) -> Split:
    """Return the images that are read with confidence, with the predictions as their labels."""
    confident = confidences_of(logits) >= CONFIDENT
    labels = model.decode_labels(logits[confident].argmax(dim=2).numpy(), charset)
    targets = torch.from_numpy(encode_labels(labels, charset, logits.shape[1]))
    return Split(labels, images[confident], targets)
