import pytest
import torch
from helpers import random_images, small_net
from torch.nn import functional as F  # noqa: N812

import model
from files.images import FOUND
from reading import limits
from training import transfer
from training.dataset import Dataset, Split, encode_labels
from training.transfer import copy_matching_weights, drawn_case, new_net, settle


def test_what_both_networks_know_is_copied():
    old = small_net(charset="abc", length=3)
    new = small_net(charset="bcd", length=4, size=(24, 64), channels=3)
    fresh = {name: value.clone() for name, value in new.state_dict().items()}
    copy_matching_weights(new, old)
    own, theirs = new.state_dict(), old.state_dict()
    weight, old_weight = own["head.classifier.weight"], theirs["head.classifier.weight"]
    assert torch.equal(weight[:3], old_weight[[0, 2, 3]])  # blank, b, c
    assert torch.equal(weight[3], fresh["head.classifier.weight"][3])  # d is new
    assert torch.equal(own["head.density.weight"], theirs["head.density.weight"])
    grey = random_images(2, old).float()
    first = F.conv2d(grey, theirs["trunk.0.weight"])
    assert torch.allclose(
        F.conv2d(grey.repeat(1, 3, 1, 1), own["trunk.0.weight"]), first, atol=1e-2
    )


def test_flatten_heads_keep_the_rows_of_shared_characters():
    old, new = small_net("flatten", "abc", length=3), small_net("flatten", "bcd", length=4)
    for parameter in old.parameters():
        torch.nn.init.normal_(parameter)
    fresh = {name: value.clone() for name, value in new.state_dict().items()}
    copy_matching_weights(new, old)
    own, theirs = new.state_dict(), old.state_dict()
    for name in ("head.classifiers.0.weight", "head.classifiers.2.bias"):
        assert torch.equal(own[name][:3], theirs[name][[0, 2, 3]])  # blank, b, c
        assert torch.equal(own[name][3], fresh[name][3])  # d is new
    assert torch.equal(
        own["head.classifiers.3.weight"], fresh["head.classifiers.3.weight"]
    )  # nobody knew position 4


@pytest.mark.parametrize("head", model.HEADS)
def test_a_character_starts_from_its_own_row_else_from_its_other_case_and_never_from_both(head):
    old, new = small_net(head, "aBcC"), small_net(head, "AbcDa")
    for parameter in old.parameters():
        torch.nn.init.normal_(parameter)
    fresh = {name: value.clone() for name, value in new.state_dict().items()}
    copy_matching_weights(new, old)
    own, theirs = new.state_dict(), old.state_dict()
    for name in (name for name in own if "classifier" in name):
        # blank; A from a; b from B; c from c, not C; D is new; a from a
        assert torch.equal(own[name][[0, 1, 2, 3, 5]], theirs[name][[0, 1, 2, 3, 1]])
        assert torch.equal(own[name][4], fresh[name][4])


def test_a_limited_network_teaches_all_that_it_knows():
    old, whole, new = small_net(charset="abB1"), small_net(charset="abB1"), small_net(charset="Ab1")
    for net in (old, whole):
        for parameter in net.parameters():
            torch.manual_seed(parameter.numel())
            torch.nn.init.normal_(parameter)
    limits.limit(old, "b", 2)
    old.odds = torch.tensor([0.0, 1])
    copies = []
    for trained in (old, whole):
        copy_matching_weights(new, trained)
        copies.append(model.compute_logits(new, random_images(4, new)))
    assert torch.equal(*copies)


@pytest.mark.parametrize("head", model.HEADS)
def test_an_equal_network_is_copied_completely(head):
    old, new = small_net(head), small_net(head)
    for parameter in old.parameters():
        torch.nn.init.normal_(parameter)
    copy_matching_weights(new, old)
    images = random_images(4, old)
    assert torch.equal(model.compute_logits(new, images), model.compute_logits(old, images))


def test_grey_and_coloured_networks_see_the_same_grey_image_alike():
    for old_channels, new_channels in ((1, 3), (3, 1), (3, 3)):
        old, new = (small_net(channels=c) for c in (old_channels, new_channels))
        old.mean.fill_(90)
        old.std.fill_(40)
        copy_matching_weights(new, old)
        grey = random_images(2, small_net(channels=1))
        by_old, by_new = (
            net.eval().attend(grey.repeat(1, net.spec.channels, 1, 1))[2] for net in (old, new)
        )
        assert torch.allclose(by_old, by_new, atol=1e-3)


def labelled(net, labels):
    """Return a dataset of random images with these labels."""
    charset, length = "".join(sorted(set("".join(labels)))), max(map(len, labels))
    images = random_images(len(labels), net)
    split = Split(labels, images, torch.from_numpy(encode_labels(labels, charset, length)))
    return Dataset(charset, length, net.spec, split, split, split, [])


@pytest.mark.parametrize(
    ("case", "known", "rows", "their_rows"),
    [
        (
            None,
            "1aAB\N{SNOWMAN}",
            [[0, 6], [1, 6], [2, 3], [4, 6], [5, 6]],
            [[0], [5], [1, 2], [3]],
        ),
        (str.upper, "1AB\N{SNOWMAN}", [[i, 5] for i in range(5)], [[0], [5], [2], [3]]),
        (str.lower, "1aB\N{SNOWMAN}", [[i, 5] for i in range(5)], [[0], [5], [1], [3]]),
    ],
)
def test_a_letter_keeps_what_is_known_of_each_case_in_which_it_may_be_drawn(
    monkeypatch, tmp_path, case, known, rows, their_rows
):
    """Of the blank, 1, a, b, snowman, which is new; ``their_rows`` are those of the trained one."""
    general = small_net(charset="aABC1").eval()
    for parameter in general.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    monkeypatch.setattr(transfer, "drawn_case", lambda *_: case)
    data = labelled(general, ["1a", "b\N{SNOWMAN}"])
    net = new_net(data, "attention", general).eval()
    assert (net.charset, net.known, net.rows.tolist()) == ("1ab\N{SNOWMAN}", known, rows)

    theirs = model.compute_logits(general, data.train.images)[:, :2].softmax(2)
    theirs = torch.stack([theirs[:, :, some].sum(2) for some in their_rows], 2)  # (N, L, 4)
    logits = model.compute_logits(net, data.train.images)
    read = logits.softmax(2)[:, :, :4]  # so much goes to the snowman
    assert torch.allclose(read / read.sum(2, True), theirs / theirs.sum(2, True), atol=1e-3)

    model.save_model(net, tmp_path / "net.safetensors", {})
    loaded, _ = model.load_model(tmp_path / "net.safetensors")
    assert torch.allclose(model.compute_logits(loaded, data.train.images), logits, atol=1e-5)
    monkeypatch.undo()
    again = new_net(data, "attention", loaded).eval()  # some more labels were typed
    assert torch.allclose(model.compute_logits(again, data.train.images), logits, atol=1e-5)


def test_labels_that_tell_cases_apart_need_a_row_each():
    general = small_net(charset="aAb1")
    net = new_net(labelled(general, ["aA", "Bb"]), "attention", general)
    assert (net.charset, net.known, net.rows) == ("ABab", "ABab", None)


@pytest.mark.parametrize(("wrong", "share"), [(32, 0), (28, 0.25), (16, 0.5), (4, 0.75), (0, 1)])
def test_as_much_of_a_training_is_taken_back_as_validation_asks_for(wrong, share):
    """It began by reading all as a and now reads all as b; so many of 32 images are an a."""
    start, net = small_net(charset="ab1", length=1), small_net(charset="abx", length=1)
    for parameter in start.parameters():
        torch.nn.init.normal_(parameter)
    copy_matching_weights(net, start)
    for one, bias in ((start, [-9.0, 2, -2, 0]), (net, [-9.0, -2, 2, -9])):
        torch.nn.init.zeros_(one.head.classifier.weight)
        one.head.classifier.bias.data = torch.tensor(bias)
    torch.nn.init.ones_(net.trunk[0].weight)
    first, last = (one.trunk[0].weight.clone() for one in (start, net))
    val = labelled(net, ["a"] * wrong + ["b"] * (32 - wrong))
    val = val.train._replace(targets=torch.tensor([[1]] * wrong + [[2]] * (32 - wrong)))
    assert settle(net, start, val) == share
    assert net.head.classifier.bias.tolist() == [-9, 2 - 4 * share, 4 * share - 2, -9]  # x is new
    assert torch.allclose(net.trunk[0].weight, first + share * (last - first))


def test_a_colour_network_goes_a_share_of_the_way_to_a_grey_one():
    grey, net = small_net(channels=1), small_net(channels=3)
    torch.nn.init.constant_(grey.trunk[0].weight, 3)
    torch.nn.init.constant_(net.trunk[0].weight, 2)
    copy_matching_weights(net, grey, 0.25)
    assert torch.allclose(net.trunk[0].weight, torch.tensor(2 * 0.75 + 1 * 0.25))


def test_half_of_a_training_is_kept_unless_validation_says_otherwise():
    start, net = small_net(), small_net()
    start.head.classifier.bias.data[0] += 0.2  # so the end is a little better
    val = labelled(net, ["abc"]).val
    assert settle(net, start, val) == 0.5
    start.head.classifier.bias.data[0] += 9  # before, it read nothing
    assert settle(net, start, val) == 1


# Of the blank, a, b, A, B and 1.
CAPITAL_B_OR_SMALL_A = [0.01, 0.42, 0, 0, 0.56, 0.01]
CAPITAL_A = [0.01, 0, 0, 0.97, 0.01, 0.01]
SMALL_A = [0.01, 0.97, 0.01, 0, 0, 0.01]
ONE = [0.01, 0, 0, 0, 0, 0.99]


@pytest.mark.parametrize(
    ("chances", "case"),
    [
        ([CAPITAL_B_OR_SMALL_A, CAPITAL_A], str.upper),  # the first is surer without small ones
        ([CAPITAL_B_OR_SMALL_A, SMALL_A], str.lower),
        ([CAPITAL_B_OR_SMALL_A, CAPITAL_A, SMALL_A], None),
        ([ONE], None),
    ],
)
def test_the_case_is_that_in_which_a_general_network_reads_a_sample_more_surely(
    monkeypatch, chances, case
):
    general = small_net(channels=3, charset="abAB1", length=1)
    images = random_images(450, small_net())  # grey ones
    seen = []

    def read(net, sample):
        seen.append(sample.shape)
        return torch.tensor(chances).log()[:, None]  # (N, 1, 6)

    monkeypatch.setattr(model, "read_logits", read)
    assert drawn_case(general, images, "ab1") is None  # it knows one site only
    general.spec = general.spec._replace(cut=FOUND)
    assert drawn_case(general, images[:0], "ab1") is None
    assert drawn_case(general, images, "xy") is None  # of which it knows none
    assert not seen
    assert drawn_case(general, images, "aby1") is case
    assert drawn_case(general, images, "abAB1") is None  # the labels tell them apart
    assert seen == [(150, 3, 16, 48)] * 2
