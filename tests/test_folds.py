import json
import sys
from pathlib import Path

import pytest
from helpers import project

sys.path.insert(0, str(project / "benchmarks"))

import folds  # noqa: E402

import utils  # noqa: E402


@pytest.fixture
def split(tmp_path, monkeypatch):
    """Split 200 files of which no two are alike; return what each folder holds, by its label."""
    images = {}
    for number in range(200):
        file = tmp_path / f"{number}.png"
        file.write_bytes(bytes([number]))
        images[utils.content_hash(file.read_bytes())] = (file, f"x{number}", "png")

    def call(_: str, *arguments: str) -> None:
        trained = Path(dict(argument.split("=", 1) for argument in arguments)["MODEL_FOLDER"])
        trained.mkdir(parents=True, exist_ok=True)
        (trained / "metrics.json").write_text(json.dumps(arguments))

    monkeypatch.setattr(folds, "call", call)

    def split(fold: int, **further) -> dict[str, set[str]]:
        count = further.pop("count", None)
        work = tmp_path / "work"
        arguments = folds.measure(images, fold, 5, count, False, [], work, **further)
        assert f"SEED={fold}" in arguments
        return {
            side: {label for _, label in utils.labelled_images(work / f"split{fold}" / side)}
            for side in ("train", "val", "test")
        }

    return split


def test_each_image_is_tested_in_one_fold_or_in_development_and_never_trained_on(split):
    sides = [split(fold) for fold in range(5)] + [split(3, development=True)]
    for one in sides:
        everything = [label for labels in one.values() for label in labels]
        assert len(everything) == len(set(everything)) == 200
    tested = [label for one in sides for label in one["test"]]
    assert len(tested) == len(set(tested)) == 200
    assert all(20 < len(one["test"]) < 60 for one in sides)
    assert sides[5] == split(3, development=True)


def test_few_labels_leave_few_for_validation(split):
    assert len(split(0, count=50)["val"]) == 10
    assert len(split(0, count=100)["val"]) == 20


def test_confident_answers_are_counted_over_all_folds():
    row = {"wanted_precision": 0.995, "answered": 0.5, "precision": 1.0}
    runs = [
        {"test": {"images": 40}, "coverage": [{**row, "wanted_precision": 0.9}, row]},
        {"test": {"images": 10}, "coverage": [{**row, "answered": 1.0, "precision": 0.5}]},
        {"test": {"images": 10}, "coverage": [{**row, "answered": 0.0, "precision": None}]},
    ]
    answered, right = folds.confident_answers(runs, 0.995)
    assert answered == pytest.approx((20 + 10) / 60)
    assert right == pytest.approx(25 / 30)
