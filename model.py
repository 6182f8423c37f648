"""The network, its checkpoint, and reading a batch of images with it.

A convolutional trunk turns the image into a small map of features; one head per character position
then says which character stands there. The head decides how a position finds its character:

``attention``  The network counts. For each column of the map it estimates how much of a character
               stands there; the running sum from the left is the number of characters so far.
               Position p attends to the places where the count passes p + 1/2, and one classifier,
               shared by all positions, names what is seen there. What an "a" looks like is learnt
               once, from all positions, and so is where one character ends and the next begins;
               that is why few labels suffice, and why labels may differ in length. (Attention as
               in Bahdanau et al. 2015, soft, over places, trained by the labels alone; the running
               sum that makes it go from left to right is in the manner of Graves 2013, "Generating
               Sequences With Recurrent Neural Networks", section 5.1, without recurrence.)
``flatten``    Every position has a fully connected layer of its own over the whole feature map.
               Simple, but it learns each character anew for each position.
"""

import io
import math
import pickletools
import re
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (the field's name for it)

import utils
from files import tables
from files.images import MAX_PIXELS, fit_image
from utils import Reading

HEADS = ("attention", "flatten")
WIDTHS = (32, 64, 96, 128)  # channels behind each block of the trunk
MAX_LENGTH = 1000  # characters in a label
# what a pickle of tensors and plain values asks for
plain_types = r"collections OrderedDict|torch\._utils _rebuild_tensor_v2|torch [A-Za-z0-9]+Storage"
FORMAT = "captcha-recognizer 1"  # stands in every checkpoint


class ConvBlock(nn.Module):
    """Convolution, max pooling, batch norm and ReLU; then a convolution around a shortcut."""

    def __init__(self, channels_in: int, channels: int, pool: tuple[int, int]) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, padding=1, bias=False)
        self.pool = nn.MaxPool2d(pool)
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels_in, H, W) -> (B, channels, H / pool[0], W / pool[1])."""
        # Pooling first leaves batch norm and ReLU a quarter of the work.
        x = F.relu(self.norm1(self.pool(self.conv1(x))))
        return x + F.relu(self.norm2(self.conv2(x)))


class CaptchaNet(nn.Module):
    """Images (B, channels, height, width) with values 0 to 255 -> logits (B, length, classes).

    Class 0 is the blank past a label's end, class i + 1 is character i of the charset.
    """

    def __init__(
        self,
        charset: str,
        length: int,
        size: Sequence[int],
        channels: int,
        head: str = "attention",
        box: Sequence[float] | None = (0, 0, 1, 1),
    ) -> None:
        super().__init__()
        if head not in HEADS:
            raise ValueError(f"HEAD is {head!r}; it must be one of {', '.join(HEADS)}.")
        if not 0 < length <= MAX_LENGTH:
            raise ValueError(f"a label has {length} characters; there can be 1 to {MAX_LENGTH}.")
        if not 64 <= size[0] * size[1] <= MAX_PIXELS:
            raise ValueError(f"{size[1]} x {size[0]} pixels are too few or too many to be read.")
        self.charset, self.length, self.size = charset, length, tuple(size)
        self.channels, self.head = channels, head
        self.box = box and tuple(box)  # the part of an image that it sees, see fit_image
        # Normalisation is part of the network, so whoever loads it cannot forget or change it.
        self.register_buffer("mean", torch.full((channels, 1, 1), 127.5))
        self.register_buffer("std", torch.full((channels, 1, 1), 127.5))
        # By how much to soften the logits so that confidence means what it says, see evaluation.py.
        self.register_buffer("temperature", torch.ones(()))

        w1, w2, w3, w4 = WIDTHS
        self.trunk = nn.Sequential(
            nn.Conv2d(channels, w1, 5, stride=2, padding=2, bias=False),  # (B, w1, H/2, W/2)
            nn.BatchNorm2d(w1),
            nn.ReLU(),
            ConvBlock(w1, w2, (2, 2)),  # (B, w2, H/4, W/4)
            ConvBlock(w2, w3, (2, 1)),  # (B, w3, H/8, W/4): letters need width more than height
            ConvBlock(w3, w4, (1, 1)),  # (B, w4, H/8, W/4)
        )
        height, width = size[0] // 8, size[1] // 4
        classes = len(charset) + 1
        if head == "attention":
            self.density = nn.Conv2d(w4, 1, 1)
            # At first the characters are taken to be spread evenly: length / width a column.
            nn.init.normal_(self.density.weight, std=0.01)
            nn.init.constant_(self.density.bias, math.log(math.expm1(length / width)))
            self.salience = nn.Conv2d(w4, 1, 1)  # where in its columns a character is best seen
            self.sharpness = nn.Parameter(torch.tensor(4.0))  # how narrowly a position looks
            # What a position sees that finds no character: one more place, outside the image.
            self.nothing = nn.Parameter(torch.zeros(w4))
            self.nothing_score = nn.Parameter(torch.tensor(-2.0))
            self.dropout = nn.Dropout(0.2)
            self.classifier = nn.Linear(w4, classes)
        else:
            self.squeeze = nn.Conv2d(w4, 32, 1)
            self.dropout = nn.Dropout(0.2)
            self.heads = nn.ModuleList(
                nn.Linear(32 * height * width, classes) for _ in range(length)
            )

    def set_normalisation(self, images: Tensor) -> None:
        """Learn the mean and the spread of each channel from images (N, channels, H, W) uint8."""
        sample = images[:1000].float()
        self.mean.copy_(sample.mean(dim=(0, 2, 3))[:, None, None])
        self.std.copy_(sample.std(dim=(0, 2, 3))[:, None, None].clamp(min=1))

    def architecture(self) -> dict[str, Any]:
        """Return the arguments that build this network anew, as plain values."""
        return {
            "charset": self.charset,
            "length": self.length,
            "size": list(self.size),
            "channels": self.channels,
            "head": self.head,
            "box": self.box and list(self.box),
        }

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits, (B, length, classes)."""
        return self.look(images)[0]

    def look(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the logits and where each position looked, (B, length, h, w).

        A map sums to 1, less what went to "nothing there". The flatten head looks everywhere at
        once and has no maps: None.
        """
        x = (images.float() - self.mean) / self.std
        x = self.trunk(x.contiguous(memory_format=torch.channels_last))  # (B, C, h, w)
        if self.head == "flatten":
            x = self.dropout(self.squeeze(x).flatten(1))  # (B, 32 * h * w)
            return torch.stack([head(x) for head in self.heads], dim=1).float(), None

        height, width = x.shape[2:]
        density = F.softplus(self.density(x).float()).mean(dim=(1, 2))  # (B, w), characters
        count = density.cumsum(dim=1) - density / 2  # (B, w), up to the middle of each column
        wanted = torch.arange(self.length, device=x.device) + 0.5
        distance = (count[:, None, :] - wanted[:, None]) ** 2  # (B, L, w)
        scores = self.salience(x).float() - self.sharpness * distance[:, :, None, :]  # (B, L, h, w)

        nothing_score = self.nothing_score.expand(len(x), self.length, 1)
        scores = torch.cat([scores.flatten(2), nothing_score], dim=2)  # (B, L, h * w + 1)
        attention = scores.softmax(dim=2)
        nothing = self.nothing.to(x.dtype).expand(len(x), 1, -1)
        places = torch.cat([x.flatten(2).transpose(1, 2), nothing], dim=1)  # (B, h * w + 1, C)
        seen = attention.to(x.dtype) @ places  # (B, L, C)
        logits = self.classifier(self.dropout(seen)).float()  # (B, L, classes)
        return logits, attention[:, :, :-1].unflatten(2, (height, width))


def best_device() -> torch.device:
    """Return the fastest device that this machine has."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def autocast(device: torch.device) -> torch.autocast:
    """Compute in bfloat16 where the processor does that natively: about twice as fast."""
    if device.type == "cuda":
        able = torch.cuda.is_bf16_supported()
    else:
        able = device.type == "cpu" and torch.cpu._is_avx512_bf16_supported()
    return torch.autocast(device.type, torch.bfloat16, enabled=able)


@torch.no_grad()
def compute_logits(net: CaptchaNet, images: Tensor, batch_size: int = 256) -> Tensor:
    """Return the logits of many images, (N, length, classes) float32 on the CPU.

    ``images`` is (N, channels, height, width) uint8. The network's mode is restored.
    """
    training, device = net.training, net.mean.device
    net.eval()
    with autocast(device):
        logits = [net(batch.to(device)).cpu() for batch in images.split(batch_size)]
    net.train(training)
    return torch.cat(logits)


def average_logits(net: CaptchaNet, images: Tensor) -> Tensor:
    """Return logits that are the mean of five looks, (N, length, classes) float32 on the CPU.

    Each image, (N, channels, height, width) uint8, is seen as it is and moved by two pixels left,
    right, up and down: what hung on single pixels is outvoted. Five times the work of
    compute_logits. (As the crops in Krizhevsky et al. 2012, "ImageNet Classification with Deep
    Convolutional Neural Networks", section 4.1.)
    """
    rows, columns = torch.arange(images.shape[2]), torch.arange(images.shape[3])
    total = 0
    for down, right in ((0, 0), (2, 0), (-2, 0), (0, 2), (0, -2)):
        from_rows = (rows - down).clamp(0, len(rows) - 1)  # the edge is repeated
        from_columns = (columns - right).clamp(0, len(columns) - 1)
        moved = images[:, :, from_rows][:, :, :, from_columns]
        total = total + compute_logits(net, moved).log_softmax(dim=2)
    return total / 5


def read_images(net: CaptchaNet, images: Tensor) -> list[Reading]:
    """Read images that were made ready by prepare(), (N, channels, height, width) uint8."""
    logits = average_logits(net, images) / net.temperature.cpu()
    probabilities, classes = logits.softmax(dim=2).max(dim=2)  # (N, L) each
    texts = utils.decode_labels(classes.numpy(), net.charset)
    return [
        Reading(text, chances.prod().item(), chances[row > 0].tolist())
        for text, row, chances in zip(texts, classes, probabilities, strict=True)
    ]


def prepare(net: CaptchaNet, image: np.ndarray) -> Tensor:
    """Return an RGB image (H, W, 3) as the network takes it, (channels, height, width) uint8."""
    return torch.from_numpy(fit_image(image, net.size, net.channels, net.box))


def save_checkpoint(net: CaptchaNet, path: Path, about: dict[str, Any]) -> None:
    """Write one file from which load_checkpoint rebuilds the network.

    ``about`` holds further plain values, such as the run's constants and its validation figures.
    """
    checkpoint = {
        "format": FORMAT,
        "architecture": net.architecture(),
        "about": about,
        "weights": {name: value.cpu() for name, value in net.state_dict().items()},
    }
    save_tensors(checkpoint, path)


def save_tensors(state: dict[str, Any], path: Path) -> None:
    """Write a dictionary of tensors and plain values; the old file stays until it is whole."""
    data = io.BytesIO()  # writing to a full disk itself, torch raises no OSError
    torch.save(state, data)
    with tables.replacing(path) as temporary:
        temporary.write_bytes(data.getbuffer())


def load_checkpoint(path: Path) -> tuple[CaptchaNet, dict[str, Any]]:
    """Rebuild a network from its checkpoint, on the CPU; returns it and what was said about it.

    Only tensors and plain values are loaded, so a file from elsewhere cannot run code. Raises
    ValueError if the file is missing, cut off, or no checkpoint of this project.
    """
    checkpoint = load_tensors(path)
    if checkpoint.get("format") != FORMAT:
        raise ValueError(f"{path} is not a model that train_script.py wrote.")
    try:
        with torch.device("meta"):  # without memory: a forged one could ask for any amount
            planned = CaptchaNet(**checkpoint["architecture"]).state_dict()
        if any(planned[name].shape != value.shape for name, value in checkpoint["weights"].items()):
            raise ValueError("its weights do not fit its architecture")
        net = CaptchaNet(**checkpoint["architecture"])
        net.load_state_dict(checkpoint["weights"])
        return net.eval(), checkpoint["about"]
    except Exception as error:  # of wrong values torch complains in many ways
        raise ValueError(f"{path} is damaged, or of another version of this project.") from error


def load_tensors(path: Path) -> dict[str, Any]:
    """Load a dictionary of tensors and plain values that torch.save wrote. Raises ValueError."""
    if not path.is_file():
        raise ValueError(f"there is no model {path}; run train_script.py first.")
    try:
        check_archive(path)
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # both raise many kinds for damaged files
        raise ValueError(
            f"{path} is damaged or cut off, or not a model that train_script.py wrote."
        ) from error
    if not isinstance(loaded, dict):
        raise ValueError(f"{path} is not a model that train_script.py wrote.")
    return loaded


def check_archive(path: Path) -> None:
    """Raise an error for an archive that torch.load would load with wrong values, or not soon.

    torch passes over wrong checksums, unpacks gigabytes if they were compressed, and takes hours
    to word its complaint about a pickle that asks for something with a very long name.
    """
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries) or archive.testzip():
            raise ValueError("compressed, or a checksum is wrong")
        (values,) = (archive.read(e) for e in entries if e.filename.endswith("/data.pkl"))
    for operation, argument, _ in pickletools.genops(values):
        if "GLOBAL" in operation.name and not re.fullmatch(plain_types, argument or ""):
            raise ValueError(f"asks for {argument}")


@torch.no_grad()
def take_over(net: CaptchaNet, other: CaptchaNet) -> None:
    """Copy from a trained network every weight that fits, to begin a training with it.

    Image size, colour mode, label length and charset may differ: characters that both know keep
    their rows of the classifier.
    """
    own, theirs = net.state_dict(), other.state_dict()
    shared = [c for c in net.charset if c in other.charset]
    rows = [0, *(net.charset.index(c) + 1 for c in shared)]  # 0 is the blank
    their_rows = [0, *(other.charset.index(c) + 1 for c in shared)]
    for name, value in own.items():
        if name in ("mean", "std", "temperature") or name not in theirs:
            continue
        given = theirs[name]
        if name.startswith(("classifier.", "heads.")):
            if value.shape[1:] == given.shape[1:]:
                value[rows] = given[their_rows]
        elif name == "trunk.0.weight" and net.channels != other.channels:
            # A grey image has the same value in all three channels: their weights add up.
            grey = given.sum(dim=1, keepdim=True)
            value.copy_(grey.expand_as(value) / net.channels)
        elif value.shape == given.shape:
            value.copy_(given)
