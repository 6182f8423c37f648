"""Train five times, each time tested on another fold of the images; print the mean and the spread.

    python benchmarks/folds.py
    python benchmarks/folds.py IMAGE_FOLDER=/my/captchas LABELS_FILE=None TRAIN_IMAGES=100
    python benchmarks/folds.py DEVELOPMENT=True "SETTINGS=EPOCHS=125 HEAD=flatten"

The settings are the defaults of train_script.py except for what is given here. With TRAIN_IMAGES
the validation folder shrinks too, to a fifth of that number: whoever has 100 labels does not have a
thousand for validation. The test folder chooses nothing, and a fifth of the images is in none: with
DEVELOPMENT, settings are tried out on these, and the folds stay untouched by the choice.
"""

import json
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

project = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(project))

import split_data  # noqa: E402
import utils  # noqa: E402
from training import dataset  # noqa: E402

# ---- edit these ----------------------------------------------------------------------------------
IMAGE_FOLDER = utils.DATA / "download"  # the images
LABELS_FILE: Path | None = utils.DATA / "labels.csv"  # None: the file names are the labels
LABEL_PATTERN = "(.+)"  # see split_data.py
TRAIN_IMAGES: int | None = None  # labels to train on; None: all that are not held out
UNLABELLED = False  # True: the other training images help without their labels
FOLDS = 5  # parts; each is the test folder once
DEVELOPMENT = False  # True: test the fifth that is in no fold, with FOLDS seeds, to try settings
SETTINGS = ""  # further NAME=value settings of train_script.py, separated by blanks
WORK_FOLDER = utils.DATA / "folds"  # for splits and models
# --------------------------------------------------------------------------------------------------


def main() -> None:
    """Measure as the constants say."""
    utils.settings(globals(), sys.argv[1:])
    utils.at_least("FOLDS", FOLDS, 2)
    if UNLABELLED and TRAIN_IMAGES is None:
        raise ValueError("UNLABELLED takes the labels from all images but TRAIN_IMAGES; set that.")
    images = read_images(IMAGE_FOLDER, LABELS_FILE, LABEL_PATTERN)
    runs = []
    for fold in range(FOLDS):
        settings = SETTINGS.split()
        metrics = measure(
            images, fold, FOLDS, TRAIN_IMAGES, UNLABELLED, settings, WORK_FOLDER, DEVELOPMENT
        )
        runs.append(metrics)
        test = metrics["test"]
        print(
            f"{'seed' if DEVELOPMENT else 'fold'} {fold}: {100 * test['image_accuracy']:.2f} % of "
            f"{test['images']} images, {100 * test['character_accuracy']:.2f} % of characters; "
            f"{metrics['train_images']} to train on, {metrics['epochs']} epochs, "
            f"{metrics['seconds']:.0f} s",
            flush=True,
        )
    shares = [100 * run["test"]["image_accuracy"] for run in runs]
    characters = [100 * run["test"]["character_accuracy"] for run in runs]
    print(
        f"{IMAGE_FOLDER.name}: mean {statistics.mean(shares):.2f} % of images (standard deviation "
        f"{statistics.stdev(shares):.2f}), {statistics.mean(characters):.2f} % of characters, "
        f"{statistics.mean(run['seconds'] for run in runs):.0f} s a training"
    )
    answered, right = confident_answers(runs, 0.995)
    print(
        f"With the MIN_CONFIDENCE for 99.5 % of each: {100 * answered:.1f} % of the test images "
        f"answered, {100 * right:.2f} % of these right"
    )


def confident_answers(runs: list[dict], wanted: float) -> tuple[float, float]:
    """Return the share of all runs' test images answered for a precision, and of these right."""
    answered = right = 0.0
    for run in runs:
        for row in run["coverage"]:
            if row["wanted_precision"] == wanted and row["precision"] is not None:
                answered += row["answered"] * run["test"]["images"]
                right += row["answered"] * run["test"]["images"] * row["precision"]
    return answered / sum(run["test"]["images"] for run in runs), right / max(answered, 1)


Images = dict[str, tuple[Path, str, str]]  # {content hash: (file, label, extension)}


def read_images(image_folder: Path, labels_file: Path | None, pattern: str) -> Images:
    """Return the labelled images of a folder."""
    return split_data.read_labelled(labels_of(image_folder, labels_file, pattern))


def labels_of(image_folder: Path, labels_file: Path | None, pattern: str) -> dict[Path, str]:
    """Return the label of each labelled image of a folder."""
    files = utils.image_files(image_folder)
    if labels_file is None:
        return utils.labels_from_names(files, pattern)
    return split_data.labels_from_table(files, labels_file)


def measure(
    images: Images,
    fold: int,
    folds: int,
    train_images: int | None,
    unlabelled: bool,
    settings: list[str],
    work_folder: Path,
    development: bool = False,
) -> dict:
    """Split so that one fold is tested, train once; return what metrics.json says.

    With ``development`` the images that are in no fold are tested, and ``fold`` is the seed only.
    """
    split, trained = work_folder / f"split{fold}", work_folder / f"model{fold}"
    if split.exists():
        shutil.rmtree(split)
    for side in split_data.sides:
        (split / side).mkdir(parents=True)
    rest = []
    for digest in sorted(images, key=lambda digest: utils.content_hash(digest.encode())):
        if fold_of(digest, folds) == (None if development else fold):
            copy(images[digest], digest, split / "test")
        else:
            rest.append(digest)  # in random order, the same every time
    val_count = round(len(rest) / 10) if train_images is None else held_out(train_images)
    for i, digest in enumerate(rest):
        copy(images[digest], digest, split / ("val" if i < val_count else "train"))
    arguments = [f"SPLIT_FOLDER={split}", f"MODEL_FOLDER={trained}", f"SEED={fold}"]
    if train_images is not None:
        arguments.append(f"TRAIN_IMAGES={train_images}")
    if unlabelled:
        files = utils.labelled_images(split / "train")
        chosen = {file for file, _ in dataset.some_of(files, train_images, fold)}
        others = split / "unlabelled"
        others.mkdir()
        for number, (file, _) in enumerate(files):
            if file not in chosen:
                shutil.copyfile(file, others / f"{number}{file.suffix}")  # without the label
        arguments.append(f"UNLABELLED_FOLDER={others}")
    call("train_script.py", *arguments, "SHOW_PLOTS=False", *settings)
    return json.loads((trained / "metrics.json").read_text())


def held_out(train_images: int) -> int:
    """Return how many images choose the epoch where so many are trained on."""
    return max(10, train_images // 5)


def fold_of(digest: str, folds: int) -> int | None:
    """Return the fold in which an image is tested; None for those with which settings are tried."""
    place = int(digest[:8], 16) / 16**8
    if 0.2 <= place < 0.4:
        return None
    return int(utils.content_hash(f"fold {digest}".encode())[:8], 16) % folds


def copy(image: tuple[Path, str, str], digest: str, folder: Path) -> None:
    """Copy an image into a folder of the split."""
    file, label, extension = image
    utils.copy_labelled(file, label, folder / utils.split_name(label, digest, extension))


def call(script: str, *arguments: str) -> None:
    """Run a script of the project quietly; end with its message where it fails."""
    command = [sys.executable, str(project / script), *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        words = done.stderr.strip().splitlines() or [f"{script} ended with {done.returncode}."]
        raise ValueError(words[-1])


if __name__ == "__main__":
    utils.run(main)
