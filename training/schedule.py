"""How long a training lasts, how fast it learns, and how hard its images are."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.optim import Optimizer

from utils import wilson_interval

USUAL_RATE = 0.003  # the highest learning rate from scratch
WARM_UP = 0.1  # share of the training in which it gets up to full speed
EASY_CHARACTERS, EASY_IMAGES = 0.98, 0.95  # shares; who reads more is through soon, see pace()


def enough_batches(count: int, from_trained: bool) -> int:
    """Return for how many batches to plan: about one for each labelled image, 600 to 1200.

    More images are worth more time: there is more in them that can be learnt. A trained network
    needs 180 to 800.
    """
    return min(800, max(180, count * 2 // 3)) if from_trained else min(1200, max(600, count))


def enough_epochs(count: int, batch_size: int, from_trained: bool) -> int:
    """Return for how many epochs to plan; every image is seen at least 5 times."""
    batches = enough_batches(count, from_trained)
    return max(5, round(batches / len(epoch_batches(count, batch_size))))


def pace(history: Sequence[dict[str, float]], val_images: int) -> int:
    """Return how many epochs of the plan the next epoch counts for.

    Two if the last one read nearly all characters of the bent training images, and of the
    validation images so many that it was hardly luck (95 % interval; twenty are never enough). Then
    the images are easy, and there is little left to learn.
    """
    if not history:
        return 1
    characters = history[-1]["train_character_accuracy"]
    images, _ = wilson_interval(history[-1]["val_image_accuracy"], val_images)  # at least
    return 2 if characters > EASY_CHARACTERS and images > EASY_IMAGES else 1


def epoch_batches(count: int, batch_size: int) -> list[Tensor]:
    """Return the image numbers of an epoch's batches, in random order.

    A small set is used several times per epoch, each time augmented differently, so that an epoch
    is never shorter than about 16 batches. Images that do not fill a batch wait for the next epoch.
    """
    rounds = math.ceil(16 * batch_size / count)
    order = torch.cat([torch.randperm(count) for _ in range(rounds)])
    return [batch for batch in order.split(batch_size) if len(batch) == batch_size]


def good_rate(count: int, from_trained: bool) -> float:
    """Return the learning rate for ``count`` images.

    With few labels there is more to keep of what a trained network knows than to learn.
    """
    return USUAL_RATE / 3 if from_trained and count <= 500 else USUAL_RATE


def set_rates(optimizers: Sequence[Optimizer], progress: float, share: float = 1.0) -> None:
    """Set the learning rates for a point of the training, 0 to 1, or a ``share`` of them."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            highest = group.setdefault("highest", group["lr"])
            group["lr"] = highest * share * one_cycle(progress)


def one_cycle(progress: float) -> float:
    """Return the learning rate's factor: it rises in the first tenth, then falls as a cosine.

    Large steps find the way, small ones settle; the gentle start keeps the first, random steps
    from doing harm. (Smith and Topin 2018, "Super-Convergence".)
    """
    if progress < WARM_UP:
        return 0.04 + 0.96 * progress / WARM_UP
    return 0.5 + 0.5 * math.cos(math.pi * min(1, (progress - WARM_UP) / (1 - WARM_UP)))


def augmentation_strength(progress: float) -> float:
    """Return how strongly images are bent: gently at first, fully after a tenth of the training.

    Where to look is found sooner on images that are still easy. But a few labels are learnt by
    heart while it is gentle, and then they teach nothing more.
    """
    return min(1, progress / WARM_UP)
