"""Why a network does not learn: what beginners trip over, looked for before and after training.

Every finding is a sentence with the figure that it rests on. Where nothing is found, none is made.
"""

import copy
import math
from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

import model
import utils
from model import CaptchaNet
from training import runs
from training.dataset import Side

few_labels = 5  # a character that occurs in fewer labels is hardly learnt
few_images = 16  # any network that works learns so many by heart ...
few_steps = 200  # ... in so many steps
usual_rate = 0.003  # see train_script.good_rate


def before_training(
    net: CaptchaNet, side: Side, others: Sequence[Side], learning_rate: float, fresh: bool
) -> list[str]:
    """Look at the training images, their labels and the network; return the findings.

    ``others`` are the sides that the network is judged by. ``fresh`` says that it has its first,
    random weights; it is left as it is.
    """
    findings = look_at_labels(side.labels) + look_at_images(side) + look_at_others(side, others)
    with torch.random.fork_rng(devices=[]):  # the training must not depend on these trials
        if fresh:
            findings += look_at_first_loss(net, side)
        return findings + try_to_memorise(net, side, learning_rate)


def tell(when: str, findings: Sequence[str]) -> None:
    """Print the findings of a check-up."""
    print(f"Check-up {when}:{'' if findings else ' nothing stands out'}")
    for finding in findings:
        print(f"  ! {finding}")


def look_at_labels(labels: Sequence[str]) -> list[str]:
    """Find characters and lengths that occur in few labels."""
    findings = []
    occurs = Counter(character for label in labels for character in set(label))
    rare = sorted(character for character, count in occurs.items() if count < few_labels)
    if rare:
        some = ", ".join(f"{character!r} ({occurs[character]})" for character in rare[:10])
        more = f" and {len(rare) - 10} more" if len(rare) > 10 else ""
        findings.append(
            f"{len(rare)} of {len(occurs)} characters occur in fewer than {few_labels} labels: "
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


def look_at_images(side: Side) -> list[str]:
    """Find images that show nothing, and equal ones, above all with different labels."""
    findings = []
    pixels = side.images.flatten(1)  # (N, C * H * W)
    spread = torch.stack([image.float().std() for image in pixels])  # (N,) in grey levels
    empty = [side.labels[i] for i in (spread < 3).nonzero().flatten().tolist()]
    if empty:
        findings.append(
            f"{len(empty)} of {len(pixels)} images are nearly of one colour, such as that of "
            f"{empty[0]!r}: there is nothing to read in them."
        )
    labels_of: dict[str, list[str]] = {}
    for image, label in zip(pixels.numpy(), side.labels, strict=True):
        labels_of.setdefault(utils.content_hash(image.tobytes()), []).append(label)
    several = [labels for labels in labels_of.values() if len(labels) > 1]
    disputed = [sorted(set(labels)) for labels in several if len(set(labels)) > 1]
    if disputed:
        findings.append(
            f"{len(disputed)} images are there several times with different labels, such as "
            f"{' and '.join(map(repr, disputed[0][:2]))}: at most one of them can be right."
        )
    elif several:
        copies = len(pixels) - len(labels_of)
        findings.append(
            f"{copies} of {len(pixels)} images are copies of others, such as that of "
            f"{several[0][0]!r}: they teach nothing new."
        )
    return findings


def look_at_others(side: Side, others: Sequence[Side]) -> list[str]:
    """Find what validation and test ask for and training does not teach, and what it gives away."""
    findings = []
    asked = [label for other in others for label in other.labels]
    taught = set("".join(side.labels))
    unknown = {c: label for label in reversed(asked) for c in label if c not in taught}
    if unknown:
        some = ", ".join(f"{c!r} (in {label!r})" for c, label in sorted(unknown.items())[:10])
        more = f" and {len(unknown) - 10} more" if len(unknown) > 10 else ""
        findings.append(
            f"Labels of val or test have characters that no training label has: {some}{more}. This "
            "training does not teach them; train on images that show them, or correct the label."
        )
    longest = max(map(len, side.labels))
    longer = [label for label in asked if len(label) > longest]
    if longer:
        findings.append(
            f"Of {len(asked)} labels of val and test, {len(longer)} have more than {longest} "
            f"characters, such as {longer[0]!r}, and no training label has. Train on images of "
            "that length, or correct the label."
        )
    known = {utils.content_hash(image.tobytes()) for image in side.images.numpy()}
    copies = [
        label
        for other in others
        for image, label in zip(other.images.numpy(), other.labels, strict=True)
        if utils.content_hash(image.tobytes()) in known
    ]
    if copies:
        findings.append(
            f"Of {len(asked)} images of val and test, {len(copies)} are copies of training images, "
            f"such as that of {copies[0]!r}: the figures will look better than they are."
        )
    return findings


def look_at_first_loss(net: CaptchaNet, side: Side) -> list[str]:
    """Compare the loss before any training with that of guessing, ln(number of classes)."""
    trial = copy.deepcopy(net).train()  # batch norm has no averages yet: use those of the batch
    with torch.no_grad(), model.autocast(net.mean.device):
        logits = trial(side.images[:64].to(net.mean.device)).cpu()
    loss = F.cross_entropy(logits.flatten(0, 1), side.targets[:64].flatten()).item()
    guessing = math.log(logits.shape[2])
    if 0.5 * guessing < loss < 1.5 * guessing:
        return []
    return [
        f"The loss at the start is {loss:.2f}; a network that knows nothing has about "
        f"ln({logits.shape[2]} classes) = {guessing:.2f}. Are the first weights or the "
        "normalisation wrong?"
    ]


def try_to_memorise(net: CaptchaNet, side: Side, learning_rate: float) -> list[str]:
    """See whether a copy of the network can learn a few images by heart, without augmentation.

    What cannot do that has a mistake in it, and no longer training will help.
    """
    device = net.mean.device
    trial = copy.deepcopy(net).train()
    images, targets = side.images[:few_images].to(device), side.targets[:few_images].to(device)
    optimizer = torch.optim.AdamW(trial.parameters(), learning_rate)
    best = 0.0
    for _ in range(few_steps):
        with model.autocast(device):
            logits = trial(images)  # (B, L, classes)
        loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        right = logits.argmax(dim=2) == targets
        best = max(best, right[targets > 0].float().mean().item())  # blanks are no achievement
        if best > 0.99:
            break
    if best > 0.9:
        return []
    return [
        f"The network could not learn {len(images)} images by heart: after {few_steps} steps it "
        f"read {100 * best:.0f} % of their characters. Is LEARNING_RATE={learning_rate:g} too "
        "high or far too low? Are the characters visible at this size?"
    ]


def after_training(
    history: Sequence[dict[str, float]],
    train_logits: Tensor,
    train_side: Side,
    learning_rate: float,
) -> list[str]:
    """Say what the curves mean and what to do about it; return the findings.

    ``train_logits`` are those of training images as they are, (N, length, classes): how well they
    are read without augmentation tells learning by heart from not learning.
    """
    targets = train_side.targets[: len(train_logits)]
    known = (train_logits.argmax(dim=2) == targets).all(dim=1).float().mean().item()
    best = runs.best_of(history)
    unknown = best["val_images"]
    shares = f"{100 * known:.0f} % of the training images and {100 * unknown:.0f} % of validation"
    classes = train_logits.shape[2]
    least, guessing = min(row["train_loss"] for row in history), loss_of_guessing(train_side)

    if least > 0.8 * guessing:
        return [
            f"It has learnt nothing: the training loss never fell below {least:.2f}, and guessing "
            f"by how often each character occurs gives {guessing:.2f}. LEARNING_RATE="
            f"{learning_rate:g} may be too high (try a third of it), the training too short "
            "(raise EPOCHS), or the labels may not belong to the images."
        ]
    if known < 0.9 and learning_rate > 3 * usual_rate:
        return [
            f"LEARNING_RATE={learning_rate:g} is probably too high: it reads only {shares}, and "
            f"{usual_rate:g} is usual. Try a tenth."
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
        how = "knows them by heart" if known > 0.9 else "learns images more than characters"
        hint = (
            " So little of validation is right that the labels may not belong to the images."
            if best["val_characters"] < 2 / classes  # hardly more than guessing
            else ""
        )
        return [f"Over-fitting: it reads {shares}. It {how}; label more images.{hint}"]
    if known < 0.9:
        return [
            f"Under-fitting: it reads only {shares}, although it saw them {len(history)} times or "
            "more. Raise EPOCHS or LEARNING_RATE, or look at mistakes.png: can you read them?"
        ]
    return []


def loss_of_guessing(side: Side) -> float:
    """Return the least loss without looking at the images: the entropy of each position's classes.

    Where labels differ in length most late positions are blank, which is soon guessed.
    """
    entropy = 0.0
    for classes in side.targets.T:  # of one position, (N,)
        shares = classes.bincount().double() / len(classes)
        entropy -= torch.special.xlogy(shares, shares).sum().item()
    return entropy / side.targets.shape[1]
