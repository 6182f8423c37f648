"""Every picture that the scripts draw with matplotlib."""

import warnings
from collections.abc import Sequence
from pathlib import Path

import cv2
import matplotlib
import matplotlib.pyplot as plt
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

from files.atomic import replacing
from training import runs
from utils import wilson_interval

# Colours that colour-blind people tell apart (Okabe and Ito 2008, "Color Universal Design"); lines
# differ in their dashes too, for a page printed in grey.
BLUE, RED, GREEN, ORANGE = "#0072B2", "#D55E00", "#009E73", "#E69F00"
WRONG = "#B03A00"  # what is written about a mistake: RED, dark enough to be read
LINES = cycler(color=[RED, BLUE, GREEN], linestyle=["--", "-", "-."])
CONFIDENCE_BINS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
WORST_PAIRS = 5  # of characters, named above the confusion matrix


def use_screen(wanted: bool) -> None:
    """Choose whether pictures are also shown in windows, where there is a display."""
    if not wanted:
        matplotlib.use("agg")  # which can only write files


def on_screen() -> bool:
    """Tell whether pictures are shown in windows."""
    # When asked for its backend, matplotlib picks one that works here.
    return matplotlib.get_backend().lower() != "agg"


def save(figure: Figure, path: Path) -> None:
    """Write a picture and leave it open for show()."""
    with replacing(path) as temporary, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # it shows a box instead
        figure.savefig(temporary, dpi=110, format="png")
    if not on_screen():
        plt.close(figure)


def show() -> None:
    """Show all pictures that are open, until the person closes them."""
    if on_screen():
        plt.show()


class LiveCurves:
    """The curves of a training, plotted anew after each epoch."""

    def __init__(self) -> None:
        self.figure, (self.loss_axes, self.accuracy_axes) = plt.subplots(
            1, 2, figsize=(10, 4), layout="constrained"
        )

    def plot(self, history: Sequence[dict[str, float]]) -> None:
        """Plot the history, one row per epoch, as train_script.py keeps it."""
        epochs = [row["epoch"] for row in history]
        best = runs.best_of(history)["epoch"]
        for axes in (self.loss_axes, self.accuracy_axes):
            axes.clear()
            axes.set_prop_cycle(LINES)
            axes.axvline(best, color="0.7", linestyle=":", label=f"kept: epoch {best:.0f}")
            axes.set_xlabel("epoch")
            axes.grid(alpha=0.3)
        for name, label in (("train_loss", "train (augmented)"), ("val_loss", "validation")):
            self.loss_axes.plot(epochs, [row[name] for row in history], label=label)
        self.loss_axes.set(yscale="log", ylabel="cross-entropy per character, nats")
        self.loss_axes.set_title("Loss: both lines should fall together")
        for name, label in (
            ("train_character_accuracy", "train, characters (augmented)"),
            ("val_character_accuracy", "validation, characters"),
            ("val_image_accuracy", "validation, whole images"),
        ):
            self.accuracy_axes.plot(epochs, [100 * row[name] for row in history], label=label)
        self.accuracy_axes.set(ylim=(-2, 102), ylabel="read correctly, %")
        self.accuracy_axes.set_title("Accuracy: whole images come last")
        self.loss_axes.legend(fontsize="small")
        self.accuracy_axes.legend(fontsize="small", loc="lower right")

    def refresh(self, history: Sequence[dict[str, float]]) -> None:
        """Update the window, without waiting for the person."""
        self.plot(history)
        plt.pause(0.01)

    def close(self) -> None:
        """Close the window; the finished curves come with the other pictures."""
        plt.close(self.figure)


def picture(axes: Axes, image: np.ndarray, title: str = "", colour: str = "black") -> None:
    """Show one image, (channels, H, W) or (H, W, 3) uint8, under a title and without scales."""
    if image.shape[0] in (1, 3):
        image = image.transpose(1, 2, 0)
    if image.shape[2] == 1:
        image = image.repeat(3, axis=2)
    axes.imshow(image)
    axes.set_title(title, fontsize=9, color=colour, family="monospace", parse_math=False)
    axes.axis("off")


def image_sheet(
    images: Sequence[np.ndarray],
    titles: Sequence[str],
    colours: Sequence[str],
    heading: str,
    columns: int = 4,
) -> Figure:
    """Lay images out in rows, each under its title, all under a heading."""
    rows = max(1, -(-len(images) // columns))
    height = 1.05 * rows + 0.5  # inches
    figure, axes = plt.subplots(rows, columns, figsize=(2.6 * columns, height), squeeze=False)
    figure.subplots_adjust(0.01, 0.02, 0.99, 1 - 0.6 / height, hspace=0.45, wspace=0.05)
    figure.suptitle(heading, fontsize=11, y=1 - 0.1 / height, va="top", parse_math=False)
    for place in axes.flat:
        place.axis("off")
    for place, image, title, colour in zip(axes.flat, images, titles, colours, strict=False):
        picture(place, image, title, colour)
    return figure


def visible(text: str) -> str:
    """Return a label as it can be shown: what has no glyph becomes a code point."""
    return "".join(c if c.isprintable() else f"<{ord(c):x}>" for c in text)


def mistakes_sheet(mistakes: Sequence[tuple[np.ndarray, str, str, float]], total: int) -> Figure:
    """Show the mistakes, each (image, label, prediction, confidence), the surest first."""
    shown = mistakes[:24]
    if not shown:
        figure = plt.figure(figsize=(6, 1.5))
        figure.text(0.5, 0.5, f"No mistake in {total} test images.", ha="center", va="center")
        return figure
    titles = [
        f"{visible(label)} read as {visible(text) or 'nothing'} ({100 * confidence:.0f} %)"
        for _, label, text, confidence in shown
    ]
    heading = f"Mistakes in {total} test images, the surest first: could you read them?"
    return image_sheet([image for image, *_ in shown], titles, [WRONG] * len(shown), heading, 3)


def runs_plot(accuracies: Sequence[float], changes: Sequence[str]) -> Figure:
    """Plot the validation accuracy of runs, the oldest first, with what each changed."""
    figure, axes = plt.subplots(figsize=(8, 4), layout="constrained")
    numbers = range(1, len(accuracies) + 1)
    axes.plot(numbers, [100 * accuracy for accuracy in accuracies], marker="o", color=BLUE)
    axes.set(ylabel="validation, whole images, %")
    axes.set_title("What each change brought: higher is better")
    names = [f"{number}: {change[:24] or 'as before'}" for number, change in enumerate(changes, 1)]
    names[0] = "1"
    axes.set_xticks(numbers, names, rotation=40, ha="right", fontsize=8, parse_math=False)
    axes.grid(alpha=0.3)
    return figure


def confusion_matrix(counts: np.ndarray, charset: str) -> Figure:
    """Plot how often each character (row) was read as each (column); blanks are "end".

    ``counts`` is (classes, classes). Each row is scaled by its sum, so rare characters show too.
    """
    names = ["end", *map(visible, charset)]
    used = np.flatnonzero(counts.sum(axis=0) + counts.sum(axis=1))
    counts, names = counts[np.ix_(used, used)], [names[i] for i in used]
    percent = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = max(4.5, 0.24 * len(names) + 1.5)
    figure, axes = plt.subplots(figsize=(side + 1, side), layout="constrained")
    # Near 0 the scale is stretched, which makes single mistakes visible.
    shown = axes.imshow(percent, cmap="Blues", norm=PowerNorm(0.5, 0, 100))
    figure.colorbar(shown, shrink=0.8, label="share of the label's characters, %")
    for row, column in zip(*np.nonzero(counts), strict=True):
        if row != column and len(names) <= 70:
            axes.text(column, row, counts[row, column], ha="center", va="center", fontsize=7)
    axes.set_xticks(range(len(names)), names, fontsize=8, parse_math=False)
    axes.set_yticks(range(len(names)), names, fontsize=8, parse_math=False)
    axes.set(xlabel="read as", ylabel="label")
    axes.set_title(worst_pairs(counts, names), fontsize=10, parse_math=False)
    return figure


def worst_pairs(counts: np.ndarray, names: Sequence[str]) -> str:
    """Return a title that names the most frequent confusions of ``counts`` (classes, classes)."""
    wrong = counts * (1 - np.eye(len(names), dtype=int))
    rows, columns = np.unravel_index(np.argsort(-wrong, axis=None, kind="stable"), wrong.shape)
    pairs = [
        f"{names[row]} as {names[column]} ({wrong[row, column]})"
        for row, column in zip(rows[:WORST_PAIRS], columns[:WORST_PAIRS], strict=True)
        if wrong[row, column]
    ]
    if not pairs:
        return "Test images: no character is taken for another"
    return "Test images, most often mistaken:\n" + ", ".join(pairs)


def confidence_plot(confidences: np.ndarray, correct: np.ndarray) -> Figure:
    """Plot what confidence is worth: whether it is true, and what answering less brings.

    ``confidences`` are those of the test images, (N,), ``correct`` which were read correctly, (N,).
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    left.plot([0, 100], [0, 100], ":", color="0.6", label="as often as it says")
    left.plot([], [], "o-", color=BLUE, label="so many images, 95 % interval")
    bins = np.digitize(confidences, CONFIDENCE_BINS)
    for number in np.unique(bins):
        chosen = bins == number
        share, count = float(correct[chosen].mean()), int(chosen.sum())
        low, high = wilson_interval(share, count)
        mean = 100 * confidences[chosen].mean()
        left.plot([mean, mean], [100 * low, 100 * high], color=BLUE)
        left.plot(mean, 100 * share, "o", color=BLUE)
        left.annotate(f" {count}", (mean, 100 * share), fontsize=8)
    left.set(xlabel="confidence, %", ylabel="read correctly, %", xlim=(-2, 107), ylim=(-2, 105))
    left.set_title("Is it right as often as it says?")
    left.legend(fontsize="small", loc="upper left")

    order = np.argsort(-confidences, kind="stable")
    answered = np.arange(1, len(order) + 1)
    right.plot(100 * answered / len(order), 100 * correct[order].cumsum() / answered, color=BLUE)
    right.set(xlabel="answered, the surest first, %", ylabel="of these read correctly, %")
    right.set(xlim=(0, 102), ylim=(None, 100.5))
    right.set_title("What leaving the unsure ones unanswered brings")
    for axes in (left, right):
        axes.grid(alpha=0.3)
    return figure


def attention_sheet(
    images: Sequence[np.ndarray], maps: np.ndarray, texts: Sequence[str], confidences: np.ndarray
) -> Figure:
    """Show over each image where each position attended.

    ``images`` are (channels, H, W) uint8, ``maps`` (N, length, h, w), ``texts`` the
    predictions, ``confidences`` (N, length). Of long labels the first 12 positions are shown.
    """
    rows, length = maps.shape[:2]
    length = min(length, 12)
    width, height = 1.7 * (length + 1), 0.75 * rows + 0.6  # inches
    figure, axes = plt.subplots(rows, length + 1, figsize=(width, height), squeeze=False)
    figure.subplots_adjust(0.005, 0.01, 0.995, 1 - 0.55 / height, hspace=0.5, wspace=0.04)
    heading = "What was read, and where each position looked (red), with how sure it is"
    figure.suptitle(heading, fontsize=11, y=1 - 0.08 / height, va="top")
    for row, image in enumerate(images):
        picture(axes[row, 0], image, visible(texts[row]))
        grey = image.mean(axis=0)
        for position in range(length):
            place = axes[row, position + 1]
            extent = (0, grey.shape[1], grey.shape[0], 0)
            place.imshow(grey, "gray", extent=extent, vmin=0, vmax=255)
            light = cv2.resize(maps[row, position], grey.shape[::-1], interpolation=cv2.INTER_CUBIC)
            light = (light / max(light.max(), 1e-9)).clip(0, 1)  # (H, W); it may attend nowhere
            red = np.zeros_like(light)  # everywhere, but seen only where there is attention
            place.imshow(red, "autumn", alpha=0.8 * light, extent=extent, vmin=0, vmax=1)
            place.set_title(f"{position + 1}: {100 * confidences[row, position]:.0f} %", fontsize=8)
            place.axis("off")
    return figure
