"""Group images by form, not by content: a crawl may hold several kinds of captcha."""

from collections.abc import Sequence

import cv2
import numpy as np
from sklearn.cluster import DBSCAN
from sklearn.neighbors import NearestNeighbors


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
