"""What changes the weights: Muon for the filters of the trunk, AdamW for everything else."""

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.optim import AdamW, Optimizer

from model import CaptchaNet

FILTERS_RATE = 7  # the filters' learning rate is so many times that of the other weights
MOMENTUM = 0.95
WEIGHT_DECAY = 0.01
STEPS = 5  # of the Newton-Schulz iteration


class Muon(Optimizer):
    """Steps in which all directions of a filter's gradient count alike.

    A few directions make up nearly all of a gradient; the others, with which rare things are told
    apart, are drowned. So the averaged gradient, as a matrix with a row per filter, is replaced by
    the nearest orthogonal matrix. (Jordan et al. 2024, "Muon: An optimizer for hidden layers in
    neural networks". torch.optim.Muon takes no filters.)
    """

    def __init__(self, filters: Iterable[Tensor], rate: float) -> None:
        super().__init__(filters, {"lr": rate})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        """Change each filter bank (channels, channels_in, h, w) by its gradient."""
        for group in self.param_groups:
            for weights in group["params"]:
                average = self.state[weights].setdefault("average", torch.zeros_like(weights))
                average.lerp_(weights.grad, 1 - MOMENTUM)
                ahead = weights.grad.lerp(average, MOMENTUM)  # as Nesterov's momentum
                change = orthogonalise(ahead.flatten(1)).view_as(weights)
                weights.mul_(1 - group["lr"] * WEIGHT_DECAY).sub_(group["lr"] * change)


def orthogonalise(matrix: Tensor) -> Tensor:
    """Return a matrix (n, m), n <= m, with its singular values all made about 1 (0.7 to 1.2).

    STEPS steps of a Newton-Schulz iteration. The coefficients are those of Jordan et al. 2024: they
    lift the smallest singular values soonest. Each step multiplies the matrix by a polynomial of
    its square; so the small squares (n, n) are enough until the end, for 2/5 of the work.
    """
    x = matrix / (matrix.norm() + 1e-7)
    one = torch.eye(len(x), dtype=x.dtype, device=x.device)
    square, product = x @ x.T, one  # (n, n) each
    for step in range(STEPS):
        factor = 3.4445 * one - 4.7750 * square + 2.0315 * square @ square
        product = factor @ product if step else factor
        if step < STEPS - 1:
            square = factor @ square @ factor
    return product @ x


def optimizers_for(net: CaptchaNet, rate: float) -> list[Optimizer]:
    """Return the optimizers of a network, for the learning rate of what is no filter.

    The first convolution sees pixels, few channels whose directions say little: AdamW has it.
    """
    filters = [weights for weights in net.trunk[1:].parameters() if weights.ndim == 4]
    theirs = set(map(id, filters))
    others = [weights for weights in net.parameters() if id(weights) not in theirs]
    return [Muon(filters, FILTERS_RATE * rate), AdamW(others, rate, weight_decay=WEIGHT_DECAY)]
