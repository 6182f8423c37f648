"""How many labels do I need? Train on more and more labels, and plot what each number brings.

    python benchmarks/learning_curve.py
    python benchmarks/learning_curve.py IMAGE_FOLDER=/my/captchas LABELS_FILE=None

Writes learning_curve.csv and learning_curve.png into WORK_FOLDER, anew after each number of labels,
and prints an estimate of what twice as many would bring.
"""

import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import matplotlib.pyplot as plt
import numpy as np

import utils
from benchmarks.folds import deal, fold_of, held_out, read_images, train
from files.tables import write_table
from training import plots

# ---- edit these ----------------------------------------------------------------------------------
IMAGE_FOLDER = utils.DATA / "download"  # the images
LABELS_FILE: Path | None = utils.DATA / "labels.csv"  # None: the file names are the labels
LABEL_PATTERN = "(.+)"  # see split_data.py
COUNTS = [25, 50, 100, 200, 400]  # how many labels to train on, as far as there are so many
FOLDS = 5  # parts; each is the test split once, for each number of labels
SETTINGS = ""  # further NAME=value settings of train_script.py, separated by blanks
WORK_FOLDER = utils.DATA / "learning_curve"  # for splits, models and the result
# --------------------------------------------------------------------------------------------------

Accuracies = dict[int, list[float]]  # of the test images, per number of labels: one for each fold


def main() -> None:
    """Measure and plot as the constants say."""
    utils.settings(globals(), sys.argv[1:])
    utils.at_least("FOLDS", FOLDS, 1)
    plots.use_screen(False)
    images = read_images(IMAGE_FOLDER, LABELS_FILE, LABEL_PATTERN, WORK_FOLDER)
    most = min(sum(fold_of(digest, FOLDS) != fold for digest in images) for fold in range(FOLDS))
    counts = sorted(count for count in COUNTS if count + held_out(count) <= most)
    if not counts:
        raise ValueError(f"{IMAGE_FOLDER} has {len(images)} labelled images; label more.")
    if len(counts) < len(COUNTS):
        utils.note(f"{len(images)} labelled images are enough to train on up to {max(counts)}.")
    accuracies: Accuracies = {}
    for count in counts:
        accuracies[count] = []
        for fold in range(FOLDS):
            split = deal(images, fold, FOLDS, count, WORK_FOLDER)
            metrics = train(split, fold, count, SETTINGS.split())
            accuracies[count].append(metrics["test"]["image_accuracy"])
        print(f"{count:6d} labels: {describe(accuracies[count])}", flush=True)
        write(accuracies, WORK_FOLDER)
    if len(accuracies) > 1:
        more = 2 * max(accuracies)
        expected = 1 - expected_error(mean_errors(accuracies), more)
        print(f"{more:6d} labels: about {100 * expected:.1f} %, if it goes on like this")


def describe(values: list[float]) -> str:
    """Return mean, lowest and highest of some accuracies, in per cent."""
    mean, low, high = 100 * statistics.mean(values), 100 * min(values), 100 * max(values)
    return f"{mean:.1f} % of images ({low:.1f} to {high:.1f})"


def mean_errors(accuracies: Accuracies) -> dict[int, float]:
    """Return the mean share of images read wrongly for each number of labels."""
    return {count: 1 - statistics.mean(values) for count, values in accuracies.items()}


def expected_error(errors: dict[int, float], count: int) -> float:
    """Return the error to expect of ``count`` labels: a power law through those measured.

    Errors of learning machines fall about as a power of the number of examples (Hestness et al.
    2017, "Deep Learning Scaling is Predictable, Empirically"). Where no error was left, half an
    image in a thousand is assumed.
    """
    counts = np.log(list(errors))
    slope, offset = np.polyfit(counts, np.log(np.maximum(list(errors.values()), 0.0005)), 1)
    return float(min(1, np.exp(offset + slope * np.log(count))))


def write(accuracies: Accuracies, folder: Path) -> None:
    """Write the table and the picture."""
    rows = [(n, fold, v) for n, values in accuracies.items() for fold, v in enumerate(values)]
    write_table(folder / "learning_curve.csv", ["labels", "fold", "test_image_accuracy"], rows)
    plots.save(plot(accuracies), folder / "learning_curve.png")


def plot(accuracies: Accuracies) -> plots.Figure:
    """Return the curve, with the estimate from two numbers of labels on."""
    errors = mean_errors(accuracies)
    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    for count, values in accuracies.items():
        percent = [100 * value for value in values]
        axes.plot([count] * len(values), percent, "o", color=plots.BLUE, alpha=0.5)
    means = [100 * (1 - error) for error in errors.values()]
    axes.plot(list(accuracies), means, color=plots.BLUE, label="mean")
    ticks = list(accuracies)
    if len(accuracies) > 1:
        beyond = [max(accuracies), 2 * max(accuracies)]
        expected = [100 * (1 - expected_error(errors, count)) for count in beyond]
        axes.plot(beyond, expected, "--", color=plots.RED, label="estimate")
        ticks += beyond[1:]
    axes.set(
        xscale="log", xlabel="labelled images to train on", ylabel="test images read correctly, %"
    )
    axes.set_xticks(ticks, [str(count) for count in ticks])
    axes.set_title("What more labels bring")
    axes.minorticks_off()  # on a logarithmic scale these would have numbers, too
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    return figure


if __name__ == "__main__":
    utils.run(main)
