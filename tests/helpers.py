"""What several tests need: practice images in a folder, and scripts run as a person runs them."""

import contextlib
import io
import runpy
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import torch

from files.images import InputSpec, content_hash
from files.split_names import split_name
from model import CaptchaNet
from practice import forms

project = Path(__file__).resolve().parent.parent

# What the tests rely on, whatever a person has edited in the scripts; arguments come after it.
PINNED = {
    "getData.py": [
        "SOURCE=practice:simple", "COUNT=1200", "SEED=0", "DELAY_SECONDS=1.0", "PARALLEL=4",
        "TIMEOUT_SECONDS=10.0",
    ],
    "label_helper.py": [
        "ONLY_SOURCE=None", "LABELLER=person", "MODEL_FILE=None", "ORDER=name", "DOUBTFUL=0.95",
        "UNAIDED=0.03", "CASE=keep", "IMPORT_FROM=None", "LABEL_PATTERN=(.+)", "EXPORT_TO=None",
    ],
    "split_data.py": [
        "LABEL_PATTERN=(.+)", "ONLY_SOURCE=None", "VAL_FRACTION=0.1", "TEST_FRACTION=0.2", "SEED=0",
    ],
    "train_script.py": [
        "EPOCHS=None", "BATCH_SIZE=64", "LEARNING_RATE=None", "HEAD=attention",
        "START_FROM=practice", "RESUME=False", "PATIENCE=None", "CHARACTERS=None",
        "LENGTH=None", "TRAIN_IMAGES=None", "UNLABELLED_FOLDER=None", "ROUNDS=4", "SEED=0",
        "AUDIT_FOLDS=0", "EXPORT_ONNX=False", "SHOW_PLOTS=False",
    ],
    "predict.py": [
        "CHARACTERS=None", "LENGTH=None", "MIN_CONFIDENCE=0.0", "SHOW_PLOTS=False", "JSON=False",
        "SERVE=None", "EXPORT_ONNX=None", "ONNX_WEIGHTS=float32",
    ],
}  # fmt: skip


def hear_ctrl_c() -> None:
    """For Popen's preexec_fn: a program started in the background may ignore SIGINT."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def practice_folder(
    folder: Path, count: int, form: str = "simple", seed: int = 0, size: int | None = None
) -> Path:
    """Fill a folder with practice images named <answer>-<number>.png and return it.

    With a ``size`` they are squares of so many pixels.
    """
    folder.mkdir(parents=True)
    for number in range(count):
        image, answer = forms.draw(form, number, seed)
        if size:
            image = image.resize((size, size))
        image.save(folder / f"{answer}-{number}.png")
    return folder


def command(name: str, *arguments) -> list[str]:
    """Return the command line of a script of the project, with the settings that tests rely on."""
    return [sys.executable, str(project / name), *PINNED.get(name, []), *map(str, arguments)]


def run_script(name: str, *arguments, cwd: Path, check: bool = True):
    """Run a script of the project from another folder, and return the finished process."""
    done = subprocess.run(
        command(name, *arguments),
        cwd=cwd, capture_output=True, text=True, timeout=280,
    )  # fmt: skip
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


def run_here(name: str, *arguments):
    """Run a script inside this process, which saves importing torch again and again."""
    out, err, status = io.StringIO(), io.StringIO(), 0
    with (
        mock.patch.object(sys, "argv", command(name, *arguments)[1:]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            runpy.run_path(str(project / name), run_name="__main__")
        except SystemExit as end:
            status = end.code
            if isinstance(status, str):  # sys.exit(text) prints it and ends with status 1
                err.write(status + "\n")
                status = 1
    return SimpleNamespace(returncode=status, stdout=out.getvalue(), stderr=err.getvalue())


def split_practice(folder: Path, count: int, form: str = "simple", size: int | None = None) -> Path:
    """Make practice images and split them; return the split folder."""
    images = practice_folder(folder / "images", count, form, size=size)
    split = folder / "split"
    run_script(
        "split_data.py", f"IMAGE_FOLDER={images}", "LABELS_FILE=None", f"SPLIT_FOLDER={split}",
        "LABEL_PATTERN=^([^-]+)-", cwd=folder,
    )  # fmt: skip
    return split


def split_narrow(folder: Path, count: int) -> tuple[Path, Path]:
    """Draw ``ripple`` half as wide; return a split folder of it, and one with four images more."""
    split, others = folder / "split", folder / "others"
    others.mkdir(parents=True)
    for number in range(count + 4):
        image, answer = forms.draw("ripple", number, seed=97)
        buffer = io.BytesIO()
        image.resize((image.width // 2, image.height)).save(buffer, "PNG")
        data = buffer.getvalue()
        part = split / ("train", "train", "val", "test")[number % 4] if number < count else others
        part.mkdir(parents=True, exist_ok=True)
        (part / split_name(answer, content_hash(data), "png")).write_bytes(data)
    return split, others


def small_net(head="attention", charset="abc", length=3, size=(16, 48), channels=1, context=False):
    """Return a network with random weights, always the same."""
    torch.manual_seed(0)
    return CaptchaNet(charset, length, InputSpec(*size, channels), head, context=context)


def random_images(count: int, net: CaptchaNet, seed: int = 0) -> torch.Tensor:
    """Return images that a network takes, (count, C, H, W) uint8."""
    torch.manual_seed(seed)
    spec = net.spec
    return torch.randint(0, 256, (count, spec.channels, spec.height, spec.width), dtype=torch.uint8)


def assert_one_sentence(done, *words):
    """Check that a script ended as it should after a mistake of the user's."""
    assert done.returncode == 1, done.stderr
    lines = [line for line in done.stderr.splitlines() if line]
    assert lines, "no message"
    assert "Traceback" not in done.stderr
    assert lines[-1].split(":")[0].endswith(".py")
    for word in words:
        assert word in lines[-1]


def snapshot(folder: Path) -> dict[str, bytes]:
    """Return the content of every file below a folder."""
    return {str(f.relative_to(folder)): f.read_bytes() for f in folder.rglob("*") if f.is_file()}
