import torch
from helpers import random_images, small_net
from torch.nn import functional as F  # noqa: N812

from training.muon import MOMENTUM, WEIGHT_DECAY, Muon, optimizers_for, orthogonalise


def test_a_matrix_keeps_its_directions_and_loses_their_sizes():
    torch.manual_seed(0)
    left, right = (torch.linalg.qr(torch.randn(n, 6))[0] for n in (6, 40))
    for sizes in ([5.0, 3, 2, 1, 0.5, 0.1], [1e4, 1e4, 1e3, 1e3, 1e3, 1e3]):
        matrix = left @ torch.diag(torch.tensor(sizes)) @ right.T
        result = left.T @ orthogonalise(matrix) @ right  # (6, 6): diagonal in the same directions
        assert torch.allclose(result, torch.diag(result.diag()), atol=1e-3)
        assert (result.diag() > 0.6).all()
        assert (result.diag() < 1.3).all()


def test_a_step_follows_its_formula():
    torch.manual_seed(0)
    weights = torch.randn(4, 2, 3, 3, requires_grad=True)
    optimizer, expected = Muon([weights], 0.1), weights.detach().clone()
    average = torch.zeros_like(weights)
    for _ in range(3):
        weights.grad = torch.randn_like(weights)
        average = MOMENTUM * average + (1 - MOMENTUM) * weights.grad
        ahead = (1 - MOMENTUM) * weights.grad + MOMENTUM * average
        change = orthogonalise(ahead.reshape(4, 18)).reshape(4, 2, 3, 3)
        expected = expected * (1 - 0.1 * WEIGHT_DECAY) - 0.1 * change
        optimizer.step()
        assert torch.allclose(weights, expected, atol=1e-6)


def test_every_weight_has_one_optimizer_and_is_changed_by_it():
    net = small_net()
    optimizers = optimizers_for(net, 0.003)
    changed = [id(w) for o in optimizers for group in o.param_groups for w in group["params"]]
    assert sorted(changed) == sorted(map(id, net.parameters()))
    assert len(optimizers[0].param_groups[0]["params"]) == 6  # two filters of each block
    before = [weights.detach().clone() for weights in net.parameters()]
    logits = net(random_images(8, net))
    F.cross_entropy(logits.flatten(0, 1), torch.randint(0, 4, (8 * net.length,))).backward()
    for optimizer in optimizers:
        optimizer.step()
    assert all((a != b).any() for a, b in zip(before, net.parameters(), strict=True))
