"""What a confidence is worth, for the course: calibration, coverage, images of another kind.

    python benchmarks/course_trust.py

Judges the networks that course_few.py trained from scratch with 50 labelled digits, on digits that
none of them has seen, and draws. Trains them first where they are missing.
"""

import math
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import Tensor

import model
import utils
from benchmarks import course
from benchmarks.course import BLUE, ORANGE, RED
from files.images import fit_image
from model import CaptchaNet
from practice import forms
from training import dataset, plots
from training.calibration import confidences_of, coverage_table
from training.dataset import Split, encode_labels

# ---- edit these ----------------------------------------------------------------------------------
PART = "all"  # or interval, calibration, coverage, foreign
SEEDS = [0, 1, 2]
IMAGES = 2000  # to judge on
FOREIGN = 300  # images of each other kind
WORK_FOLDER = utils.DATA / "course"  # for images, splits and models
# --------------------------------------------------------------------------------------------------

BINS = [0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0]  # of confidence
# The first is what it learnt
KINDS = ("digit", "simple", "noise", "wild", "grain", "white")


def main() -> None:
    """Make the parts."""
    utils.settings(globals(), sys.argv[1:])
    plots.use_screen(False)
    for part in PARTS if PART == "all" else [PART]:
        PARTS[part]()


# ---------------------------------------------------------------- networks and images


def network(seed: int) -> CaptchaNet:
    """Return a network trained from scratch on 50 labelled digits."""
    run = course.few(WORK_FOLDER, 50, "None", seed)
    return model.load_model(run.folder / model.MODEL_NAME)[0]


def draw_split(net: CaptchaNet, count: int) -> Split:
    """Return digits as a network sees them, of which no split has one."""
    drawn = [forms.draw("digit", number, seed=7) for number in range(count)]
    images = [fit_image(np.asarray(image), net.spec) for image, _ in drawn]
    labels = [answer for _, answer in drawn]
    targets = torch.from_numpy(encode_labels(labels, net.charset, net.length))
    return Split(labels, torch.from_numpy(np.stack(images)), targets)


def draw_kind(net: CaptchaNet, kind: str, count: int) -> Tensor:
    """Return images of a kind as a network sees them, (N, C, H, W)."""
    rng = np.random.default_rng(0)
    if kind == "grain":
        shape = (count, net.spec.channels, net.spec.height, net.spec.width)
        return torch.from_numpy(rng.integers(0, 256, shape, dtype=np.uint8))
    if kind == "white":
        return torch.full((1, net.spec.channels, net.spec.height, net.spec.width), 255).byte()
    drawn = [np.asarray(forms.draw(kind, number, seed=7)[0]) for number in range(count)]
    return torch.from_numpy(np.stack([fit_image(image, net.spec) for image in drawn]))


def calibrated(net: CaptchaNet, images: Tensor) -> Tensor:
    """Return the logits of images (N, C, H, W), divided by the temperature."""
    return model.read_logits(net, images) / net.temperature


def right(logits: Tensor, split: Split) -> Tensor:
    """Return which images are read correctly, (N,) bool."""
    return (logits.argmax(dim=2) == split.targets).all(dim=1)


# ---------------------------------------------------------------- the parts


def interval() -> None:
    """Draw how wide the interval of an accuracy is, by the number of test images."""
    counts = [20, 50, 100, 200, 500, 1000, 2000, 5000]
    figure, axes = plt.subplots(figsize=(course.WIDTH, 3), layout="constrained")
    for share, colour, hatch in ((0.98, BLUE, None), (0.8, ORANGE, "//")):
        sides = np.array([utils.wilson_interval(share, count) for count in counts])  # (counts, 2)
        axes.fill_between(
            counts, 100 * sides[:, 0], 100 * sides[:, 1], color=colour, alpha=0.35, hatch=hatch,
            label=f"{100 * share:.0f} % of the test images read correctly",
        )  # fmt: skip
        axes.axhline(100 * share, color=colour, linewidth=1)
    axes.set(xscale="log", xlabel="test images", ylabel="where the true share is (%)")
    axes.set_title("Four times the test images make the interval half as wide", fontsize=11)
    axes.set_xticks(counts, [str(count) for count in counts])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small", loc="lower right")
    course.save(figure, "interval.png")


def calibration() -> None:
    """Compare the confidence with the share read correctly, before and after the temperature."""
    figure, axes = plt.subplots(figsize=(5.2, 4), layout="constrained")
    axes.plot([0, 100], [0, 100], color="0.6", linestyle=":", label="what it says is true")
    for seed in SEEDS:
        net = network(seed)
        split = draw_split(net, IMAGES)
        logits = model.read_logits(net, split.images)
        correct, temperature = right(logits, split), net.temperature.item()
        cold, warm = confidences_of(logits), confidences_of(logits / temperature)
        print(
            f"seed {seed}: temperature {temperature:.2f}; {100 * correct.float().mean():.1f} % of "
            f"{IMAGES} read correctly, mean confidence {100 * cold.mean():.1f} % before and "
            f"{100 * warm.mean():.1f} % after; above 0.99: "
            f"{100 * correct[cold > 0.99].float().mean():.1f} % of {(cold > 0.99).sum()} before, "
            f"{100 * correct[warm > 0.99].float().mean():.1f} % of {(warm > 0.99).sum()} after"
        )
        if seed == SEEDS[0]:
            reliability(axes, cold, correct, RED, "s--", "as trained")
            reliability(axes, warm, correct, BLUE, "o-", f"divided by {temperature:.2f}")
    axes.set(xlabel="mean confidence of a group of images (%)", ylabel="read correctly (%)")
    axes.set_title("The temperature brings confidence down to the truth", fontsize=11)
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    course.save(figure, "calibration.png")


def reliability(
    axes: plt.Axes, confidences: Tensor, correct: Tensor, colour: str, style: str, label: str
) -> None:
    """Draw the share read correctly of images of about the same confidence."""
    points = []
    for low, high in zip(BINS, BINS[1:], strict=False):
        inside = (confidences > low) & (confidences <= high)
        if inside.sum() >= 15:
            points.append((confidences[inside].mean(), correct[inside].float().mean()))
    xs, ys = (100 * torch.tensor(points)).T
    axes.plot(xs, ys, style, color=colour, label=label)


def coverage() -> None:
    """Draw which share is answered at which accuracy, as the threshold rises."""
    figure, axes = plt.subplots(figsize=(course.WIDTH, 3.2), layout="constrained")
    for seed, (colour, style) in zip(SEEDS, course.STYLES, strict=False):
        net = network(seed)
        split = draw_split(net, IMAGES)
        logits = calibrated(net, split.images)
        order = confidences_of(logits).argsort(descending=True)
        answered = torch.arange(1, IMAGES + 1)
        accuracy = right(logits, split)[order].cumsum(0) / answered
        axes.plot(
            100 * answered / IMAGES, 100 * accuracy, style, color=colour, label=f"seed {seed}"
        )
        val = dataset.load(course.digits(WORK_FOLDER), 50, seed).val
        rows = coverage_table(calibrated(net, val.images), logits, split)
        for row in rows[:2]:
            print(
                f"seed {seed}: wanted {100 * row['wanted_precision']:.1f} %, MIN_CONFIDENCE="
                f"{row['min_confidence']}: {100 * row['answered']:.1f} % answered, "
                f"{100 * (row['precision'] or math.nan):.1f} % of them correctly"
            )
    axes.set(xlabel="images answered, the surest first (%)", ylabel="of these correct (%)")
    axes.set_title("Who answers fewer images is right more often", fontsize=11)
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small", loc="lower left")
    course.save(figure, "coverage.png")


def foreign() -> None:
    """Show a network of ten digits what is no digit."""
    net = network(SEEDS[0])
    figure, axes = plt.subplots(figsize=(course.WIDTH, 3), layout="constrained")
    sheet: list[tuple[Tensor, str]] = []
    lines = [*course.STYLES, ("0.3", (0, (1, 3)))]
    for kind, (colour, style) in zip(KINDS, [*lines, ("", "")], strict=True):
        shares = []
        for other in [network(seed) for seed in SEEDS]:
            sure = confidences_of(calibrated(other, draw_kind(other, kind, FOREIGN)))
            shares.append(100 * (sure > 0.9).float().mean().item())
        print(f"{kind}: more than 90 % sure of {course.spread(shares)} of them")
        images = draw_kind(net, kind, FOREIGN)
        logits = calibrated(net, images)
        sure = confidences_of(logits)
        surest = int(sure.argmax())
        text = model.decode_labels(logits.argmax(dim=2).numpy(), net.charset)[surest]
        sheet.append((images[surest], f"{kind}: {text or 'nothing'} {100 * sure[surest]:.0f} %"))
        if colour:
            ranks = np.linspace(100, 0, len(sure))
            axes.plot(100 * np.sort(sure.numpy()), ranks, linestyle=style, color=colour, label=kind)
    axes.set(xlabel="confidence (%)", ylabel="images at least so sure (%)")
    axes.set_title("Only the first are digits; it is sure of some others, too", fontsize=11)
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small", loc="lower left")
    course.save(figure, "foreign.png")
    pictures, titles = zip(*sheet, strict=True)
    heading = "Of each kind the image that it is surest of"
    shown = [image.numpy() for image in pictures]
    figure = plots.image_sheet(shown, titles, ["black"] * 6, heading, 6)
    figure.set_size_inches(course.WIDTH, 1.6)
    course.save(figure, "foreign_images.png")


PARTS: dict[str, Callable[[], None]] = {
    "interval": interval,
    "calibration": calibration,
    "coverage": coverage,
    "foreign": foreign,
}

if __name__ == "__main__":
    utils.run(main)
