import types

import pytest
import torch
from helpers import random_images, small_net

from training import runs
from training.dataset import Split
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


def test_a_run_is_known_by_its_labels_and_an_even_sample_of_its_images(monkeypatch):
    images = random_images(40, small_net())
    split = Split([f"{i}" for i in range(40)], images, torch.zeros(40, 1))
    other = [split._replace(images=images.clone()) for _ in range(2)]
    other[0].images[20] += 1
    other[1].images[21] += 1
    renamed = split._replace(labels=["x", *split.labels[1:]])
    assert len({runs.digest_of(one) for one in (split, *other, renamed)}) == 4
    monkeypatch.setattr(runs, "DIGESTED", 20)
    assert runs.digest_of(split) == runs.digest_of(other[1])
    assert len({runs.digest_of(one) for one in (split, other[0], renamed)}) == 3
