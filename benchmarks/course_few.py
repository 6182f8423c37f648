"""Few labels and none, for the course: fine-tuning, hyper-parameters, a model that teaches itself.

    python benchmarks/course_few.py
    python benchmarks/course_few.py PART=settings SEEDS=[0]

Prints the figures of each part over the seeds and draws its picture. Trainings that are in
WORK_FOLDER already are not repeated.
"""

import statistics
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import matplotlib.pyplot as plt
import numpy as np

import model
import utils
from benchmarks import course
from files.images import read_image
from training import plots
from training.calibration import confidences_of

# ---- edit these ----------------------------------------------------------------------------------
PART = "all"  # or tuning, settings, rounds, nonsense
SEEDS = [0, 1, 2]
COUNTS = [20, 50, 100]  # labels
WORK_FOLDER = utils.DATA / "course"  # for images, splits and models
# --------------------------------------------------------------------------------------------------

# What is changed, one at a time, in the training from scratch with 50 labels.
CHANGES = [
    "LEARNING_RATE=0.001",
    "LEARNING_RATE=0.009",
    "BATCH_SIZE=16",
    "EPOCHS=3",
    "EPOCHS=12",
]


def main() -> None:
    """Make the parts."""
    utils.settings(globals(), sys.argv[1:])
    plots.use_screen(False)
    for part in PARTS if PART == "all" else [PART]:
        PARTS[part]()


def tuning() -> None:
    """Compare starting from the model that ships with starting from scratch."""
    for start in ("None", "practice"):
        for count in COUNTS:
            runs = [course.few(WORK_FOLDER, count, start, seed) for seed in SEEDS]
            tests = [100 * run.metrics["test"]["image_accuracy"] for run in runs]
            print(f"{start:8} {count:4d} labels: {course.spread(tests)} of the test", flush=True)


def settings() -> None:
    """Change one hyper-parameter at a time; judged by validation."""
    for change in ["", *CHANGES]:
        runs = [course.few(WORK_FOLDER, 50, "None", seed, change) for seed in SEEDS]
        values = [100 * run.metrics["val"]["image_accuracy"] for run in runs]
        losses = [run.metrics["val"]["loss"] for run in runs]
        print(
            f"{change or 'as above':20} {course.spread(values)} of validation, loss "
            f"{statistics.mean(losses):.3f} ({min(losses):.3f} to {max(losses):.3f})",
            flush=True,
        )


def taught(name: str, folder: Path, rounds: int, seed: int, *settings: str) -> course.Run:
    """Let the model that ships teach itself the images of a folder."""
    return course.train(
        WORK_FOLDER / f"{name}_{rounds}_{seed}", "SPLIT_FOLDER=None", f"UNLABELLED_FOLDER={folder}",
        f"ROUNDS={rounds}", "EPOCHS=2", f"SEED={seed}", *settings,
    )  # fmt: skip


def rounds() -> None:
    """Let it teach itself a form that it reads mostly."""
    folder = course.fetch("noise", 150, WORK_FOLDER / "noise")
    for number in (1, 3):
        print(taught("rounds", folder, number, SEEDS[0]).output)


def nonsense() -> None:
    """Let it teach itself digits, of which it is told that there is no 9."""
    folder = course.fetch("digit", 1000, WORK_FOLDER / "digit")
    for seed in SEEDS:
        for number in (1, 3):
            run = taught("nonsense", folder, number, seed, "CHARACTERS='012345678'", "LENGTH=1")
            print(run.output)


PARTS: dict[str, Callable[[], None]] = {
    "tuning": tuning,
    "settings": settings,
    "rounds": rounds,
    "nonsense": nonsense,
}


if __name__ == "__main__":
    utils.run(main)
