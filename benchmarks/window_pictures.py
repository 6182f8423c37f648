"""Draw the pictures of the label window in docs/: typing, proposing, naming a cluster, reviewing.

    python benchmarks/window_pictures.py

Needs Xvfb and xdotool. Starts label_helper.py on a virtual screen with practice captchas, types as
a person would, and keeps a picture of the window.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from PIL import ImageGrab

import utils
from benchmarks.label_speed import screen, xdotool
from files.images import content_hash
from files.tables import SUSPECT_COLUMNS, write_table
from practice import forms

# ---- edit these ----------------------------------------------------------------------------------
IMAGES = 60  # of the form noise, to be labelled
CLUSTER_IMAGES = 300  # of the form simple, of which characters are named
SECONDS = 8.0  # to wait after each key, on a busy computer more: until what it shows has changed
WORK_FOLDER = utils.DATA / "window_pictures"  # for images and labels
OUTPUT_FOLDER = utils.ROOT / "docs"  # for the pictures
# --------------------------------------------------------------------------------------------------


def main() -> None:
    """Draw all four."""
    utils.settings(globals(), sys.argv[1:])
    shutil.rmtree(WORK_FOLDER, ignore_errors=True)
    noise, simple = WORK_FOLDER / "noise", WORK_FOLDER / "simple"
    texts = draw("noise", noise, IMAGES)
    draw("simple", simple, CLUSTER_IMAGES)
    names = sorted(texts)

    typed = [key for name in names[:4] for key in (*texts[name], "Return")]
    show("label_window", noise, ["MODEL_FILE=None"], [*typed, *texts[names[4]][:3]])
    accepted = [*["Return"] * 5, "wait"]
    show("label_proposal", noise, ["MODEL_FILE=practice", "ORDER=least-sure"], ["wait", *accepted])
    show("clusters", simple, ["MODEL_FILE=None", "ORDER=cluster"], ["wait"])
    write_suspects(noise, {name: texts[name] for name in names[:12]})
    model = WORK_FOLDER / "captcha.safetensors"  # suspects.csv lies beside it; nobody reads it
    show("label_review", noise, [f"MODEL_FILE={model}", "ORDER=suspects"], ["Return", "Return"])


def draw(form: str, folder: Path, count: int) -> dict[str, str]:
    """Draw practice captchas; return the text of each by file name."""
    folder.mkdir(parents=True)
    texts = {}
    for number in range(count):
        image, texts[f"{number:04}.png"] = forms.draw(form, number)
        image.save(folder / f"{number:04}.png")
    return texts


def write_suspects(folder: Path, texts: dict[str, str]) -> None:
    """Write a suspects.csv as an audit would if someone had swapped two characters of each text."""
    rows = []
    for number, (name, text) in enumerate(texts.items()):
        label = text[:1] + text[2:3] + text[1:2] + text[3:]
        digest = content_hash((folder / name).read_bytes())
        confidence = 0.99 - number / 50
        row = [f"train/{label}_{digest[:8]}.png", name, label, text, confidence, confidence]
        rows.append(row)
    write_table(WORK_FOLDER / "suspects.csv", SUSPECT_COLUMNS, rows)


def show(name: str, folder: Path, settings: Sequence[str], keys: Sequence[str]) -> None:
    """Open the window, press keys and keep a picture of it; "wait" is a pause."""
    labels_file = WORK_FOLDER / f"{name}.csv"
    command = [
        sys.executable, str(utils.ROOT / "label_helper.py"), f"IMAGE_FOLDER={folder}",
        f"LABELS_FILE={labels_file}", f"NAMES_FILE={WORK_FOLDER / 'names.csv'}", "UNAIDED=0",
        *settings,
    ]  # fmt: skip
    with screen() as environment:
        process = subprocess.Popen(command, env=environment, start_new_session=True)
        while not (
            window := xdotool(environment, "search", "--onlyvisible", "--name", "elper|heet")
        ):
            if process.poll() is not None:
                raise ValueError(f"the window of {name} did not open")
            time.sleep(0.2)
        time.sleep(SECONDS)
        for key in keys:
            if key == "wait":
                time.sleep(3 * SECONDS)
            else:
                xdotool(environment, "key", key)
                time.sleep(0.2)
        time.sleep(SECONDS)
        place = xdotool(environment, "getwindowgeometry", "--shell", window.splitlines()[-1])
        at = {line.partition("=")[0]: int(line.partition("=")[2]) for line in place.splitlines()}
        box = (at["X"], at["Y"], at["X"] + at["WIDTH"], at["Y"] + at["HEIGHT"])
        picture = ImageGrab.grab(box, xdisplay=environment["DISPLAY"])
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    picture.save(OUTPUT_FOLDER / f"{name}.png", optimize=True)
    print(f"{OUTPUT_FOLDER / name}.png")


if __name__ == "__main__":
    utils.run(main)
