"""What a model learns of a site from images without labels: before, afterwards, and as it expects.

    python benchmarks/self_taught.py FOLDER=/my/captchas
    python benchmarks/self_taught.py FOLDER=/my/captchas LABELS=20

FOLDER holds a folder of images for each set; the file names are the labels. Of each set a fifth is
tested. Of the others, CRAWL at most are what train_script.py learns from, without their labels but
for LABELS of them. Upper and lower case count as one. Prints a row per set, and appends it to
OUTPUT; sets that stand there already are left out, so a second run goes on.
"""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch

import model
import utils
from files.framing import read_sample
from files.images import content_hash, read_image
from files.split_names import split_name
from reading import limits

# ---- edit these ----------------------------------------------------------------------------------
FOLDER = utils.DATA / "unseen"  # a folder per set
LABEL_PATTERN = "^([^_]+)"  # see split_data.py; group 1 is the label
PATTERNS = {"rsce-2000": "_([^_]+)$", "varying-2000": "^([^-]+)-"}  # of sets that need another
SETS: list[str] = []  # the names of those to measure; []: all
CRAWL = 1000  # images to learn from, at most
LABELS = 0  # how many of them have labels
TELL_CHARACTERS = True  # False: which occur is found out, too
SETTINGS = ""  # further NAME=value settings of train_script.py, separated by blanks
OUTPUT = utils.DATA / "self_taught.md"  # the table
WORK_FOLDER = utils.DATA / "self_taught"  # for the images and models of a set
# --------------------------------------------------------------------------------------------------

HEAD = ["set", "learnt from", "labels", "tested", "before", "afterwards", "expected", "seconds"]


def main() -> None:
    """Measure every set."""
    utils.settings(globals(), sys.argv[1:])
    if not OUTPUT.exists():
        OUTPUT.parent.mkdir(parents=True, exist_ok=True)
        OUTPUT.write_text(f"{row(HEAD)}\n{row(['---'] * len(HEAD))}\n", encoding="utf-8")
    done = OUTPUT.read_text(encoding="utf-8")
    for folder in sorted(folder for folder in FOLDER.iterdir() if folder.is_dir()):
        if f"| {folder.name} |" in done or (SETS and folder.name not in SETS):
            continue
        line = row(measure(folder, PATTERNS.get(folder.name, LABEL_PATTERN)))
        print(line, flush=True)
        with OUTPUT.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
    print(f"The table is in {OUTPUT}")


def measure(folder: Path, pattern: str) -> list[object]:
    """Return the row of a set."""
    found = utils.labels_from_names(utils.image_files(folder), pattern)
    labels = {file: label.lower() for file, label in found.items()}
    characters = "".join(sorted(set("".join(labels.values()))))
    # In random order, the same every time.
    files = sorted(labels, key=lambda file: content_hash(file.name.encode()))
    test, crawl = files[: len(files) // 5], files[len(files) // 5 :][:CRAWL]

    shutil.rmtree(WORK_FOLDER, ignore_errors=True)
    names = {file: f"{number}{file.suffix}" for number, file in enumerate(crawl)}
    copy({file: names[file] for file in crawl[LABELS:]}, WORK_FOLDER / "crawl")
    split = WORK_FOLDER / "split" if LABELS else None
    if split is not None:
        val = LABELS - LABELS // 4  # a quarter of the labels chooses the epoch
        for name, some in (("train", crawl[:val]), ("val", crawl[val:LABELS]), ("test", test)):
            copy({file: name_of(file, labels[file]) for file in some}, split / name)
    started = time.perf_counter()
    train(split, characters if TELL_CHARACTERS else None)
    seconds = time.perf_counter() - started

    before = share_read(utils.PRACTICE_MODEL, test, labels, characters)
    metrics = json.loads((WORK_FOLDER / "model" / "metrics.json").read_text(encoding="utf-8"))
    after = share_read(WORK_FOLDER / "model" / model.MODEL_NAME, test, labels, None)
    expected = metrics.get("expected_image_accuracy")
    shares = [
        f"{100 * share:.1f}" if share is not None else "" for share in (before, after, expected)
    ]
    return [folder.name, len(crawl), LABELS, len(test), *shares, round(seconds)]


def name_of(file: Path, label: str) -> str:
    """Return what split_data.py would call a copy of an image."""
    return split_name(label, content_hash(file.read_bytes()), file.suffix[1:].lower())


def copy(names: dict[Path, str], folder: Path) -> None:
    """Copy files into a new folder under other names."""
    folder.mkdir(parents=True)
    for file, name in names.items():
        shutil.copyfile(file, folder / name)


def train(split: Path | None, characters: str | None) -> None:
    """Run train_script.py with the images without labels; end with its message if it fails."""
    command = [
        sys.executable, str(utils.ROOT / "train_script.py"), f"SPLIT_FOLDER={split}",
        f"UNLABELLED_FOLDER={WORK_FOLDER / 'crawl'}", f"MODEL_FOLDER={WORK_FOLDER / 'model'}",
        "SHOW_PLOTS=False", *SETTINGS.split(),
    ]  # fmt: skip
    if characters is not None:
        command.append(f"CHARACTERS={json.dumps(characters)}")  # digits alone would be a number
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise ValueError((done.stderr.strip().splitlines() or ["train_script.py failed."])[-1])


def share_read(
    file: Path, images: Sequence[Path], labels: dict[Path, str], characters: str | None
) -> float:
    """Return the share of images that a model reads correctly."""
    net, _ = model.load_model(file)
    if characters is not None:
        characters = limits.readable(characters, net.charset)
    limits.suit(net, read_sample(images), characters, None)
    batch = torch.stack([model.prepare(net, read_image(image)) for image in images])
    read = model.read_images(net, batch)
    return sum(r.text.lower() == labels[i] for r, i in zip(read, images, strict=True)) / len(images)


def row(cells: Sequence[object]) -> str:
    """Return a row of a table in Markdown."""
    return f"| {' | '.join(map(str, cells))} |"


if __name__ == "__main__":
    utils.run(main)
