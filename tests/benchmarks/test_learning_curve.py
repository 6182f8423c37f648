import csv

import pytest
from helpers import assert_one_sentence, practice_folder, run_script

from benchmarks import learning_curve

# An error of 2 / labels, a tenth more or less from fold to fold:
POWER_LAW = {count: [1 - 2 / count * share for share in (0.9, 1.0, 1.1)] for count in (25, 50, 100)}


def test_a_power_law_is_continued():
    errors = learning_curve.mean_errors(POWER_LAW)
    assert errors == pytest.approx({25: 0.08, 50: 0.04, 100: 0.02})
    assert learning_curve.expected_error(errors, 200) == pytest.approx(0.01)
    assert learning_curve.expected_error({25: 0.9, 50: 1.0}, 10**6) == 1
    assert 0 < learning_curve.expected_error({25: 0.1, 50: 0.0}, 100) < 0.0005
    assert learning_curve.describe(POWER_LAW[25]) == "92.0 % of images (91.2 to 92.8)"


def test_the_table_and_the_picture_hold_what_was_measured(tmp_path):
    learning_curve.write(POWER_LAW, tmp_path)
    with open(tmp_path / "learning_curve.csv", encoding="utf-8-sig", newline="") as file:
        rows = [(int(row["labels"]), int(row["fold"]), float(row["test_image_accuracy"]))
                for row in csv.DictReader(file)]  # fmt: skip
    assert rows == [
        (n, fold, v) for n, values in POWER_LAW.items() for fold, v in enumerate(values)
    ]
    assert (tmp_path / "learning_curve.png").stat().st_size > 5000

    figure = learning_curve.plot(POWER_LAW)
    figure.canvas.draw()
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.get_xticklabels()] == ["25", "50", "100", "200"]
    assert not any(text.get_text() for text in axes.get_xticklabels(minor=True))
    estimate = axes.lines[-1]
    assert list(estimate.get_xdata()) == [100, 200]
    assert estimate.get_ydata() == pytest.approx([98, 99])
    learning_curve.plt.close(figure)


def test_of_the_first_number_there_is_no_estimate():
    figure = learning_curve.plot({25: POWER_LAW[25]})
    assert [text.get_text() for text in figure.axes[0].get_xticklabels()] == ["25"]
    learning_curve.plt.close(figure)


def test_the_curve_is_measured_as_far_as_the_labels_reach(tmp_path):
    images = practice_folder(tmp_path / "images", 100, "digit", size=16)
    settings = [
        f"IMAGE_FOLDER={images}", "LABELS_FILE=None", "LABEL_PATTERN=^(.)-", "FOLDS=2",
        "SETTINGS=EPOCHS=1 BATCH_SIZE=8 AUDIT_FOLDS=0 UNLABELLED_FOLDER=None START_FROM=None",
        f"WORK_FOLDER={tmp_path / 'work'}",
    ]  # fmt: skip
    script = "benchmarks/learning_curve.py"
    done = run_script(script, *settings, "COUNTS=[400, 20]", cwd="/")
    assert "100 labelled images are enough to train on up to 20." in done.stderr
    (line,) = done.stdout.splitlines()
    assert line.startswith("    20 labels: ")
    with open(tmp_path / "work" / "learning_curve.csv", encoding="utf-8-sig", newline="") as file:
        assert [row["fold"] for row in csv.DictReader(file)] == ["0", "1"]
    done = run_script(script, *settings, "COUNTS=[400]", cwd="/", check=False)
    assert_one_sentence(done, "100 labelled images; label more")
