from pathlib import Path

import torch
from helpers import random_images, small_net

import model
from training import audit
from training.dataset import Dataset, Split
from training.runs import Training


def test_every_image_is_read_once_by_a_network_that_did_not_learn_from_it():
    """With the weights of the last epoch: the best would be chosen by the labels under audit."""
    net = small_net()
    images = random_images(20, net)
    everything = Split([f"{i}" for i in range(20)], images, torch.zeros(20, 3, dtype=torch.int64))
    none = everything.subset(torch.zeros(20, dtype=torch.bool))
    data = Dataset(net.charset, 3, net.spec, none, none, none, [])
    held_out = []

    def train(split):
        assert set(split.train.labels) | set(split.val.labels) == set(everything.labels)
        assert not set(split.train.labels) & set(split.val.labels)
        held_out.extend(split.val.labels)
        best = {name: torch.zeros_like(value) for name, value in net.state_dict().items()}
        return Training(net, best, [], len(split.train.labels), 0.1)

    logits = audit.read_out_of_fold(data, everything, 3, train)
    assert sorted(held_out) == sorted(everything.labels)
    assert torch.allclose(logits, model.read_logits(net, images), atol=1e-4)


def test_of_very_many_images_an_even_sample_is_audited_under_its_own_names():
    net = small_net()
    images = random_images(30, net)
    numbers = torch.arange(30)[:, None].expand(30, 3)
    whole = Split([f"{i}" for i in range(30)], images, numbers)
    order = torch.arange(30)
    splits = [whole.subset((low <= order) & (order < high)) for low, high in
              ((0, 20), (20, 23), (23, 30))]  # fmt: skip
    names = ["train/3f"] * 20 + ["val"] * 3 + ["test"] * 7
    files = [Path("/s") / name / f"{i}_{i:08x}.png" for i, name in enumerate(names)]
    data = Dataset(net.charset, 3, net.spec, *splits, files)
    for most, step in ((30, 1), (10, 3)):
        split, copies = audit.sample(data, most)
        assert split.labels == whole.labels[::step]
        assert torch.equal(split.images, images[::step])
        assert torch.equal(split.targets, numbers[::step])
        assert copies == [f"{name}/{i}_{i:08x}.png" for i, name in list(enumerate(names))[::step]]
