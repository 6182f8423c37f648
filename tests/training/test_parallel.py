"""Several processes that train together: as one would, and all or none."""

import csv
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from unittest import mock

import pytest
import torch
from helpers import command, project, run_here, split_practice

import model
from files.images import read_image
from files.split_names import labelled_images
from practice import forms
from training import metrics, runs
from training.augment import augment
from training.dataset import Split, encode_labels
from training.parallel import Share

PIXELS = 16  # as few as can be read
# Rounding alone makes two trainings differ, so it is float32 on every processor, and small steps.
SETTINGS = ["BATCH_SIZE=16", "EPOCHS=3", "LEARNING_RATE=0.0002", "START_FROM=None"]
DRIVER = """
import runpy, sys
import torch
torch.cpu._is_avx512_bf16_supported = lambda: False
sys.argv = sys.argv[1:]
sys.path.insert(0, PROJECT)
from training import checkup, judge
checkup.try_to_memorise = lambda *_: []  # takes longer than these trainings, as pictures do
judge.save_pictures = lambda *_: None
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    """120 practice digits, small ones, split."""
    return split_practice(tmp_path_factory.mktemp("digits"), 120, "digit", PIXELS)


@pytest.fixture(scope="module")
def alone(split, tmp_path_factory):
    """The history of a training in one process."""
    folder = tmp_path_factory.mktemp("alone")
    return history_of(train_here(split, folder))


def train_here(split, folder, *arguments):
    """Train in this process alone; return the model folder."""
    with (
        mock.patch("torch.cpu._is_avx512_bf16_supported", return_value=False),
        mock.patch("training.checkup.try_to_memorise", return_value=[]),
        mock.patch("training.judge.save_pictures"),
    ):
        done = run_here("train_script.py", *folders(split, folder), *SETTINGS, *arguments)
    assert done.returncode == 0, done.stderr
    return folder


def folders(split, folder):
    return [f"SPLIT_FOLDER={split}", f"MODEL_FOLDER={folder}"]


def driven(folder, name, *arguments):
    """Return what to start a script with, so that all computers compute alike."""
    (folder / "driver.py").write_text(DRIVER.replace("PROJECT", repr(str(project))))
    return [str(folder / "driver.py"), *command(name, *arguments)[1:]]


def torchrun(processes, folder, name, *arguments):
    """Run a script in several processes, and return what became of it."""
    line = [sys.executable, *driven(folder, name, *arguments)]
    if processes > 1:
        line[1:1] = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    return subprocess.run(line, cwd="/", capture_output=True, text=True, timeout=200)


def without_agent(processes, folder, name, *arguments, seeds=False):
    """Start a script in several processes that nobody watches, as on several machines.

    With ``seeds`` each has another one.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    line, pipe = [sys.executable, *driven(folder, name, *arguments)], subprocess.PIPE
    started = []
    for number in map(str, range(processes)):
        told = {"RANK": number, "LOCAL_RANK": number, "WORLD_SIZE": str(processes)}
        env, seed = {**os.environ, **place, **told}, [f"SEED={number}"] * seeds
        started.append(
            subprocess.Popen([*line, *seed], env=env, stdout=pipe, stderr=pipe, text=True)
        )
    return started


def history_of(folder: Path):
    with open(folder / "history.csv", encoding="utf-8-sig", newline="") as file:
        return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]


def assert_alike(history, other):
    """Compare two trainings; one image of a dozen may be read otherwise."""
    assert len(history) == len(other) == 3
    for row, wanted in zip(history, other, strict=True):
        assert row["train_loss"] == pytest.approx(wanted["train_loss"], rel=1e-3)
        assert row["val_loss"] == pytest.approx(wanted["val_loss"], rel=0.02)
        assert row["train_character_accuracy"] == pytest.approx(
            wanted["train_character_accuracy"], abs=0.02
        )
        assert row["val_image_accuracy"] == pytest.approx(wanted["val_image_accuracy"], abs=0.1)


def test_two_processes_learn_as_one_does_and_one_of_them_writes(split, alone, tmp_path):
    done = torchrun(2, tmp_path, "train_script.py", *folders(split, tmp_path), *SETTINGS)
    assert done.returncode == 0, done.stderr
    history = history_of(tmp_path)
    assert_alike(history, alone)
    assert done.stdout.splitlines()[0].endswith(
        "on cpu in float32, 2 processes, each with 1 thread"
    )
    assert done.stdout.count("\n    1 ") == done.stdout.count("Test: ") == 1
    assert len((tmp_path / "runs.csv").read_text().splitlines()) == 2
    # The figures of the best epoch are those of the model that is kept, to the last image.
    net, _ = model.load_model(tmp_path / model.MODEL_NAME)
    files = labelled_images(split / "val")
    images = torch.stack([model.prepare(net, read_image(file)) for file, _ in files])
    targets = torch.from_numpy(
        encode_labels([label for _, label in files], net.charset, net.length)
    )
    scores = metrics.score(model.compute_logits(net, images), Split([], images, targets))
    best = runs.best_of(history)
    assert scores.image_accuracy == best["val_image_accuracy"]
    assert scores.loss == pytest.approx(best["val_loss"], rel=1e-4)


def test_a_killed_process_ends_the_others_with_a_sentence_and_fewer_go_on(split, alone, tmp_path):
    """Three of them, so that their shares of 16 images differ; one resumes."""
    arguments = [*folders(split, tmp_path), *SETTINGS]
    started = without_agent(3, tmp_path, "train_script.py", *arguments)
    for line in started[0].stdout:
        if line.startswith("    1 "):
            break
    os.kill(started[2].pid, signal.SIGKILL)
    killed = time.monotonic()
    texts = [process.communicate(timeout=60)[1] for process in started]
    assert time.monotonic() - killed < 60
    assert [process.returncode for process in started] == [1, 1, -signal.SIGKILL]
    said = [line for text in texts for line in text.splitlines() if "train_script.py: " in line]
    assert len(said) == 1, texts
    assert "can be resumed" in said[0]
    assert "Traceback" not in "".join(texts)
    assert not (tmp_path / model.MODEL_NAME).exists()
    assert_alike(history_of(train_here(split, tmp_path, "RESUME=True")), alone)


def test_a_mistake_that_all_make_is_said_once(split, tmp_path):
    done = torchrun(
        2, tmp_path, "train_script.py", *folders(split, tmp_path / "m"), "AUDIT_FOLDS=2"
    )
    assert done.returncode == 1
    assert done.stderr.count("train_script.py: torchrun knows neither AUDIT_FOLDS") == 1
    assert not (tmp_path / "m").exists()


def test_processes_with_different_settings_are_refused(split, tmp_path):
    arguments = [*folders(split, tmp_path / "m"), *SETTINGS]
    started = without_agent(2, tmp_path, "train_script.py", *arguments, seeds=True)
    texts = [process.communicate(timeout=100)[1] for process in started]
    assert [process.returncode for process in started] == [1, 1]
    assert "".join(texts).count("train_script.py: the processes differ in their settings") == 1


def test_the_recipe_trains_in_two_processes_as_in_one(tmp_path):
    (tmp_path / "fonts").mkdir()
    for number, name in enumerate(["DejaVuSans", "DejaVuSansMono", "DejaVuSerif", "STIXGeneral"]):
        (tmp_path / "fonts" / f"{number}.ttf").symlink_to(forms.font_file(name))
    arguments = [
        "practice/recipe.py", "PARTS=1", "PART_IMAGES=60", "VAL_IMAGES=10", "BATCH_SIZE=20",
        f"FONT_FOLDERS={[str(tmp_path / 'fonts')]}", "WIDTHS=(8, 8, 8)",
    ]  # fmt: skip
    rows = []
    for processes in (1, 2):
        folder = tmp_path / str(processes)
        places = [f"WORK_FOLDER={folder}", f"MODEL_FILE={folder / 'made.safetensors'}"]
        done = torchrun(processes, tmp_path, *arguments, *places)
        assert done.returncode == 0, done.stderr
        state = torch.load(folder / "last.pt", weights_only=True)
        rows += state["history"]
        assert (folder / "made.safetensors").exists()
        assert done.stdout.count("The model is in") == 1
    assert rows[1]["train_loss"] == pytest.approx(rows[0]["train_loss"], rel=1e-3)


SLOW_THREADS = """
import os, sys
from pathlib import Path
sys.path.insert(0, PROJECT)
import torch
from torch.nn.parallel import DistributedDataParallel
import utils
from training import parallel

@parallel.processes()
def main():
    net = DistributedDataParallel(torch.nn.Linear(40, 400))
    for task in Path("/proc/self/task").iterdir():
        if "runloop" in (task / "comm").read_text():  # it has the processor if nobody else wants it
            os.sched_setscheduler(int(task.name), os.SCHED_IDLE, os.sched_param(0))
            os.sched_setaffinity(int(task.name), {0})
    os.sched_setaffinity(0, {0})
    for _ in range(3):
        net(torch.randn(2, 40)).sum().backward()
        if parallel.rank() == FAILING:
            raise ValueError("one of them fails")
    parallel.mean(1.0, 2.0)
    parallel.part()

utils.run(main)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can hold a thread back")
@pytest.mark.parametrize(("failing", "status"), [(-1, 0), (2, 1)])
def test_no_process_aborts_at_its_end_however_slow_its_threads_are(failing, status, tmp_path):
    script = SLOW_THREADS.replace("PROJECT", repr(str(project))).replace("FAILING", str(failing))
    (tmp_path / "train.py").write_text(script)
    started = without_agent(3, tmp_path, tmp_path / "train.py")
    texts = [process.communicate(timeout=60)[1] for process in started]
    assert [process.returncode for process in started] == [status] * 3, texts
    assert "".join(texts).count("train.py: ") == status


LATE = """
import sys, time
sys.path.insert(0, PROJECT)
import utils
from training import parallel

@parallel.processes()
def main():
    parallel.mean(1.0, 2.0)
    if parallel.rank() == 1:
        raise ValueError("one of them fails")
    try:
        parallel.mean(1.0, 2.0)
    finally:
        time.sleep(3 * (parallel.rank() == 2))

utils.run(main)
"""


def test_what_goes_wrong_is_said_once_however_late_a_process_learns_of_it(tmp_path):
    (tmp_path / "train.py").write_text(LATE.replace("PROJECT", repr(str(project))))
    started = without_agent(3, tmp_path, tmp_path / "train.py")
    texts = [process.communicate(timeout=60)[1] for process in started]
    assert [process.returncode for process in started] == [1] * 3, texts
    assert "".join(texts).count("train.py: ") == 1, texts
    assert "one of them fails" in texts[1]


def test_the_shares_of_a_batch_are_changed_as_all_of_it_is():
    images = torch.randint(0, 256, (7, 3, 24, 40), dtype=torch.uint8)
    torch.manual_seed(3)
    whole = augment(images, 1.0)
    seen = torch.zeros_like(whole)
    for rank in range(3):
        share = Share(7, rank, 3)
        torch.manual_seed(3)
        seen[rank::3] = augment(share.of(images), 1.0, share)
    assert torch.allclose(seen, whole, atol=1e-3)


def test_the_mean_over_processes_is_that_of_the_batch():
    losses = torch.rand(64)
    shares = [Share(64, rank, 3) for rank in range(3)]
    weighted = [share.of(losses).mean() * share.weight for share in shares]
    assert sum(weighted) / 3 == pytest.approx(losses.mean().item())
    assert Share(64).weight == 1
