"""Each finding of the check-up is provoked by a fault, and absent from a run without one."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F  # noqa: N812

import model
from files.images import InputSpec, fit_image
from practice import forms
from training import checkup
from training.dataset import Dataset, Split, encode_labels

spec = InputSpec(24, 24, 1)  # small, so that a hundred steps are seconds


def split_of(images, labels):
    charset = "".join(sorted(set("".join(labels))))
    targets = torch.from_numpy(encode_labels(labels, charset, max(map(len, labels))))
    return Split(list(labels), torch.stack(images), targets)


def draw_digits(count):
    """Return so many practice digits."""
    drawn = [forms.draw("digit", number) for number in range(count)]
    images = [torch.from_numpy(fit_image(np.asarray(i), spec)) for i, _ in drawn]
    return split_of(images, [answer for _, answer in drawn])


@pytest.fixture(scope="module")
def digits():
    """200 practice digits, each ten times or more."""
    return draw_digits(200)


@pytest.fixture
def net(digits):
    torch.manual_seed(0)
    net = model.CaptchaNet("0123456789", 1, spec)
    net.set_normalisation(digits.images)
    return net


def test_a_sound_set_and_network_have_no_findings(net, digits):
    before = {name: value.clone() for name, value in net.state_dict().items()}
    state = torch.get_rng_state()
    none = part(digits, 0, 0)
    data = Dataset(net.charset, 1, spec, digits, none, none, [])
    assert checkup.before_training(net, data, 0.003, fresh=True) == []
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_rare_characters_are_named_with_their_number(digits):
    labels = ["ab"] * 20 + ["ac"] * 2 + ["ad"] * 5
    (finding,) = checkup.examine_labels(labels)
    assert "1 of 4 characters" in finding
    assert "'c' (2)" in finding


def test_a_few_labels_of_another_length_are_pointed_out_and_varying_lengths_are_not():
    (finding,) = checkup.examine_labels(["abcde"] * 99 + ["abcd"])
    assert "'abcd'" in finding
    assert "99 labels have 5 characters" in finding
    assert checkup.examine_labels(["abcd", "abcdab"] * 50) == []


def test_empty_images_and_equal_images_with_different_labels_are_found(digits):
    empty = torch.full((1, 24, 24), 200, dtype=torch.uint8)
    same = digits.images[0]
    split = split_of([empty, same, same, digits.images[1]], ["1", "2", "3", "4"])
    one_colour, disputed = checkup.examine_images(split)
    assert "1 of 4 images" in one_colour
    assert "'2' and '3'" in disputed
    assert checkup.examine_images(digits) == []
    (copies,) = checkup.examine_images(split_of([same, same, digits.images[1]], ["2", "2", "4"]))
    assert "1 of 3 images are copies" in copies


def test_of_very_many_images_an_even_sample_is_searched_for_empty_ones(digits, monkeypatch):
    images = digits.images.clone()
    images[0], images[51], images[100] = 200, 201, 202
    split = digits._replace(images=images)
    assert "3 of 200 images" in checkup.examine_images(split)[0]
    monkeypatch.setattr(checkup, "LOOKED_AT", 20)
    (finding,) = checkup.examine_images(split)
    assert "2 of 20 images" in finding
    assert repr(digits.labels[0]) in finding


def test_what_is_asked_for_but_not_taught_and_what_is_given_away_are_found(digits):
    first, second, third = digits.images[:3]
    train = split_of([first, second], ["12", "21"])
    val, test = split_of([third], ["1x"]), split_of([second, third], ["21", "112"])
    unknown, longer = checkup.examine_others(train.labels, val.labels + test.labels)
    (copies,) = checkup.examine_images(train, [val, test])
    assert "'x' (in '1x')" in unknown
    assert "'112'" in longer
    assert "1 have more than 2 characters" in longer
    assert "Of 3 images of val and test, 1 are copies" in copies
    assert "'21'" in copies
    train, val = part(digits, 0, 150), part(digits, 150, 200)
    assert checkup.examine_others(train.labels, val.labels) == []
    assert checkup.examine_images(train, [val]) == []


def test_wild_first_weights_are_seen_in_the_first_loss(net, digits):
    assert checkup.examine_first_loss(net, digits) == []
    torch.nn.init.normal_(net.head.classifier.weight, std=30)
    (finding,) = checkup.examine_first_loss(net, digits)
    assert f"{math.log(11):.2f}" in finding


@pytest.mark.parametrize("learning_rate", [1.0, 1e-8])
def test_what_cannot_be_memorised_is_said(net, digits, learning_rate, monkeypatch):
    monkeypatch.setattr(checkup, "FEW_STEPS", 60)  # more only take time
    (finding,) = checkup.try_to_memorise(net, digits, learning_rate)
    assert "memorise" in finding
    assert f"LEARNING_RATE={learning_rate:g}" in finding


def short_run(net, train, val, steps, learning_rate, batch=32):
    """A training without augmentation; the history and logits that after_training looks at."""
    optimizer = torch.optim.AdamW(net.parameters(), learning_rate)
    history = []
    for epoch in range(1, 6):
        losses = []
        for _ in range(steps // 5):
            order = torch.randperm(len(train.labels))[:batch]
            logits = net.train()(train.images[order])
            loss = F.cross_entropy(logits.flatten(0, 1), train.targets[order].flatten())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        logits = model.compute_logits(net, val.images)
        val_loss = F.cross_entropy(logits.flatten(0, 1), val.targets.flatten()).item()
        right = (logits.argmax(2) == val.targets).all(1).float().mean().item()
        history.append(
            {"epoch": epoch, "progress": 1, "train_loss": sum(losses) / len(losses),
             "val_loss": val_loss, "val_image_accuracy": right,
             "val_character_accuracy": right}  # 1 digit
        )  # fmt: skip
    return checkup.after_training(
        history, model.compute_logits(net, train.images), train, learning_rate
    )


def test_blanks_behind_short_labels_are_no_achievement(net, digits, monkeypatch):
    """One label of many characters, a typing mistake, gives all others that many blanks."""
    monkeypatch.setattr(checkup, "FEW_STEPS", 60)  # more only take time
    blanks = torch.zeros(200, 39, dtype=torch.int64)
    split = digits._replace(
        images=torch.full_like(digits.images, 200), targets=torch.cat([digits.targets, blanks], 1)
    )
    net = model.CaptchaNet("0123456789", 40, spec)
    (finding,) = checkup.try_to_memorise(net, split, 0.003)
    assert "memorise" in finding
    assert checkup.loss_of_guessing(digits) == pytest.approx(math.log(10), abs=0.05)
    assert checkup.loss_of_guessing(split) == pytest.approx(math.log(10) / 40, abs=0.05)
    history = [{"train_loss": 0.0573, "val_image_accuracy": 0.1, "progress": 1, "epoch": 1}]
    (finding,) = checkup.after_training(history, torch.zeros(200, 40, 11), split, 0.003)
    assert "learnt nothing" in finding


def part(split, start, stop):
    return Split(split.labels[start:stop], split.images[start:stop], split.targets[start:stop])


def test_a_good_run_has_no_findings(net):
    """With so many images that neither rounding nor luck decides."""
    digits = draw_digits(900)
    assert short_run(net, part(digits, 0, 700), part(digits, 700, 900), 200, 0.003) == []


def test_over_fitting_is_told_from_labels_that_do_not_belong(net, digits):
    (finding,) = short_run(net, part(digits, 0, 25), part(digits, 100, 200), 60, 0.003)
    assert "Over-fitting" in finding
    assert "label more" in finding
    assert "AUDIT_FOLDS=4" in finding
    assert "may not belong" not in finding
    wrong = part(digits, 0, 60)._replace(targets=digits.targets[torch.randperm(60) + 60])
    never = part(digits, 100, 200)._replace(targets=torch.zeros(100, 1, dtype=torch.int64))
    torch.manual_seed(0)
    net = model.CaptchaNet("0123456789", 1, spec)
    (finding,) = short_run(net, wrong, never, 150, 0.003)
    assert "may not belong" in finding


def test_a_learning_rate_too_high_is_named(net, digits):
    (finding,) = short_run(net, part(digits, 0, 160), part(digits, 160, 200), 30, 5.0)
    assert "learnt nothing" in finding
    assert "LEARNING_RATE=5" in finding


def test_a_learning_rate_too_high_is_named_though_something_was_learnt(net, digits):
    (finding,) = short_run(net, part(digits, 0, 160), part(digits, 160, 200), 60, 0.05, 64)
    assert "LEARNING_RATE=0.05 is probably too high" in finding


def test_images_that_cannot_be_read_mean_under_fitting(net, digits):
    images = digits.images.clone()
    images[::3] = 200  # a third of them is blank
    unreadable = digits._replace(images=images)
    (finding,) = short_run(net, part(unreadable, 0, 160), part(unreadable, 160, 200), 400, 0.003)
    assert "Under-fitting" in finding
    assert "can you read them" in finding


@pytest.mark.parametrize(("falling", "words"), [(True, "Train longer"), (False, "Under-fitting")])
def test_half_read_training_images_mean_train_longer_while_the_loss_falls(digits, falling, words):
    history = [
        {"epoch": epoch, "progress": epoch / 19, "train_loss": 1.0,
         "val_loss": 1 / epoch if falling else 1.0, "val_image_accuracy": 0.5,
         "val_character_accuracy": 0.5}
        for epoch in range(1, 20)
    ]  # fmt: skip
    logits = F.one_hot(digits.targets, 11).float() * 9
    logits[::2] = 0  # half of the training images are read incorrectly
    (finding,) = checkup.after_training(history, logits, digits, 0.003)
    assert words in finding
    assert "50 %" in finding


def test_a_training_that_is_far_too_short_is_not_called_over_fitting(digits):
    """Two epochs: few images are read yet, and those of validation later than the others."""
    history = [
        {
            "epoch": 1,
            "progress": 0.5,
            "train_loss": 2.1,
            "val_loss": 2.0,
            "val_image_accuracy": 0.2,
        },
        {"epoch": 2, "progress": 1, "train_loss": 0.8, "val_loss": 0.9, "val_image_accuracy": 0.3},
    ]
    for row in history:
        row["val_character_accuracy"] = row["val_image_accuracy"]
    logits = F.one_hot(digits.targets, 11).float() * 9
    logits[::2] = 0  # half of the training images are read incorrectly
    (finding,) = checkup.after_training(history, logits, digits, 0.003)
    assert "Train longer" in finding
    # the same once the loss has settled
    history.append({**history[1], "epoch": 3})
    (finding,) = checkup.after_training(history, logits, digits, 0.003)
    assert "Over-fitting" in finding
    assert "memorised" not in finding
