"""The smallest network that works: it reads one digit in an image of 28 x 28 pixels.

    python getData.py SOURCE=practice:digit COUNT=1000 DOWNLOAD_FOLDER=data/digits
    python docs/course/smallest.py

Explained line by line in smallest.md and loop.md.
"""

import csv
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (the field's name for it)

FOLDER = Path(__file__).resolve().parents[2] / "data" / "digits"  # made by getData.py
TRAIN_SHARE = 0.8  # of the images; the others are never learnt from
EPOCHS = 10  # passes through the training images
BATCH_SIZE = 16  # images per step
LEARNING_RATE = 0.003  # how far a step changes each weight, roughly
SEED = 0  # another number: other first weights, another order


def load(folder: Path) -> tuple[Tensor, Tensor]:
    """Return the images, (N, 1, 28, 28) with values -1 to 1, and their digits, (N,)."""
    with open(folder / "index.csv", encoding="utf-8-sig") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: row["image"])
    grey = [cv2.imread(str(folder / row["image"]), cv2.IMREAD_GRAYSCALE) for row in rows]
    images = torch.from_numpy(np.stack(grey))  # (N, 28, 28), values 0 to 255
    images = images[:, None] / 127.5 - 1  # (N, 1, 28, 28): one channel, grey
    return images, torch.tensor([int(row["answer"]) for row in rows])


class SmallNet(nn.Module):
    """Two convolutions find strokes and parts of digits, one layer weighs them up."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 8, kernel_size=3, padding=1)  # 8 filters of 3 x 3 weights
        self.conv2 = nn.Conv2d(8, 16, kernel_size=3, padding=1)  # 16 of 8 x 3 x 3
        self.linear = nn.Linear(16 * 7 * 7, 10)  # one row of 784 weights for each digit

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits, (B, 10): how much speaks for each digit."""
        x = F.relu(self.conv1(images))  # (B, 8, 28, 28)
        x = F.max_pool2d(x, 2)  # (B, 8, 14, 14): the largest of each 2 x 2
        x = F.relu(self.conv2(x))  # (B, 16, 14, 14)
        x = F.max_pool2d(x, 2)  # (B, 16, 7, 7)
        return self.linear(x.flatten(1))  # (B, 784) -> (B, 10)


def train(images: Tensor, digits: Tensor) -> SmallNet:
    """Return a network that has learnt these images; print a line per epoch."""
    torch.manual_seed(SEED)
    net = SmallNet()
    optimizer = torch.optim.AdamW(net.parameters(), lr=LEARNING_RATE)
    for epoch in range(1, EPOCHS + 1):
        losses = []
        for batch in torch.randperm(len(images)).split(BATCH_SIZE):  # (B,) image numbers
            logits = net(images[batch])  # forward: (B, 10)
            loss = F.cross_entropy(logits, digits[batch])  # how wrong, as one number
            optimizer.zero_grad()  # forget the slopes of the step before
            loss.backward()  # for each weight: does the loss rise with it, and how steeply?
            optimizer.step()  # a small step the other way
            losses.append(loss.item())
        print(f"epoch {epoch:2d}: loss {np.mean(losses):.3f}")
    return net


@torch.no_grad()  # nothing is learnt here
def read(net: SmallNet, images: Tensor) -> Tensor:
    """Return what the network reads, (N,): the digit with the largest logit."""
    return net(images).argmax(dim=1)


def main() -> None:
    """Train on most of the images, test on the others, show ten."""
    images, digits = load(FOLDER)
    count = round(TRAIN_SHARE * len(images))
    net = train(images[:count], digits[:count])
    test, answers = digits[count:].tolist(), read(net, images[count:]).tolist()
    right = sum(digit == answer for digit, answer in zip(test, answers, strict=True))
    print(f"read correctly: {right} of {len(test)} test images, {100 * right / len(test):.1f} %")
    for digit, answer in list(zip(test, answers, strict=True))[:10]:
        print(f"a {digit}, read as {answer}")


if __name__ == "__main__":
    main()
