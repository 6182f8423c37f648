"""How long a training lasts: as planned, or shorter where the images are easy."""

import pytest
import torch
from helpers import random_images, small_net

import train_script
from training import metrics, schedule
from training.dataset import Dataset, Split, encode_labels
from training.metrics import Scores

LABELS = ["abc", "bca", "cab", "aab"] * 2


def train(epochs, state_file=None, resume=False):
    """Train a small network on a few images, 8 epochs by plan; return the training."""
    torch.manual_seed(0)
    net = small_net()
    split = Split(LABELS, random_images(8, net), torch.from_numpy(encode_labels(LABELS, "abc", 3)))
    data = Dataset("abc", 3, net.spec, split, split, split, [])
    hyper = train_script.Hyperparameters("attention", None, epochs, 2, 0.001, None)
    return train_script.train(net, data, hyper, state_file, resume)


@pytest.fixture
def easy(monkeypatch):
    """Let every epoch be an easy one, and 8 epochs be planned for."""
    monkeypatch.setattr(schedule, "EASY_CHARACTERS", -1)
    monkeypatch.setattr(schedule, "EASY_IMAGES", -1)
    monkeypatch.setattr(schedule, "enough_epochs", lambda *arguments: 8)


@pytest.mark.parametrize(
    ("trained", "validated", "images", "counts"),
    [
        (0.99, 1, 100, 2), (0.97, 1, 100, 1), (0.99, 0.97, 100, 1), (0.99, 0.99, 1000, 2),
        (1, 1, 20, 1), (0, 0, 100, 1),
    ],
)  # fmt: skip
def test_an_epoch_counts_twice_after_one_that_surely_read_nearly_all(
    trained, validated, images, counts
):
    row = {"train_character_accuracy": trained, "val_image_accuracy": validated}
    hard = {"train_character_accuracy": 0.5, "val_image_accuracy": 0.5}
    assert schedule.pace([hard, row], images) == counts
    assert schedule.pace([row, hard], images) == 1
    assert schedule.pace([], images) == 1


def test_easy_images_go_through_the_whole_schedule_in_fewer_epochs(easy):
    history = train(None).history
    assert [row["done"] for row in history] == [1, 3, 5, 7, 8]  # never more than was planned
    assert [row["progress"] for row in history] == [done / 8 for done in (1, 3, 5, 7, 8)]
    assert history[-1]["learning_rate"] == 0
    assert [row["epoch"] for row in history] == [1, 2, 3, 4, 5]


def test_a_number_of_epochs_that_a_person_gave_is_kept_to(easy):
    assert len(train(8).history) == 8


def test_a_shorter_training_resumes_as_if_it_had_never_stopped(easy, tmp_path, monkeypatch):
    whole, scores = train(None), []

    def score(logits, split):
        scores.append(logits)
        if len(scores) == 4:
            raise KeyboardInterrupt
        return Scores(1.0, 0.5, 0.5)

    with monkeypatch.context() as patch:
        patch.setattr(metrics, "score", score)
        with pytest.raises(KeyboardInterrupt):
            train(None, tmp_path / "last.pt")
    resumed = train(None, tmp_path / "last.pt", resume=True)
    assert [row["done"] for row in resumed.history] == [1, 3, 5, 7, 8]
    for name, value in whole.net.state_dict().items():
        assert torch.equal(value, resumed.net.state_dict()[name]), name


@pytest.mark.parametrize("count", [2, 50, 300, 700, 845, 2000, 100_000])
@pytest.mark.parametrize(("trained", "low", "high"), [(False, 600, 1200), (True, 180, 800)])
def test_a_plan_has_so_many_batches_or_five_looks_at_every_image(count, trained, low, high):
    batches = len(schedule.epoch_batches(count, 64))
    planned = batches * schedule.enough_epochs(count, 64, trained)
    assert planned >= max(5 * batches, low - batches / 2)
    assert planned <= max(5 * batches, high + batches / 2)


def test_images_are_bent_fully_after_a_tenth_of_the_training():
    strengths = [schedule.augmentation_strength(p) for p in (0, 0.05, 0.1, 0.5, 1)]
    assert strengths == [0, 0.5, 1, 1, 1]
