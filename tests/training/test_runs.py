import types

import pytest
import torch
from helpers import small_net

from training import runs
from training.muon import optimizers_for


def test_a_lucky_epoch_before_the_network_settled_is_not_chosen():
    accuracy = [0.1, 0.9, 0.5, 0.6, 0.7, 0.7, 0.8, 0.8]
    history = [
        {"epoch": epoch, "progress": epoch / 8, "val_image_accuracy": share}
        for epoch, share in enumerate(accuracy, start=1)
    ]
    best = [runs.best_of(history[:end])["epoch"] for end in range(1, 9)]
    assert best == [1, 2, 2, 2, 2, 2, 7, 8]


def test_the_random_state_of_a_device_is_saved_and_restored(monkeypatch):
    """Of a device with a generator of its own, as a GPU has; this one is a stand-in."""
    generator = torch.Generator().manual_seed(7)
    module = types.SimpleNamespace(
        get_rng_state=generator.get_state, set_rng_state=generator.set_state
    )
    monkeypatch.setattr(torch, "get_device_module", lambda device: module)
    device = torch.device("cuda")
    torch.manual_seed(3)
    states = runs.random_states(device)
    drawn = [torch.rand(5), torch.rand(5, generator=generator)]
    torch.manual_seed(0)
    generator.manual_seed(0)
    runs.restore_random_states(device, states)
    again = [torch.rand(5), torch.rand(5, generator=generator)]
    assert all(torch.equal(one, other) for one, other in zip(drawn, again, strict=True))


@pytest.mark.parametrize("damage", ["missing", "cut", "text", "another file of torch"])
def test_a_state_that_cannot_be_resumed_is_named(tmp_path, damage):
    net, path = small_net(), tmp_path / "last.pt"
    optimizers = optimizers_for(net, 0.003)
    progress = {"history": [], "best": {}, "images": "digest"}
    runs.save_state(path, net, optimizers, progress)
    assert runs.load_state(path, net, optimizers, "digest") == ([], {})
    if damage == "missing":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:1000])
    elif damage == "text":
        path.write_text("a poem")
    else:
        torch.save([1, 2], path)
    with pytest.raises(ValueError, match=r"last\.pt"):
        runs.load_state(path, net, optimizers, "digest")
