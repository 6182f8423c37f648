"""What is learnt from images without labels, and by whom."""

import copy
import functools
import math

import numpy as np
import pytest
import torch
from helpers import random_images, small_net
from hypothesis import given, settings
from hypothesis import strategies as st

import model
from files.images import InputSpec
from reading import limits
from reading.limits import even_odds, occurring
from training import pseudo_labels
from training.dataset import Dataset, Split, encode_labels, without_labels
from training.pseudo_labels import SURE, UNKNOWN
from training.runs import Training


def dataset(charset="ab", length=2, train=None):
    """Return a dataset of 16 x 48 pixels, without an image unless there are labelled ones."""
    data = without_labels(charset, length, InputSpec(16, 48, 1))
    return data if train is None else data._replace(train=train, val=train)


def labelled(*labels, charset="ab"):
    images = random_images(len(labels), small_net())
    return Split(list(labels), images, torch.from_numpy(encode_labels(labels, charset, 2)))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([2, 4]))
def test_only_what_is_read_surely_in_an_image_of_sure_length_is_learnt(seed, positions):
    """The network may read more positions than labels have: then nothing may stand there.

    And of a character that is hardly ever read surely, the same share is learnt as of others.
    """
    torch.manual_seed(seed)
    logits = torch.randn(30, positions, 3) * 5
    logits[:, :, 2] -= seed % 7  # a b is read less often, and less surely
    found, used, share = pseudo_labels.sure_readings(logits, torch.arange(30), dataset())
    chances = logits.double().softmax(2)
    of: dict[int, list[float]] = {1: [], 2: []}  # the confidences that each character is read with
    for row in chances[:, :2].flatten(0, 1).tolist():
        if (best := row.index(max(row))) > 0:
            of[best].append(row[best])
    assert share == pytest.approx(
        np.mean([chance >= SURE for some in of.values() for chance in some])
    )
    least = {c: min(SURE, np.quantile(some, 1 - share)) if some else SURE for c, some in of.items()}
    expected = []
    for number, image in enumerate(chances.tolist()):
        length_sure, targets = 1.0, []
        for row in image:
            length_sure *= max(row[0], 1 - row[0]) if len(targets) < 2 else row[0]
            best = row.index(max(row))
            # The quantile is one of the confidences, or lies between two.
            targets.append(best if row[best] >= least.get(best, SURE) - 1e-6 else UNKNOWN)
        if length_sure >= SURE and max(targets[:2]) > 0:
            expected.append((number, targets[:2]))
    assert list(zip(found.images.tolist(), found.targets.tolist(), strict=True)) == expected
    assert used.nonzero().flatten().tolist() == found.images.tolist()
    for label, targets in zip(found.labels, found.targets.tolist(), strict=True):
        assert label == "".join({0: "", 1: "a", 2: "b", UNKNOWN: "?"}[c] for c in targets)


@given(st.integers(1, 500), st.integers(0, 5000))
def test_labelled_images_are_a_quarter_of_what_a_pupil_sees_at_least(labels, joined):
    times = pseudo_labels.repeats(labels, joined)
    assert times * labels >= 0.25 * (times * labels + joined) - 1e-6
    assert times == 1 or (times - 1) * labels < 0.25 * ((times - 1) * labels + joined)
    assert pseudo_labels.repeats(0, joined) == 0


def test_a_colour_network_reads_grey_images_and_never_what_it_does_not_know():
    net = small_net(charset="cb", channels=3).eval()
    torch.nn.init.normal_(net.head.classifier.weight, std=5)
    net.temperature.fill_(2)
    grey = random_images(4, small_net())
    with model.autocast(net.mean.device):  # as a training computes
        own = model.read_logits(net, grey.repeat(1, 3, 1, 1))
    logits = pseudo_labels.read(net, grey, "abc")
    assert logits.shape == (4, 3, 4)
    assert (logits[:, :, 1] == -math.inf).all()  # a
    expected = (own / 2).softmax(2)[:, :, [0, 2, 1]]
    assert torch.allclose(logits.softmax(2)[:, :, [0, 2, 3]], expected, atol=1e-5)
    assert not torch.allclose(own.softmax(2)[:, :, [0, 2, 1]], expected, atol=1e-3)


def opinionated_net(charset, spread=9):
    """Return a network with random weights that is sure of much, never of a blank.

    It reads each character about as often, else little of its opinions would be left when evened.
    """
    net = small_net(charset=charset, length=2).eval()
    torch.nn.init.normal_(net.head.classifier.weight)
    logits = model.compute_logits(net, random_images(100, net, seed=2))  # (100, 2, classes)
    factor = spread / logits.std(dim=0).mean()
    net.head.classifier.weight.data *= factor
    net.head.classifier.bias.data -= logits.median(dim=0).values.mean(dim=0)
    net.head.classifier.bias.data *= factor
    net.head.classifier.bias.data[0] = -50 * spread
    return net


class Class:
    """Trains nobody: notes what each pupil would learn from, and returns it untrained."""

    def __init__(self, charset="ab"):
        self.charset, self.seen, self.shares = charset, [], []

    def train(self, data, share):
        self.seen.append(data)
        self.shares.append(share)
        net = opinionated_net(self.charset, spread=9 + len(self.seen))
        best = {name: value.clone() for name, value in net.state_dict().items()}
        return Training(net, best, [{"epoch": 1}], len(data.train.labels), 0.001)


@pytest.mark.parametrize(
    ("changed", "shares", "said"),
    [(0, [0.5, 1], "reads 0"), (1, [0.5, 1], "reads 1"), (2, [0.5, 0.5, 1], "reads 0")],
)
def test_a_pupil_is_the_last_if_its_teacher_reads_at_most_one_image_in_a_hundred_anew(
    changed, shares, said, monkeypatch, capsys
):
    teacher, pupils = opinionated_net("ab"), Class()
    first = 9 * torch.nn.functional.one_hot(torch.randint(1, 3, (100, 2)), 3).float()
    second = first.clone()
    second[:changed, 0, 1:] = first[:changed, 0, 1:].flip(1)  # an a becomes a b, a b an a
    readings = iter([first, second, second])
    monkeypatch.setattr(pseudo_labels, "read", lambda *_: next(readings).clone())
    images = random_images(100, teacher)
    rounds = pseudo_labels.self_train(teacher, dataset(), images, 4, pupils.train)
    assert pupils.shares == shares
    assert len(rounds) == len(shares)
    assert all(one.training.net.temperature == pseudo_labels.TEMPERATURE for one in rounds)
    assert said in capsys.readouterr().out.splitlines()[-1]


@pytest.mark.parametrize(("sure", "refused"), [(19, True), (20, False)])
def test_who_is_not_sure_of_a_fifth_of_the_characters_may_not_teach(sure, refused, monkeypatch):
    """At a tenth, a site of which next to nothing was read passed, and was promised 20 %."""
    logits = torch.zeros(100, 2, 3)
    logits[:, :, 0] = -50  # never a blank
    logits[: sure // 2, :, 1] = logits[50 : 50 + sure - sure // 2, :, 2] = 9
    monkeypatch.setattr(pseudo_labels, "read", lambda *_: logits.clone())
    images, pupils = random_images(100, opinionated_net("ab")), Class()
    teach = functools.partial(
        pseudo_labels.self_train, opinionated_net("ab"), dataset(), images, 1, pupils.train
    )
    if refused:
        with pytest.raises(ValueError, match="only 19 % of the characters are read surely"):
            teach()
    else:
        teach()
    assert len(pupils.seen) == (not refused)


def test_without_labels_every_tenth_image_is_for_comparing_only():
    teacher = opinionated_net("ab")
    images, pupils = random_images(60, teacher), Class()
    rounds = pseudo_labels.self_train(teacher, dataset(), images, 3, pupils.train)
    assert len(rounds) == len(pupils.seen) == 3
    assert pupils.shares == [0.5, 0.5, 1]
    held_out = images[::10]
    for one, data in zip(rounds, pupils.seen, strict=True):
        assert torch.equal(data.val.images, held_out)
        assert len(data.train.labels) == one.joined > 5
        learnt = {image.numpy().tobytes() for image in data.train.images}
        assert not learnt & {image.numpy().tobytes() for image in held_out}
        assert data.val.labels == model.decode_labels(one.teacher_logits.argmax(2).numpy(), "ab")
    occurs = occurring(pseudo_labels.read(teacher, images, "ab"), "ab", "ab")
    # Each round's teacher is the pupil of the round before, which is not believed all it says.
    for before, one in zip(rounds, rounds[1:], strict=False):
        net = before.training.net
        assert net.temperature == pseudo_labels.TEMPERATURE
        again = pseudo_labels.read(net, images, "ab")
        again += even_odds(again, "ab", occurs, pseudo_labels.EVEN_TURNS)
        assert torch.allclose(one.teacher_logits, again[::10], rtol=0.01, atol=0.05)


def test_a_teacher_that_takes_most_for_one_character_teaches_them_more_evenly():
    teacher, images = opinionated_net("ab", spread=3), random_images(100, small_net(), seed=2)
    teacher.head.classifier.bias.data[2] += 4
    logits = pseudo_labels.read(teacher, images, "ab")
    alone = pseudo_labels.sure_readings(logits, images, dataset())[0]
    pupils = Class()
    pseudo_labels.self_train(teacher, dataset(), images, 1, pupils.train)
    taught = pupils.seen[0].train
    shares = [(some.targets == 2).sum() / (some.targets > 0).sum() for some in (alone, taught)]
    assert shares[0] > 0.8  # most is read as a b
    assert 0.5 < shares[1] < shares[0] - 0.1


def test_what_the_first_teacher_read_occurs_even_if_its_pupil_hardly_reads_it():
    """An a that was never read surely is not learnt, so the pupil takes it for a b."""
    teacher, images = opinionated_net("ab", spread=3), random_images(100, small_net(), seed=2)
    pupil = copy.deepcopy(teacher)
    pupil.head.classifier.bias.data[1] -= 6
    logits = pseudo_labels.read(pupil, images, "ab") / pseudo_labels.TEMPERATURE
    assert occurring(logits, "ab", "ab") == "b"
    training = Training(pupil, pupil.state_dict(), [{"epoch": 1}], 0, 0.001)
    rounds = pseudo_labels.self_train(teacher, dataset(), images, 2, lambda *_: training)
    before, after = (x.softmax(2)[:, :, 1].mean() for x in (logits, rounds[1].teacher_logits))
    assert before < 0.15
    assert after > 0.2


def test_without_a_label_and_without_a_sure_reading_nothing_is_learnt():
    teacher = opinionated_net("ab")
    teacher.temperature.fill_(100)
    with pytest.raises(ValueError, match="label some 50 images"):
        pseudo_labels.self_train(teacher, dataset(), random_images(60, teacher), 3, Class().train)


@pytest.mark.parametrize(("few", "rounds", "trained"), [(4, 3, 3), (3, 3, 2), (3, 1, 1)])
def test_labelled_images_are_in_every_round_and_all_others_join(
    monkeypatch, tmp_path, few, rounds, trained
):
    """And with few labels there are as many rounds as without any."""
    monkeypatch.setattr(pseudo_labels, "FEW_LABELS", few)
    teacher = opinionated_net("ab")
    known, images = labelled("ab", "ba", "aa"), random_images(40, teacher, seed=1)
    monkeypatch.setattr(pseudo_labels, "load_unlabelled", lambda *folders: images)
    pupils = Class()
    data = dataset(train=known)
    trainings = pseudo_labels.learn_from_both(teacher, data, tmp_path, rounds, pupils.train)
    assert len(trainings) == trained
    assert pupils.shares[-1] == 1
    mine = {image.numpy().tobytes() for image in known.images}
    for seen in pupils.seen:
        others = [image for image in seen.train.images if image.numpy().tobytes() not in mine]
        times = pseudo_labels.repeats(3, len(others))
        assert seen.train.labels[: 3 * times] == known.labels * times
        assert len(seen.train.images) == 3 * times + len(others)
        assert len({image.numpy().tobytes() for image in others}) == len(others) > 20
        assert seen.val is known


@pytest.mark.parametrize("start", ["none", "unsure", "flatten", "foreign"])
def test_without_a_teacher_that_reads_the_first_training_with_labels_alone_makes_it(
    monkeypatch, tmp_path, start
):
    """And it is believed no more than validation shows that it may be."""
    nets = {
        "none": None,
        "unsure": opinionated_net("ab"),
        "flatten": small_net("flatten", "ab", 2, size=(24, 64)).eval(),  # of one size of image
        "foreign": opinionated_net("xy"),  # knows no character of the labels
    }
    nets["unsure"].temperature.fill_(100)
    known, images = labelled("ab", "ba", "aa"), random_images(40, small_net(), seed=1)
    monkeypatch.setattr(pseudo_labels, "load_unlabelled", lambda *folders: images)
    monkeypatch.setattr(pseudo_labels, "fit_temperature", lambda *arguments: 3.0)
    pupils, data = Class(), dataset(train=known)
    trainings = pseudo_labels.learn_from_both(nets[start], data, tmp_path, 4, pupils.train)
    assert len(trainings) == len(pupils.seen) == 2
    assert pupils.shares == [1, 1]
    assert pupils.seen[0].train is known
    assert len(pupils.seen[1].train.labels) > 10
    assert trainings[0].net.temperature == 3


@pytest.mark.parametrize(
    ("drawn", "labels", "expected"),
    [
        ("ABX7", ["ab", "b7"], "7abx"),  # the labels are small letters, whatever is drawn
        ("abx7", ["AB"], "7ABX"),
        ("aBx", ["aB"], "Bax"),
        ("aBx", ["77"], "Bax"),  # labels without letters say nothing
        ("aAb", ["ab"], "ab"),
    ],
)
def test_characters_that_are_found_get_the_case_of_the_labels(tmp_path, drawn, labels, expected):
    for number, label in enumerate(labels):
        (tmp_path / f"{label}_{number:08x}.png").touch()
    assert pseudo_labels.charset_beside(tmp_path, small_net(charset=drawn)) == expected


def test_a_teacher_is_limited_to_what_labels_can_have_and_left_as_it_was():
    net = small_net(charset="abcAB", length=3, channels=3).eval()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    data = dataset("ab+", 2, labelled(*["ab", "ba"] * 10))
    teacher = pseudo_labels.as_teacher(net, data)
    assert (teacher.charset, teacher.length) == ("ab", 2)
    assert teacher.spec == InputSpec(16, 48, 3)
    assert (net.charset, net.length, net.rows) == ("abcAB", 3, None)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    few = pseudo_labels.as_teacher(net, dataset("ab+", 2, labelled("ab", "ba")))
    assert few.length == 3  # two labels do not show that all are as long
    limits.limit(net, "b", None)
    more = pseudo_labels.as_teacher(net, data)
    assert more.charset == "ab"  # which its classifier still knows


def test_sure_means_read_surely():
    net = small_net(charset="ab", length=2).eval()
    images = random_images(30, net)
    net.temperature.fill_(100)
    assert pseudo_labels.share_sure(net, images) == 0
    net.temperature.fill_(0.001)
    assert pseudo_labels.share_sure(net, images) > 0.9


def test_a_dataset_without_labels_has_none():
    data = dataset()
    assert isinstance(data, Dataset)
    assert data.train.images.shape == (0, 1, 16, 48)
    assert data.train.labels == data.val.labels == data.test.labels == data.files == []
