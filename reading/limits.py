"""What can occur on a site that a model was not trained on: its characters, lengths and frame."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

import model
from files.framing import find_frame
from files.images import FOUND
from model import CaptchaNet, limited
from reading.scale import find_scale
from utils import Prediction

Case = Callable[[str], str]  # str.lower or str.upper
SURE = 0.8  # a character that is read with this confidence is read surely
RARE = 0.1  # of how often a usual character occurs: one that is rarer was probably misread
LEAST_SAMPLE = 20  # fewer images of a site do not show whether its labels have one length
OCCURS = 0.4  # of an even share: a character that is read more rarely is probably not there
MOST_ODDS = 1.0  # by which a character's logits are raised or lowered, so that it is read evenly
ONE_LENGTH = 0.8  # of the half of them that is read most surely: then all have it


def limit(net: CaptchaNet, characters: str | None, length: int | None) -> None:
    """Have a network read only these characters, and only labels of this length; None: any.

    A character's probability is its own plus that of its other case, unless that one is wanted
    too: a site's labels may be small letters although it draws capitals. If suit() found that it
    draws one case, that alone counts. Raises ValueError for what the network cannot read.
    """
    if characters is None and length is None:
        return
    wanted = "".join(dict.fromkeys(net.charset if characters is None else characters))
    if not wanted:
        raise ValueError("CHARACTERS is empty; it must have those that can occur.")
    if length is not None and not 1 <= length <= net.length:
        raise ValueError(f"LENGTH is {length}; the model reads 1 to {net.length} characters.")
    rows = rows_of(net.known, wanted, length, net.case)
    net.rows, net.odds = rows.to(net.mean.device), None
    net.charset, net.length = wanted, length or net.length


def readable(characters: str, known: str) -> str:
    """Return those of some characters of which the charset ``known`` has either case."""
    return "".join(c for c in characters if c in known or c.swapcase() in known)


def rows_of(known: str, wanted: str, length: int | None, case: Case | None) -> Tensor:
    """Return which classes of the charset ``known`` together are the blank and each wanted one.

    (1 + wanted characters, 2). The blank has none if there is a length. What is no class has the
    number after the last one. Raises ValueError for a character that is not known in any case.
    """
    number = {character: i for i, character in enumerate(known, start=1)}
    never = len(known) + 1
    rows = [[never if length else 0, never]]
    for character in wanted:
        if not readable(character, known):
            raise ValueError(f"CHARACTERS has {character!r}, which the model cannot read.")
        drawn = [number[one] for one in drawn_as(character, known, wanted, case)]
        rows.append(drawn + [never] * (2 - len(drawn)))
    return torch.tensor(rows)


def drawn_as(character: str, known: str, wanted: str, case: Case | None) -> list[str]:
    """Return which ``known`` characters a site may draw where its labels have this one.

    Itself and its other case; itself alone if both are ``wanted``, since then labels tell them
    apart; and else that in which the site draws all letters, if it is known.
    """
    other = character.swapcase()
    drawn = [character] if other in wanted else [character, other]  # a digit has no other
    if other not in wanted and case is not None and case(character) in known:
        drawn = [case(character)]
    return [one for one in drawn if one in known]


def suit(
    net: CaptchaNet, images: Iterable[np.ndarray], characters: str | None, length: int | None
) -> int | None:
    """Limit a network, and suit a general one to a site, by a sample of its RGB images (H, W, 3).

    A general model finds its frame, and without ``length`` whether the labels have one length; then
    it is limited to that, and it is returned. It finds at which scale it reads surest and which
    case is drawn, and reads more evenly: see find_scale(), find_drawn_case() and even_odds(). Other
    models need no ``images``: none is read then.
    """
    net.case = None
    limit(net, characters, length)
    sample = list(images) if net.spec.cut == FOUND else []
    if not sample:
        return None
    net.spec = find_frame(sample, net.spec.channels)
    if len(sample) < LEAST_SAMPLE:
        return None
    net.spec = find_scale(net, sample, net.spec)
    prepared = torch.stack([model.prepare(net, image) for image in sample])
    net.rows, rows = None, net.rows
    all_logits = model.read_logits(net, prepared) / net.temperature.cpu()  # of all that it knows
    net.rows = rows

    def logits() -> Tensor:
        """Return what the network as it is now reads, (N, length, classes)."""
        return all_logits if net.rows is None else limited(all_logits, net.rows.cpu(), net.length)

    found = find_length(model.as_predictions(logits(), net.charset)) if length is None else None
    if found is not None:
        limit(net, None, found)
    length = length or found
    # Where nobody told the characters, both cases of a letter are one letter here, too.
    letters = "".join(dict.fromkeys(net.charset.lower())) if characters is None else net.charset
    net.case = case = find_drawn_case(all_logits, net.known, letters, length)
    if case is not None:
        limit(net, characters or "".join(c for c in net.charset if case(c) == c), length)
    used = net.charset
    if characters is None:
        used = find_characters(model.as_predictions(logits(), net.charset))
    used = occurring(logits(), net.charset, used)
    net.odds = even_odds(logits(), net.charset, used).to(net.mean.device)
    return found


def find_drawn_case(logits: Tensor, known: str, wanted: str, length: int | None) -> Case | None:
    """Return str.lower or str.upper if a site seems to draw all its letters so, else None.

    It does if its images are read more surely when all other letters are ruled out. Labels do not
    tell, nor does a count: a network that does not know a font takes many a D for an n.

    ``logits`` is (N, L, classes) of all that the network knows, calibrated.
    """

    def confidence(case: Case | None) -> float:
        """Return the mean confidence in the images if letters are drawn so; None: as it comes."""
        rows = rows_of(known, wanted, length, case)
        read = limited(logits, rows, length or logits.shape[1])
        return read.softmax(dim=2).amax(dim=2).prod(dim=1).mean().item()

    cases: tuple[Case | None, ...] = (None, str.lower, str.upper)
    return max(cases, key=confidence)


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
    """Return the characters that a site seems to use, sorted, by what was read in a sample."""
    counts = Counter(
        character
        for prediction in read
        for character, confidence in zip(
            prediction.text, prediction.character_confidences, strict=True
        )
        if confidence >= SURE
    )
    # The mean over the characters read, not over the charset: odd ones hardly count.
    usual = sum(count**2 for count in counts.values()) / max(1, counts.total())
    return "".join(sorted(letter for letter, count in counts.items() if count >= RARE * usual))
