"""How well a model reads images that it was not trained on: by default the model that ships.

    python benchmarks/without_labels.py
    python benchmarks/without_labels.py IMAGE_FOLDER=/my/captchas LABELS_FILE=None CHARACTERS=01234

The labels serve only to count what was read correctly.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch

import model
import utils
from files.framing import read_sample
from files.images import read_image
from reading import limits

# ---- edit these ----------------------------------------------------------------------------------
IMAGE_FOLDER = utils.DATA / "download"  # the images
LABELS_FILE: Path | None = utils.DATA / "labels.csv"  # None: the file names are the labels
LABEL_PATTERN = "(.+)"  # see split_data.py
MODEL_FILE: Path | str = "practice"  # the model that reads; "practice" is the model that ships
CHARACTERS: str | None = None  # see predict.py
LENGTH: int | None = None  # see predict.py
# --------------------------------------------------------------------------------------------------


def main() -> None:
    """Measure as the constants say."""
    utils.settings(globals(), sys.argv[1:])
    net, _ = model.load_model(utils.model_file(MODEL_FILE))
    labels = labels_of(IMAGE_FOLDER, LABELS_FILE, LABEL_PATTERN)
    limits.suit(net, read_sample(list(labels)), CHARACTERS, LENGTH)
    images = [model.prepare(net, read_image(file)) for file in utils.progress(labels, "reading")]
    predictions = model.read_images(net, torch.stack(images))
    correct = sum(
        prediction.text == label
        for prediction, label in zip(predictions, labels.values(), strict=True)
    )
    low, high = utils.wilson_interval(correct / len(labels), len(labels))
    print(
        f"{100 * correct / len(labels):.1f} % of {len(labels)} images read correctly "
        f"(95 % interval {100 * low:.1f} to {100 * high:.1f} %)"
    )


def labels_of(image_folder: Path, labels_file: Path | None, pattern: str) -> dict[Path, str]:
    """Return the label of each labelled image of a folder. Raises ValueError if there is none."""
    files = utils.image_files(image_folder)
    if labels_file is None:
        return utils.labels_from_names(files, pattern)
    labels = utils.confirmed_labels(files, labels_file)
    if not labels:
        raise ValueError(f"{labels_file} has no label for an image in {image_folder}.")
    return labels


if __name__ == "__main__":
    utils.run(main)
