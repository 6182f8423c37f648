"""How well a model reads images that it was not trained on: by default the model that ships.

    python benchmarks/without_labels.py
    python benchmarks/without_labels.py IMAGE_FOLDER=/my/captchas LABELS_FILE=None CHARACTERS=01234

The labels serve only to count what was read right.
"""

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from folds import labels_of  # noqa: E402

import model  # noqa: E402
import utils  # noqa: E402
from files.images import read_image  # noqa: E402
from training import metrics  # noqa: E402

# ---- edit these ----------------------------------------------------------------------------------
IMAGE_FOLDER = utils.DATA / "download"  # the images
LABELS_FILE: Path | None = utils.DATA / "labels.csv"  # None: the file names are the labels
LABEL_PATTERN = "(.+)"  # see split_data.py
MODEL_FILE = utils.PRACTICE_MODEL  # the model that reads
CHARACTERS: str | None = None  # those that can occur, if they are known; None: all of the model's
# --------------------------------------------------------------------------------------------------


def main() -> None:
    """Measure as the constants say."""
    utils.settings(globals(), sys.argv[1:])
    net, _ = model.load_checkpoint(MODEL_FILE)
    labels = labels_of(IMAGE_FOLDER, LABELS_FILE, LABEL_PATTERN)
    images = [model.prepare(net, read_image(file)) for file in utils.progress(labels, "read")]
    logits = model.average_logits(net, torch.stack(images))  # (N, L, classes)
    for number, character in enumerate(net.charset, start=1):
        if CHARACTERS is not None and character not in CHARACTERS:
            logits[:, :, number] = -torch.inf
    texts = utils.decode_labels(logits.argmax(dim=2).numpy(), net.charset)
    right = sum(text == label for text, label in zip(texts, labels.values(), strict=True))
    low, high = metrics.wilson_interval(right / len(labels), len(labels))
    print(
        f"{100 * right / len(labels):.1f} % of {len(labels)} images read right "
        f"(95 % interval {100 * low:.1f} to {100 * high:.1f} %)"
    )


if __name__ == "__main__":
    utils.run(main)
