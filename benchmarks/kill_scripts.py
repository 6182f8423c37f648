"""Kill split_data.py, train_script.py and predict.py again and again; check that nothing is spoilt.

    python benchmarks/kill_scripts.py
    python benchmarks/kill_scripts.py "SCRIPTS=['split_data.py']" KILLS=500

Every other kill waits for the next change in the folder that the script writes to and comes within
two milliseconds of it, because a file is half written for no longer than that. After each kill
every file that can be seen must be whole. A killed training goes on with RESUME=True. When it is
done it must have left what one that was never killed leaves; then the next begins anew. Needs
os.fork (Linux, macOS): a copy of this program, which has everything imported already, runs the
script, so that the kills hit its work. For getData.py there is kill_crawl.py, for label_helper.py
label_speed.py.
"""

import contextlib
import csv
import json
import os
import random
import runpy
import shutil
import signal
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
from PIL import Image

import model
import utils
from files.tables import whole_rows
from practice import forms

# ---- edit these ----------------------------------------------------------------------------------
SCRIPTS = ["split_data.py", "train_script.py", "predict.py"]  # which to kill
KILLS = 50  # how many times each
SEED = 0  # another number kills at other moments
WORK_FOLDER = utils.DATA / "kill_scripts"  # for images, splits and models; emptied first
# --------------------------------------------------------------------------------------------------

PREVIOUS_NAME = f"previous{Path(model.MODEL_NAME).suffix}"
Counts = tuple[int, int]  # how often a script was killed, and how often it came to its end


def main() -> None:
    """Kill and check as the constants say."""
    utils.settings(globals(), sys.argv[1:])
    shutil.rmtree(WORK_FOLDER, ignore_errors=True)
    torch.set_num_threads(1)  # a copy of a program that computes in several threads would hang
    for script in SCRIPTS:
        runpy.run_path(str(utils.ROOT / script))  # imports what the copies of this program need
    images = WORK_FOLDER / "images"
    images.mkdir(parents=True)
    for number in range(200):
        image, answer = forms.draw("digit", number)
        image.save(images / f"{answer}-{number}.png")
    checks = {
        "split_data.py": kill_split,
        "train_script.py": kill_training,
        "predict.py": kill_prediction,
    }
    for script in SCRIPTS:
        killed, finished = checks[script](images, WORK_FOLDER / script[:-3], random.Random(SEED))
        print(f"{script}: killed {killed} times, came to its end {finished} times, nothing spoilt")


def run(
    script: str, *arguments: str, seconds: float | None = None, watch: Path | None = None
) -> float | None:
    """Run a script in a copy of this program, and kill it after some seconds.

    With ``watch`` the kill comes just after the next change in that folder. Returns how long the
    script ran, or None if it was killed. Raises ValueError if it failed.
    """
    started = time.monotonic()
    process = os.fork()
    if process == 0:
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1)
        sys.argv = [script, *arguments]
        try:
            runpy.run_path(str(utils.ROOT / script), run_name="__main__")
        except SystemExit as end:
            if end.code:
                print(f"{script} ended with: {end.code}", file=sys.stderr, flush=True)
                os._exit(1)
        os._exit(0)
    ended, status = 0, 0
    before: list[tuple[str, int, int]] | None = None
    while not ended:
        ended, status = os.waitpid(process, os.WNOHANG)
        if seconds is not None and time.monotonic() - started > seconds and not ended:
            now = state(watch)
            before = before or now
            if watch is None or now != before:
                time.sleep(random.uniform(0, 0.002) if watch else 0)
                os.kill(process, signal.SIGKILL)
                _, status = os.waitpid(process, 0)
                break
        else:
            time.sleep(0.001)
    if status == signal.SIGKILL:
        return None
    if status:
        raise ValueError(f"{script} {' '.join(arguments)} failed; see above.")
    return time.monotonic() - started


def whole_run(script: str, *arguments: str) -> float:
    """Run a script without killing it, and return how long it ran."""
    started = time.monotonic()
    run(script, *arguments)
    return time.monotonic() - started


def state(folder: Path | None) -> list[tuple[str, int, int]] | None:
    """Return what a change in a folder would change."""
    if folder is None:
        return None
    found = []
    for entry in os.scandir(folder):
        with contextlib.suppress(FileNotFoundError):  # it was renamed meanwhile
            about = entry.stat()
            found.append((entry.name, about.st_mtime_ns, about.st_size))
    return sorted(found)


def kill_again_and_again(
    start: Callable[[float, bool], float | None], check: Callable[[bool], None], rng: random.Random
) -> Counts:
    """Start a script until it was killed KILLS times; return that, and how often it ended first.

    ``start`` gets the share of its usual time after which to kill it, and whether to wait for the
    next change on the disk; ``check`` is told whether it came to its end, and raises ValueError if
    anything is spoilt.
    """
    killed = finished = 0
    while killed < KILLS:
        ended = start(rng.uniform(0, 1.1), killed % 2 == 1) is not None
        check(ended)
        killed, finished = killed + (not ended), finished + ended
    start(100, False)
    check(True)
    return killed, finished + 1


def kill_split(images: Path, folder: Path, rng: random.Random) -> Counts:
    """Kill split_data.py while it makes one of two splits in place of the other."""

    def arguments(name: str, seed: int) -> list[str]:
        return [f"IMAGE_FOLDER={images}", "LABELS_FILE=None", "LABEL_PATTERN=^(.)-",
                f"SPLIT_FOLDER={folder / name}", f"SEED={seed}"]  # fmt: skip

    usual = min(whole_run("split_data.py", *arguments(f"whole{seed}", seed)) for seed in (0, 1))
    wholes = [files_in(folder / f"whole{seed}") for seed in (0, 1)]
    seeds: list[int] = []

    def start(share: float, wait: bool) -> float | None:
        seeds.append(len(seeds) % 2)
        watch = folder if wait else None
        settings = arguments("split", seeds[-1])
        return run("split_data.py", *settings, seconds=share * usual, watch=watch)

    def check(ended: bool) -> None:
        split, before = folder / "split", folder / "split.previous"
        there = split if split.exists() else before  # killed between the two renames
        if there.exists() and files_in(there) not in wholes:
            raise ValueError(f"{there} is neither the old split nor the new one.")
        if ended and (files_in(split) != wholes[seeds[-1]] or before.exists()):
            raise ValueError(f"{split} is not the split that was made.")

    return kill_again_and_again(start, check, rng)


def kill_training(images: Path, folder: Path, rng: random.Random) -> Counts:
    """Kill train_script.py; resume it until it is done; then train anew beside that model."""
    split, model_folder = folder / "split", folder / "model"
    run("split_data.py", f"IMAGE_FOLDER={images}", "LABELS_FILE=None", "LABEL_PATTERN=^(.)-",
        f"SPLIT_FOLDER={split}")  # fmt: skip
    arguments = [f"SPLIT_FOLDER={split}", "EPOCHS=3", "BATCH_SIZE=8", "START_FROM=None",
                 "UNLABELLED_FOLDER=None", "AUDIT_FOLDS=0", "SHOW_PLOTS=False"]  # fmt: skip
    first = [*arguments, "EPOCHS=1", "SEED=7", f"MODEL_FOLDER={folder / 'first'}"]
    run("train_script.py", *first)
    whole = shutil.copytree(folder / "first", folder / "whole")
    usual = whole_run("train_script.py", *arguments, f"MODEL_FOLDER={whole}")
    expected, before = results(whole), weights(whole / PREVIOUS_NAME)
    shutil.copytree(folder / "first", model_folder)
    resume = [False]

    def start(share: float, wait: bool) -> float | None:
        settings = [*arguments, f"MODEL_FOLDER={model_folder}", f"RESUME={resume[0]}"]
        watch = model_folder if wait else None
        return run("train_script.py", *settings, seconds=share * usual, watch=watch)

    def check(ended: bool) -> None:
        check_whole(model_folder)
        # Its first epoch says whose state last.pt is: this training's or that of the one before.
        state = torch.load(model_folder / "last.pt", weights_only=True)
        resume[0] = str(state["history"][0]["train_loss"]) == expected["history"][0]["train_loss"]
        if ended:
            # Killed after its model was kept and resumed, a training keeps it once more.
            previous = weights(model_folder / PREVIOUS_NAME)
            if results(model_folder) != expected or previous not in (before, expected["weights"]):
                raise ValueError(f"{model_folder} is not as if the training was never killed.")
            shutil.rmtree(model_folder)
            shutil.copytree(folder / "first", model_folder)
            resume[0] = False

    return kill_again_and_again(start, check, rng)


def kill_prediction(images: Path, folder: Path, rng: random.Random) -> Counts:
    """Kill predict.py while it writes one of two tables in place of the other."""
    few = folder / "few"
    few.mkdir(parents=True)
    for file in sorted(images.iterdir())[:10]:
        shutil.copy(file, few)

    def arguments(name: str, confidence: int) -> list[str]:
        return [str(few), "MODEL_FILE=practice", f"OUTPUT={folder / name}",
                f"MIN_CONFIDENCE={confidence}", "SHOW_PLOTS=False"]  # fmt: skip

    usual = min(whole_run("predict.py", *arguments(f"whole{n}.csv", n)) for n in (0, 1))
    wholes = [(folder / f"whole{least}.csv").read_bytes() for least in (0, 1)]
    confidences: list[int] = []

    def start(share: float, wait: bool) -> float | None:
        confidences.append(len(confidences) % 2)
        settings = arguments("table.csv", confidences[-1])
        watch = folder if wait else None
        return run("predict.py", *settings, seconds=share * usual, watch=watch)

    def check(ended: bool) -> None:
        table = folder / "table.csv"
        check_whole(folder)
        if table.exists() and table.read_bytes() not in wholes:
            raise ValueError(f"{table} is neither the old table nor the new one.")
        if ended and table.read_bytes() != wholes[confidences[-1]]:
            raise ValueError(f"{table} is not the table that was made.")

    return kill_again_and_again(start, check, rng)


def files_in(folder: Path) -> dict[str, bytes]:
    """Return the content of each file below a folder."""
    return {str(f.relative_to(folder)): f.read_bytes() for f in folder.rglob("*") if f.is_file()}


def check_whole(folder: Path) -> None:
    """Raise an error if a file that is not hidden is not whole."""
    for file in folder.iterdir():
        if file.name.startswith("."):
            continue
        if file.suffix == ".safetensors":
            model.load_model(file)
        elif file.suffix == ".pt":
            with zipfile.ZipFile(file) as archive:
                if archive.testzip() is not None:
                    raise ValueError(f"{file} is damaged.")
        elif file.suffix == ".png":
            with Image.open(file) as image:
                image.load()
        elif file.suffix == ".json":
            json.loads(file.read_text(encoding="utf-8"))
        elif file.name == "history.csv" and whole_rows(file) != file.stat().st_size:
            raise ValueError(f"{file} is cut off.")  # runs.csv grows: its last row may be torn


def results(folder: Path) -> dict[str, Any]:
    """Return what a training left in its model folder, without times."""
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    del metrics["seconds"], metrics["trainings"], metrics["constants"]
    with open(folder / "history.csv", encoding="utf-8-sig", newline="") as file:
        history = [{**row, "seconds": 0} for row in csv.DictReader(file)]
    with open(folder / "runs.csv", encoding="utf-8-sig", newline="") as file:
        # A run that was killed after it was listed, and resumed, is listed once more; so runs.png
        # differs.
        listed = {row["val_loss"] for row in csv.DictReader(file)}
    pictures = {f.name: f.read_bytes() for f in folder.glob("*.png") if f.name != "runs.png"}
    return {"metrics": metrics, "history": history, "runs": listed, "pictures": pictures,
            "weights": weights(folder / model.MODEL_NAME)}  # fmt: skip


def weights(file: Path) -> dict[str, Any]:
    """Return the weights of a model file as plain values, which == compares."""
    return {name: value.tolist() for name, value in model.load_model(file)[0].state_dict().items()}


if __name__ == "__main__":
    utils.run(main)
