import csv
import sys

import pytest
from helpers import project
from matplotlib.figure import Figure

sys.path.insert(0, str(project / "benchmarks"))

import learning_curve  # noqa: E402

import utils  # noqa: E402


def images_named(count):
    return {utils.content_hash(str(i).encode()): None for i in range(count)}


def test_the_curve_of_a_power_law_is_drawn_and_continued(tmp_path, monkeypatch, capsys):
    """With trainings replaced by a law: an error of 2 / labels, a tenth more or less by fold."""

    def measure(images, fold, folds, count, *_):
        return {"test": {"image_accuracy": 1 - 2 / count * (0.9 + 0.1 * fold)}}

    drawn = []
    monkeypatch.setattr(learning_curve, "measure", measure)
    monkeypatch.setattr(learning_curve, "read_images", lambda *_: images_named(300))
    monkeypatch.setattr(learning_curve.plots, "save", lambda figure, path: drawn.append(figure))
    settings = ["COUNTS=[100, 25, 400, 50]", "FOLDS=3", f"WORK_FOLDER={tmp_path}"]
    monkeypatch.setattr(sys, "argv", ["learning_curve.py", *settings])
    learning_curve.main()

    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert "300 labelled images are enough to train on up to 100" in err
    assert lines[0] == "    25 labels: 92.0 % of images (91.2 to 92.8)"
    assert lines[3] == "   200 labels: about 99.0 %, if it goes on like this"
    with open(tmp_path / "learning_curve.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(int(row["labels"]), int(row["fold"])) for row in rows] == [
        (count, fold) for count in (25, 50, 100) for fold in range(3)
    ]
    assert float(rows[5]["test_image_accuracy"]) == pytest.approx(1 - 2 / 50 * 1.1)

    assert len(drawn) == 3  # one after each number: what was measured is kept
    figure: Figure = drawn[-1]
    figure.canvas.draw()
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.get_xticklabels()] == ["25", "50", "100", "200"]
    assert not any(text.get_text() for text in axes.get_xticklabels(minor=True))


def test_too_few_images_are_said_before_any_training(monkeypatch):
    monkeypatch.setattr(learning_curve, "read_images", lambda *_: images_named(30))
    monkeypatch.setattr(sys, "argv", ["learning_curve.py"])
    with pytest.raises(ValueError, match="30 labelled images; label more"):
        learning_curve.main()
