"""What can occur on a site that a model was not trained on: its characters, lengths and frame."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

import model
from files.framing import find_frame
from files.images import FOUND
from model import CaptchaNet
from utils import Prediction

SURE = 0.8  # a character that is read with this confidence is read surely
RARE = 0.1  # of how often a usual character occurs: one that is rarer was probably misread
ONE_CASE = 0.95  # of the letters that show their case: then all letters have it
SHOW_THEIR_CASE = "abdefghijklmnqrty"  # a small o looks like a capital one
LEAST_SAMPLE = 20  # fewer images of a site do not show whether its labels have one length
OCCURS = 0.4  # of an even share: a character that is read more rarely is probably not there
MOST_ODDS = 1.0  # by which a character's logits are raised or lowered, so that it is read evenly
ONE_LENGTH = 0.8  # of the half of them that is read most surely: then all have it


def limit(net: CaptchaNet, characters: str | None, length: int | None) -> None:
    """Have a network read only these characters, and only labels of this length; None: any.

    A character's probability is its own plus that of its other case, unless that one is wanted
    too: a site's labels may be small letters although it draws capitals. Such a network is for
    reading only. Raises ValueError for what the network cannot read.
    """
    if characters is None and length is None:
        return
    wanted = "".join(dict.fromkeys(net.charset if characters is None else characters))
    if not wanted:
        raise ValueError("CHARACTERS is empty; it must have those that can occur.")
    if length is not None and not 1 <= length <= net.length:
        raise ValueError(f"LENGTH is {length}; the model reads 1 to {net.length} characters.")
    number = {character: i for i, character in enumerate(net.known, start=1)}
    never = len(net.known) + 1
    rows = [[never if length else 0, never]]  # of the blank
    for character in wanted:
        own, other = (number.get(c, never) for c in (character, character.swapcase()))
        if own == other == never:
            raise ValueError(f"CHARACTERS has {character!r}, which the model cannot read.")
        rows.append([own, never if character.swapcase() in wanted else other])
    net.rows, net.odds = torch.tensor(rows, device=net.mean.device), None
    net.charset, net.length = wanted, length or net.length


def suit(
    net: CaptchaNet, images: Iterable[np.ndarray], characters: str | None, length: int | None
) -> int | None:
    """Limit a network, and suit a general one to a site, by a sample of its RGB images (H, W, 3).

    A general model finds its frame, and without ``length`` whether the labels have one length; then
    it is limited to that, and it is returned. It reads more evenly, too: see even_odds(). Other
    models need no ``images``: none is read then.
    """
    limit(net, characters, length)
    sample = list(images) if net.spec.cut == FOUND else []
    if not sample:
        return None
    net.spec = find_frame(sample, net.spec.channels)
    if len(sample) < LEAST_SAMPLE:
        return None
    prepared = torch.stack([model.prepare(net, image) for image in sample])
    logits = model.read_logits(net, prepared) / net.temperature.cpu()
    found = find_length(model.as_predictions(logits, net.charset)) if length is None else None
    if found is not None:
        limit(net, None, found)
        logits = logits[:, :found]  # (N, length, classes)
        logits[:, :, 0] = -torch.inf  # as limit() has it
    used = net.charset
    if characters is None:
        used = find_characters(model.as_predictions(logits, net.charset))
    used = occurring(logits, net.charset, used)
    net.odds = even_odds(logits, net.charset, used).to(net.mean.device)
    return found


def find_length(read: list[Prediction]) -> int | None:
    """Return the length that all labels of a site seem to have, by what was read in a sample."""
    # By the confidence of a character, or the shorter texts would come first.
    read.sort(key=lambda read: read.confidence ** (1 / max(1, len(read.text))), reverse=True)
    lengths = [len(prediction.text) for prediction in read[: len(read) // 2]]
    usual, count = Counter(lengths).most_common(1)[0]
    return usual if usual > 0 and count >= ONE_LENGTH * len(lengths) else None


def even_odds(logits: Tensor, charset: str, used: str, turns: int = 1) -> Tensor:
    """Return by how much to raise the logits of each class so that it is read less unevenly.

    A captcha's characters are drawn at random, so of those that are ``used`` all digits occur about
    equally often, and all letters. If a v is read twice as often as other letters and a u hardly
    ever, many a v is a u in a font that the network does not know: a u's odds rise, a v's fall.
    What is read surely stays as it is, since no odds change by more than MOST_ODDS: it may be that
    a character really is rarer than others. Each of the ``turns`` brings the shares closer to even.
    (The distribution alignment of Berthelot et al. 2020, "ReMixMatch", section 3.1; here towards
    even shares.)

    ``logits`` is (N, L, classes), calibrated; the odds are their logarithms, (classes,).
    """
    odds = torch.zeros(logits.shape[2])
    kinds = of_a_kind(charset, used)
    for _ in range(turns):
        counts = count_read(logits + odds)  # (classes,)
        for some in kinds:
            odds[some] += (counts[some].mean() / counts[some]).log()
        odds.clamp_(-MOST_ODDS, MOST_ODDS)
    return odds


def occurring(logits: Tensor, charset: str, used: str) -> str:
    """Return those of the characters ``used`` that are not read next to never.

    A person may have named characters that do not occur; to raise their odds would be wrong.
    """
    counts = count_read(logits)
    found = torch.zeros_like(counts, dtype=torch.bool)
    for some in of_a_kind(charset, used):
        found |= some & (counts >= OCCURS * counts[some].mean())
    return "".join(c for c, occurs in zip(charset, found[1:].tolist(), strict=True) if occurs)


def count_read(logits: Tensor) -> Tensor:
    """Return how often each class is read by its probabilities, (classes,).

    One more for each, as few images prove little.
    """
    return logits.softmax(dim=2).sum(dim=(0, 1)) + 1


def of_a_kind(charset: str, used: str) -> list[Tensor]:
    """Return which classes are ``used`` digits, and which are ``used`` letters, (classes,) each."""
    return [
        torch.tensor([False, *(c in used and c.isdigit() == digits for c in charset)])
        for digits in (True, False)
    ]


def find_characters(read: Sequence[Prediction]) -> str:
    """Return the characters that a site seems to use, sorted, by what was read in a sample of it.

    If nearly all letters have one case, all get it.
    """
    counts = count_sure(read)
    case = find_case(counts)
    if case is not None:
        for letter in [character for character in counts if character.isascii()]:
            counts[case(letter)] += counts.pop(letter)
    # The mean over the characters read, not over the charset: odd ones hardly count.
    usual = sum(count**2 for count in counts.values()) / max(1, counts.total())
    return "".join(sorted(letter for letter, count in counts.items() if count >= RARE * usual))


def count_sure(read: Sequence[Prediction]) -> Counter[str]:
    """Return how often each character was read surely."""
    return Counter(
        character
        for prediction in read
        for character, confidence in zip(
            prediction.text, prediction.character_confidences, strict=True
        )
        if confidence >= SURE
    )


def find_case(counts: Counter[str]) -> Callable[[str], str] | None:
    """Return str.lower or str.upper if a site draws nearly all letters so, else None."""
    small, capital = (
        sum(counts[letter] for letter in letters)
        for letters in (SHOW_THEIR_CASE, SHOW_THEIR_CASE.upper())
    )
    if max(small, capital) <= ONE_CASE * (small + capital):
        return None
    return str.lower if small > capital else str.upper
