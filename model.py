"""The network, its file, and reading a batch of images with it.

A convolutional trunk turns the image into a small map of features:

    channels, for 160 x 40 pixels in colour                          million multiplications
    3    160 x 40   convolution 5x5, every second pixel                1.9
    16   80 x 20    ConvBlock: convolution 3x3, pooling 2x2; another   7.4 + 3.7
    32   40 x 10    ConvBlock: convolution 3x3, pooling 1x2; another   7.4 + 7.4
    64   40 x 5     ConvBlock: convolution 3x3, pooling 2x1; another   14.7 + 14.7
    128  20 x 5     the features

57 in all. The model that ships has the characters of all websites to know. It is wider, 48, 96 and
192 channels instead of 32, 64 and 128, for 121 in all up to here, and goes on:

    192  20 x 5     ConvBlock: convolution 3x3, pooling 1x2; another   55.3 + 36.9
    320  20 x 2     SelfAttention                                      17.4
    320  20 x 2     the features

That makes 231; a training that begins with it has the same network. Pooling costs more than leaving
out every second pixel, and late pooling more than early; both read better. A head then says which
character stands at each position. There are two:

``attention``  The network counts. For each column of the map it estimates how much of a character
               stands there; the running sum from the left is the number of characters so far.
               Position p attends to where the count passes p + 1/2, and one classifier, shared by
               all positions, names what is there. What an "a" looks like is learnt once, from all
               positions; that is why few labels suffice, and why labels may differ in length.
               (Soft attention as in Bahdanau et al. 2015; the running sum as in Graves 2013,
               "Generating Sequences With Recurrent Neural Networks", section 5.1.)
``flatten``    Every position has its own fully connected layer over the whole feature map.
               Simple, but each position must learn each character anew.
"""

import functools
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (the field's name for it)

from files.images import FOUND, InputSpec, fit_image, input_spec
from files.tensors import load_tensors, save_tensors
from utils import Prediction

HEADS = ("attention", "flatten")
WIDTHS = (16, 32, 64, 128)  # channels after each block; the model that ships has more
POOLS = ((2, 2), (2, 1), (1, 2), (2, 1))  # of the blocks: letters need width more than height
MAX_WIDTH = 1024  # channels
MAX_LENGTH, MAX_WEIGHTS = 1000, 100_000_000  # characters in a label, weights of the head
MODEL_NAME = "captcha.safetensors"  # in a model folder
SURE = 0.98  # an image read with this confidence at first sight is looked at once only
FORMAT = "captcha-recognizer 2"  # stands in every model file


class ConvBlock(nn.Module):
    """Convolution, max pooling, batch norm and ReLU; then a convolution with a shortcut."""

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


class SelfAttention(nn.Module):
    """What stands at the other places of the map, near ones first, helps to name what is here.

    (Vaswani et al. 2017, "Attention Is All You Need"; the distance as in Press et al. 2022, "Train
    Short, Test Long".)
    """

    def __init__(self, channels: int, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.BatchNorm2d(channels)
        layers = (nn.Conv2d(channels, channels, 1, bias=False) for _ in range(4))
        self.query, self.key, self.value, self.out = layers
        nn.init.zeros_(self.out.weight)  # at first it changes nothing
        # How much less a head attends to a place one column further away.
        self.slope = nn.Parameter(2.0 ** torch.arange(1, 1 - heads, -1))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C, h, w)."""
        height, width = x.shape[2:]
        y = self.norm(x)
        query, key, value = (
            layer(y).flatten(2).unflatten(1, (self.heads, -1)).transpose(2, 3)
            for layer in (self.query, self.key, self.value)
        )  # (B, heads, h * w, C / heads)
        column = torch.arange(width, device=x.device).repeat(height)  # (h * w,)
        distance = (column[:, None] - column).abs()  # (h * w, h * w)
        scores = (query @ key.transpose(2, 3)).float() / math.sqrt(query.shape[3])
        attention = (scores - self.slope[:, None, None] * distance).softmax(dim=3)
        y = attention.to(value.dtype) @ value  # (B, heads, h * w, C / heads)
        return x + self.out(y.transpose(2, 3).flatten(1, 2).unflatten(2, (height, width)))


class AttentionHead(nn.Module):
    """Features (B, C, h, w) -> logits (B, length, classes) and maps (B, length, h, w).

    A map says where a position attends. It sums to 1, less what went to "no character".
    """

    def __init__(self, channels: int, width: int, length: int, classes: int) -> None:
        super().__init__()
        self.length = length
        self.density = nn.Conv2d(channels, 1, 1)
        # At first the characters are assumed to be spread evenly: length / width per column.
        nn.init.normal_(self.density.weight, std=0.01)
        nn.init.constant_(self.density.get_parameter("bias"), math.log(math.expm1(length / width)))
        self.salience = nn.Conv2d(channels, 1, 1)  # where in its columns a character is clearest
        self.sharpness = nn.Parameter(torch.tensor(4.0))  # how narrowly a position attends
        # What a position gets that finds no character: one more place, outside the image.
        self.nothing = nn.Parameter(torch.zeros(channels))
        self.nothing_score = nn.Parameter(torch.tensor(-2.0))
        self.dropout = nn.Dropout(0.2)
        self.classifier = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits and maps."""
        height, width = x.shape[2:]
        density = F.softplus(self.density(x).float()).mean(dim=(1, 2))  # (B, w), characters
        count = density.cumsum(dim=1) - density / 2  # (B, w), up to the middle of each column
        wanted = torch.arange(self.length, device=x.device) + 0.5
        distance = (count[:, None, :] - wanted[:, None]) ** 2  # (B, L, w)
        scores = self.salience(x).float() - self.sharpness * distance[:, :, None, :]  # (B, L, h, w)

        nothing_score = self.nothing_score.expand(x.shape[0], self.length, 1)
        scores = torch.cat([scores.flatten(2), nothing_score], dim=2)  # (B, L, h * w + 1)
        attention = scores.softmax(dim=2)
        nothing = self.nothing.to(x.dtype).expand(x.shape[0], 1, -1)
        places = torch.cat([x.flatten(2).transpose(1, 2), nothing], dim=1)  # (B, h * w + 1, C)
        seen = attention.to(x.dtype) @ places  # (B, L, C)
        logits = self.classifier(self.dropout(seen)).float()  # (B, L, classes)
        return logits, attention[:, :, :-1].unflatten(2, (height, width))


class FlattenHead(nn.Module):
    """Features (B, C, h, w) -> logits (B, length, classes), and None: it has no maps."""

    def __init__(self, channels: int, places: int, length: int, classes: int) -> None:
        super().__init__()
        self.length = length
        self.squeeze = nn.Conv2d(channels, 32, 1)
        self.dropout = nn.Dropout(0.2)
        self.classifiers = nn.ModuleList(nn.Linear(32 * places, classes) for _ in range(length))

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        """Return logits, and None for the maps."""
        x = self.dropout(self.squeeze(x).flatten(1))  # (B, 32 * h * w)
        return torch.stack([classify(x) for classify in self.classifiers], dim=1).float(), None


class CaptchaNet(nn.Module):
    """Images (B, channels, height, width) with values 0 to 255 -> logits (B, length, classes).

    Class 0 is the blank past a label's end, class i + 1 is character i of the charset.
    """

    mean: Tensor
    std: Tensor
    temperature: Tensor
    rows: Tensor | None
    odds: Tensor | None

    def __init__(
        self,
        charset: str,
        length: int,
        spec: InputSpec,
        head: str = "attention",
        widths: Sequence[int] = WIDTHS,
        context: bool = False,
    ) -> None:
        super().__init__()
        if head not in HEADS:
            raise ValueError(f"HEAD is {head!r}; it must be one of {', '.join(HEADS)}.")
        if spec.cut == FOUND and head == "flatten":
            raise ValueError("HEAD=flatten reads images of one size; a general model needs all.")
        self.charset, self.length, self.spec, self.head_name = charset, length, spec, head
        self.widths, self.context = tuple(widths), context
        # A site may use less than the classifier knows (reading/limits.py): rows (classes, 2) say
        # which of its classes together are one, odds (classes,) the log of what makes it likelier.
        self.known = charset
        self.case: Callable[[str], str] | None = None  # str.lower or str.upper: it reads these only
        self.register_buffer("rows", None)
        self.register_buffer("odds", None)
        # Normalisation is part of the network, so whoever loads it cannot forget or change it.
        self.register_buffer("mean", torch.full((spec.channels, 1, 1), 127.5))
        self.register_buffer("std", torch.full((spec.channels, 1, 1), 127.5))
        # The logits are divided by it so that confidence means what it says: see calibration.py.
        self.register_buffer("temperature", torch.ones(()))

        layers = [
            nn.Conv2d(spec.channels, widths[0], 5, stride=2, padding=2, bias=False),
            nn.BatchNorm2d(widths[0]),
            nn.ReLU(),  # (B, widths[0], H/2, W/2)
        ]
        # At the end 1/8 of the width is left, and 1/8 of the height or less.
        height, width = spec.height // 2, spec.width // 2
        for channels_in, channels, pool in zip(widths, widths[1:], POOLS, strict=False):
            layers.append(ConvBlock(channels_in, channels, pool))
            height, width = height // pool[0], width // pool[1]
        if context:
            layers.append(SelfAttention(widths[-1]))
        self.trunk = nn.Sequential(*layers)  # (B, widths[-1], h, w)
        classes = len(charset) + 1
        weights = classes * (widths[-1] if head == "attention" else 32 * height * width * length)
        # A forged model file could ask for any amount of memory.
        if not 0 < length <= MAX_LENGTH or weights > MAX_WEIGHTS:
            size = f"{spec.width} x {spec.height} pixels and {length} characters"
            raise ValueError(f"no {head} network can be made for {size}.")
        self.head: AttentionHead | FlattenHead
        if head == "attention":
            self.head = AttentionHead(widths[-1], width, length, classes)
        else:
            self.head = FlattenHead(widths[-1], height * width, length, classes)

    def set_normalisation(self, images: Tensor) -> None:
        """Compute mean and standard deviation per channel of images (N, channels, H, W) uint8."""
        sample = images[:1000].float()
        self.mean.copy_(sample.mean(dim=(0, 2, 3))[:, None, None])
        self.std.copy_(sample.std(dim=(0, 2, 3))[:, None, None].clamp(min=1))

    def architecture(self) -> dict[str, Any]:
        """Return what build() needs to build this network anew, as plain values."""
        names = {"charset": self.charset, "length": self.length, "head": self.head_name}
        trunk = {"widths": self.widths, "context": self.context, "input": self.spec._asdict()}
        return {**names, **trunk, "known": self.known, "positions": self.head.length}

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits, (B, length, classes)."""
        return self.attend(images)[0]

    def attend(self, images: Tensor) -> tuple[Tensor, Tensor | None, Tensor]:
        """Return logits (B, length, classes), maps (B, length, h, w) and features (B, C, h, w)."""
        x = (images.float() - self.mean) / self.std
        x = self.trunk(x.contiguous(memory_format=torch.channels_last))  # (B, C, h, w)
        logits, maps = self.head(x)
        return self.as_read(logits), None if maps is None else maps[:, : self.length], x

    def as_read(self, logits: Tensor) -> Tensor:
        """Return logits of what the classifier knows as those of what the network reads."""
        if self.rows is not None:
            logits = limited(logits / self.temperature, self.rows, self.length) * self.temperature
        return logits if self.odds is None else logits + self.odds * self.temperature


def limited(logits: Tensor, rows: Tensor, length: int) -> Tensor:
    """Return calibrated logits (B, L, known) as (B, length, classes): in ``rows`` two are one."""
    # Probabilities add up, so logits by log-sum-exp; the last class never occurs.
    logits = F.pad(logits[:, :length], (0, 1), value=-torch.inf)
    return logits[:, :, rows].logsumexp(dim=3)


# ---------------------------------------------------------------- reading


def best_device() -> torch.device:
    """Return the fastest device that this machine has."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def has_bfloat16(device: torch.device) -> bool:
    """Tell whether a device computes in bfloat16 natively."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    return device.type == "cpu" and torch.cpu._is_avx512_bf16_supported()


def autocast(device: torch.device) -> torch.autocast:
    """Compute in bfloat16 where the processor supports it natively: about twice as fast."""
    return torch.autocast(device.type, torch.bfloat16, enabled=has_bfloat16(device))


@torch.no_grad()
def compute_logits(net: CaptchaNet, images: Tensor, batch_size: int = 64) -> Tensor:
    """Return the logits of many images, (N, length, classes) float32 on the CPU.

    ``images`` is (N, channels, height, width) uint8. The network's mode is restored. It computes in
    float32, so that all processors read alike, unless the caller is within autocast().
    """
    if net.training:  # to change the mode each time would take a tenth of the time for one image
        logits = compute_logits(net.eval(), images, batch_size)
        net.train()
        return logits
    return torch.cat([net(batch.to(net.mean.device)).cpu() for batch in images.split(batch_size)])


def read_logits(net: CaptchaNet, images: Tensor, sure: float = SURE) -> Tensor:
    """Return logits as compute_logits() does, of five looks at each image that needs them.

    What is read at first sight with a confidence of ``sure`` stays so. Any other image is looked at
    again, shifted by two pixels each way: errors of single pixels are outvoted. (Krizhevsky et al.
    2012, "ImageNet Classification with Deep Convolutional Neural Networks", section 4.1.)
    """
    logits = compute_logits(net, images).log_softmax(dim=2)  # (N, L, classes)
    confidences = logits.amax(dim=2).sum(dim=1).exp()  # (N,)
    for unsure in (confidences < sure).nonzero().flatten().split(256):
        read = functools.partial(compute_logits, net)
        logits[unsure] = look_again(read, images[unsure].float(), logits[unsure])
    return logits


def look_again(read: Callable[[Tensor], Tensor], images: Tensor, first: Tensor) -> Tensor:
    """Return the mean of a first look (N, L, classes) and four more, each by its confidence."""
    height, width = images.shape[2:]
    wide = F.pad(images, (2, 2, 2, 2), mode="replicate")
    views = [wide[:, :, y : y + height, x : x + width] for y, x in ((0, 2), (4, 2), (2, 0), (2, 4))]
    others = read(torch.cat(views)).log_softmax(dim=2).unflatten(0, (4, -1))
    looks = torch.cat([first[None], others])  # (5, N, L, classes)
    shares = looks.amax(dim=3).sum(dim=2).softmax(dim=0)  # (5, N): softmax of log confidences
    return (shares[:, :, None, None] * looks).sum(dim=0)


def read_images(net: CaptchaNet, images: Tensor) -> list[Prediction]:
    """Read images that prepare() made ready, (N, channels, height, width) uint8."""
    return as_predictions(read_logits(net, images) / net.temperature.cpu(), net.charset)


def as_predictions(logits: Tensor, charset: str) -> list[Prediction]:
    """Return what calibrated logits say, (N, L, classes)."""
    probabilities, classes = logits.softmax(dim=2).max(dim=2)  # (N, L) each
    texts = decode_labels(classes.numpy(), charset)
    return [
        Prediction(text, chances.prod().item(), chances[row > 0].tolist())
        for text, row, chances in zip(texts, classes, probabilities, strict=True)
    ]


def prepare(net: CaptchaNet, image: np.ndarray) -> Tensor:
    """Return an RGB image (H, W, 3) as the network's input, (channels, height, width) uint8."""
    return torch.from_numpy(fit_image(image, net.spec))


def decode_labels(classes: np.ndarray, charset: str) -> list[str]:
    """Return the texts of class numbers, (N, length); blanks (class 0) are left out."""
    return ["".join(charset[c - 1] for c in row if c > 0) for row in classes.tolist()]


# ---------------------------------------------------------------- the model file


def save_model(net: CaptchaNet, path: Path, about: dict[str, Any]) -> None:
    """Write one file, from which load_model() rebuilds the network, with plain values about it."""
    weights = {name: value.cpu().contiguous() for name, value in net.state_dict().items()}
    texts = {"architecture": json.dumps(net.architecture()), "about": json.dumps(about)}
    save_tensors(path, weights, {"format": FORMAT, **texts})


def load_model(path: Path) -> tuple[CaptchaNet, dict[str, Any]]:
    """Rebuild a network from its file, on the CPU; return it and what save_model() was told.

    Raises ValueError if the file is missing, damaged, or not a model of this project.
    """
    if not path.is_file():
        raise ValueError(f"there is no model {path}; run train_script.py first.")
    weights, texts = load_tensors(path)
    if texts.get("format") != FORMAT:
        raise ValueError(f"{path} is not a model that this version of train_script.py wrote.")
    try:
        net = build(json.loads(texts["architecture"]))
        net.rows, net.odds = weights.get("rows"), weights.get("odds")
        net.load_state_dict(weights)
        knows = torch.zeros(1, net.head.length, len(net.known) + 1)
        if net.as_read(knows).shape != (1, net.length, len(net.charset) + 1):
            raise ValueError("what it reads does not fit what it knows")
        return net.eval(), json.loads(texts["about"])
    except (LookupError, TypeError, ValueError, ArithmeticError, RuntimeError) as error:
        raise ValueError(f"{path} is damaged, or of another version of this project.") from error


def build(architecture: dict[str, Any]) -> CaptchaNet:
    """Return a network with fresh weights, as CaptchaNet.architecture() describes it."""
    charset, length = architecture["charset"], architecture["length"]
    known, positions = architecture.get("known", charset), architecture.get("positions", length)
    if not (type(charset) is type(known) is str and type(length) is int and length > 0):
        raise TypeError("the characters must be a text, the length a whole number above 0")
    widths = architecture.get("widths", WIDTHS)
    if not all(type(width) is int and 0 < width <= MAX_WIDTH for width in widths):
        raise ValueError(f"{widths} are no numbers of channels")
    spec, context = input_spec(architecture["input"]), bool(architecture.get("context"))
    net = CaptchaNet(known, positions, spec, architecture["head"], widths, context)
    net.charset, net.length = charset, length
    return net
