import re

import pytest
from helpers import practice_folder, run_script

from benchmarks import folds
from files.images import content_hash
from files.split_names import SPLITS, labelled_images, split_name


@pytest.fixture
def deal(tmp_path):
    """Deal 200 files, no two of them alike; return what each split holds, by its label."""
    images = {}
    for number in range(200):
        digest = content_hash(bytes([number]))
        images[digest] = tmp_path / split_name(f"x{number}", digest, "png")
        images[digest].write_bytes(bytes([number]))

    def deal(fold: int, count: int | None = None, development: bool = False):
        split = folds.deal(images, fold, 5, count, tmp_path / "work", development)
        return {
            name: {label for _, label in labelled_images(split / name)} for name in SPLITS
        }, split

    return deal


def test_each_image_is_tested_in_one_fold_or_in_development_and_never_trained_on(deal):
    splits = [deal(fold)[0] for fold in range(5)] + [deal(3, development=True)[0]]
    for one in splits:
        everything = [label for labels in one.values() for label in labels]
        assert len(everything) == len(set(everything)) == 200
    tested = [label for one in splits for label in one["test"]]
    assert len(tested) == len(set(tested)) == 200
    assert all(20 < len(one["test"]) < 60 for one in splits)
    assert splits[5] == deal(3, development=True)[0]


def test_an_image_stays_in_its_fold():
    """Figures of earlier versions can be compared only with the same folds."""
    dealt = [folds.fold_of(content_hash(bytes([number])), 5) for number in range(12)]
    assert dealt == [4, None, 0, 2, 1, 3, 2, 4, 0, 0, 0, 4]


def test_few_labels_leave_few_for_validation(deal):
    assert len(deal(0, count=50)[0]["val"]) == 10
    assert len(deal(0, count=100)[0]["val"]) == 20


def test_the_other_training_images_lose_their_labels(deal):
    found, split = deal(0, count=50)
    hidden = folds.hide_labels(split, 50, seed=0)
    labels = {file.read_bytes(): label for file, label in labelled_images(split / "train")}
    kept = set(labels.values()) - {labels[file.read_bytes()] for file in hidden.iterdir()}
    assert len(kept) == 50
    assert {file.name for file in hidden.iterdir()} <= {f"{number}.png" for number in range(200)}
    assert set(labels.values()) == found["train"]


def test_confident_answers_are_counted_over_all_folds():
    row = {"wanted_precision": 0.995, "answered": 0.5, "precision": 1.0}
    runs = [
        {"test": {"images": 40}, "coverage": [{**row, "wanted_precision": 0.9}, row]},
        {"test": {"images": 10}, "coverage": [{**row, "answered": 1.0, "precision": 0.5}]},
        {"test": {"images": 10}, "coverage": [{**row, "answered": 0.0, "precision": None}]},
    ]
    answered, correct = folds.confident_answers(runs, 0.995)
    assert answered == pytest.approx((20 + 10) / 60)
    assert correct == pytest.approx(25 / 30)


def test_folds_are_trained_also_with_images_without_labels(tmp_path):
    images = practice_folder(tmp_path / "images", 120, "digit", size=16)
    (images / "3-torn.png").write_bytes(b"torn")
    done = run_script(
        "benchmarks/folds.py", f"IMAGE_FOLDER={images}", "LABELS_FILE=None",
        "LABEL_PATTERN=^(.)-", "TRAIN_IMAGES=20", "UNLABELLED=True", "FOLDS=2",
        "SETTINGS=EPOCHS=1 BATCH_SIZE=8 AUDIT_FOLDS=0 START_FROM=None",
        f"WORK_FOLDER={tmp_path / 'work'}", cwd="/",
    )  # fmt: skip
    assert "3-torn.png" in done.stderr
    lines = done.stdout.splitlines()
    for fold, line in enumerate(lines[:2]):
        tested = len(list((tmp_path / "work" / f"split{fold}" / "test").iterdir()))
        assert re.fullmatch(
            rf"fold {fold}: [0-9.]+ % of {tested} images, [0-9.]+ % of characters; 20 to train on, "
            r"2 epochs, \d+ s",
            line,
        )
    assert lines[2].startswith("images: mean ")
    assert len(lines) == 4
