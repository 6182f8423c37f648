"""Measure how fast this version trains, starts and reads, against another version and others.

    python benchmarks/speed.py AGAINST=20797b3
    python benchmarks/speed.py AGAINST=20797b3 ROUNDS=2 "TRAININGS=['START_FROM=None']"

The versions take turns, so that another program on the machine slows both; believe the ratios, not
the seconds. Reading is on one processor, decoding the files included. It is also compared with
ddddocr and captcha-whisperer, where these are installed: pip install ddddocr captcha-whisperer
"""

import contextlib
import importlib.util
import io
import json
import math
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tarfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
from torch.nn import functional as F  # noqa: N812

import model
import utils
from files.images import read_image
from files.split_names import labelled_images
from training import dataset, parallel
from training.augment import augment
from training.muon import optimizers_for

# ---- edit these ----------------------------------------------------------------------------------
AGAINST: str | None = None  # a commit of this project; None: measure only this version
IMAGE_FOLDER = utils.DATA / "download"  # the images
LABELS_FILE: Path | None = utils.DATA / "labels.csv"  # None: the file names are the labels
LABEL_PATTERN = "(.+)"  # see split_data.py
TRAININGS = ["START_FROM=None", "TRAIN_IMAGES=100"]  # settings of train_script.py for each
ROUNDS = 1  # how often each training is timed
READ_IMAGES = 400  # images to read
WORK_FOLDER = utils.DATA / "speed"  # for the other version, the split and the models
# --------------------------------------------------------------------------------------------------

# So that no reader has more than one thread, whatever it asks for.
PIN = """
import os
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
"""
# How the version in the folder argv[1] reads the files argv[3:] with the model argv[2]; 20797b3 had
# other names.
READ_BY_VERSION = """
import sys, time
sys.path.insert(0, sys.argv[1])
import torch, model
try:
    from files.images import read_image
except ImportError:
    from imaging import read_image
from pathlib import Path
load = getattr(model, "load_model", None) or model.load_checkpoint
net, _ = load(Path(sys.argv[2]))
def read(files):
    images = [model.prepare(net, read_image(Path(file))) for file in files]
    return [read.text for read in model.read_images(net, torch.stack(images))]
"""
READ_BY = {
    "ddddocr": """
import sys, time
from pathlib import Path
import ddddocr
reader = ddddocr.DdddOcr(show_ad=False)
def read(files):
    return [reader.classification(Path(file).read_bytes()) for file in files]
""",
    "captcha_whisperer": """
import sys, time
from pathlib import Path
from captcha_whisperer import CaptchaRecognizer
reader = CaptchaRecognizer(threads=1)
def read(files):
    return [reader.recognize_bytes(Path(file).read_bytes()) for file in files]
""",
}
# Warm up; then seconds for all files, and the median of single ones.
TIMING = """
files = sys.argv[3:]
read(files[:8]); read(files[:1])
start = time.perf_counter()
read(files)
whole = time.perf_counter() - start
single = []
for file in files[:40]:
    start = time.perf_counter()
    read([file])
    single.append(time.perf_counter() - start)
print(whole, sorted(single)[len(single) // 2])
"""


def main() -> None:
    """Measure as the constants say."""
    utils.settings(globals(), sys.argv[1:])
    utils.at_least("ROUNDS", ROUNDS, 1)
    print(processor())
    versions = {"this version": utils.ROOT}
    if AGAINST is not None:
        versions[AGAINST] = check_out(AGAINST, WORK_FOLDER / "checkout")
    split = WORK_FOLDER / "split"
    call(
        utils.ROOT / "split_data.py", f"IMAGE_FOLDER={IMAGE_FOLDER}", f"LABELS_FILE={LABELS_FILE}",
        f"LABEL_PATTERN={LABEL_PATTERN}", f"SPLIT_FOLDER={split}",
    )  # fmt: skip
    for settings in TRAININGS:
        compare_trainings(versions, split, settings, ROUNDS)
    print_shares(split)
    compare_reading(versions, split, READ_IMAGES)
    compare_starts(versions, split)


def processor() -> str:
    """Return a line about this machine's processor."""
    name = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next((line.split(": ")[1] for line in lines if line.startswith("model name")), name)
    bf16 = "native" if torch.cpu._is_avx512_bf16_supported() else "not native"
    return (
        f"{name}, {os.cpu_count()} cores, {torch.backends.cpu.get_cpu_capability()}, bf16 {bf16}, "
        f"{torch.get_num_threads()} threads"
    )


def check_out(commit: str, folder: Path) -> Path:
    """Write the files of a commit into a folder, anew, and return it."""
    done = subprocess.run(
        ["git", "archive", "--format=tar", commit], cwd=utils.ROOT, capture_output=True
    )
    if done.returncode:
        raise ValueError(f"AGAINST={commit}: {done.stderr.decode(errors='replace').strip()}")
    shutil.rmtree(folder, ignore_errors=True)
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return folder


def call(script: Path, *arguments: str) -> float:
    """Run a script quietly, on all cores; return how many seconds it took."""
    environment = {"OMP_WAIT_POLICY": "passive", **os.environ}
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, str(script), *arguments], env=environment, capture_output=True, text=True
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"it ended with {done.returncode}."]
        raise ValueError(f"{script}: {lines[-1]}")
    return time.perf_counter() - start


def model_folder(version: str) -> Path:
    """Return where a version's trainings are kept."""
    return WORK_FOLDER / f"model of {version}"


# ---------------------------------------------------------------- training


def compare_trainings(versions: dict[str, Path], split: Path, settings: str, rounds: int) -> None:
    """Time train_script.py of each version with the same settings and seeds, in turns."""
    print(f"\ntrain_script.py {settings}, {rounds} times each")
    seconds: dict[str, list[float]] = {version: [] for version in versions}
    accuracies: dict[str, list[float]] = {version: [] for version in versions}
    for seed in range(rounds):
        for version, folder in versions.items():
            seconds[version].append(call(
                folder / "train_script.py", f"SPLIT_FOLDER={split}", f"SEED={seed}",
                f"MODEL_FOLDER={model_folder(version)}", "SHOW_PLOTS=False", *settings.split(),
            ))  # fmt: skip
            figures = json.loads((model_folder(version) / "metrics.json").read_text("utf-8"))
            accuracies[version].append(100 * figures["test"]["image_accuracy"])
    mine = statistics.mean(seconds["this version"])
    for version in versions:
        print(
            f"  {version:20} {statistics.mean(seconds[version]):7.1f} s, "
            f"{statistics.mean(seconds[version]) / mine:5.2f} times this version's; "
            f"{', '.join(f'{accuracy:.2f}' for accuracy in accuracies[version])} % of test images"
        )


def print_shares(split: Path, steps: int = 20) -> None:
    """Say where a step's time goes, and what one epoch's evaluation costs beside its steps."""
    data = dataset.load(split, None, 0)
    net = model.CaptchaNet(data.charset, data.length, data.spec)
    net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizers = optimizers_for(net, 0.003)
    spent = dict.fromkeys(("data", "augmentation", "forward", "backward", "optimizers"), 0.0)
    for step in range(steps + 1):
        times = [time.perf_counter()]
        batch = torch.randint(len(data.train.labels), (64,))
        images, targets = data.train.images[batch], data.train.targets[batch]
        times.append(time.perf_counter())
        images = augment(images)
        times.append(time.perf_counter())
        with model.autocast(net.mean.device):
            logits = net.train()(images)
        loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten())
        times.append(time.perf_counter())
        net.zero_grad()
        loss.backward()
        times.append(time.perf_counter())
        for optimizer in optimizers:
            optimizer.step()
        times.append(time.perf_counter())
        if step > 0:  # the first one only warms up
            for name, start, end in zip(spent, times, times[1:], strict=False):
                spent[name] += (end - start) / steps
    whole = sum(spent.values())
    print(f"\nA step of 64 images takes {1000 * whole:.0f} ms:")
    print("  " + ", ".join(f"{name} {100 * share / whole:.1f} %" for name, share in spent.items()))
    start = time.perf_counter()
    parallel.compute_logits(net, data.val.images)  # as a training does after each epoch
    evaluation = time.perf_counter() - start
    print(f"  evaluation of {len(data.val.labels)} images: {evaluation / whole:.1f} steps' time")


# ---------------------------------------------------------------- reading


def compare_reading(versions: dict[str, Path], split: Path, count: int) -> None:
    """Time reading on one processor, and compare one look, five, and what read_images() does."""
    files = [file for file, _ in labelled_images(split / "test")]
    files = (files * (1 + count // len(files)))[:count]
    readers = {
        version: (READ_BY_VERSION, str(folder), str(next(model_folder(version).glob("captcha.*"))))
        for version, folder in versions.items()
    }
    for package, code in READ_BY.items():
        if importlib.util.find_spec(package):
            readers[package] = (code, "", "")
    print(f"\nReading {count} images on one processor, decoding included")
    rates = {}
    for name, (code, folder, model_file) in readers.items():
        whole, single = on_one_processor(code + TIMING, folder, model_file, *map(str, files))
        rates[name] = count / whole
        ratio = rates["this version"] / rates[name]
        print(
            f"  {name:20} {rates[name]:6.1f} images a second (this version: {ratio:.1f} times), "
            f"one image {1000 * single:.1f} ms"
        )
    net, _ = model.load_model(Path(readers["this version"][2]))
    labelled = labelled_images(split / "test")
    images = torch.stack([model.prepare(net, read_image(file)) for file, _ in labelled])
    for name, sure in (("one look", 0.0), ("this version", model.SURE), ("five looks", math.inf)):
        read = model.read_logits(net, images, sure).argmax(dim=2)
        texts = model.decode_labels(read.numpy(), net.charset)
        correct = sum(text == label for text, (_, label) in zip(texts, labelled, strict=True))
        print(f"  {name:20} reads {100 * correct / len(texts):.2f} % of {len(texts)} test images")


def on_one_processor(code: str, *arguments: str) -> tuple[float, float]:
    """Run a program that prints two numbers on a single processor, and return them."""
    done = subprocess.run(
        [sys.executable, "-c", PIN + code, *arguments],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    whole, single = done.stdout.split()[-2:]
    return float(whole), float(single)


# ---------------------------------------------------------------- starting


def compare_starts(versions: dict[str, Path], split: Path) -> None:
    """Time whole processes, in turns: import torch, predict.py on one image, --help."""
    print("\nWhole processes, the median of five")
    image = str(labelled_images(split / "test")[0][0])
    commands = {"import torch": ["-c", "import torch"]}
    for version, folder in versions.items():
        model_file = next(model_folder(version).glob("captcha.*"))
        commands[f"predict.py one.png, {version}"] = [
            str(folder / "predict.py"), f"MODEL_FILE={model_file}", "SHOW_PLOTS=False",
            f"OUTPUT={WORK_FOLDER / 'one.csv'}", image,
        ]  # fmt: skip
        commands[f"train_script.py --help, {version}"] = [str(folder / "train_script.py"), "--help"]
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(5):
        for name, command in commands.items():
            start = time.perf_counter()
            subprocess.run([sys.executable, *command], capture_output=True, check=True)
            seconds[name].append(time.perf_counter() - start)
    usual = statistics.median(seconds["import torch"])
    for name, measured in seconds.items():
        middle = statistics.median(measured)
        print(f"  {name:40} {middle:5.2f} s, {middle / usual:4.2f} times import torch")


if __name__ == "__main__":
    utils.run(main)
