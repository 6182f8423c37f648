"""Which labels are probably wrong: read each image with a network that was not trained on it.

The images are dealt into folds. For each fold a network is trained on all the others and reads the
fold. Where it disagrees with a label and is sure, the label is suspicious: even a careful person
mislabels one image in a few hundred. (Out-of-fold predictions, as in Northcutt et al. 2021,
"Confident Learning: Estimating Uncertainty in Dataset Labels".)
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

import model
from files.framing import spread
from files.split_names import copy_name
from files.tables import SPLIT_COLUMNS, SUSPECT_COLUMNS, read_table, write_table
from training import plots
from training.calibration import confidences_of
from training.dataset import Dataset, Split, join
from training.runs import Training

AUDITED = 100_000  # images, at most


def audit(
    data: Dataset,
    origin: dict[str, str],
    folds: int,
    train: Callable[[Dataset], Training],
    folder: Path,
) -> None:
    """Write suspects.csv and suspects.png into ``folder``, the most suspicious labels first.

    ``train`` trains a new network on a dataset; ``origin`` comes from originals(). The images of
    train, val and test are audited alike.
    """
    everything, files = sample(data, AUDITED)
    logits = read_out_of_fold(data, everything, folds, train)
    differ = write_suspects(logits, everything, data.charset, files, origin, folder)
    some = "" if len(files) == len(data.files) else f" (an even sample of {len(data.files)})"
    print(f"Audit: {differ} of {len(files)} labels{some} were read differently; see suspects.csv")


def sample(data: Dataset, most: int) -> tuple[Split, list[str]]:
    """Return train, val and test as one split, and its files as data/split/index.csv names them.

    Of more than ``most`` images so many at most, evenly spread: all of a million would have to be
    in memory twice, and nobody could check what is found.
    """
    splits = [data.train, data.val, data.test]
    chosen = torch.zeros(len(data.files), dtype=torch.bool)
    chosen[list(spread(range(len(chosen)), most))] = True
    parts = chosen.split([len(split.labels) for split in splits])
    everything = join([split.subset(part) for split, part in zip(splits, parts, strict=True)])
    return everything, [copy_name(data.files[i]) for i in chosen.nonzero().flatten().tolist()]


def originals(split_folder: Path) -> dict[str, str]:
    """Return the original of each image in the split folder, as split_data.py noted it."""
    index = split_folder / "index.csv"
    if not index.is_file():
        raise ValueError(f"there is no {index}, which the audit needs; run split_data.py again.")
    return {row["copy"]: row["original"] for row in read_table(index, SPLIT_COLUMNS)}


def read_out_of_fold(
    data: Dataset, everything: Split, folds: int, train: Callable[[Dataset], Training]
) -> Tensor:
    """Return the logits of every image, (N, length, classes), from networks not trained on it.

    Each network reads with the weights of its last epoch: to choose an epoch by the fold would be
    a choice by the labels that are audited.
    """
    count = len(everything.labels)
    fold_of = torch.randperm(count) % folds  # (N,): folds of equal size, up to one image
    logits = torch.empty(count, data.length, len(data.charset) + 1)
    for fold in range(folds):
        print(f"Audit: training without fold {fold + 1} of {folds}")
        held_out = fold_of == fold
        split = data._replace(train=everything.subset(~held_out), val=everything.subset(held_out))
        logits[held_out] = model.read_logits(train(split).net, split.val.images)
    return logits


def most_suspicious(logits: Tensor, split: Split) -> tuple[list[int], Tensor]:
    """Return the images' numbers, the most suspicious label first, and each one's suspicion, (N,).

    Suspicion is minus the logarithm of the label's probability: 0 for a label that the network is
    sure of, 7 for one that it gives a chance of one in a thousand.
    """
    losses = F.cross_entropy(logits.flatten(0, 1), split.targets.flatten(), reduction="none")
    suspicion = losses.view(split.targets.shape).sum(dim=1)
    return suspicion.argsort(descending=True).tolist(), suspicion


def write_suspects(
    logits: Tensor,
    split: Split,
    charset: str,
    copies: Sequence[str],
    origin: dict[str, str],
    folder: Path,
) -> int:
    """Write suspects.csv with all images and suspects.png with the most suspicious ones.

    ``copies`` names the images as in data/split/index.csv, and ``origin`` has their originals.
    Returns how many labels differ from what was read.
    """
    order, suspicion = most_suspicious(logits, split)
    predictions = model.decode_labels(logits.argmax(dim=2).numpy(), charset)
    confidences = confidences_of(logits).tolist()
    write_table(
        folder / "suspects.csv",
        SUSPECT_COLUMNS,
        (
            [copies[i], origin.get(copies[i], ""), split.labels[i], predictions[i],
             f"{confidences[i]:.4f}", f"{suspicion[i].item():.3f}"]
            for i in order
        ),
    )  # fmt: skip
    differ = [i for i in order if predictions[i] != split.labels[i]]
    titles = [
        f"{plots.visible(split.labels[i])}, read as {plots.visible(predictions[i]) or 'nothing'}"
        for i in differ[:24]
    ]
    images = [split.images[i].numpy() for i in differ[:24]]
    heading = "Labels that are probably wrong, the most suspicious first"
    sheet = plots.image_sheet(images, titles, [plots.WRONG] * len(titles), heading, columns=3)
    plots.save(sheet, folder / "suspects.png")
    return len(differ)
