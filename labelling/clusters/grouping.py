"""Group characters of the same form before anything is labelled: a name for the group labels all.

They are found and described in two ways (finding.py); the one that saves more keys is used. How
many it saves is estimated without a label, see saving().
"""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from sklearn.cluster import AgglomerativeClustering
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.neighbors import NearestCentroid, NearestNeighbors

from labelling.clusters.finding import Crop, condense, find_characters
from model import CaptchaNet
from utils import Prediction

WAYS = ("cut", "attention")
LEAST_SAVING = 0.1  # of the keys: below this it is not worth the trouble
LEAST_CROPS = 200  # with fewer characters nothing can be said
MOST_CROPS = 8000  # Ward's method compares all pairs; further crops join the nearest group
FOLDS = 5  # cross-validation: a classifier that learnt from other images names an image's crops
OUTLIERS = 3  # crops of a group, at most, that a person marks as other characters


class Found(NamedTuple):
    """The characters of many images, described and grouped."""

    way: str
    crops: list[Crop]  # N of them
    features: np.ndarray  # (N, D)
    cluster: np.ndarray  # (N,): the number of its group; 0 is the largest
    saves: float = 0.0  # which share of the keys it probably saves to name the groups

    def helps(self) -> bool:
        """Tell whether naming the groups saves enough keys."""
        return self.saves >= LEAST_SAVING


def find(
    images: Sequence[np.ndarray],
    net: CaptchaNet,
    ways: Sequence[str] = WAYS,
    characters: str | None = None,
    length: int | None = None,
) -> Found:
    """Find and group the characters of images (H, W, 3) RGB of one form.

    ``net`` is the network that ships. Of the ``ways`` the one that saves most is used.
    ``characters`` and ``length`` are what can occur, where it is known. Raises ValueError if there
    are too few characters to say anything.
    """
    both, read = find_characters(images, net, characters, length)
    candidates = []
    for way, crops, features in both:
        if way in ways and len(crops) >= LEAST_CROPS:
            features = condense(features)
            found = Found(way, crops, features, group(features))
            candidates.append(found._replace(saves=saving(found, [one.text for one in read])))
    if not candidates:
        raise ValueError(
            f"fewer than {LEAST_CROPS} characters were found in {len(images)} images: too few to "
            "be grouped. Fetch more images, or label without clusters."
        )
    return max(candidates, key=lambda found: found.saves)


# ---------------------------------------------------------------- grouping


def group(features: np.ndarray, count: int | None = None) -> np.ndarray:
    """Group features (N, D); return the number of each one's group, (N,), 0 the largest.

    Ward's method, by default with 2 sqrt(N) groups: far more than there are characters, because
    one group that mixes two characters costs more keys than two groups of the same character.
    """
    count = count or round(2 * len(features) ** 0.5)
    chosen = np.random.default_rng(0).permutation(len(features))[:MOST_CROPS]
    cluster = np.empty(len(features), np.int64)
    cluster[chosen] = AgglomerativeClustering(count).fit_predict(features[chosen])
    rest = np.setdiff1d(np.arange(len(features)), chosen)
    if len(rest):
        nearest = NearestCentroid().fit(features[chosen], cluster[chosen])
        cluster[rest] = nearest.predict(features[rest])
    by_size = np.argsort(-np.bincount(cluster, minlength=count), kind="stable")
    return np.argsort(by_size)[cluster]


def exemplars(found: Found) -> list[int]:
    """Return for each group the number of the crop that is nearest to the group's mean."""
    nearest = []
    for number in range(found.cluster.max() + 1):
        own = np.flatnonzero(found.cluster == number)
        nearest.append(int(own[distance_to_mean(found.features[own]).argmin()]))
    return nearest


def distance_to_mean(features: np.ndarray) -> np.ndarray:
    """Return how far each row of features (N, D) lies from their mean, (N,)."""
    return np.linalg.norm(features - features.mean(axis=0), axis=1)


# ---------------------------------------------------------------- from names to predictions


def propose(found: Found, names: dict[int, str], outliers: set[int]) -> dict[int, Prediction]:
    """Return a prediction for each image, by its number, from the names of groups.

    ``names`` has the character of each named group, "" for one that shows no characters;
    ``outliers`` are numbers of crops that do not belong to their group. A classifier that learns
    from the named groups of the other images names each crop, also those of unnamed groups. Its
    confidence is high for a crop close to its group and far from others. Returns an empty
    dictionary if nothing is named.
    """
    taught = np.array([number in names for number in found.cluster])
    taught[list(outliers)] = False
    name_of = np.array([names.get(number, "") for number in found.cluster], dtype=object)
    kinds = sorted(set(name_of[taught]))
    if not kinds:
        return {}
    kind_of = np.array([kinds.index(name) if name in kinds else -1 for name in name_of])
    chances = cross_predict(found, taught, kind_of, len(kinds))
    for i in outliers:  # whatever it is, it is not what its group is
        name = names.get(int(found.cluster[i]))
        if name in kinds:
            chances[i, kinds.index(name)] = 0
    best, sure = chances.argmax(axis=1), chances.max(axis=1)
    characters: dict[int, list[tuple[str, float]]] = {}
    for crop, i, chance in zip(found.crops, best, sure, strict=True):
        if kinds[i]:
            characters.setdefault(crop.image, []).append((kinds[i], float(chance)))
    predictions = {}
    for image, row in characters.items():
        confidences = [chance for _, chance in row]
        text = "".join(name for name, _ in row)
        predictions[image] = Prediction(text, float(np.prod(confidences)), confidences)
    return predictions


def cross_predict(found: Found, taught: np.ndarray, kind_of: np.ndarray, kinds: int) -> np.ndarray:
    """Return how probable each kind is for each crop, (N, kinds), learnt from other images.

    ``kind_of`` (N,) is the kind of the crops for which ``taught`` (N,) is True.
    """
    chances = np.zeros((len(found.crops), kinds))
    fold = np.array([crop.image % FOLDS for crop in found.crops])
    for number in range(FOLDS):
        learn, ask = np.flatnonzero(taught & (fold != number)), np.flatnonzero(fold == number)
        if len(learn) and len(ask):
            chances[ask] = probabilities(
                found.features[ask], found.features[learn], kind_of[learn], kinds
            )
    chances[~taught] *= taught.mean()  # it may be a kind that has no name yet
    return chances


def probabilities(
    features: np.ndarray, known: np.ndarray, kind_of: np.ndarray, kinds: int
) -> np.ndarray:
    """Return how probable each kind is for each row of features (N, D), (N, kinds).

    ``known`` (M, D) are of the kinds ``kind_of`` (M,). The result is the mean of two opinions:
    linear discriminant analysis is the more accurate but always confident, and the ten nearest
    neighbours know where kinds mix.
    """
    neighbours = NearestNeighbors(n_neighbors=min(10, len(known))).fit(known)
    near = neighbours.kneighbors(features, return_distance=False)  # (N, 10)
    chances = np.stack([(kind_of[near] == kind).mean(axis=1) for kind in range(kinds)], axis=1)
    seen = np.unique(kind_of)
    if 1 < len(seen) < len(known):
        teacher = LinearDiscriminantAnalysis().fit(known, kind_of)
        chances[:, seen] += teacher.predict_proba(features)
        chances /= 2
    return chances


# ---------------------------------------------------------------- what it saves


def saving(found: Found, texts: Sequence[str]) -> float:
    """Return which share of the keys naming the groups saves, estimated from the images alone.

    ``texts`` is what the network that ships reads in them. A person who names the groups by these
    is played, and each proposal that follows is right as often as its confidence says. Single
    errors of the network hardly count, as most of a group decides; nor does it matter if it takes
    one character for another everywhere.
    """
    texts = [text.lower() for text in texts]
    names, outliers, keys, _ = name_as_a_person(found, texts)
    proposals = propose(found, names, outliers)
    expected = float(keys)
    for image, text in enumerate(texts):
        sure = proposals[image].confidence if image in proposals else 0.0
        expected += 1 + (1 - sure) * len(text)  # Enter alone, or the text and Enter
    return 1 - expected / sum(len(text) + 1 for text in texts)


def name_as_a_person(
    found: Found, texts: Sequence[str], most: int = OUTLIERS
) -> tuple[dict[int, str], set[int], int, float]:
    """Name each group as a person would who sees the ``texts``.

    That is the character that most of its crops show, and Enter: two keys. Crops that show another
    are marked, with one more key each, if there are at most ``most``. A group of which less than
    half show one character is skipped: one key. What a crop shows is known where as many characters
    were found as there are.

    Returns names by group, the marked crops, the keys, and the purity: the share of the crops that
    are known that show what most of their group shows.
    """
    counts = Counter(crop.image for crop in found.crops)
    shown = [
        texts[crop.image][crop.place] if counts[crop.image] == len(texts[crop.image]) else ""
        for crop in found.crops
    ]
    names: dict[int, str] = {}
    outliers: set[int] = set()
    keys, pure = 0, 0
    for number in range(found.cluster.max() + 1):
        own = [int(i) for i in np.flatnonzero(found.cluster == number)]
        commonest = Counter(shown[i] for i in own if shown[i]).most_common(1)
        name, times = commonest[0] if commonest else ("", 0)
        pure += times
        if times < len(own) / 2:
            keys += 1
            continue
        others = [i for i in own if shown[i] not in (name, "")]
        keys += 2
        names[number] = name
        if len(others) <= most:
            outliers.update(others)
            keys += len(others)
    return names, outliers, keys, pure / max(1, sum(map(bool, shown)))
