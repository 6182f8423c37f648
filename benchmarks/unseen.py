"""How well a model reads captchas that it has never seen, beside ddddocr and captcha-whisperer.

    python benchmarks/unseen.py FOLDER=/my/captchas
    python benchmarks/unseen.py FOLDER=/my/captchas RIVALS_PYTHON=/elsewhere/bin/python

FOLDER holds a folder of images for each set; the file names are the labels. Nothing is learnt from
these. All readers know which characters occur in a set, upper and lower case count as one, and they
read on one thread. The rivals are read where they are installed: see rivals.py. Prints a table, and
writes it to OUTPUT.

Generators of other people make sets to read, too: the scripts in generators/ draw with twelve that
pip, npm and Debian install.
"""

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch

import model
import utils
from files.framing import read_sample, spread
from files.images import read_image
from reading import limits
from utils import Prediction

# ---- edit these ----------------------------------------------------------------------------------
FOLDER = utils.DATA / "unseen"  # a folder per set
LABEL_PATTERN = "^([^_]+)"  # see split_data.py; group 1 is the label
PATTERNS = {"rsce-2000": "_([^_]+)$", "varying-2000": "^([^-]+)-"}  # of sets that need another
IMAGES = 400  # of a set, evenly spread over its file names
MODEL_FILE: Path | str = "practice"  # the model that reads; "practice" is the model that ships
RIVALS_PYTHON: Path | None = None  # a Python that has ddddocr and captcha-whisperer; None: this one
RIVALS = ["ddddocr", "captcha-whisperer"]  # [] for none
OUTPUT = utils.DATA / "unseen.md"  # the table
# --------------------------------------------------------------------------------------------------


class Reading(NamedTuple):
    """What a reader made of a set."""

    correct: list[bool]
    seconds: float  # of reading, files decoded and all


def main() -> None:
    """Read every set with every reader."""
    utils.settings(globals(), sys.argv[1:])
    torch.set_num_threads(1)
    folders = sorted(folder for folder in FOLDER.iterdir() if folder.is_dir())
    rivals = [name for name in RIVALS if is_installed(name)]
    for missing in set(RIVALS) - set(rivals):
        utils.note(f"{missing} is not installed; see benchmarks/rivals.py.")
    head = ["set", "images", "this model", *rivals, "characters", "sure", "of these right"]
    lines = [row(head), row(["---"] * len(head))]
    readings: dict[str, list[Reading]] = {}
    sure: list[bool] = []
    for folder in folders:
        pattern = PATTERNS.get(folder.name, LABEL_PATTERN)
        found = utils.labels_from_names(utils.image_files(folder), pattern)
        files = spread(list(found), IMAGES)
        wanted = [found[file].lower() for file in files]
        characters = "".join(sorted({c for label in found.values() for c in label.lower()}))
        predictions, seconds = read_ours(files, characters)
        correct = [p.text == label for p, label in zip(predictions, wanted, strict=True)]
        ours_sure = [c for c, p in zip(correct, predictions, strict=True) if p.confidence >= 0.95]
        sure += ours_sure
        theirs = [read_rival(name, files, wanted, characters) for name in rivals]
        readings[folder.name] = [Reading(correct, seconds), *theirs]
        letters = character_share([p.text for p in predictions], wanted)
        lines.append(row([
            folder.name, len(files), *(percent(r.correct) for r in readings[folder.name]),
            f"{100 * letters:.1f}", percent([p.confidence >= 0.95 for p in predictions]),
            percent(ours_sure),
        ]))  # fmt: skip
        print(lines[-1], flush=True)
    every = list(zip(*readings.values(), strict=True))  # by reader
    means = [f"**{np.mean([100 * np.mean(r.correct) for r in theirs]):.1f}**" for theirs in every]
    speeds = [sum(len(r.correct) for r in rs) / sum(r.seconds for r in rs) for rs in every]
    lines.append(row(["**mean**", "", *means, "", "", percent(sure)]))
    lines.append(row(["images a second", "", *(f"{speed:.0f}" for speed in speeds), "", "", ""]))
    text = "\n".join(lines)
    OUTPUT.write_text(text + "\n", encoding="utf-8")
    print(f"\n{text}\n\nThe table is in {OUTPUT}")


def read_ours(files: Sequence[Path], characters: str) -> tuple[list[Prediction], float]:
    """Read images as predict.py does; return the predictions and the seconds it took."""
    net, _ = model.load_model(utils.model_file(MODEL_FILE))
    limits.suit(net, read_sample(files), limits.readable(characters, net.charset), None)
    started = time.perf_counter()
    predictions = []
    for batch in (files[start : start + 256] for start in range(0, len(files), 256)):
        images = torch.stack([model.prepare(net, read_image(file)) for file in batch])
        predictions += model.read_images(net, images)
    return predictions, time.perf_counter() - started


def read_rival(name: str, files: Sequence[Path], wanted: Sequence[str], characters: str) -> Reading:
    """Read images with another program, in a process of its own."""
    request = json.dumps([name, [str(file) for file in files], characters])
    program = str(utils.ROOT / "benchmarks" / "rivals.py")
    command = [str(RIVALS_PYTHON or sys.executable), program]
    done = subprocess.run(command, input=request, capture_output=True, text=True, check=True)
    texts, seconds = json.loads(done.stdout.splitlines()[-1])
    return Reading([a == b for a, b in zip(texts, wanted, strict=True)], seconds)


def is_installed(name: str) -> bool:
    """Tell whether the Python for rivals has a program."""
    command = [str(RIVALS_PYTHON or sys.executable), "-c", f"import {name.replace('-', '_')}"]
    return subprocess.run(command, capture_output=True).returncode == 0


def character_share(texts: Sequence[str], wanted: Sequence[str]) -> float:
    """Return the share of the labels' characters that stand at their places in the texts."""
    hits = sum(a == b for text, label in zip(texts, wanted, strict=True)
               for a, b in zip(text, label, strict=False))  # fmt: skip
    return hits / sum(map(len, wanted))


def percent(flags: Sequence[bool]) -> str:
    """Return the share of true flags in per cent."""
    return f"{100 * np.mean(flags):.1f}" if flags else ""


def row(cells: Sequence[object]) -> str:
    """Return a row of a table in Markdown."""
    return f"| {' | '.join(map(str, cells))} |"


if __name__ == "__main__":
    utils.run(main)
