"""Measure how fast and how safe the label window is, with real keys on a virtual screen.

    python benchmarks/label_speed.py

Needs Xvfb and xdotool, and WINDOW_MANAGER for one of the measurements. Prints how long the window
takes to open, the time from Enter to the next image, whether keys are lost at DELAY ms per key with
and without a window manager, and what is left after kill -9 at random moments during typing.
"""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
from pyvirtualdisplay import Display

import utils
from files.tables import LABEL_COLUMNS, read_table
from practice import forms

# ---- edit these ----------------------------------------------------------------------------------
IMAGES = 10_000  # in the folder that is opened
OPENINGS = 5  # how often it is opened
LABELS = 300  # typed for the time from Enter to the next image, and for lost keys
DELAY = 12  # ms between keys
KILLS = 100  # how often the window is killed during typing
MODEL_FILE = utils.PRACTICE_MODEL  # proposes in one of the measurements
WINDOW_MANAGER = "matchbox-window-manager"  # any that is installed
WORK_FOLDER = utils.DATA / "label_speed"  # for images and labels
# --------------------------------------------------------------------------------------------------

LETTERS = "abcdefgh2345678"


def main() -> None:
    """Measure as the settings say."""
    utils.settings(globals(), sys.argv[1:])
    many, few = WORK_FOLDER / "many", WORK_FOLDER / "few"
    make_images(many, IMAGES)
    make_images(few, LABELS)
    with screen() as environment:
        for name, model in (("no model", None), ("a model", MODEL_FILE)):
            labels_file = WORK_FOLDER / "opening.csv"
            labels_file.unlink(missing_ok=True)
            times = [opening_time(many, labels_file, model, environment) for _ in range(OPENINGS)]
            print(f"{IMAGES} images, {name}: open and ready for keys in {describe(times, 's', 2)}")
            times = enter_times(many, labels_file, model, LABELS, environment)
            print(
                f"  Enter to the next image on the screen: {describe(times, 'ms', 1)}", flush=True
            )
    for manager in (None, WINDOW_MANAGER):
        with screen(manager) as environment:
            typed, kept = type_fast(few, WORK_FOLDER / "typing.csv", LABELS, DELAY, environment)
            wrong = sum(a != b for a, b in zip(typed, kept, strict=False))
            print(
                f"{DELAY} ms per key, {manager or 'no window manager'}: {len(typed)} labels typed, "
                f"{len(kept)} kept, {wrong} of them wrong",
                flush=True,
            )
    lost = wrong = shown = 0
    with screen() as environment:
        for seed in range(KILLS):
            typed, acknowledged, kept = killed(
                few, WORK_FOLDER / "kill.csv", DELAY, random.Random(seed), environment
            )
            shown += acknowledged
            lost += max(0, acknowledged - len(kept))
            wrong += kept != typed[: len(kept)]
    print(
        f"killed {KILLS} times during typing, {shown} labels were acknowledged by then: {lost} "
        f"lost, {wrong} files with a wrong label"
    )


def make_images(folder: Path, count: int) -> None:
    """Fill a folder with practice images: 300 different ones, under many names."""
    if folder.is_dir() and len(list(folder.iterdir())) == count:
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for number in range(count):
        if number < 300:
            forms.draw("simple", number)[0].save(folder / f"{number:05}.png")
        else:
            shutil.copyfile(folder / f"{number % 300:05}.png", folder / f"{number:05}.png")


@contextlib.contextmanager
def screen(manager: str | None = None) -> Iterator[dict[str, str]]:
    """Give the environment of a virtual screen, with a window manager if one is named."""
    with Display(size=(1280, 800), manage_global_env=False) as display:
        environment = {**os.environ, "DISPLAY": display.new_display_var}
        process = subprocess.Popen([manager], env=environment) if manager else None
        time.sleep(0.5)
        yield environment
        if process:
            process.kill()
            process.wait()


def xdotool(environment: dict[str, str], *arguments: str) -> str:
    """Run xdotool and return what it says."""
    command = ["xdotool", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True).stdout.strip()


def start(
    folder: Path, labels_file: Path, model: Path | None, environment: dict[str, str]
) -> subprocess.Popen:
    """Start the label window and wait until it has the keyboard."""
    command = [sys.executable, str(utils.ROOT / "label_helper.py"), f"IMAGE_FOLDER={folder}"]
    command += [
        f"LABELS_FILE={labels_file}",
        f"MODEL_FILE={model}",
        "LABELLER=person",
        "ORDER=name",
    ]
    command += ["CASE=keep", "UNAIDED=0", "ONLY_SOURCE=None", "IMPORT_FROM=None", "EXPORT_TO=None"]
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(command, env=environment, stdout=quiet, start_new_session=True)
    while "Label helper: " not in title(environment):
        if process.poll() is not None:
            raise ValueError("the label window did not open")
        time.sleep(0.01)
    return process


def title(environment: dict[str, str]) -> str:
    """Return the title of the window that has the keyboard."""
    return xdotool(environment, "getwindowfocus", "getwindowname")


def end(process: subprocess.Popen) -> None:
    """Kill the label window, and what reads images for it."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def opening_time(
    folder: Path, labels_file: Path, model: Path | None, environment: dict[str, str]
) -> float:
    """Return the seconds from the command to a window that takes keys."""
    started = time.perf_counter()
    process = start(folder, labels_file, model, environment)
    seconds = time.perf_counter() - started
    end(process)
    return seconds


def enter_times(
    folder: Path,
    labels_file: Path,
    model: Path | None,
    count: int,
    environment: dict[str, str],
) -> list[float]:
    """Return the milliseconds from each Enter until the next image is drawn.

    Measured inside the window's own process, with real key events: what Tk does is in it.
    """
    program = f"""
import sys, time
from pathlib import Path
import utils
from labelling import gui
from labelling.labels import Labelling
from labelling.proposals import Proposals
from labelling.window import LabelWindow
folder, model = Path(sys.argv[1]), Path(sys.argv[3]) if sys.argv[3] != "None" else None
proposals = Proposals({{}})
labelling = Labelling([file.name for file in utils.image_files(folder)], Path(sys.argv[2]))
if model:
    proposals.read(model, folder, labelling.images)
view = LabelWindow(gui.open_gui(), labelling, folder, proposals)
if model:
    proposals.reader.start()
entry, root = view.entry, view.window.TKroot
root.update()
for _ in range({count}):
    for key in (*"ab2de", "Return"):
        entry.event_generate("<Key>", keysym=key)
        started = time.perf_counter()
    event, values = view.window.read()
    view.handle(event, values["entry"].strip())
    root.update()  # draw it; a measuring program may, as it types nothing ahead
    print(1000 * (time.perf_counter() - started))
    time.sleep(0.07)  # a label at 12 ms per key
proposals.close()
"""
    command = [sys.executable, "-c", program, str(folder), str(labels_file), str(model)]
    environment = {**environment, "PYTHONPATH": str(utils.ROOT)}
    done = subprocess.run(
        command, env=environment, cwd=folder.parent, capture_output=True, text=True, check=True
    )
    return [float(line) for line in done.stdout.splitlines()]


def random_labels(count: int, rng: random.Random) -> list[str]:
    """Return labels to type."""
    return ["".join(rng.choices(LETTERS, k=5)) for _ in range(count)]


def type_fast(
    folder: Path, labels_file: Path, count: int, delay: int, environment: dict[str, str]
) -> tuple[list[str], list[str]]:
    """Type ``count`` labels at ``delay`` ms per key; return them and those in the file then."""
    labels_file.unlink(missing_ok=True)
    process = start(folder, labels_file, None, environment)
    typed = random_labels(count, random.Random(0))
    xdotool(environment, "type", "--delay", str(delay), "".join(label + "\n" for label in typed))
    kept, still = 0, 0
    while kept < count and still < 30:  # what is typed ahead may still be handled
        time.sleep(0.2)
        before, kept = kept, len(kept_labels(labels_file))
        still = 0 if kept > before else still + 1
    end(process)
    return typed, kept_labels(labels_file)


def kept_labels(labels_file: Path) -> list[str]:
    """Return the labels in a file, in the order in which they were kept."""
    return [row["label"] for row in read_table(labels_file, LABEL_COLUMNS)]


def killed(
    folder: Path,
    labels_file: Path,
    delay: int,
    rng: random.Random,
    environment: dict[str, str],
) -> tuple[list[str], int, list[str]]:
    """Kill the window at a random moment while labels are typed.

    Returns what was typed, how many labels the window had acknowledged in its title by showing the
    next image, and the labels that the file holds.
    """
    labels_file.unlink(missing_ok=True)
    process = start(folder, labels_file, None, environment)
    typed = random_labels(25, rng)
    keys = "".join(label + "\n" for label in typed)
    command = ["xdotool", "type", "--delay", str(delay), keys]
    typist = subprocess.Popen(command, env=environment)
    time.sleep(rng.uniform(0.1, 0.9 * len(keys) * delay / 1000))
    acknowledged = int(title(environment).split()[2]) - 1
    end(process)
    typist.wait()  # if killed, it might leave a key pressed, for the next window
    return typed, acknowledged, kept_labels(labels_file)


def describe(values: Sequence[float], unit: str, digits: int) -> str:
    """Return in words the median, the 95th percentile and the maximum of some values."""
    median, most = np.percentile(values, [50, 95])
    return (
        f"{median:.{digits}f} {unit} (median), {most:.{digits}f} {unit} (95th percentile), "
        f"{max(values):.{digits}f} {unit} at most"
    )


if __name__ == "__main__":
    utils.run(main)
