"""What split_data.py, train_script.py and predict.py withstand; the others' tests have theirs."""

import csv
import os
import re
import resource
import subprocess
import sys
import time

import pytest
import torch
from helpers import assert_one_sentence, practice_folder, project, run_script, snapshot

import model
import split_data
import utils
from labelling.labels import Labelling

shipped = utils.PRACTICE_MODEL
quick = ["EPOCHS=1", "START_FROM=None", "SHOW_PLOTS=False"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with images of digits, their split, a model and a table of readings."""
    folder = tmp_path_factory.mktemp("fire")
    images = practice_folder(folder / "images", 120, "digit")
    run_script("split_data.py", *split_settings(folder), cwd="/")
    run_script("train_script.py", *train_settings(folder), cwd="/")
    run_script("predict.py", *predict_settings(folder), cwd="/")
    assert len(list(images.iterdir())) == 120
    return folder


def split_settings(folder):
    return [f"IMAGE_FOLDER={folder / 'images'}", "LABELS_FILE=None", "LABEL_PATTERN=^(.)-",
            f"SPLIT_FOLDER={folder / 'out' / 'split'}"]  # fmt: skip


def train_settings(folder):
    return [f"SPLIT_FOLDER={folder / 'out' / 'split'}", f"MODEL_FOLDER={folder / 'out' / 'model'}",
            *quick]  # fmt: skip


def predict_settings(folder):
    return [str(folder / "images"), f"MODEL_FILE={shipped}", "SHOW_PLOTS=False",
            f"OUTPUT={folder / 'out' / 'table.csv'}"]  # fmt: skip


every_script = pytest.mark.parametrize(
    ("script", "arguments"),
    [
        ("split_data.py", split_settings),
        ("train_script.py", train_settings),
        ("predict.py", predict_settings),
    ],
)


@pytest.mark.parametrize(
    ("script", "kills"), [("split_data.py", 50), ("predict.py", 6), ("train_script.py", 4)]
)
@pytest.mark.skipif(not hasattr(os, "fork"), reason="kill_scripts.py needs fork")
def test_a_script_killed_at_random_moments_spoils_nothing(tmp_path, script, kills):
    done = run_script(
        "benchmarks/kill_scripts.py", f"SCRIPTS=['{script}']", f"KILLS={kills}",
        f"WORK_FOLDER={tmp_path / 'work'}", cwd="/",
    )  # fmt: skip
    assert f"{script}: killed {kills} times" in done.stdout
    assert "nothing spoilt" in done.stdout


@every_script
def test_a_full_disk_ends_in_one_sentence_and_what_was_there_stays(place, script, arguments):
    before = snapshot(place)
    done = subprocess.run(
        [sys.executable, project / script, *arguments(place)],
        capture_output=True, text=True, timeout=120, cwd="/",
        # What a full disk does to a program: no file can grow beyond 200 bytes.
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (200, 200)),
    )  # fmt: skip
    assert_one_sentence(done, str(place), "File too large")
    after = snapshot(place)
    assert {name: after.get(name) for name in before} == before
    run_script(script, *arguments(place), cwd="/")  # and the next run goes through


@every_script
def test_a_read_only_folder_ends_in_one_sentence(place, script, arguments):
    folders = [utils.Path(folder) for folder, _, _ in os.walk(place / "out")]
    for folder in folders:
        folder.chmod(0o555)
    before = snapshot(place)
    # To root nothing is read-only, unless it lacks this one privilege.
    as_person = ["setpriv", "--bounding-set", "-dac_override"] if os.geteuid() == 0 else []
    done = subprocess.run(
        [*as_person, sys.executable, project / script, *arguments(place)],
        capture_output=True, text=True, timeout=120, cwd="/",
    )  # fmt: skip
    for folder in folders:
        folder.chmod(0o755)
    assert_one_sentence(done, str(place), "Permission denied")
    assert snapshot(place) == before


def test_a_model_folder_that_vanishes_costs_nothing_but_what_was_in_it(place, tmp_path):
    settings = train_settings(place)[:1] + [f"MODEL_FOLDER={tmp_path / 'model'}", *quick]
    process = subprocess.Popen(
        [sys.executable, project / "train_script.py", *settings, "EPOCHS=4"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    while not (tmp_path / "model" / "last.pt").exists():
        assert process.poll() is None
        time.sleep(0.01)
    (tmp_path / "model").rename(tmp_path / "elsewhere")
    _, errors = process.communicate(timeout=120)
    assert "Traceback" not in errors
    assert process.returncode == 0, errors  # it makes the folder anew
    model.load_checkpoint(tmp_path / "model" / "captcha.pt")


@pytest.mark.parametrize("script", ["split_data.py", "train_script.py", "predict.py"])
def test_images_that_vanish_end_in_one_sentence(place, tmp_path, script):
    """As if another program deleted them while they are read: the names are there, no files."""
    gone = tmp_path / ("images" if script != "train_script.py" else "out/split/train")
    for side in ("train", "val", "test"):
        (tmp_path / "out" / "split" / side).mkdir(parents=True)
    gone.mkdir(exist_ok=True)
    program = (
        "import sys\n"
        f"sys.path.insert(0, {str(project)!r})\n"
        f"import utils, {script[:-3]} as script\n"
        f"files = [utils.Path({str(gone)!r}) / f'{{n}}-1_0123456{{n}}.png' for n in range(9)]\n"
        "utils.image_files = lambda folder: files\n"
        "utils.labelled_images = lambda folder: [(file, file.name[0]) for file in files]\n"
        f"arguments = {dict(zip(names, all_settings, strict=True))[script](tmp_path)!r}\n"
        f"sys.argv = [{script!r}, *arguments]\n"
        "utils.run(script.main)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120, cwd="/"
    )
    assert_one_sentence(done)


names = ["split_data.py", "train_script.py", "predict.py"]
all_settings = [split_settings, train_settings, predict_settings]

# ---------------------------------------------------------------- wicked labels

wicked = [
    "../../etc/x", "a\\b", "..", ".", "a\x01b", "\n\r\t", "\x1b[31mred", "\u202egnp.exe",
    "\U0001f600\U0001f468\u200d\U0001f467", "CON", "nul.png", "$\\frac$", "=", "x" * 300,
    "\xe9" * 300, ' "a",b; ', "\udcff", "%2E", "\ufb01", "e\u0301",
]  # fmt: skip


def test_any_label_goes_through_labels_csv_split_training_and_prediction(tmp_path):
    images = practice_folder(tmp_path / "images", 120, "digit")
    files = utils.image_files(images)
    labels = {file.name: wicked[i % len(wicked)] for i, file in enumerate(files)}
    labelling = Labelling([file.name for file in files], tmp_path / "labels.csv")
    for file in files:
        labelling.decide(labels[file.name])
    labelling.close()
    split, trained = tmp_path / "split", tmp_path / "model"
    run_script(
        "split_data.py", f"IMAGE_FOLDER={images}", f"LABELS_FILE={tmp_path / 'labels.csv'}",
        f"SPLIT_FOLDER={split}", cwd="/",
    )  # fmt: skip
    found = {
        file.read_bytes(): label
        for side in split_data.sides
        for file, label in utils.labelled_images(split / side)
    }
    assert found == {file.read_bytes(): labels[file.name] for file in files}
    run_script(
        "train_script.py", f"SPLIT_FOLDER={split}", f"MODEL_FOLDER={trained}", "EPOCHS=1",
        "AUDIT_FOLDS=2", "SHOW_PLOTS=False", cwd="/",
    )  # fmt: skip
    net, _ = model.load_checkpoint(trained / "captcha.pt")
    learnt = {label for _, label in utils.labelled_images(split / "train")}
    assert set(net.charset) == set("".join(learnt))
    assert net.length == 300
    with open(trained / "suspects.csv", encoding="utf-8-sig", errors="surrogateescape") as file:
        assert {row["label"] for row in csv.DictReader(file)} >= learnt - {"\n\r\t"}
    # A network that answers with the wicked characters themselves:
    with torch.no_grad():
        net.classifier.bias[0] = -1e4
    model.save_checkpoint(net, trained / "captcha.pt", {})
    done = run_script(
        "predict.py", images, f"MODEL_FILE={trained / 'captcha.pt'}", "SHOW_PLOTS=False",
        f"OUTPUT={tmp_path / 'table.csv'}", cwd="/",
    )  # fmt: skip
    assert len(done.stdout.splitlines()) >= 120


# ---------------------------------------------------------------- broken files


@pytest.mark.parametrize(("kind", "count"), [("models", 150), ("labels", 300), ("index", 150)])
def test_broken_files_are_read_or_refused_soon_and_in_little_room(kind, count):
    """benchmarks/fuzz_files.py, on fewer; it fails on a crash, a hang or too much memory."""
    done = run_script("benchmarks/fuzz_files.py", f"KIND={kind}", f"COUNT={count}", cwd="/")
    read, refused = map(int, re.match(r"read (\d+), refused (\d+)", done.stdout).groups())
    assert read + refused == count
    assert read
    assert refused
