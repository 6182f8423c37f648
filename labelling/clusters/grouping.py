"""Group characters of the same form before anything is labelled: a name for the group labels all.

Characters are found in two ways, and the one that groups more reliably is used:

``cut``        They are cut out of the image (segmentation.py) and described by the directions of
               their edges (histograms of oriented gradients, Dalal and Triggs 2005).
``attention``  The practice network says where it attends and what it finds there. That works on
               captchas much like the practice forms, touching letters included, and on no others.

Whether grouping helps is judged without labels, by its stability (as in Lange et al. 2004,
"Stability-Based Validation of Clustering Solutions"): see agreement().
"""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import torch
from sklearn.cluster import DBSCAN, AgglomerativeClustering
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics import adjusted_rand_score
from sklearn.neighbors import NearestCentroid, NearestNeighbors

import model
import utils
from files.images import InputSpec, box_of, stretched
from labelling.clusters import segmentation
from labelling.clusters.segmentation import Part
from model import CaptchaNet
from utils import Prediction

WAYS = ("cut", "attention")
LEAST_AGREEMENT = 0.55  # below this, groups say little about characters: see benchmarks/clusters.py
LEAST_CROPS = 200  # with fewer characters nothing can be said
MOST_CROPS = 8000  # Ward's method compares all pairs; further crops join the nearest group
FOLDS = 5  # cross-validation: a classifier that learnt from other images names an image's crops


class Crop(NamedTuple):
    """Where a character was found."""

    image: int  # number of the image
    place: int  # 0 is the image's first character
    box: tuple[int, int, int, int]  # left, top, right, bottom in pixels


class Found(NamedTuple):
    """The characters of many images, described and grouped."""

    way: str
    crops: list[Crop]  # N of them
    features: np.ndarray  # (N, D)
    cluster: np.ndarray  # (N,): the number of its group; 0 is the largest
    agreement: float  # how far to trust the groups: see agreement()

    def helps(self) -> bool:
        """Tell whether naming the groups saves more keys than it costs."""
        return self.agreement >= LEAST_AGREEMENT


# ---------------------------------------------------------------- finding and describing


def find(images: Sequence[np.ndarray], net: CaptchaNet, ways: Sequence[str] = WAYS) -> Found:
    """Find and group the characters of images (H, W, 3) RGB of one form.

    ``net`` is the practice network. Of the ``ways`` the one that groups most reliably is used.
    Raises ValueError if there are too few characters to say anything.
    """
    candidates = []
    for way in ways:
        crops, features = cut_all(images) if way == "cut" else attend_all(images, net)
        if len(crops) >= LEAST_CROPS:
            features = condense(features)
            trust = agreement(features, np.array([crop.image for crop in crops]))
            candidates.append((trust, way, crops, features))
    if not candidates:
        raise ValueError(
            f"fewer than {LEAST_CROPS} characters were found in {len(images)} images: too few to "
            "be grouped. Fetch more images, or label without clusters."
        )
    trust, way, crops, features = max(candidates, key=lambda candidate: candidate[0])
    return Found(way, crops, features, group(features), trust)


def cut_all(images: Sequence[np.ndarray]) -> tuple[list[Crop], np.ndarray]:
    """Cut all images; return the N characters and their descriptions, (N, D)."""
    cuts = segmentation.fix_counts(
        [segmentation.cut(image) for image in utils.progress(images, "cutting")]
    )
    crops, parts = [], []
    for number, row in enumerate(cuts):
        for place, part in enumerate(row):
            crops.append(Crop(number, place, (part.left, part.top, part.right, part.bottom)))
            parts.append(part)
    return crops, describe(parts)


def describe(parts: Sequence[Part], size_weight: float = 0.15) -> np.ndarray:
    """Describe parts by the directions of their edges and, a little, by their size, (N, D)."""
    if not parts:
        return np.empty((0, 0), np.float32)
    shapes = np.array([part.mask.shape for part in parts])  # (N, 2)
    edges = np.array([gradient_histogram(centred(part.mask)) for part in parts])
    size = np.log(shapes / np.median(shapes[:, 0]))  # tells an o from an O
    return np.hstack([edges, size_weight * size]).astype(np.float32)


def centred(mask: np.ndarray, side: int = 32, margin: int = 4) -> np.ndarray:
    """Scale a mask (h, w) into a square with its proportions kept, (side, side) float 0 to 1."""
    scale = (side - 2 * margin) / max(mask.shape)
    height, width = (max(1, round(scale * length)) for length in mask.shape)
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    scaled = cv2.resize(mask.astype(np.float32), (width, height), interpolation=how)
    square = np.zeros((side, side), np.float32)
    top, left = (side - height) // 2, (side - width) // 2
    square[top : top + height, left : left + width] = scaled
    return square


def gradient_histogram(square: np.ndarray, cell: int = 4, directions: int = 8) -> np.ndarray:
    """Return how strong edges are in each direction and cell of a square, as one row.

    Neighbouring cells and directions share what lies between them, so that a letter shifted by a
    pixel or turned by a few degrees is described alike. The square root keeps strong edges from
    outweighing the rest.
    """
    smooth = cv2.GaussianBlur(square, (0, 0), 1)
    dx, dy = cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1)
    strength = np.hypot(dx, dy)
    angle = np.arctan2(dy, dx) % (2 * np.pi) * directions / (2 * np.pi)  # 0 to directions
    cells = []
    for direction in range(directions):
        off = np.abs((angle - direction + directions / 2) % directions - directions / 2)
        share = strength * np.clip(1 - off, 0, 1)
        blurred = cv2.GaussianBlur(share, (0, 0), 0.7 * cell)
        cells.append(blurred[cell // 2 :: cell, cell // 2 :: cell])
    row = np.stack(cells).ravel()
    return np.sqrt(row / (row.sum() + 1e-6))


@torch.no_grad()
def attend_all(images: Sequence[np.ndarray], net: CaptchaNet) -> tuple[list[Crop], np.ndarray]:
    """Find characters with a network's attention; return them and its features there, (N, C).

    Raises ValueError if the network has no attention.
    """
    crops: list[Crop] = []
    features = []
    for start in utils.progress(range(0, len(images), 64), "attending"):
        some = images[start : start + 64]
        batch = torch.stack([model.prepare(net, image) for image in some])  # (B, channels, H, W)
        logits, maps, seen = net.attend(batch)  # (B, L, classes), (B, L, h, w), (B, C, h, w)
        if maps is None:
            raise ValueError("a network without attention cannot find characters.")
        attended = torch.einsum("blhw,bchw->blc", maps, seen)  # (B, L, C)
        is_character = (logits.argmax(dim=2) > 0).numpy()  # (B, L): no blank
        columns = (torch.arange(maps.shape[3]) + 0.5) * net.spec.width / maps.shape[3]
        middles = (maps.sum(dim=2) * columns).sum(dim=2) / maps.sum(dim=(2, 3)).clamp(min=1e-6)
        for i, image in enumerate(some):
            height, width = image.shape[:2]
            xs = columns_of(middles[i].numpy()[is_character[i]], image, net.spec)
            crops.extend(boxes_around(xs, height, width, start + i))
            features.append(attended[i].numpy()[is_character[i]])
    return crops, np.concatenate(features)


def columns_of(xs: np.ndarray, image: np.ndarray, spec: InputSpec) -> np.ndarray:
    """Return which columns of an RGB image (H, W, 3) those are that fit_image() puts at ``xs``."""
    height, width = image.shape[:2]
    top, left, bottom, right = box_of(stretched(image, spec.stretch), spec.cut)
    part_height, part_width = (bottom - top) * height, (right - left) * width * spec.stretch
    scale = min(spec.height / part_height, spec.width / part_width)
    return xs / (scale * spec.stretch) + left * width


def boxes_around(xs: np.ndarray, height: int, width: int, image: int) -> list[Crop]:
    """Return crops of an image, as high as it and somewhat wider than the characters at ``xs``."""
    reach = 0.6 * (np.diff(xs).mean() if len(xs) > 1 else height)
    crops = []
    for place, x in enumerate(xs):
        left, right = max(0, int(x - reach)), min(width, int(x + reach) + 1)
        left = min(left, width - 1)
        crops.append(Crop(image, place, (left, 0, max(right, left + 1), height)))
    return crops


def condense(features: np.ndarray, dimensions: int = 60) -> np.ndarray:
    """Keep the directions in which features (N, D) vary most: (N, dimensions) or fewer."""
    keep = min(dimensions, *features.shape)
    return PCA(keep, random_state=0).fit_transform(features).astype(np.float32)


# ---------------------------------------------------------------- grouping and judging


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


def agreement(features: np.ndarray, image_of: np.ndarray) -> float:
    """Return how well two groupings agree that know different images: about 0 by chance, 1 fully.

    ``image_of`` (N,) is the image of each row of ``features`` (N, D). Each half of the images is
    grouped by itself; then each row of the second half joins the group of its nearest neighbour
    in the first (adjusted Rand index of the two groupings). Real characters form the same groups
    in both halves, botched cuts do not. There are 20 groups, about one per character, as more
    would split characters at random.
    """
    random = np.random.default_rng(0)
    first = (random.permutation(image_of.max() + 1) % 2 == 0)[image_of]
    if min(first.sum(), (~first).sum()) < LEAST_CROPS // 4:
        return 0.0
    one, other = features[first][:2000], features[~first][:2000]
    taught, own = group(one, 20), group(other, 20)
    nearest = NearestNeighbors(n_neighbors=1).fit(one).kneighbors(other, return_distance=False)
    return float(adjusted_rand_score(taught[nearest[:, 0]], own))


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


# ---------------------------------------------------------------- whole images


def group_images(images: Sequence[np.ndarray]) -> np.ndarray:
    """Group images (H, W, 3) RGB by form, not by content: (N,) numbers, 0 the largest group.

    Images of one form are close to each other in size, brightness, colour and grain, and apart
    from other forms: DBSCAN finds such islands without being told how many there are.
    """
    features = np.array([overview(image) for image in images])
    island = DBSCAN(eps=0.7, min_samples=4).fit_predict(features)
    large = [i for i in range(island.max() + 1) if (island == i).sum() >= 5]
    if not large:
        return np.zeros(len(images), np.int64)
    stray = ~np.isin(island, large)
    if stray.any():
        nearest = NearestNeighbors(n_neighbors=1).fit(features[~stray])
        closest = nearest.kneighbors(features[stray], return_distance=False)[:, 0]
        island[stray] = island[~stray][closest]
    large.sort(key=lambda i: -(island == i).sum())
    return np.array([large.index(i) for i in island])


def overview(image: np.ndarray) -> np.ndarray:
    """Describe an image as a whole, (12,): size, brightness, colour, grain, on similar scales."""
    lab = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    light, chroma = lab[:, :, 0], np.hypot(lab[:, :, 1], lab[:, :, 2])
    across = np.abs(np.diff(light, axis=1)).sum() / light.size
    down = np.abs(np.diff(light, axis=0)).sum() / light.size
    grain = np.abs(light - cv2.GaussianBlur(light, (0, 0), 2)).mean()
    return np.array(
        [
            4 * np.log(image.shape[0]),
            np.log(image.shape[1]),  # the width may follow the number of characters
            *np.percentile(light, [5, 25, 50, 75, 95]) / 25,
            np.sqrt(chroma.mean()) / 2,
            np.sqrt(np.percentile(chroma, 95)) / 4,
            np.log1p(across),
            np.log1p(down),
            np.log1p(grain),
        ]
    )
