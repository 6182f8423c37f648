"""How time and memory grow with the number of images: splitting, starting, checking, judging.

    python benchmarks/scale.py
    python benchmarks/scale.py "COUNTS=[1000, 10000, 100000, 1000000]"

The practice site draws DRAWN captchas; the others are these with a few pixels changed, so that no
two are alike (to draw a million would take hours). Each start is a process of its own, and ends
after a few steps. Writes scale.csv and scale.png into WORK_FOLDER, anew after each number of
images, and prints a table. A million images of `simple` need 35 GB of disk. Linux only, where the
system tells how much memory a process has for itself.
"""

import itertools
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import cv2
import matplotlib.pyplot as plt
import numpy as np
import torch
from torch.nn import functional as F  # noqa: N812

import model
import utils
from files.split_names import CACHE
from files.tables import write_table
from labelling.labels import Labelling
from model import CaptchaNet
from practice import forms
from training import calibration, checkup, dataset, metrics, plots, runs, schedule
from training.augment import augment
from training.dataset import Dataset
from training.muon import optimizers_for

# ---- edit these ----------------------------------------------------------------------------------
COUNTS = [1000, 10_000, 100_000]  # images
FORM = "simple"  # of the practice site
DRAWN = 2000  # of the images; the others are made of these
STEPS = 20  # of the training, for the time of one
WORK_FOLDER = utils.DATA / "scale"  # for images, splits and the result
START: Path | None = None  # measure one start on this split folder, in this process
# --------------------------------------------------------------------------------------------------

Row = dict[str, float]  # of the table
SECONDS = ("split", "first start", "second start", "check-up", "figures", "label window")
BATCH_SIZE = 64


def main() -> None:
    """Measure and plot as the constants say."""
    utils.settings(globals(), sys.argv[1:])
    if START is not None:
        print(json.dumps(start(START, STEPS)))
        return
    plots.use_screen(False)
    rows = []
    for count in COUNTS:
        rows.append(measure(count, WORK_FOLDER / str(count)))
        write_table(WORK_FOLDER / "scale.csv", list(rows[0]), [[*row.values()] for row in rows])
        plots.save(plot(rows), WORK_FOLDER / "scale.png")
    print(" | ".join(rows[0]))
    for row in rows:
        print(
            " | ".join(f"{value:.0f}" if value >= 10 else f"{value:.2g}" for value in row.values())
        )
    print(f"The plot is in {WORK_FOLDER}")


def measure(count: int, folder: Path) -> Row:
    """Return a row of the table: seconds, and what else a number of images needs."""
    images, split = folder / "images", folder / "split"
    if not images.exists():
        make_images(images, count)
    row: Row = {"images": count}
    row["split"] = seconds(lambda: call("split_data.py", f"IMAGE_FOLDER={images}",
        "LABELS_FILE=None", "LABEL_PATTERN=^([^-]+)-", f"SPLIT_FOLDER={split}"))  # fmt: skip
    (split / CACHE).unlink(missing_ok=True)
    first, second = (
        json.loads(call("benchmarks/scale.py", f"START={split}", f"STEPS={STEPS}"))
        for _ in range(2)
    )
    row |= {"first start": first["start"], "second start": second.pop("start")} | second
    row["label window"] = seconds(lambda: open_labels(images, folder / "labels.csv"))
    row["cache (MB)"] = (split / CACHE).stat().st_size / 1e6 if (split / CACHE).exists() else 0
    return row


def make_images(folder: Path, count: int) -> None:
    """Fill a folder with different captchas, named <answer>-<number>.png."""
    drawn = [forms.draw(FORM, number) for number in range(min(DRAWN, count))]
    partial, rng = folder.with_name("images.partial"), np.random.default_rng(0)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    numbers = utils.progress(range(count), "drawing")
    for number, (image, answer) in zip(numbers, itertools.cycle(drawn), strict=False):
        pixels = np.array(image.convert("RGB"))  # (H, W, 3)
        pixels[0, :8] = rng.integers(0, 256, (8, 3))
        _, data = cv2.imencode(".png", pixels[:, :, ::-1])
        (partial / f"{answer}-{number}.png").write_bytes(data.tobytes())
    partial.rename(folder)


def start(split: Path, steps: int) -> Row:
    """Start a training and measure; the memory is what the process has for itself, at most."""
    row, memory = {}, []

    def timed(what: str, work: Callable[[], Any]) -> Any:
        began = time.perf_counter()
        result = work()
        row[what] = time.perf_counter() - began
        memory.append(own_memory())
        return result

    data = timed("start", lambda: dataset.load(split, None, 0))
    timed("check-up", lambda: examine(data))
    row |= time_steps(data, steps)
    memory.append(own_memory())
    timed("figures", lambda: judge(data))
    return row | {"memory (MiB)": max(memory)}


def examine(data: Dataset) -> None:
    """Do all that a training does before its first step, apart from the trials of the network."""
    checkup.examine_labels(data.train.labels)
    checkup.examine_images(data.train, [data.val, data.test])
    checkup.examine_others(data.train.labels, data.val.labels + data.test.labels)
    runs.digest_of(data.train)


def judge(data: Dataset) -> None:
    """Compute all figures of a test, from logits that were not computed."""
    length, classes = data.length, len(data.charset) + 1
    val, test = (torch.randn(len(s.labels), length, classes) for s in (data.val, data.test))
    calibration.fit_temperature(val, data.val)
    metrics.describe(test, data.test, data.charset)
    calibration.coverage_table(val, test, data.test)


def time_steps(data: Dataset, steps: int) -> Row:
    """Return the median time of a training's step, and how much of it goes by until images come."""
    net = CaptchaNet(data.charset, data.length, data.spec)
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    net.set_normalisation(data.train.images)
    optimizers = optimizers_for(net, schedule.USUAL_RATE)
    times, waits = [], []
    for batch in schedule.epoch_batches(len(data.train.labels), BATCH_SIZE)[:steps]:
        began = time.perf_counter()
        images = data.train.images[batch]  # (B, C, H, W)
        waits.append(time.perf_counter() - began)
        with model.autocast(net.mean.device):
            logits = net(augment(images))  # (B, L, classes)
        loss = F.cross_entropy(logits.flatten(0, 1), data.train.targets[batch].flatten())
        net.zero_grad()
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
        times.append(time.perf_counter() - began)
    step = float(np.median(times))
    return {"step (ms)": 1000 * step, "waiting (%)": 100 * float(np.median(waits)) / step}


def open_labels(images: Path, labels_file: Path) -> None:
    """Do what the label window does before it opens: nothing is labelled yet."""
    Labelling([file.name for file in utils.image_files(images)], labels_file).close()


def seconds(work: Callable[[], object]) -> float:
    """Return how long something takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def call(script: str, *arguments: str) -> str:
    """Run a script of the project and return what it prints."""
    command = [sys.executable, str(utils.ROOT / script), *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def own_memory() -> float:
    """Return how much memory this process has for itself, in MiB, without mapped files."""
    status = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) / 1024 for line in status if line.startswith("RssAnon:"))


def plot(rows: Sequence[Row]) -> plots.Figure:
    """Plot seconds and memory against the number of images, with what grows in step with it."""
    counts = [row["images"] for row in rows]
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for name, marker in zip(SECONDS, "osv^DP", strict=True):  # told apart in grey, too
        left.plot(counts, [row[name] for row in rows], marker=marker, label=name)
    straight = [rows[-1]["first start"] * count / counts[-1] for count in counts]
    left.plot(counts, straight, "--", color="0.7", label="in step with the images")
    right.plot(counts, [row["memory (MiB)"] for row in rows], marker="o", label="memory, MiB")
    right.plot(counts, [row["waiting (%)"] for row in rows], marker="s", label="a step waits, %")
    for axes in (left, right):
        axes.set(xscale="log", yscale="log", xlabel="images")
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small", loc="upper left" if axes is left else "center left")
    left.set(ylabel="seconds", title="Time grows no faster than the number of images")
    right.set_title("Memory hardly grows, and steps do not wait")
    return figure


if __name__ == "__main__":
    utils.run(main)
