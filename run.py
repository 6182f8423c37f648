"""Set up everything and run the whole path, the tests, or the practice site.

    python3 run.py          makes .venv, then runs the five scripts on the built-in practice site
    python3 run.py test     makes .venv, then runs the tests
    python3 run.py site     makes .venv, then serves the practice site, for your browser
    python3 run.py setup    only makes .venv

Needs Python 3.10 or newer and nothing else; a second run reuses .venv. After the installation
the path takes two minutes on two processor cores with AVX-512 and bf16; with AVX2 alone its
training takes two and a half.
"""

from __future__ import annotations  # so that an old Python gets as far as the message below

import contextlib
import hashlib
import importlib.util
import os
import platform
import shlex
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
VENV = HERE / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")

# Each step as a person would type it. The labels come from the practice site's answer key here;
# without LABELLER=answers the second step opens the window.
STEPS = [
    "getData.py COUNT={missing}",
    "label_helper.py LABELLER=answers",
    "split_data.py",
    "train_script.py START_FROM=None SHOW_PLOTS=False",
    "getData.py COUNT={new} SEED=1 DOWNLOAD_FOLDER=data/new",
    "predict.py SHOW_PLOTS=False data/new",
]


def main() -> None:
    """Do what the command line asks for."""
    task = sys.argv[1] if len(sys.argv) > 1 else "run"
    if task not in ("run", "test", "site", "setup") or len(sys.argv) > 2:
        sys.exit(__doc__.strip())
    if sys.version_info < (3, 10):  # noqa: UP036 (the person may well have an older one)
        sys.exit(f"run.py: Python 3.10 or newer is needed; this is {platform.python_version()}.")
    missing = missing_part()
    if missing == "venv":
        sys.exit(f"run.py: this Python cannot make a virtual environment. {remedy('venv')}")
    set_up(["requirements.txt"] + (["requirements-dev.txt"] if task == "test" else []))
    if missing == "tkinter":
        print(f"The label window needs tkinter. {remedy('tkinter')}", file=sys.stderr)
    # Let PyTorch's threads sleep while they wait for each other. On Linux they would spin instead,
    # which makes a training several times slower where other programs keep a core busy.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    if task == "test":
        # One process per core; each test has one thread, see tests/conftest.py.
        pytest = [str(PYTHON), "-m", "pytest", "-n", "auto", "--dist", "worksteal"]
        sys.exit(subprocess.call(pytest, cwd=HERE))
    if task == "site":
        with contextlib.suppress(KeyboardInterrupt):  # Ctrl+C ends the site, too
            sys.exit(subprocess.call([str(PYTHON), "-m", "practice.site"], cwd=HERE))
    if task == "run":
        run_path()


def missing_part() -> str | None:
    """Return which part of the standard library this Python was installed without, if any."""
    if not (importlib.util.find_spec("venv") and importlib.util.find_spec("ensurepip")):
        return "venv"
    return None if importlib.util.find_spec("tkinter") else "tkinter"


def remedy(part: str) -> str:
    """Return what to install so that Python has ``part``, venv or tkinter."""
    if os.name == "nt":
        box = "tcl/tk and IDLE" if part == "tkinter" else "pip"
        return f"Run the Python installer again, choose Modify and tick {box!r}."
    if sys.platform == "darwin":
        formula = "python-tk" if part == "tkinter" else "python"
        return f"Install it with: brew install {formula}@3.{sys.version_info.minor}"
    package = "python3-tk" if part == "tkinter" else "python3-venv"
    return f"Install it with: sudo apt install {package}"


def set_up(requirements: list[str]) -> None:
    """Make .venv and install the requirements, unless that was done for these same files."""
    for name in requirements:
        content = (HERE / name).read_bytes() + platform.python_version().encode()
        wanted, stamp = hashlib.sha256(content).hexdigest(), VENV / f"{name}.installed"
        if PYTHON.exists() and stamp.exists() and stamp.read_text() == wanted:
            continue
        print(f"Installing {name} into {VENV}; this can take a few minutes", flush=True)
        check([sys.executable, "-m", "venv", str(VENV)])  # keeps what is there already
        pip = [str(PYTHON), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        check([*pip, "-r", str(HERE / name)])
        stamp.write_text(wanted)


def run_path() -> None:
    """Run the steps one after another, showing each command before it starts."""
    counts = {
        "missing": 1200 - images_in(HERE / "data" / "download"),
        "new": 10 - images_in(HERE / "data" / "new"),
    }
    for step in STEPS:
        command = step.format(**counts)
        count = command.partition("COUNT=")[2].split(" ")[0]
        if count and int(count) <= 0:
            print(f"\n$ python {step.split()[0]}   (not needed: the images are there)", flush=True)
            continue
        print(f"\n$ python {command}", flush=True)
        check([str(PYTHON), *shlex.split(command)])
    data = HERE / "data"
    print("\nDone. See the pictures:")
    for picture, what in (
        (data / "model" / "report.html", "all of the training on one page, for your browser"),
        (data / "model" / "curves.png", "how the network learnt"),
        (data / "model" / "mistakes.png", "what it got wrong in the test folder"),
        (data / "model" / "confusion.png", "which characters it mixes up"),
        (data / "model" / "attention.png", "where it looked for each character"),
        (data / "predictions.png", "the ten new captchas, and what it read"),
    ):
        print(f"  {picture}   {what}")


def images_in(folder: Path) -> int:
    """Return how many images getData.py has put into a folder."""
    return len(list(folder.glob("*.png")))


def check(command: list[str]) -> None:
    """Run a command in the project's folder; where it fails, end with its exit status."""
    status = subprocess.call(command, cwd=HERE)
    if status:
        sys.exit(status)


if __name__ == "__main__":
    main()
