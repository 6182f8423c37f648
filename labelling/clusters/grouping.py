"""Group characters that look alike, before anybody has labelled anything, so that naming a group
labels all of its characters at once.

Characters are found in two ways, and whichever groups more reliably is used:

``cut``   They are cut out of the image (segmentation.py) and described by the directions of their
          edges (histograms of oriented gradients, Dalal and Triggs 2005).
``look``  The practice network says where it looks and what it sees there. That works on forms that
          are much like the practice forms, letters that touch included, and on no others.

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
from labelling.clusters import segmentation
from labelling.clusters.segmentation import Part
from model import CaptchaNet, Reading

WAYS = ("cut", "look")
least_agreement = 0.55  # below this, groups say little about characters; see benchmarks/clusters.py
least_crops = 200  # with fewer characters nothing can be said
most_crops = 8000  # Ward's method compares each with each; further ones join the nearest group
folds = 5  # the characters of an image are named by what the others have taught


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
    agreement: float  # how far to trust the groups, see agreement()

    def helps(self) -> bool:
        """Tell whether naming groups will be worth the keys."""
        return self.agreement >= least_agreement


# ---------------------------------------------------------------- finding and describing


def find(images: Sequence[np.ndarray], net: CaptchaNet | None) -> Found:
    """Find the characters of images of one form, (H, W, 3) RGB each, and group them.

    ``net`` is the practice network; without it they can only be cut. Raises ValueError if there
    are too few characters to say anything.
    """
    ways = [("cut", cut_all)] + ([("look", lambda images: look_all(images, net))] if net else [])
    best = None
    for way, find_crops in ways:
        crops, features = find_crops(images)
        if len(crops) >= least_crops:
            features = condense(features)
            how_far = agreement(features, np.array([crop.image for crop in crops]))
            if best is None or how_far > best[-1]:
                best = way, crops, features, how_far
    if best is None:
        raise ValueError(
            f"fewer than {least_crops} characters were found in {len(images)} images: too few to "
            "be grouped. Fetch more images, or label without clusters."
        )
    way, crops, features, how_far = best
    return Found(way, crops, features, group(features), how_far)


def cut_all(images: Sequence[np.ndarray]) -> tuple[list[Crop], np.ndarray]:
    """Cut all images; return the N characters and their descriptions, (N, D)."""
    cuts = segmentation.mend(
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
    """Scale a mask (h, w) to fit into a square, proportions kept, (side, side) float 0 to 1."""
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

    Neighbouring cells and directions share what lies between them, so that a letter which is a
    pixel or a few degrees off is described alike. The square root keeps strong edges from
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
        cells.append(
            cv2.GaussianBlur(share, (0, 0), 0.7 * cell)[cell // 2 :: cell, cell // 2 :: cell]
        )
    row = np.stack(cells).ravel()
    return np.sqrt(row / (row.sum() + 1e-6))


@torch.no_grad()
def look_all(images: Sequence[np.ndarray], net: CaptchaNet) -> tuple[list[Crop], np.ndarray]:
    """Let a network with attention find the characters; return them and what it saw, (N, C)."""
    crops, features = [], []
    for start in utils.progress(range(0, len(images), 64), "looking"):
        some = images[start : start + 64]
        batch = torch.stack([model.prepare(net, image) for image in some])  # (B, channels, H, W)
        logits, maps = net.look(batch)  # (B, L, classes), (B, L, h, w)
        seen = net.trunk((batch.float() - net.mean) / net.std)  # (B, C, h, w)
        seen = torch.einsum("blhw,bchw->blc", maps, seen).numpy()
        there = logits.argmax(dim=2).numpy() > 0  # (B, L): no blank
        columns = (torch.arange(maps.shape[3]) + 0.5) * net.size[1] / maps.shape[3]
        middles = (maps.sum(dim=2) * columns).sum(dim=2) / maps.sum(dim=(2, 3)).clamp(min=1e-6)
        for i, image in enumerate(some):
            height, width = image.shape[:2]
            xs = middles[i].numpy()[there[i]] / min(net.size[0] / height, net.size[1] / width)
            reach = 0.6 * (np.diff(xs).mean() if len(xs) > 1 else height)
            for place, x in enumerate(xs):
                left, right = max(0, int(x - reach)), min(width, int(x + reach) + 1)
                box = (min(left, width - 1), 0, max(right, left + 1), height)
                crops.append(Crop(start + i, place, box))
            features.append(seen[i][there[i]])
    return crops, np.concatenate(features)


def condense(features: np.ndarray, dimensions: int = 60) -> np.ndarray:
    """Keep the directions in which descriptions (N, D) differ most: (N, dimensions) or fewer."""
    keep = min(dimensions, *features.shape)
    return PCA(keep, random_state=0).fit_transform(features).astype(np.float32)


# ---------------------------------------------------------------- grouping and judging


def group(features: np.ndarray, count: int | None = None) -> np.ndarray:
    """Group descriptions (N, D); return the number of each one's group, (N,), 0 the largest.

    Ward's method, by default with 2 sqrt(N) groups: far more than there are characters, because a
    group of two kinds costs more keys than two groups of one kind.
    """
    count = count or round(2 * len(features) ** 0.5)
    chosen = np.random.default_rng(0).permutation(len(features))[:most_crops]
    cluster = np.empty(len(features), np.int64)
    cluster[chosen] = AgglomerativeClustering(count).fit_predict(features[chosen])
    rest = np.setdiff1d(np.arange(len(features)), chosen)
    if len(rest):
        nearest = NearestCentroid().fit(features[chosen], cluster[chosen])
        cluster[rest] = nearest.predict(features[rest])
    by_size = np.argsort(-np.bincount(cluster, minlength=count), kind="stable")
    return np.argsort(by_size)[cluster]


def agreement(features: np.ndarray, image_of: np.ndarray) -> float:
    """Say how far two groupings agree that know different images: near 0 by chance, 1 wholly.

    Half of the images are grouped on their own, and so is the other half; then each description
    of the second half is dealt to the group of its nearest in the first (adjusted Rand index of
    the two). Real characters fall apart in the same way in both halves, botched cuts do not. With
    20 groups, about one for each character, as more would split characters at random.
    """
    random = np.random.default_rng(0)
    first = (random.permutation(image_of.max() + 1) % 2 == 0)[image_of]
    if min(first.sum(), (~first).sum()) < least_crops // 4:
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
        nearest.append(int(own[from_middle(found.features[own]).argmin()]))
    return nearest


def from_middle(features: np.ndarray) -> np.ndarray:
    """Return how far each description lies from their mean, (N,)."""
    return np.linalg.norm(features - features.mean(axis=0), axis=1)


# ---------------------------------------------------------------- from names to proposals


def propose(found: Found, names: dict[int, str], outliers: set[int]) -> dict[int, Reading]:
    """Return what images read, by image number, when groups are named and outliers marked.

    ``names`` has the character of each named group, "" for dirt that is none; ``outliers`` are
    numbers of crops that do not belong to their group. A classifier that learns from the named
    groups of the other images names each crop, also those of unnamed groups, and says how
    probable that is: a crop close to its group and far from others gets a high confidence.
    Returns nothing if nothing is named.
    """
    taught = np.array([number in names for number in found.cluster])
    taught[list(outliers)] = False
    name_of = np.array([names.get(number, "") for number in found.cluster], dtype=object)
    kinds = sorted(set(name_of[taught]))
    if not kinds:
        return {}
    chances = np.zeros((len(found.crops), len(kinds)))
    kind_of = np.array([kinds.index(name) if name in kinds else -1 for name in name_of])
    fold = np.array([crop.image % folds for crop in found.crops])
    for number in range(folds):
        learn, ask = np.flatnonzero(taught & (fold != number)), np.flatnonzero(fold == number)
        if len(learn) and len(ask):
            chances[ask] = chances_of(
                found.features[ask], found.features[learn], kind_of[learn], len(kinds)
            )
    chances[~taught] *= taught.mean()  # it may be a kind that has no name yet
    for i in outliers:  # whatever it is, it is not what its group is
        name = names.get(int(found.cluster[i]))
        if name in kinds:
            chances[i, kinds.index(name)] = 0
    best, sure = chances.argmax(axis=1), chances.max(axis=1)
    characters: dict[int, list[tuple[str, float]]] = {}
    for crop, i, chance in zip(found.crops, best, sure, strict=True):
        row = characters.setdefault(crop.image, [])
        if kinds[i]:
            row.append((kinds[i], float(chance)))
    return {
        image: Reading(
            "".join(name for name, _ in row),
            float(np.prod([chance for _, chance in row])),
            [chance for _, chance in row],
        )
        for image, row in characters.items()
        if row
    }


def chances_of(
    features: np.ndarray, known: np.ndarray, kind_of: np.ndarray, kinds: int
) -> np.ndarray:
    """Return how probable each kind is for each description, (N, kinds).

    ``known`` (M, D) are of the kinds ``kind_of`` (M,). The mean of two opinions: linear
    discriminant analysis reads best but is always sure, and the ten nearest neighbours know where
    kinds mix.
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
    """Group images (H, W, 3) RGB by form, whatever they say: (N,) numbers, 0 the largest group.

    Images of one form lie close together in size, brightness, colour and grain, with none between
    them and another form: DBSCAN finds such islands without being told how many there are.
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
    """Describe an image as a whole, (12,): size, brightness, colour, grain, about equally far."""
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
