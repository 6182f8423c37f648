"""Why a network does not learn: what beginners trip over, checked before and after training.

Every finding is a sentence with the figure that it rests on.
"""

import copy
import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

import model
from files.framing import spread
from model import CaptchaNet
from training import runs
from training.dataset import Dataset, Split
from training.muon import optimizers_for
from training.schedule import USUAL_RATE

FEW_LABELS = 5  # a character that occurs in fewer labels is hardly learnt
LOOKED_AT = 10_000  # images, at most, that are searched for empty ones
FEW_IMAGES = 16  # any network that works can memorise so many ...
FEW_STEPS = 200  # ... in so many steps


def before_training(net: CaptchaNet, data: Dataset, learning_rate: float, fresh: bool) -> list[str]:
    """Examine the images, their labels and the network; return the findings.

    ``fresh`` says that the network has random weights. It is left as it is.
    """
    train, device = data.train, net.mean.device
    findings = examine_labels(train.labels)
    findings += examine_images(train, [data.val, data.test])
    findings += examine_others(train.labels, data.val.labels + data.test.labels)
    # The training must not depend on these trials.
    devices = [] if device.type == "cpu" else [torch.get_device_module(device).current_device()]
    with torch.random.fork_rng(devices, device_type=device.type if devices else "cuda"):
        if fresh:
            findings += examine_first_loss(net, train)
        return findings + try_to_memorise(net, train, learning_rate)


def print_findings(when: str, findings: Sequence[str]) -> None:
    """Print the findings of a check-up."""
    print(f"Check-up {when}:{'' if findings else ' nothing stands out'}")
    for finding in findings:
        print(f"  ! {finding}")


def examine_labels(labels: Sequence[str]) -> list[str]:
    """Find characters and lengths that occur in few labels."""
    findings = []
    occurs = Counter(character for label in labels for character in set(label))
    rare = sorted(character for character, count in occurs.items() if count < FEW_LABELS)
    if rare:
        some = ", ".join(f"{character!r} ({occurs[character]})" for character in rare[:10])
        more = f" and {len(rare) - 10} more" if len(rare) > 10 else ""
        findings.append(
            f"{len(rare)} of {len(occurs)} characters occur in fewer than {FEW_LABELS} labels: "
            f"{some}{more}. The network will hardly know them; label more images that show them."
        )
    lengths = Counter(map(len, labels))
    usual, count = lengths.most_common(1)[0]
    odd = len(labels) - count
    if 0 < odd <= 0.02 * len(labels):
        findings.append(
            f"{count} labels have {usual} characters, but {odd} have another length, such as "
            f"{next(label for label in labels if len(label) != usual)!r}: are they typing mistakes?"
        )
    return findings


def examine_images(split: Split, others: Sequence[Split] = ()) -> list[str]:
    """Find images that show nothing, and equal ones, above all with different labels.

    Also those that other splits share with this one.
    """
    findings = []
    looked_at = spread(range(len(split.labels)), LOOKED_AT)
    empty = [i for i in looked_at if split.images[i].float().std() < 3]  # grey levels
    if empty:
        findings.append(
            f"{len(empty)} of {len(looked_at)} images are nearly of one colour, such as that of "
            f"{split.labels[empty[0]]!r}: there is nothing to read in them."
        )
    hashes = hashes_of(split)
    _, first, numbers, counts = np.unique(
        hashes, return_index=True, return_inverse=True, return_counts=True
    )
    several: dict[int, list[str]] = {}  # {first of equal images: their labels}
    for i in (counts[numbers] > 1).nonzero()[0]:
        several.setdefault(int(first[numbers[i]]), []).append(split.labels[i])
    disputed = [sorted(set(labels)) for labels in several.values() if len(set(labels)) > 1]
    if disputed:
        findings.append(
            f"{len(disputed)} images are there several times with different labels, such as "
            f"{' and '.join(map(repr, disputed[0][:2]))}: at most one of them can be correct."
        )
    elif several:
        findings.append(
            f"{len(hashes) - len(counts)} of {len(hashes)} images are copies of others, such as "
            f"that of {split.labels[min(several)]!r}: they teach nothing new."
        )
    asked = [label for other in others for label in other.labels]
    known = [np.isin(hashes_of(other), hashes) for other in others]
    copies = [asked[i] for i in np.concatenate([*known, []]).nonzero()[0]]
    if copies:
        findings.append(
            f"Of {len(asked)} images of val and test, {len(copies)} are copies of training images, "
            f"such as that of {copies[0]!r}: the figures will look better than they are."
        )
    return findings


def hashes_of(split: Split) -> np.ndarray:
    """Return a number for each image, (N,) int64, the same for equal ones.

    Python's own hash is fast. Two of a million different images share one with a chance of one in
    30 million.
    """
    return np.array([hash(image.tobytes()) for image in split.images.numpy()], np.int64)


def examine_others(taught_labels: Sequence[str], asked: Sequence[str]) -> list[str]:
    """Find what the labels of val and test ask for, but those of train do not teach."""
    findings = []
    taught = set("".join(taught_labels))
    unknown = {c: label for label in reversed(asked) for c in label if c not in taught}
    if unknown:
        some = ", ".join(f"{c!r} (in {label!r})" for c, label in sorted(unknown.items())[:10])
        more = f" and {len(unknown) - 10} more" if len(unknown) > 10 else ""
        findings.append(
            f"Labels of val or test have characters that no training label has: {some}{more}. This "
            "training does not teach them; train on images that show them, or correct the label."
        )
    longest = max(map(len, taught_labels))
    longer = [label for label in asked if len(label) > longest]
    if longer:
        findings.append(
            f"Of {len(asked)} labels of val and test, {len(longer)} have more than {longest} "
            f"characters, such as {longer[0]!r}, and no training label has. Train on images of "
            "that length, or correct the label."
        )
    return findings


def examine_first_loss(net: CaptchaNet, split: Split) -> list[str]:
    """Compare the loss before any training with that of guessing, ln(number of classes)."""
    trial = copy.deepcopy(net).train()  # batch norm has no averages yet: use those of the batch
    with torch.no_grad(), model.autocast(net.mean.device):
        logits = trial(split.images[:64].to(net.mean.device)).cpu()
    loss = F.cross_entropy(logits.flatten(0, 1), split.targets[:64].flatten()).item()
    guessing = math.log(logits.shape[2])
    if 0.5 * guessing < loss < 1.5 * guessing:
        return []
    return [
        f"The loss at the start is {loss:.2f}; a network that knows nothing has about "
        f"ln({logits.shape[2]} classes) = {guessing:.2f}. Are the first weights or the "
        "normalisation wrong?"
    ]


def try_to_memorise(net: CaptchaNet, split: Split, learning_rate: float) -> list[str]:
    """See whether a copy of the network can memorise a few images, without augmentation.

    A network that cannot has a bug, and longer training will not help.
    """
    device = net.mean.device
    trial = copy.deepcopy(net).train()
    images, targets = split.images[:FEW_IMAGES].to(device), split.targets[:FEW_IMAGES].to(device)
    optimizers = optimizers_for(trial, learning_rate)
    best = 0.0
    for _ in range(FEW_STEPS):
        with model.autocast(device):
            logits = trial(images)  # (B, L, classes)
        loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten())
        trial.zero_grad()
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
        correct = logits.argmax(dim=2) == targets
        best = max(best, correct[targets > 0].float().mean().item())  # blanks are no achievement
        if best > 0.99:
            break
    if best > 0.9:
        return []
    return [
        f"The network could not memorise {len(images)} images: after {FEW_STEPS} steps it "
        f"read {100 * best:.0f} % of their characters. Is LEARNING_RATE={learning_rate:g} too "
        "high or far too low? Are the characters visible at this size?"
    ]


def after_training(
    history: Sequence[dict[str, float]],
    train_logits: Tensor,
    train_split: Split,
    learning_rate: float,
) -> list[str]:
    """Say what the curves mean and what to do about it; return the findings.

    ``train_logits`` are those of training images as they are, (N, length, classes): how well they
    are read without augmentation tells memorising from not learning.
    """
    targets = train_split.targets[: len(train_logits)]
    known = (train_logits.argmax(dim=2) == targets).all(dim=1).float().mean().item()
    best = runs.best_of(history)
    unknown = best["val_image_accuracy"]
    shares = f"{100 * known:.0f} % of the training images and {100 * unknown:.0f} % of validation"
    classes = train_logits.shape[2]
    least, guessing = min(row["train_loss"] for row in history), loss_of_guessing(train_split)

    if least > 0.8 * guessing:
        return [
            f"It has learnt nothing: the training loss never fell below {least:.2f}, and guessing "
            f"by how often each character occurs gives {guessing:.2f}. LEARNING_RATE="
            f"{learning_rate:g} may be too high (try a third of it), the training too short "
            "(raise EPOCHS), or the labels may not belong to the images."
        ]
    if known < 0.9 and learning_rate > 3 * USUAL_RATE:
        return [
            f"LEARNING_RATE={learning_rate:g} is probably too high: it reads only {shares}, and "
            f"{USUAL_RATE:g} is usual. Try a tenth."
        ]
    # Did the validation loss still fall in the last fifth of the training? If so it is too early to
    # speak of over-fitting: training images are read first.
    fifth = max(1, len(history) // 5)
    late = min(row["val_loss"] for row in history[-fifth:])
    early = min([row["val_loss"] for row in history[:-fifth]], default=math.inf)
    if known < 0.9 and late < 0.9 * early:
        return [
            f"Train longer: it reads {shares}, and the validation loss was still falling at the "
            f"end, from {early:.3f} to {late:.3f}. Raise EPOCHS."
        ]
    if known - unknown > 0.15:
        how = "has memorised them" if known > 0.9 else "learns images more than characters"
        hint = (
            " So few are correct in validation that the labels may not belong to the images."
            if best["val_character_accuracy"] < 2 / classes  # hardly more than guessing
            else " If labels may be wrong, AUDIT_FOLDS=4 lists them."
        )
        return [f"Over-fitting: it reads {shares}. It {how}; label more images.{hint}"]
    if known < 0.9:
        return [
            f"Under-fitting: it reads only {shares}, although it saw them {len(history)} times or "
            "more. Raise EPOCHS or LEARNING_RATE, or open mistakes.png: can you read them?"
        ]
    return []


def loss_of_guessing(split: Split) -> float:
    """Return the lowest loss that needs no images: the entropy of each position's classes.

    Where labels differ in length most late positions are blank, which is easily guessed.
    """
    entropy = 0.0
    for classes in split.targets.T:  # of one position, (N,)
        shares = classes.bincount().double() / len(classes)
        entropy -= torch.special.xlogy(shares, shares).sum().item()
    return entropy / split.targets.shape[1]
