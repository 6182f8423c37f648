"""How many labels do I need? Train on more and more labels, and draw what each number brings.

    python benchmarks/learning_curve.py
    python benchmarks/learning_curve.py IMAGE_FOLDER=/my/captchas LABELS_FILE=None

Writes learning_curve.csv and learning_curve.png into WORK_FOLDER, anew after each number of labels,
and prints an estimate of what twice as many would bring.
"""

import csv
import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import matplotlib.pyplot as plt  # noqa: E402
import numpy as np  # noqa: E402
from folds import fold_of, held_out, measure, read_images  # noqa: E402

import utils  # noqa: E402
from files import tables  # noqa: E402
from training import plots  # noqa: E402

# ---- edit these ----------------------------------------------------------------------------------
IMAGE_FOLDER = utils.DATA / "download"  # the images
LABELS_FILE: Path | None = utils.DATA / "labels.csv"  # None: the file names are the labels
LABEL_PATTERN = "(.+)"  # see split_data.py
COUNTS = [25, 50, 100, 200, 400]  # how many labels to train on, as far as there are so many
FOLDS = 5  # parts; each is the test folder once, for each number of labels
SETTINGS = ""  # further NAME=value settings of train_script.py, separated by blanks
WORK_FOLDER = utils.DATA / "learning_curve"  # for splits, models and the result
# --------------------------------------------------------------------------------------------------


def main() -> None:
    """Measure and draw as the constants say."""
    utils.settings(globals(), sys.argv[1:])
    utils.at_least("FOLDS", FOLDS, 1)
    plots.use_screen(False)
    images = read_images(IMAGE_FOLDER, LABELS_FILE, LABEL_PATTERN)
    shares: dict[int, list[float]] = {}  # test images read right, one for each fold
    most = min(sum(fold_of(digest, FOLDS) != fold for digest in images) for fold in range(FOLDS))
    counts = sorted(count for count in COUNTS if count + held_out(count) <= most)
    if not counts:
        raise ValueError(f"{IMAGE_FOLDER} has {len(images)} labelled images; label more.")
    if len(counts) < len(COUNTS):
        utils.note(f"{len(images)} labelled images are enough to train on up to {max(counts)}.")
    for count in counts:
        shares[count] = []
        for fold in range(FOLDS):
            settings = SETTINGS.split()
            metrics = measure(images, fold, FOLDS, count, False, settings, WORK_FOLDER)
            shares[count].append(metrics["test"]["image_accuracy"])
        print(f"{count:6d} labels: {describe(shares[count])}", flush=True)
        write(shares)
    if len(shares) > 1:
        more = 2 * max(shares)
        expected = 1 - expected_error(mean_errors(shares), more)
        print(f"{more:6d} labels: about {100 * expected:.1f} %, if it goes on like this")


def describe(values: list[float]) -> str:
    """Return mean, least and greatest of some shares, in per cent."""
    mean, low, high = (100 * f(values) for f in (statistics.mean, min, max))
    return f"{mean:.1f} % of images ({low:.1f} to {high:.1f})"


def mean_errors(shares: dict[int, list[float]]) -> dict[int, float]:
    """Return the mean share of images read wrong for each number of labels."""
    return {count: 1 - statistics.mean(values) for count, values in shares.items()}


def expected_error(errors: dict[int, float], count: int) -> float:
    """Return the error to expect of ``count`` labels: a power law through those measured.

    Errors of learning machines fall about as a power of the number of examples (Hestness et al.
    2017, "Deep Learning Scaling is Predictable, Empirically"); where none was left, half an image
    in a thousand is assumed.
    """
    counts = np.log(list(errors))
    slope, offset = np.polyfit(counts, np.log(np.maximum(list(errors.values()), 0.0005)), 1)
    return float(min(1, np.exp(offset + slope * np.log(count))))


def write(shares: dict[int, list[float]]) -> None:
    """Write the table and the picture, from two numbers of labels on with the estimate."""
    errors = mean_errors(shares)
    with (
        tables.replacing(WORK_FOLDER / "learning_curve.csv") as temporary,
        open(temporary, "w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(["labels", "fold", "test_image_accuracy"])
        writer.writerows((n, fold, v) for n, all_ in shares.items() for fold, v in enumerate(all_))
    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    for count, values in shares.items():
        axes.plot(
            [count] * len(values), [100 * value for value in values], "o", color="C0", alpha=0.5
        )
    axes.plot(
        list(shares), [100 * (1 - error) for error in errors.values()], color="C0", label="mean"
    )
    ticks = list(shares)
    if len(shares) > 1:
        beyond = [max(shares), 2 * max(shares)]
        axes.plot(
            beyond, [100 * (1 - expected_error(errors, n)) for n in beyond], "--", color="C1",
            label="estimate",
        )  # fmt: skip
        ticks += beyond[1:]
    axes.set(xscale="log", xlabel="labelled images to train on", ylabel="test images read right, %")
    axes.set_xticks(ticks, [str(count) for count in ticks])
    axes.minorticks_off()  # on a logarithmic scale these would have numbers, too
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    plots.save(figure, WORK_FOLDER / "learning_curve.png")


if __name__ == "__main__":
    utils.run(main)
