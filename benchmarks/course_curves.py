"""Good and bad trainings for the course: over-fitting, under-fitting, too fast, wrong labels.

    python benchmarks/course_curves.py
    python benchmarks/course_curves.py PART=wrong SEEDS=[0]

Prints for each seed what was read and what the check-up found, and draws the curves of the first.
Trainings that are in WORK_FOLDER already are not repeated.
"""

import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

import utils
from benchmarks import course
from benchmarks.course import BLUE, GREEN, RED, Run
from files.tables import LABEL_COLUMNS, read_table, write_table
from practice import forms
from reading.reader import Reader
from training import plots

# ---- edit these ----------------------------------------------------------------------------------
PART = "all"  # or good, over, fewer_weights, under, fast, hundredfold, wrong
SEEDS = [0, 1, 2]  # of over, fewer_weights and wrong; the first of all others
WRONG_SHARE = 0.3  # of the labels
WORK_FOLDER = utils.DATA / "course"  # for images, splits and models
# --------------------------------------------------------------------------------------------------

# What each training is told besides START_FROM=None and EPOCHS=10, and the title of its picture
PARTS = {
    "good": ("", "Good: both losses fall, validation is read as well as training"),
    "over": (
        "TRAIN_IMAGES=30 HEAD=flatten",
        "Over-fitting: the training loss falls on, the validation loss stays high",
    ),
    "fewer_weights": ("TRAIN_IMAGES=30", ""),  # over-fitting with attention: figures only
    "under": ("LEARNING_RATE=0.0001", "Under-fitting: both losses stay high, and close together"),
    "fast": ("LEARNING_RATE=1", "Too fast: the losses jump and end where guessing is"),
    "hundredfold": ("LEARNING_RATE=0.3", ""),
    "wrong": ("", "27 % of the labels wrong: the training loss falls on, validation cannot"),
}


def main() -> None:
    """Train as the constants say, print and draw."""
    utils.settings(globals(), sys.argv[1:])
    plots.use_screen(False)
    for part in PARTS if PART == "all" else [PART]:
        settings, title = PARTS[part]
        runs = []
        for seed in SEEDS if part in ("over", "fewer_weights", "wrong") else SEEDS[:1]:
            split = course.digits(WORK_FOLDER)
            if part == "wrong":
                split = mislabel(WORK_FOLDER, WRONG_SHARE)
            run = course.train(
                WORK_FOLDER / f"curves_{part}_{seed}", f"SPLIT_FOLDER={split}", "START_FROM=None",
                "EPOCHS=10", f"SEED={seed}", *settings.split(),
            )  # fmt: skip
            runs.append(run)
            print(f"{part}, seed {seed}: {described(run)}", flush=True)
            if part == "wrong":
                print(f"  {100 * truly_read(run):.1f} % of 500 digits with true labels", flush=True)
        if title:
            draw(runs[0], part, title)


def mislabel(work_folder: Path, share: float) -> Path:
    """Return a split folder of the digits in which a share of the labels is any digit."""
    table, split = work_folder / "digit_wrong.csv", work_folder / "digit_wrong_split"
    if not split.exists():
        rng = random.Random(0)
        rows = read_table(work_folder / "digit.csv", LABEL_COLUMNS)
        for row in rows:
            if rng.random() < share:
                row["label"] = rng.choice("0123456789")
        write_table(table, LABEL_COLUMNS, [list(row.values()) for row in rows])
        course.call(
            "split_data.py", f"IMAGE_FOLDER={work_folder / 'digit'}", f"LABELS_FILE={table}",
            f"SPLIT_FOLDER={split}", "VAL_FRACTION=0.2", "TEST_FRACTION=0.5",
        )  # fmt: skip
    return split


def described(run: Run) -> str:
    """Return the last epoch, the test and the findings of a training."""
    last, test = run.history[-1], run.metrics["test"]
    return (
        f"train loss {last['train_loss']:.3f}, validation loss {last['val_loss']:.3f}; "
        f"{100 * last['val_image_accuracy']:.1f} % of validation and "
        f"{100 * test['image_accuracy']:.1f} % of the test read correctly. {' '.join(run.late())}"
    )


def truly_read(run: Run) -> float:
    """Return the share that a network reads of 500 new digits, whose labels are all correct."""
    drawn = [forms.draw("digit", number, seed=7) for number in range(500)]
    read = Reader(run.folder / "captcha.safetensors").read_all([np.asarray(i) for i, _ in drawn])
    return sum(one.text == answer for one, (_, answer) in zip(read, drawn, strict=True)) / 500


def draw(run: Run, part: str, title: str) -> None:
    """Draw the losses and the accuracies of a training, epoch by epoch."""
    figure, (losses, shares) = plt.subplots(
        1, 2, figsize=(course.WIDTH, 3.2), layout="constrained", sharex=True
    )
    figure.suptitle(title, fontsize=11)
    line(losses, run, "train_loss", 1, "training (bent images)", BLUE, "-")
    line(losses, run, "val_loss", 1, "validation", RED, "--")
    losses.axhline(2.303, color=GREEN, linestyle=":", label="guessing")
    losses.set(yscale="log", ylabel="loss (nats per character)", xlabel="epoch")
    line(shares, run, "train_character_accuracy", 100, "training (bent images)", BLUE, "-")
    line(shares, run, "val_image_accuracy", 100, "validation", RED, "--")
    shares.axhline(10, color=GREEN, linestyle=":")
    shares.set(ylim=(-2, 102), ylabel="digits read correctly (%)", xlabel="epoch")
    losses.grid(alpha=0.3)
    shares.grid(alpha=0.3)
    figure.legend(*losses.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    course.save(figure, f"curves_{part}.png")


def line(
    axes: Axes, run: Run, name: str, factor: float, label: str, colour: str, style: str
) -> None:
    """Draw one column of the history."""
    epochs = [row["epoch"] for row in run.history]
    axes.plot(epochs, [factor * row[name] for row in run.history], style, color=colour, label=label)


if __name__ == "__main__":
    utils.run(main)
