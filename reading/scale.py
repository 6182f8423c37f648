"""The height and the width at which a network reads a site's images most surely."""

import functools
import math
from collections.abc import Sequence

import numpy as np
import torch

import model
from files.framing import LEAST_HEIGHT, MAX_AREA, spread
from files.images import InputSpec, fit_image
from model import CaptchaNet

STRETCHES = tuple(round(1.2**power, 3) for power in range(-3, 5))  # 0.579 to 2.074
MOST_AREA = 2 * MAX_AREA  # pixels that the network sees of an image: it takes twice as long
SAMPLE = 100  # images that are read at each scale
GAIN = 0.3  # by how much the log odds of the mean confidence must rise, or the scale stays
LEAST_TEXT = 3  # characters: what is shorter is no captcha, but misread
SURE_ENOUGH = 0.98  # a mean confidence that is as good as any


def find_scale(net: CaptchaNet, images: Sequence[np.ndarray], spec: InputSpec) -> InputSpec:
    """Return ``spec``, or one of another height or stretch at which the network is clearly surer.

    Letters twice as tall as wide, or half as large as the image, are not what a general network was
    trained with. Nobody knows what they are before they are read; but among some scales, the one at
    which it reads surest is the one at which most is read correctly, if it is clearly surer.
    From ``spec`` on, the next higher, lower, wider or narrower one is taken as long as that helps.

    ``images`` are RGB (H, W, 3), ``spec`` is what find_frame() says of them.
    """
    images = spread(images, SAMPLE)

    @functools.cache
    def sureness(spec: InputSpec) -> float:
        """Return the log odds of the mean confidence with which text is read at one look."""
        seen = spec._replace(channels=net.spec.channels)
        fitted = torch.stack([torch.from_numpy(fit_image(image, seen)) for image in images])
        logits = model.compute_logits(net, fitted) / net.temperature.cpu()  # (N, L, classes)
        chances, classes = logits.softmax(dim=2).max(dim=2)  # (N, L) each
        # Letters that are far too small look like none, or all of them together like one.
        is_text = (classes > 0).sum(dim=1) >= min(LEAST_TEXT, net.length)  # (N,)
        confidences = chances.prod(dim=1) * is_text
        confidence = min(max(confidences.mean().item(), 1e-6), SURE_ENOUGH)
        return math.log(confidence / (1 - confidence))

    best = spec
    while (surer := max([best, *near(best, spec)], key=sureness)) != best:
        best = surer
    return best if sureness(best) >= sureness(spec) + GAIN else spec


def near(spec: InputSpec, first: InputSpec) -> list[InputSpec]:
    """Return a frame's neighbours: those that are a step higher, lower, wider or narrower.

    ``first`` is the frame that is not stretched; all show the same part of an image.
    """
    place = STRETCHES.index(spec.stretch)
    scales = [
        *((spec.height + step, spec.stretch) for step in (8, -8)),
        *((spec.height, stretch) for stretch in STRETCHES[max(0, place - 1) : place + 2]),
    ]
    found = []
    for height, stretch in scales:
        width = first.width * height / first.height * stretch
        width = max(16, 8 * math.ceil(width / 8 - 0.25))
        if height >= LEAST_HEIGHT and height * width <= MOST_AREA:
            found.append(first._replace(height=height, width=width, stretch=stretch))
    return found
