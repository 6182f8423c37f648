"""Which labels are probably wrong: read each image with a network that was not trained on it.

The images are dealt into folds. For each fold a network is trained on all the others and reads the
fold. Where it disagrees with a label and is sure, the label is suspicious: even a careful person
mislabels one image in a few hundred. (Out-of-fold predictions, as in Northcutt et al. 2021,
"Confident Learning: Estimating Uncertainty in Dataset Labels".)
"""

import csv
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

import model
import utils
from files import tables
from model import CaptchaNet
from training import plots
from training.dataset import Side
from training.metrics import confidences_of


def read_out_of_fold(side: Side, folds: int, learn: Callable[[Side, Side], CaptchaNet]) -> Tensor:
    """Return the logits of every image, (N, length, classes), from networks not trained on it.

    ``learn`` trains a network on its first side; the second is the fold held out.
    """
    count = len(side.labels)
    fold_of = torch.randperm(count) % folds  # (N,): folds of equal size, up to one image
    logits = torch.empty(0)
    for fold in range(folds):
        print(f"Audit: training without part {fold + 1} of {folds}")
        held_out = fold_of == fold
        net = learn(part(side, ~held_out), part(side, held_out))
        read = model.average_logits(net, side.images[held_out])
        if fold == 0:
            logits = torch.empty(count, *read.shape[1:])
        logits[held_out] = read
    return logits


def part(side: Side, chosen: Tensor) -> Side:
    """Return the images of a side that ``chosen``, (N,) bool, names."""
    labels = [side.labels[i] for i in chosen.nonzero().flatten().tolist()]
    return Side(labels, side.images[chosen], side.targets[chosen])


def most_suspicious(logits: Tensor, side: Side) -> tuple[list[int], Tensor]:
    """Return the images' numbers, the most suspicious label first, and each one's suspicion, (N,).

    Suspicion is minus the logarithm of the label's probability: 0 for a label that the network is
    sure of, 7 for one that it gives a chance of one in a thousand.
    """
    losses = F.cross_entropy(logits.flatten(0, 1), side.targets.flatten(), reduction="none")
    suspicion = losses.view(side.targets.shape).sum(dim=1)
    return suspicion.argsort(descending=True).tolist(), suspicion


def write_suspects(
    logits: Tensor, side: Side, charset: str, files: Sequence[Path], folder: Path
) -> int:
    """Write suspects.csv, all images with the most suspicious first, and suspects.png.

    Returns how many labels differ from what was read.
    """
    order, suspicion = most_suspicious(logits, side)
    readings = utils.decode_labels(logits.argmax(dim=2).numpy(), charset)
    confidences = confidences_of(logits).tolist()
    with (
        tables.replacing(folder / "suspects.csv") as temporary,
        open(temporary, "w", encoding="utf-8-sig", errors="surrogateescape", newline="") as table,
    ):
        writer = csv.writer(table)
        writer.writerow(utils.SUSPECT_COLUMNS)
        for i in order:
            name = f"{files[i].parent.name}/{files[i].name}"
            row = [name, side.labels[i], readings[i], f"{confidences[i]:.4f}"]
            writer.writerow([*row, f"{suspicion[i].item():.3f}"])
    differ = [i for i in order if readings[i] != side.labels[i]]
    titles = [
        f"{plots.visible(side.labels[i])}, read as {plots.visible(readings[i]) or 'nothing'}"
        for i in differ[:24]
    ]
    images = [side.images[i].numpy() for i in differ[:24]]
    sheet = plots.image_sheet(images, titles, ["firebrick"] * len(titles), columns=3)
    plots.save(sheet, folder / "suspects.png")
    return len(differ)
