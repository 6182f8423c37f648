"""What convolutions and attention see, for the course, and a ladder of four networks.

    python benchmarks/course_seeing.py
    python benchmarks/course_seeing.py PART=ladder FORMS=['digit']

The pictures are of the model that ships. The ladder trains four networks on the same images, by the
same plain loop, and prints what each reads of its training images and of others.
"""

import statistics
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

import model
import utils
from benchmarks import course
from files.images import InputSpec, fit_image
from model import CaptchaNet
from practice import forms
from reading.reader import Reader
from training import metrics, plots, schedule
from training.augment import augment
from training.dataset import Split, encode_labels

# ---- edit these ----------------------------------------------------------------------------------
PART = "all"  # or filters, maps, attention, ladder
FORMS = ["digit", "simple"]  # of the ladder
SEEDS = [0, 1, 2]
TRAIN_IMAGES, TEST_IMAGES = 400, 500
STEPS = {"digit": 150, "simple": 300}  # batches of 64
# --------------------------------------------------------------------------------------------------

SPECS = {"digit": InputSpec(32, 32, 1), "simple": InputSpec(24, 96, 1)}  # grey and small: quick
WIDTHS = (8, 16, 32, 64)  # of the convolutional networks, half of the usual
RATE = 0.003


def main() -> None:
    """Make the parts."""
    utils.settings(globals(), sys.argv[1:])
    plots.use_screen(False)
    for part in PARTS if PART == "all" else [PART]:
        PARTS[part]()


# ---------------------------------------------------------------- pictures of the model that ships


def captcha(form: str, number: int) -> np.ndarray:
    """Return a practice captcha, RGB (H, W, 3)."""
    return np.asarray(forms.draw(form, number)[0])


def shipped(form: str, numbers: range) -> tuple[CaptchaNet, Tensor]:
    """Return the model that ships and captchas of a form as it sees them, (N, C, H, W)."""
    reader = Reader("practice")
    images = torch.stack([reader.fit(captcha(form, number)) for number in numbers])
    return reader.net, images


@torch.no_grad()
def filters() -> None:
    """Draw the first filters, and what each makes of one captcha."""
    net, images = shipped("simple", range(1))
    first = net.trunk[:3]  # convolution, batch norm, ReLU
    weights = next(first.parameters())  # (16, 3, 5, 5)
    made = first((images.float() - net.mean) / net.std)[0]  # (16, H/2, W/2)
    figure = plt.figure(figsize=(course.WIDTH, 4), layout="constrained")
    figure.suptitle("What each of 16 filters looks for, and where it found it (dark)", fontsize=11)
    above, below = figure.subfigures(2, 1, height_ratios=[1, 3.4])
    plots.picture(above.subplots(), images[0].numpy())
    axes = below.subplots(4, 8, width_ratios=[1, 3] * 4)
    for number, (square, found) in enumerate(axes.reshape(16, 2)):
        colours = weights[number].permute(1, 2, 0)  # (5, 5, 3)
        square.imshow(0.5 + 0.5 * colours / colours.abs().max())
        found.imshow(made[number], "gray_r")
        square.axis("off")
        found.axis("off")
    course.save(figure, "filters.png")


@torch.no_grad()
def maps() -> None:
    """Draw four channels of the feature map after each part of the trunk."""
    net, images = shipped("simple", range(1))
    x = (images.float() - net.mean) / net.std
    rows = [("the image", images.float().mean(dim=1))]
    parts = [net.trunk[:3], *list(net.trunk)[3:]]
    for name, part in zip(["convolution", *["block"] * 4, "self-attention"], parts, strict=True):
        x = part(x)
        busiest = x[0].std(dim=(1, 2)).topk(4).indices
        rows.append((f"{name}\n{x.shape[1]} x {x.shape[2]} x {x.shape[3]}", x[0][busiest]))
    figure, axes = plt.subplots(
        len(rows), 4, figsize=(course.WIDTH, 5.2), layout="constrained", squeeze=False
    )
    figure.suptitle("From pixels to features: smaller maps, more channels (four of each)")
    for places, (name, channels) in zip(axes, rows, strict=True):
        for place in places:
            place.axis("off")
        places[0].text(
            -0.05, 0.5, name, transform=places[0].transAxes, ha="right", va="center", fontsize=9
        )
        for place, channel in zip(places, channels, strict=False):
            place.imshow(channel, "gray" if len(channels) == 1 else "gray_r", aspect="auto")
    course.save(figure, "maps.png")


@torch.no_grad()
def attention() -> None:
    """Draw where each position of the network looks."""
    net, images = shipped("simple", range(4))
    logits, where, _ = net.attend(images)
    chances, classes = (logits / net.temperature).softmax(dim=2).max(dim=2)  # (N, L) each
    assert where is not None  # (N, L, h, w)
    texts = model.decode_labels(classes.numpy(), net.charset)
    figure = plots.attention_sheet(
        list(images.numpy()), where[:, :6].numpy(), texts, chances.numpy()
    )
    figure.set_size_inches(course.WIDTH, 2.9)
    figure.subplots_adjust(top=0.84)
    figure.suptitle("Each position looks at its own letter; the sixth finds none", fontsize=11)
    course.save(figure, "attention.png")


# ---------------------------------------------------------------- the ladder


def linear(spec: InputSpec, length: int, classes: int) -> nn.Module:
    """Each class of each position weighs every pixel by itself."""
    pixels = spec.height * spec.width
    return nn.Sequential(
        nn.Flatten(),  # (B, pixels)
        nn.Linear(pixels, length * classes),
        nn.Unflatten(1, (length, classes)),  # (B, L, classes)
    )


def connected(spec: InputSpec, length: int, classes: int) -> nn.Module:
    """Between the pixels and the classes 256 features, each made of all pixels."""
    pixels = spec.height * spec.width
    return nn.Sequential(
        nn.Flatten(),  # (B, pixels)
        nn.Linear(pixels, 256),
        nn.ReLU(),
        nn.Linear(256, length * classes),
        nn.Unflatten(1, (length, classes)),  # (B, L, classes)
    )


def make_net(name: str, spec: InputSpec, charset: str, length: int) -> nn.Module:
    """Return a network with random weights; it takes pixels of about -1 to 1."""
    if name == "linear":
        return linear(spec, length, len(charset) + 1)
    if name == "connected":
        return connected(spec, length, len(charset) + 1)
    net = CaptchaNet(charset, length, spec, name, WIDTHS)
    net.mean.zero_()  # the loop below normalises for all networks
    net.std.fill_(1)
    return net


NETS = ["linear", "connected", "flatten", "attention"]


def train(net: nn.Module, split: Split, steps: int) -> None:
    """Train a network: the loop of train_script.py without all that is kept and printed."""
    optimizer = torch.optim.AdamW(net.parameters(), RATE)
    batches: list[Tensor] = []
    for step in range(steps):
        batches = batches or schedule.epoch_batches(len(split.labels), 64)
        batch = batches.pop()
        schedule.set_rates([optimizer], step / steps)
        images = augment(split.images[batch], schedule.augmentation_strength(step / steps))
        with model.autocast(images.device):
            logits = net(images / 127.5 - 1)  # (B, L, classes)
        loss = F.cross_entropy(logits.float().flatten(0, 1), split.targets[batch].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


@torch.no_grad()
def read(net: nn.Module, split: Split) -> metrics.Scores:
    """Return how well a network reads images."""
    net.eval()
    logits = [net(images / 127.5 - 1) for images in split.images.split(250)]
    return metrics.score(torch.cat(logits), split)


def draw_split(form: str, numbers: range) -> Split:
    """Return practice captchas as the ladder sees them."""
    drawn = [forms.draw(form, number) for number in numbers]
    labels = [answer for _, answer in drawn]
    images = np.stack([fit_image(np.asarray(image), SPECS[form]) for image, _ in drawn])
    charset, length = CHARSETS[form], max(map(len, labels))
    targets = torch.from_numpy(encode_labels(labels, charset, length))
    return Split(labels, torch.from_numpy(images), targets)


CHARSETS = {"digit": "0123456789", "simple": forms.SERIF_LETTERS}


def ladder() -> None:
    """Train every network on the same images with every seed."""
    for form in FORMS:
        train_split = draw_split(form, range(TRAIN_IMAGES))
        test_split = draw_split(form, range(TRAIN_IMAGES, TRAIN_IMAGES + TEST_IMAGES))
        for name in NETS:
            rows = []
            for seed in SEEDS:
                torch.manual_seed(seed)
                net = make_net(name, SPECS[form], CHARSETS[form], train_split.targets.shape[1])
                train(net, train_split, STEPS[form])
                rows.append([read(net, split) for split in (train_split, test_split)])
            weights = sum(parameter.numel() for parameter in net.parameters())
            seen = statistics.mean(100 * known.character_accuracy for known, _ in rows)
            characters = [100 * new.character_accuracy for _, new in rows]
            images = [100 * new.image_accuracy for _, new in rows]
            print(
                f"{form:7} {name:10} {weights:8d} weights; characters: {seen:.1f} % of training, "
                f"{course.spread(characters)} of others; images: {course.spread(images)}",
                flush=True,
            )


PARTS: dict[str, Callable[[], None]] = {
    "filters": filters,
    "maps": maps,
    "attention": attention,
    "ladder": ladder,
}

if __name__ == "__main__":
    utils.run(main)
