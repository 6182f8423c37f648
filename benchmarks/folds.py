"""Train five times, each time tested on another fold of the images; print the mean and the spread.

    python benchmarks/folds.py
    python benchmarks/folds.py IMAGE_FOLDER=/my/captchas LABELS_FILE=None TRAIN_IMAGES=100
    python benchmarks/folds.py DEVELOPMENT=True "SETTINGS=EPOCHS=125 HEAD=flatten"

The settings are the defaults of train_script.py except for what is given here. With TRAIN_IMAGES
the validation split shrinks too, to a fifth of that number: whoever has 100 labels does not have a
thousand for validation. The test split chooses nothing. A fifth of the images is in no fold: with
DEVELOPMENT, settings are tried out on these, and the folds stay untouched by the choice.
"""

import json
import shutil
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import utils
from files.images import content_hash
from files.split_names import SPLITS, labelled_images
from files.tables import SPLIT_COLUMNS, read_table
from training import dataset

# ---- edit these ----------------------------------------------------------------------------------
IMAGE_FOLDER = utils.DATA / "download"  # the images
LABELS_FILE: Path | None = utils.DATA / "labels.csv"  # None: the file names are the labels
LABEL_PATTERN = "(.+)"  # see split_data.py
TRAIN_IMAGES: int | None = None  # labels to train on; None: all that are not held out
UNLABELLED = False  # True: the other training images help without their labels
FOLDS = 5  # parts; each is the test split once
DEVELOPMENT = False  # True: test the fifth that is in no fold, with FOLDS seeds, to try settings
SETTINGS = ""  # further NAME=value settings of train_script.py, separated by blanks
WORK_FOLDER = utils.DATA / "folds"  # for splits and models
# --------------------------------------------------------------------------------------------------

Images = dict[str, Path]  # content hash -> the copy that split_data.py made, named by its label
Metrics = dict[str, Any]  # what metrics.json says


def main() -> None:
    """Measure as the constants say."""
    utils.settings(globals(), sys.argv[1:])
    utils.at_least("FOLDS", FOLDS, 2)
    if UNLABELLED and TRAIN_IMAGES is None:
        raise ValueError("UNLABELLED ignores the labels of all images but TRAIN_IMAGES; set that.")
    images = read_images(IMAGE_FOLDER, LABELS_FILE, LABEL_PATTERN, WORK_FOLDER)
    runs = []
    for fold in range(FOLDS):
        split = deal(images, fold, FOLDS, TRAIN_IMAGES, WORK_FOLDER, DEVELOPMENT)
        settings = SETTINGS.split()
        if UNLABELLED and TRAIN_IMAGES is not None:
            settings.append(f"UNLABELLED_FOLDER={hide_labels(split, TRAIN_IMAGES, fold)}")
        runs.append(train(split, fold, TRAIN_IMAGES, settings))
        print(f"{'seed' if DEVELOPMENT else 'fold'} {fold}: {describe(runs[-1])}", flush=True)
    images_correct = [100 * run["test"]["image_accuracy"] for run in runs]
    characters_correct = [100 * run["test"]["character_accuracy"] for run in runs]
    print(
        f"{IMAGE_FOLDER.name}: mean {statistics.mean(images_correct):.2f} % of images (standard "
        f"deviation {statistics.stdev(images_correct):.2f}), "
        f"{statistics.mean(characters_correct):.2f} % of characters, "
        f"{statistics.mean(map(seconds_of, runs)):.0f} s per run"
    )
    answered, correct = confident_answers(runs, 0.995)
    print(
        f"With the MIN_CONFIDENCE for 99.5 % of each: {100 * answered:.1f} % of the test images "
        f"answered, {100 * correct:.2f} % of these correctly"
    )


def describe(run: Metrics) -> str:
    """Return a line about a run; with images without labels a run has several trainings."""
    test, epochs = run["test"], sum(training["epochs"] for training in run["trainings"])
    return (
        f"{100 * test['image_accuracy']:.2f} % of {test['images']} images, "
        f"{100 * test['character_accuracy']:.2f} % of characters; "
        f"{run['labelled_images']} to train on, {epochs} epochs, {seconds_of(run):.0f} s"
    )


def seconds_of(run: Metrics) -> float:
    """Return how many seconds all trainings of a run took."""
    return sum(training["seconds"] for training in run["trainings"])


def confident_answers(runs: list[Metrics], wanted: float) -> tuple[float, float]:
    """Return the share of all runs' test images answered for a precision, and of these correct."""
    answered = correct = 0.0
    for run in runs:
        for row in run["coverage"]:
            if row["wanted_precision"] == wanted and row["precision"] is not None:
                answered += row["answered"] * run["test"]["images"]
                correct += row["answered"] * run["test"]["images"] * row["precision"]
    return answered / sum(run["test"]["images"] for run in runs), correct / max(answered, 1)


def read_images(
    image_folder: Path, labels_file: Path | None, pattern: str, work_folder: Path
) -> Images:
    """Let split_data.py read the labelled images of a folder, and return its copies of them."""
    folder = work_folder / "all"
    remarks = call(
        "split_data.py", f"IMAGE_FOLDER={image_folder}", f"LABELS_FILE={labels_file}",
        f"LABEL_PATTERN={pattern}", f"SPLIT_FOLDER={folder}", "ONLY_SOURCE=None",
    )  # fmt: skip
    if remarks:
        utils.note(remarks)
    copies = [folder / row["copy"] for row in read_table(folder / "index.csv", SPLIT_COLUMNS)]
    return {content_hash(copy.read_bytes()): copy for copy in copies}


def deal(
    images: Images,
    fold: int,
    folds: int,
    train_images: int | None,
    work_folder: Path,
    development: bool = False,
) -> Path:
    """Make the split folder in which one fold is tested, and return it.

    With ``development`` the images that are in no fold are tested; ``fold`` is then a number only.
    """
    split = work_folder / f"split{fold}"
    if split.exists():
        shutil.rmtree(split)
    for name in SPLITS:
        (split / name).mkdir(parents=True)
    rest = []
    for digest in sorted(images, key=lambda digest: content_hash(digest.encode())):
        if fold_of(digest, folds) == (None if development else fold):
            shutil.copy(images[digest], split / "test")
        else:
            rest.append(images[digest])  # in random order, the same every time
    val_count = round(len(rest) / 10) if train_images is None else held_out(train_images)
    for i, image in enumerate(rest):
        shutil.copy(image, split / ("val" if i < val_count else "train"))
    return split


def hide_labels(split: Path, train_images: int, seed: int) -> Path:
    """Copy the images that train_script.py does not choose, without labels; return their folder."""
    files = labelled_images(split / "train")
    chosen = {file for file, _ in dataset.choose(files, train_images, seed)}
    others = split / "unlabelled"
    others.mkdir()
    for number, (file, _) in enumerate(files):
        if file not in chosen:
            shutil.copyfile(file, others / f"{number}{file.suffix}")
    return others


def train(split: Path, seed: int, train_images: int | None, settings: list[str]) -> Metrics:
    """Run train_script.py on a split folder; the model folder is made beside it."""
    model_folder = split.with_name(f"model{seed}")
    call(
        "train_script.py", f"SPLIT_FOLDER={split}", f"MODEL_FOLDER={model_folder}", f"SEED={seed}",
        f"TRAIN_IMAGES={train_images}", "SHOW_PLOTS=False", *settings,
    )  # fmt: skip
    return json.loads((model_folder / "metrics.json").read_text(encoding="utf-8"))


def held_out(train_images: int) -> int:
    """Return how many images choose the epoch where so many are trained on."""
    return max(10, train_images // 5)


def fold_of(digest: str, folds: int) -> int | None:
    """Return the fold in which an image is tested; None for those with which settings are tried."""
    place = int(digest[:8], 16) / 16**8
    if 0.2 <= place < 0.4:
        return None
    return int(content_hash(f"fold {digest}".encode())[:8], 16) % folds


def call(script: str, *arguments: str) -> str:
    """Run a script of the project quietly and return its remarks; end with its message if it fails.

    The environment and the working directory are this program's.
    """
    command = [sys.executable, str(utils.ROOT / script), *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"{script} ended with {done.returncode}."]
        raise ValueError(lines[-1])
    return done.stderr.strip()


if __name__ == "__main__":
    utils.run(main)
