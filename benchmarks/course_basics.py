"""The pictures of the first five chapters of the course, and the figures of their exercises.

python benchmarks/course_basics.py
python benchmarks/course_basics.py PART=exercises
"""

import contextlib
import csv
import io
import re
import statistics
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

import utils
from benchmarks import course
from benchmarks.course import WIDTH
from files.framing import find_frame
from files.images import crop, fit_image, read_image
from training import augment, plots
from training.plots import BLUE, ORANGE, RED

# ---- edit these ----------------------------------------------------------------------------------
PART = "all"  # or look, labels, preprocess, smallest, loop: a picture each; or exercises: figures
SEEDS = [0, 1, 2]  # of trainings and of the practice site
DIGITS = 1000  # to train smallest.py on
WORK_FOLDER = utils.DATA / "course"  # for images
OUTPUT_FOLDER = utils.ROOT / "docs" / "course"  # for the pictures
# --------------------------------------------------------------------------------------------------

SMALLEST = utils.ROOT / "docs" / "course" / "smallest.py"


def main() -> None:
    """Make the parts."""
    utils.settings(globals(), sys.argv[1:])
    plots.use_screen(False)
    plt.rcParams |= {"axes.titlesize": 10, "figure.titlesize": 10, "legend.fontsize": 9}
    for part in PARTS if PART == "all" else [PART]:
        figure = PARTS[part]()
        if figure:
            plots.save(figure, OUTPUT_FOLDER / f"{part}.png")
            plt.close(figure)


# ---------------------------------------------------------------- images and trainings


def fetch(form: str, count: int, seed: int = 0) -> Path:
    """Return a folder with practice images, which is filled if it is not there."""
    folder = WORK_FOLDER / f"{form}-{count}-{seed}"
    if not folder.exists():
        settings = [f"SOURCE=practice:{form}", f"COUNT={count}", f"SEED={seed}"]
        course.call("getData.py", *settings, f"DOWNLOAD_FOLDER={folder}")
    return folder


def images_of(folder: Path) -> tuple[list[np.ndarray], list[str]]:
    """Return the images of a folder, RGB (H, W, 3), by name, and their answers."""
    with open(folder / "index.csv", encoding="utf-8-sig") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: row["image"])
    images = [read_image(folder / row["image"]) for row in rows]
    return images, [row["answer"] for row in rows]


def smallest(*edits: tuple[str, str]) -> dict[str, Any]:
    """Return the names of smallest.py with edits, each (old, new), as a reader would make them."""
    program = SMALLEST.read_text(encoding="utf-8")
    for old, new in edits:
        if old not in program:
            raise ValueError(f"{SMALLEST} has no {old!r}.")
        program = program.replace(old, new)
    names: dict[str, Any] = {"__name__": "smallest", "__file__": str(SMALLEST)}
    exec(compile(program, str(SMALLEST), "exec"), names)
    return names


def train(names: dict[str, Any], seed: int, images: Tensor, digits: Tensor) -> tuple[Any, str]:
    """Return the network that smallest.py trains on these images, and what it printed."""
    names["SEED"] = seed
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        net = names["train"](images, digits)
    return net, printed.getvalue()


def share_read(names: dict[str, Any], net: Any, images: Tensor, digits: Tensor) -> float:  # noqa: ANN401
    """Return the share of images that a network of smallest.py reads correctly, in per cent."""
    return 100 * (names["read"](net, images) == digits).float().mean().item()


# ---------------------------------------------------------------- 1: look


def look() -> Figure:
    """Show digits and captchas of the practice site, and how often each character occurs."""
    figure = plt.figure(figsize=(WIDTH, 4.6), layout="constrained")
    rows = figure.subfigures(3, 1, height_ratios=[1, 1.5, 2.2])
    rows[0].suptitle("Digits, 28 x 28 pixels, one character each")
    for axes, image, answer in sample(rows[0], fetch("digit", DIGITS), 1, 10):
        plots.picture(axes, image, answer)
    rows[1].suptitle("Captchas, 200 x 50 pixels, five characters each")
    simple = fetch("simple", 300)
    for axes, image, answer in sample(rows[1], simple, 2, 5):
        plots.picture(axes, image, answer)
    axes = rows[2].subplots()
    counts = sorted(Counter("".join(images_of(simple)[1])).items())
    axes.bar(*zip(*counts, strict=True), color=BLUE)
    mean = sum(count for _, count in counts) / len(counts)
    axes.axhline(mean, color=RED, linestyle="--", label=f"all equally often: {mean:.0f}")
    title = f"The {len(counts)} characters of 300 captchas occur about equally often"
    axes.set(xlabel="character", ylabel="times it occurs", title=title, ylim=(0, 1.7 * mean))
    axes.legend(loc="upper right")
    return figure


def sample(figure: Any, folder: Path, rows: int, columns: int):  # noqa: ANN401 (a SubFigure)
    """Yield axes, image and answer of the first images of a folder."""
    return zip(figure.subplots(rows, columns).flat, *images_of(folder), strict=False)


# ---------------------------------------------------------------- 2: labels


def labels() -> Figure:
    """Draw what a test promises and what is true, with and without copies across the split."""
    promised, true = {}, {}
    for name, leak in (("each image on one side", False), ("copies on both sides", True)):
        promised[name], true[name] = zip(*[leaking(seed, leak) for seed in SEEDS], strict=True)
        print(name, "promised", promised[name], "true", true[name])
    figure, axes = plt.subplots(figsize=(WIDTH, 2.6), layout="constrained")
    for row, name in enumerate(promised):
        axes.plot(promised[name], [row + 0.12] * len(SEEDS), "o", color=BLUE, markersize=9)
        axes.plot(true[name], [row - 0.12] * len(SEEDS), "D", color=ORANGE, markersize=8)
    axes.lines[0].set_label("what the test says")
    axes.lines[1].set_label("what 2000 new images say")
    axes.set_yticks(range(len(promised)), list(promised))
    title = "A test that shares images with the training promises too much"
    axes.set(xlabel="digits read correctly, %", ylim=(-0.6, 1.6), title=title)
    axes.grid(axis="x", alpha=0.3)
    axes.legend(loc="lower right")
    return figure


def leaking(seed: int, leak: bool) -> tuple[float, float]:
    """Return what the test said and what is true, in per cent.

    Half of the digits are there twice, the copy with another grain; a fifth of all is for the test.
    With ``leak`` chance alone decides which, and most copies come to stand on the other side.
    """
    names = smallest()
    images, digits = names["load"](fetch("digit", DIGITS))
    half = len(images) // 2
    torch.manual_seed(seed)
    copies = (images[:half] + 0.02 * torch.randn_like(images[:half])).clamp(-1, 1)
    both = torch.arange(2 * half).unflatten(0, (2, half)).T.flatten()  # each beside its copy
    order = torch.randperm(2 * half) if leak else both
    images, digits = torch.cat([images[:half], copies])[order], digits[:half].repeat(2)[order]
    count = round(names["TRAIN_SHARE"] * len(images))
    net, _ = train(names, seed, images[:count], digits[:count])
    new = names["load"](fetch("digit", 2000, seed=9))
    return share_read(names, net, images[count:], digits[count:]), share_read(names, net, *new)


# ---------------------------------------------------------------- 3: preprocess


def preprocess() -> Figure:
    """Draw what the frame, the scale, grey and each kind of augmentation make of one image."""
    images, answers = images_of(fetch("simple", 300))
    # As from a site that leaves grey room on the right.
    pages = [np.pad(image, ((0, 0), (0, 200), (0, 0)), constant_values=200) for image in images]
    spec = find_frame(pages)
    page = pages[0]
    whole = torch.from_numpy(fit_image(page, spec))[None].float()  # (1, C, H, W)
    still: dict[str, Any] = {"turn": 0.0, "stretch": 0.0, "lean": 0.0, "shift": 0.0, "bend": 0.0}
    usual = {"turn": 0.08, "stretch": 0.12, "lean": 0.15, "shift": 0.06, "bend": 0.025}
    shown = {
        f"fetched: {page.shape[1]} x {page.shape[0]}": page,
        "cut to the frame": crop(page, spec.cut),
        f"scaled: {spec.width} x {spec.height}": pixels(whole),
        "grey": fit_image(page, spec._replace(channels=1)),
        "two channels inverted": pixels(torch.cat([255 - whole[:, :2], whole[:, 2:]], dim=1)),
    }
    torch.manual_seed(0)
    for name, amount in usual.items():
        views = augment.warp(whole.repeat(30, 1, 1, 1), **still | {name: amount})  # (30, C, H, W)
        most = (views - whole).abs().mean(dim=(1, 2, 3)).argmax()
        shown[f"{name} (most of 30)"] = pixels(views[most:])
    shown["contrast, noise"] = pixels(augment.recolour(whole, 0.25, 25, 12))
    for number in range(4):
        shown[f"all of it, view {number + 1}"] = pixels(augment.augment(whole))
    figure, places = plt.subplots(3, 5, figsize=(WIDTH, 2.3), layout="constrained")
    for axes, (title, picture) in zip(places.flat, shown.items(), strict=True):
        plots.picture(axes, picture)
        axes.images[0].set_interpolation("nearest")  # makes a smaller file
        axes.set_title(title, fontsize=8)
    figure.suptitle(f"{answers[0]} on its way into the network, and as the training sees it")
    return figure


def pixels(images: Tensor) -> np.ndarray:
    """Return the first of images (B, C, H, W) as uint8."""
    return images[0].round().clamp(0, 255).byte().numpy()


# ---------------------------------------------------------------- 4: smallest


def smallest_net() -> Figure:
    """Draw what each layer of the trained smallest network makes of one test image."""
    names = smallest()
    images, digits = names["load"](fetch("digit", DIGITS))
    count = round(names["TRAIN_SHARE"] * len(images))
    net, _ = train(names, 0, images[:count], digits[:count])
    right = names["read"](net, images[count:]) == digits[count:]
    number = count + int(right.nonzero()[0])
    with torch.no_grad():
        first = F.max_pool2d(F.relu(net.conv1(images[number : number + 1])), 2)  # (1, 8, 14, 14)
        second = F.max_pool2d(F.relu(net.conv2(first)), 2)  # (1, 16, 7, 7)
        logits = net.linear(second.flatten(1))[0]  # (10,)
    figure = plt.figure(figsize=(WIDTH, 3), layout="constrained")
    figure.suptitle("From 784 pixels to ten logits: what each layer makes of a test image")
    parts = figure.subfigures(1, 4, width_ratios=[1, 1.1, 2, 1.8])
    for part, maps, shape, title in (
        (parts[0], images[number], (1, 1), "the image\n28 x 28"),
        (parts[1], first[0], (4, 2), "conv1, pooled\n8 maps, 14 x 14"),
        (parts[2], second[0], (4, 4), "conv2, pooled\n16 maps, 7 x 7"),
    ):
        part.suptitle(title, fontsize=9)
        for axes, values in zip(part.subplots(*shape, squeeze=False).flat, maps, strict=True):
            axes.imshow(values, "gray")
            axes.axis("off")
    parts[3].suptitle("linear: 10 logits", fontsize=9)
    axes = parts[3].subplots()
    best = int(logits.argmax())
    colours = [RED if digit == best else BLUE for digit in range(10)]
    axes.barh(range(10), logits, color=colours)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_yticks(range(10))
    axes.invert_yaxis()
    axes.set(ylabel="digit", xlabel="logit: what speaks for it")
    return figure


# ---------------------------------------------------------------- 5: loop


def loop() -> Figure:
    """Draw the cross-entropy of a probability, and the loss as one weight is turned."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 3.3), layout="constrained")
    chances = np.linspace(0.005, 1, 400)
    left.plot(chances, -np.log(chances), color=BLUE)
    for chance, text, place in (
        (0.1, "one of ten: 2.30", (8, 8)),
        (0.5, "one of two: 0.69", (6, 8)),
        (0.99, "sure: 0.01", (-58, 12)),
    ):
        left.plot([chance], [-np.log(chance)], "o", color=RED)
        left.annotate(text, (chance, -np.log(chance)), place, textcoords="offset points")
    left.set(xlabel="probability given to the right digit", ylabel="loss of this image, -ln p")
    left.set(title="The less expected the truth, the larger the loss", xlim=(0, 1.03))
    names = smallest()
    images, digits = names["load"](fetch("digit", DIGITS))
    torch.manual_seed(0)
    net = names["SmallNet"]()
    loss = F.cross_entropy(net(images[:800]), digits[:800])
    loss.backward()
    row, column = np.unravel_index(int(net.linear.weight.grad.abs().argmax()), (10, 784))
    weight, slope = net.linear.weight.data[row, column].item(), net.linear.weight.grad[row, column]
    values = np.linspace(weight - 2, weight + 2, 81)
    losses = []
    with torch.no_grad():
        for value in values:
            net.linear.weight[row, column] = value
            losses.append(F.cross_entropy(net(images[:800]), digits[:800]).item())
    right.plot(values, losses, color=BLUE, label="the loss, this weight turned")
    near = np.linspace(weight - 1, weight + 1, 2)
    right.plot(
        near, loss.item() + slope.item() * (near - weight), "--", color=RED, label="its slope"
    )
    right.plot([weight], [loss.item()], "o", color=RED, label="where it is now")
    right.set(xlabel="value of one weight of the last layer", ylabel="loss of 800 images")
    right.set_title("A step takes each weight down its slope")
    right.legend()
    for axes in (left, right):
        axes.grid(alpha=0.3)
    return figure


# ---------------------------------------------------------------- the exercises

Edits = Sequence[tuple[str, str]]
RATE, NET = "LEARNING_RATE = 0.003", "    net = SmallNet()"
TRIALS: dict[str, Edits] = {  # lines of smallest.py, and what a reader puts there
    "10 times the learning rate": [(RATE, "LEARNING_RATE = 0.03")],
    "a tenth of the learning rate": [(RATE, "LEARNING_RATE = 0.0003")],
    "a tenth of it, 30 epochs": [(RATE, "LEARNING_RATE = 0.0003"), ("EPOCHS = 10", "EPOCHS = 30")],
    "SGD for AdamW": [("AdamW", "SGD")],
    "SGD, learning rate 0.1": [("AdamW", "SGD"), (RATE, "LEARNING_RATE = 0.1")],
    "without zero_grad": [("optimizer.zero_grad()", "pass")],
    "without normalisation": [(" / 127.5 - 1 ", " + 0.0 ")],
    "without ReLU": [("F.relu(self.conv1(images))", "self.conv1(images)"), ("F.relu(", "(")],
    "linear": [(NET, "    net = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))")],
    "fully connected": [
        (NET, "    net = nn.Sequential(nn.Flatten(), nn.Linear(784, 128), HIDDEN"),
        ("HIDDEN", "nn.ReLU(), nn.Linear(128, 10))"),
    ],
    "batches of 4": [("BATCH_SIZE = 16", "BATCH_SIZE = 4")],
    "batches of 128": [("BATCH_SIZE = 16", "BATCH_SIZE = 128")],
}


def exercises() -> None:
    """Print what the exercises say that is to be expected, for each seed."""
    for count in (300, 1000, 3000):
        print_runs(f"{count} images", [], count)
    for name, edits in TRIALS.items():
        print_runs(name, edits)


def print_runs(name: str, edits: Edits, count: int = DIGITS) -> None:
    """Train smallest.py with edits, once for each seed; print what the test images gave."""
    names = smallest(*edits)
    images, digits = names["load"](fetch("digit", count))
    train_count = round(names["TRAIN_SHARE"] * len(images))
    shares, losses = [], []
    for seed in SEEDS:
        net, printed = train(names, seed, images[:train_count], digits[:train_count])
        shares.append(share_read(names, net, images[train_count:], digits[train_count:]))
        losses.append(float(re.findall(r"loss (\S+)", printed)[-1]))
    print(
        f"{name}: {', '.join(f'{share:.1f}' for share in shares)} % read, mean "
        f"{statistics.mean(shares):.1f}; last loss {losses}",
        flush=True,
    )


PARTS = {
    "look": look,
    "labels": labels,
    "preprocess": preprocess,
    "smallest": smallest_net,
    "loop": loop,
    "exercises": exercises,
}

if __name__ == "__main__":
    utils.run(main)
