"""Split and train several times with different seeds, and print the mean and the spread.

    python benchmarks/repeat.py IMAGE_FOLDER=/my/captchas
    python benchmarks/repeat.py IMAGE_FOLDER=/my/captchas TRAIN_IMAGES=100 "SETTINGS=HEAD=flatten"

Each seed is another split and another training; the settings are the defaults of train_script.py
except for what is given here. The test folder chooses nothing.
"""

import json
import statistics
import subprocess
import sys
from pathlib import Path

project = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(project))

import utils  # noqa: E402

# ---- edit these ----------------------------------------------------------------------------------
IMAGE_FOLDER = utils.DATA / "download"  # images whose file names are their labels
LABEL_PATTERN = "(.+)"  # see split_data.py
TRAIN_IMAGES: int | None = None  # see train_script.py
SEEDS = 3  # how many times
SETTINGS = ""  # further NAME=value settings of train_script.py, separated by blanks
WORK_FOLDER = utils.DATA / "repeat"  # for splits and models
# --------------------------------------------------------------------------------------------------


def main() -> None:
    """Repeat as the constants say."""
    utils.settings(globals(), sys.argv[1:])
    utils.at_least("SEEDS", SEEDS, 1)
    runs = []
    for seed in range(SEEDS):
        metrics = measure(
            IMAGE_FOLDER, LABEL_PATTERN, seed, TRAIN_IMAGES, SETTINGS.split(), WORK_FOLDER
        )
        runs.append(metrics)
        test = metrics["test"]
        print(
            f"seed {seed}: {100 * test['image_accuracy']:.2f} % of {test['images']} images, "
            f"{100 * test['character_accuracy']:.2f} % of characters; {metrics['train_images']} "
            f"to train on, {metrics['epochs']} epochs, {metrics['seconds']:.0f} s",
            flush=True,
        )
    images = [100 * run["test"]["image_accuracy"] for run in runs]
    characters = [100 * run["test"]["character_accuracy"] for run in runs]
    print(
        f"{IMAGE_FOLDER.name}: mean {statistics.mean(images):.2f} % of images (standard deviation "
        f"{statistics.stdev(images) if SEEDS > 1 else 0:.2f}), {statistics.mean(characters):.2f} % "
        f"of characters, {statistics.mean(run['seconds'] for run in runs):.0f} s a training"
    )


def measure(
    image_folder: Path,
    pattern: str,
    seed: int,
    train_images: int | None,
    settings: list[str],
    work_folder: Path,
) -> dict:
    """Split and train once; return what metrics.json says."""
    split, trained = work_folder / f"split{seed}", work_folder / f"model{seed}"
    call(
        "split_data.py", f"IMAGE_FOLDER={image_folder}", f"LABEL_PATTERN={pattern}",
        "LABELS_FILE=None", f"SPLIT_FOLDER={split}", f"SEED={seed}",
    )  # fmt: skip
    call(
        "train_script.py", f"SPLIT_FOLDER={split}", f"MODEL_FOLDER={trained}", f"SEED={seed}",
        f"TRAIN_IMAGES={train_images}", "SHOW_PLOTS=False", *settings,
    )  # fmt: skip
    return json.loads((trained / "metrics.json").read_text())


def call(script: str, *arguments: str) -> None:
    """Run a script of the project quietly; end with its message where it fails."""
    command = [sys.executable, str(project / script), *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise ValueError(done.stderr.strip().splitlines()[-1])


if __name__ == "__main__":
    utils.run(main)
