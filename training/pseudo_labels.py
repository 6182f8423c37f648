"""Images without labels teach a network: what it reads surely in them, it learns from.

A model that has never seen a site is sure of many of its characters, and nearly all of those are
right. A pupil that learns from them, bent and recoloured, gets to know how the site writes; so it
is sure of more. It is the next one's teacher, and so on, a few times. (Lee 2013, "Pseudo-Label";
the pupil sees harder images than its teacher, as in Xie et al. 2020, "Self-training with Noisy
Student".) It goes wrong where most of what seems sure is not right: then the errors are learnt.
"""

import copy
import math
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

import model
from files.framing import read_sample
from files.images import FOUND
from files.split_names import labelled_images
from model import CaptchaNet
from reading import limits
from reading.limits import SURE
from training.calibration import fit_temperature
from training.dataset import Dataset, Split, join, load_unlabelled, sample_of, without_labels
from training.runs import Training
from utils import image_files

UNKNOWN = -100  # target of a character that is not read surely: F.cross_entropy leaves it out
LEAST_SURE = 0.2  # of the characters: who is sure of fewer would teach nonsense
HELD_OUT = 0.1  # of the images without labels; by them a training without any label is judged
FEW_LABELS = 50  # with fewer to train on, there are as many rounds as without any
LABELLED_SHARE = 0.25  # of what a pupil sees, at least: what a person typed is worth more
SETTLED = 0.01  # of the images: if a teacher reads no more of them anew, its pupil is the last
EVEN_TURNS = 5  # in which a teacher's readings get close to even shares of the characters
# How much too sure a network is that had none but its own readings to learn from.
TEMPERATURE = 1.5
# Of the last pupil's time, for those before it: enough to get to know the site, and too short to
# learn a teacher's errors by heart.
SHORT = 0.5
HOPELESS = "It would teach itself nonsense: label some 50 images, and train with these too."
Train = Callable[[Dataset, float], Training]  # of a new network, for a share of the usual time


class Round(NamedTuple):
    """What came of one teacher and its pupil."""

    joined: int  # images that the pupil learnt from, besides those with labels
    teacher_logits: Tensor  # of the images that are held out if there are no labels
    training: Training


def suited(net: CaptchaNet, folder: Path, characters: str | None, length: int | None) -> CaptchaNet:
    """Return a copy of a network, limited to what the images of a folder seem to hold.

    ``characters`` and ``length`` are found from what it reads surely in a sample, where they are
    None. Raises ValueError if nothing is read surely.
    """
    teacher = copy.deepcopy(net).eval()
    sample = list(read_sample(image_files(folder)))
    if not sample:
        raise ValueError(f"none of the images in {folder} can be read.")
    length = limits.suit(teacher, sample, characters, length) or length
    if net.spec.cut == FOUND and characters is None:
        images = torch.stack([model.prepare(teacher, image) for image in sample])
        characters = limits.find_characters(model.read_images(teacher, images))
        if len(characters) < 2:
            raise ValueError(f"next to nothing in {folder} is read surely. {HOPELESS}")
        limits.limit(teacher, characters, length)
    return teacher


def charset_beside(folder: Path, teacher: CaptchaNet) -> str:
    """Return the charset of a network that is suited to a site, in the case of its labels.

    A site may draw capitals, and be labelled in small letters. ``folder`` is one of the split.
    """
    text = "".join(label for _, label in labelled_images(folder))
    case = str.lower if text.islower() else str.upper if text.isupper() else str
    return "".join(sorted(set(case(teacher.charset))))


def as_teacher(net: CaptchaNet, data: Dataset) -> CaptchaNet | None:
    """Return a copy of a network that reads what the labels of a dataset can have, if it can."""
    teacher = copy.deepcopy(net).eval()
    known = limits.readable(data.charset, net.known)
    if not known or net.head_name == "flatten":  # which reads images of one size only
        return None
    lengths = {len(label) for label in data.train.labels}
    sure = len(lengths) == 1 and len(data.train.labels) >= limits.LEAST_SAMPLE
    length = min(lengths) if sure and max(lengths) <= net.length else None
    limits.limit(teacher, known, length)
    teacher.spec = data.spec._replace(channels=net.spec.channels)
    return teacher


def self_train(
    teacher: CaptchaNet,
    data: Dataset,
    images: Tensor,
    rounds: int,
    train: Train,
) -> list[Round]:
    """Train a new pupil in each round with what its teacher reads surely in images without labels.

    ``images`` is (N, channels, height, width) uint8. The labelled images of ``data`` are learnt
    from in each round, too. If there are none, a tenth of the images is held out instead, and a
    pupil is compared with what its teacher reads there; then ValueError is raised if a teacher is
    sure of next to nothing. There are fewer ``rounds`` where the readings do not change any more.
    """
    labelled, held_out, occurs = data.train, is_held_out(images), ""
    done: list[Round] = []
    texts: list[str] = []  # that the teacher reads, sure or not
    for number in range(1, rounds + 1):
        logits = read(teacher, images, data.charset)  # (N, L or longer, classes)
        # A pupil may have unlearnt a character that was never read surely; the first teacher knew.
        occurs = occurs or limits.occurring(logits, data.charset, teacher.charset)
        # What it takes for another character, the pupil would, too, if nobody evened it out.
        logits += limits.even_odds(logits, data.charset, occurs, EVEN_TURNS)
        before, readings = texts, all_readings(logits, images, data)
        texts = readings.labels
        # The first teacher has none before it.
        changed = sum(text != old for text, old in zip(texts, before, strict=False))
        settled = bool(before) and changed <= SETTLED * len(texts)
        pseudo, used, sure = sure_readings(logits, images, data)
        if not labelled.labels:
            data = data._replace(val=readings.subset(held_out))
            pseudo = pseudo.subset(~held_out[used])
            if sure < LEAST_SURE or not pseudo.labels:
                share = f"only {100 * sure:.0f} % of the characters are read surely"
                raise ValueError(f"{share}. {HOPELESS}")
        print(
            f"Round {number} of {rounds}: the teacher is sure of {100 * sure:.0f} % of the "
            f"characters; {len(pseudo.labels)} of {len(images)} images without labels join"
        )
        if settled:
            print(
                f"It reads {changed} of these images differently from its own teacher, so this "
                "round is the last."
            )
        times = repeats(len(labelled.labels), len(pseudo.labels))
        joined = data._replace(train=join([*[labelled] * times, pseudo]))
        training = train(joined, 1.0 if settled or number == rounds else SHORT)
        done.append(Round(len(pseudo.labels), logits[held_out], training))
        teacher = training.best_net() if labelled.labels else training.net
        calibrate(teacher, data)
        if settled:
            break
    return done


def calibrate(net: CaptchaNet, data: Dataset) -> None:
    """Set the temperature of a network that learnt here. Nobody checks what it will teach.

    So validation may lower its confidences, but not raise them.
    """
    temperature = TEMPERATURE
    if data.train.labels:
        val_logits = model.read_logits(net, data.val.images)
        temperature = max(1, fit_temperature(val_logits, data.val, math.inf))
    net.temperature.fill_(temperature)


def learn_from_both(
    start: CaptchaNet | None,
    data: Dataset,
    folder: Path,
    rounds: int,
    train: Train,
) -> list[Training]:
    """Train twice with the labels of a dataset and a folder without; the last training counts.

    A trained network is the first teacher. From scratch, or if that one is sure of next to nothing,
    the first training makes it, with the labels alone. With FEW_LABELS it trains for all
    ``rounds``, since then it is the images without labels that teach.
    """
    images = load_unlabelled(folder, data.files, data.spec)
    teacher = None if start is None else as_teacher(start, data)
    if teacher is not None and share_sure(teacher, images) >= LEAST_SURE:
        rounds = rounds if len(data.train.labels) < FEW_LABELS else min(rounds, 2)
        return [one.training for one in self_train(teacher, data, images, rounds, train)]
    first = train(data, 1)
    calibrate(first.best_net(), data)
    return [first, *(one.training for one in self_train(first.net, data, images, 1, train))]


def share_sure(teacher: CaptchaNet, images: Tensor) -> float:
    """Return the share of the characters in a sample of the images that are read surely."""
    sample = sample_of(images)
    nothing = without_labels(teacher.charset, teacher.length, teacher.spec)
    return sure_readings(read(teacher, sample, teacher.charset), sample, nothing)[2]


def is_held_out(images: Tensor) -> Tensor:
    """Return which images nobody learns from if there are no labels, (N,) bool."""
    return torch.arange(len(images)) % round(1 / HELD_OUT) == 0


def read(net: CaptchaNet, images: Tensor, charset: str) -> Tensor:
    """Return the calibrated logits of images (N, channels, H, W) as classes of a charset.

    (N, length of the network, classes). A colour network sees grey images, too; what it does not
    know has no probability.
    """
    with model.autocast(net.mean.device):  # a guess is a guess, and this is twice as fast
        logits = model.read_logits(net, images.expand(-1, net.spec.channels, -1, -1))
    logits = logits / net.temperature.cpu()
    if net.charset == charset:
        return logits
    wanted = [0, *(charset.index(character) + 1 for character in net.charset)]
    classes = logits.new_full((*logits.shape[:2], len(charset) + 1), -math.inf)
    classes[:, :, wanted] = logits
    return classes


def sure_readings(logits: Tensor, images: Tensor, data: Dataset) -> tuple[Split, Tensor, float]:
    """Return the images of which something is read surely, which they are, and how much is.

    The length must be sure, and one character. A character that is not sure is UNKNOWN among the
    targets, and "?" in the label; see least_confidences(). The last two are (N,) bool and the share
    of all characters that have a confidence of SURE.
    """
    chances = logits.softmax(dim=2)  # (N, L or longer, classes)
    blank = chances[:, :, 0]  # (N, L or longer)
    length = blank.maximum(1 - blank)[:, : data.length].prod(dim=1)
    length = length * blank[:, data.length :].prod(dim=1)  # (N,), how sure the length is
    best, targets = chances[:, : data.length].max(dim=2)  # (N, L) each
    written = targets > 0  # (N, L)
    share = (written & (best >= SURE)).sum() / written.sum().clamp(min=1)
    sure = best >= least_confidences(best, targets, chances.shape[2], share)[targets]
    targets[~sure] = UNKNOWN
    used = (length >= SURE) & (written & sure).any(dim=1)
    names = {0: "", UNKNOWN: "?", **dict(enumerate(data.charset, start=1))}
    labels = ["".join(names[c] for c in row) for row in targets[used].tolist()]
    return Split(labels, images[used], targets[used]), used, share.item()


def least_confidences(best: Tensor, targets: Tensor, classes: int, share: Tensor) -> Tensor:
    """Return the confidence from which on a character counts as read surely, (classes,).

    It is SURE, or lower where less than ``share`` of a character's readings would be sure: that
    share of them is taken then. A character of which nothing was learnt would soon be read as
    another. (The class-balanced self-training of Zou et al. 2018, "Unsupervised Domain Adaptation
    for Semantic Segmentation via Class-Balanced Self-Training".)

    ``best`` is the confidence of each reading and ``targets`` its class, (N, L) each.
    """
    least = torch.full((classes,), SURE)
    for number in targets.unique():
        least[number] = best[targets == number].quantile(1 - share).clamp(max=SURE)
    return least


def all_readings(logits: Tensor, images: Tensor, data: Dataset) -> Split:
    """Return images with all that is read in them, sure or not, as their labels."""
    targets = logits[:, : data.length].argmax(dim=2)  # (N, L)
    return Split(model.decode_labels(targets.numpy(), data.charset), images, targets)


def repeats(labelled: int, joined: int) -> int:
    """Return how often labelled images are there, so that they make up LABELLED_SHARE of all."""
    if labelled == 0:
        return 0
    return max(1, math.ceil(LABELLED_SHARE / (1 - LABELLED_SHARE) * joined / labelled))
