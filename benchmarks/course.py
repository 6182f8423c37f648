"""What the benchmarks of the course share: practice images, trainings that are kept, one style."""

import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

import utils
from files.tables import read_table
from training import plots
from training.plots import BLUE, GREEN, ORANGE, RED

PICTURES = utils.ROOT / "docs" / "course"
STYLES = [(BLUE, "-"), (RED, "--"), (GREEN, ":"), (ORANGE, "-.")]
WIDTH = 8.2  # inches of a picture, 900 pixels

HISTORY_COLUMNS = [
    "epoch", "done", "progress", "train_loss", "train_character_accuracy", "val_loss",
    "val_character_accuracy", "val_image_accuracy", "learning_rate", "seconds",
]  # fmt: skip


class Run(NamedTuple):
    """A training that ended."""

    output: str  # what it printed
    metrics: dict[str, Any]  # metrics.json
    history: list[dict[str, float]]  # a row per epoch
    folder: Path  # with its model

    def late(self) -> list[str]:
        """Return what the check-up found after the training, each finding on one line."""
        after = self.output.partition("Check-up after training:")[2]
        return [line.strip()[2:] for line in after.splitlines() if line.startswith("  !")]


def call(script: str, *settings: str) -> str:
    """Run a script of the project; return what it printed. Raises ValueError with its message."""
    command = [sys.executable, str(utils.ROOT / script), *settings]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise ValueError((done.stderr.strip().splitlines() or [f"{script} failed."])[-1])
    return done.stdout


def fetch(form: str, count: int, folder: Path, seed: int = 0) -> Path:
    """Fetch practice images and label them from the answer key, unless they are there already."""
    labels = folder.with_suffix(".csv")
    if not labels.exists():
        call(
            "getData.py", f"SOURCE=practice:{form}", f"COUNT={count}", f"DOWNLOAD_FOLDER={folder}",
            f"SEED={seed}",
        )  # fmt: skip
        call("label_helper.py", "LABELLER=answers", *labelled(folder))
    return folder


def labelled(folder: Path) -> list[str]:
    """Return the settings that name a folder of images and its labels."""
    return [f"IMAGE_FOLDER={folder}", f"LABELS_FILE={folder.with_suffix('.csv')}"]


def digits(work_folder: Path) -> Path:
    """Return the split folder of the course: 1000 single digits, half of them for the test."""
    split = work_folder / "digit_split"
    if not split.exists():
        folder = fetch("digit", 1000, work_folder / "digit")
        shares = ["VAL_FRACTION=0.2", "TEST_FRACTION=0.5"]
        call("split_data.py", *labelled(folder), f"SPLIT_FOLDER={split}", *shares)
    return split


def train(folder: Path, *settings: str) -> Run:
    """Run train_script.py into a folder, unless that was done before, and return what came of it.

    Start it anew by deleting the folder.
    """
    if not (folder / "output.txt").exists():
        output = call("train_script.py", f"MODEL_FOLDER={folder}", "SHOW_PLOTS=False", *settings)
        (folder / "output.txt").write_text(output, encoding="utf-8")
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    rows = read_table(folder / "history.csv", HISTORY_COLUMNS)
    history = [{name: float(row[name]) for name in HISTORY_COLUMNS} for row in rows]
    output = (folder / "output.txt").read_text(encoding="utf-8")
    return Run(output, metrics, history, folder)


def few(work_folder: Path, count: int, start: str, seed: int, change: str = "") -> Run:
    """Train on a few labelled digits for six epochs; ``change`` is one more setting."""
    name = f"few_{count}_{start}_{seed}{f'_{change}' if change else ''}"
    return train(
        work_folder / name, f"SPLIT_FOLDER={digits(work_folder)}", f"START_FROM={start}",
        f"TRAIN_IMAGES={count}", "EPOCHS=6", f"SEED={seed}", *change.split(),
    )  # fmt: skip


def spread(values: list[float]) -> str:
    """Return the mean, the lowest and the highest of some percentages."""
    return f"{statistics.mean(values):.1f} % ({min(values):.1f} to {max(values):.1f})"


def save(figure: Figure, name: str) -> None:
    """Write a picture of the course."""
    plots.save(figure, PICTURES / name)
    plt.close(figure)
    print(f"{PICTURES / name}: {(PICTURES / name).stat().st_size / 1000:.0f} kB")
