"""What split_data.py, train_script.py and predict.py withstand; the others' tests have theirs."""

import csv
import os
import pickle
import re
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest
import safetensors.torch
import torch
from helpers import (
    assert_one_sentence,
    command,
    practice_folder,
    project,
    run_here,
    run_script,
    small_net,
    snapshot,
)

import model
import utils
from files.split_names import SPLITS, labelled_images
from labelling.labels import Labelling

SCRIPTS = ["split_data.py", "train_script.py", "predict.py"]
QUICK = ["EPOCHS=1", "BATCH_SIZE=8", "START_FROM=None"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with images of digits, their split, a model and a table of predictions."""
    folder = tmp_path_factory.mktemp("fire")
    images = practice_folder(folder / "images", 120, "digit", size=16)
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
            *QUICK]  # fmt: skip


def predict_settings(folder):
    return [str(folder / "images"), "MODEL_FILE=practice",
            f"OUTPUT={folder / 'out' / 'table.csv'}"]  # fmt: skip


SETTINGS = dict(zip(SCRIPTS, [split_settings, train_settings, predict_settings], strict=True))


@pytest.mark.parametrize(
    ("script", "kills"), [("split_data.py", 20), ("predict.py", 4), ("train_script.py", 2)]
)
@pytest.mark.skipif(not hasattr(os, "fork"), reason="kill_scripts.py needs fork")
def test_a_script_killed_at_random_moments_spoils_nothing(tmp_path, script, kills):
    done = run_script(
        "benchmarks/kill_scripts.py", f"SCRIPTS=['{script}']", f"KILLS={kills}",
        f"WORK_FOLDER={tmp_path / 'work'}", cwd="/",
    )  # fmt: skip
    assert f"{script}: killed {kills} times" in done.stdout
    assert "nothing spoilt" in done.stdout


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_full_disk_ends_in_one_sentence_and_what_was_there_stays(place, script):
    before = snapshot(place)
    done = subprocess.run(
        command(script, *SETTINGS[script](place)),
        capture_output=True, text=True, timeout=120, cwd="/",
        # What a full disk does to a program: no file can grow beyond 200 bytes.
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (200, 200)),
    )  # fmt: skip
    assert_one_sentence(done, str(place), "File too large")
    after = snapshot(place)
    assert {name: after.get(name) for name in before} == before
    run_script(script, *SETTINGS[script](place), cwd="/")  # and the next run goes through


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_read_only_folder_ends_in_one_sentence(place, script):
    folders = [Path(folder) for folder, _, _ in os.walk(place / "out")]
    for folder in folders:
        folder.chmod(0o555)
    before = snapshot(place)
    # To root nothing is read-only, unless it lacks this one privilege.
    as_person = ["setpriv", "--bounding-set", "-dac_override"] if os.geteuid() == 0 else []
    done = subprocess.run(
        [*as_person, *command(script, *SETTINGS[script](place))],
        capture_output=True, text=True, timeout=120, cwd="/",
    )  # fmt: skip
    for folder in folders:
        folder.chmod(0o755)
    assert_one_sentence(done, str(place), "Permission denied")
    assert snapshot(place) == before


def test_a_model_folder_that_vanishes_costs_nothing_but_what_was_in_it(place, tmp_path):
    settings = [*train_settings(place), f"MODEL_FOLDER={tmp_path / 'model'}", "EPOCHS=4"]
    process = subprocess.Popen(
        command("train_script.py", *settings),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    while not (tmp_path / "model" / "last.pt").exists():
        assert process.poll() is None
        time.sleep(0.01)
    (tmp_path / "model").rename(tmp_path / "elsewhere")
    _, errors = process.communicate(timeout=120)
    assert "Traceback" not in errors
    assert process.returncode == 0, errors  # it makes the folder anew
    model.load_model(tmp_path / "model" / model.MODEL_NAME)


@pytest.mark.parametrize("script", SCRIPTS)
def test_images_that_vanish_end_in_one_sentence(tmp_path, script):
    """As if another program deleted them while they are read: the names are there, no files."""
    gone = tmp_path / "images"
    gone.mkdir()
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        f"sys.path.insert(0, {str(project)!r})\n"
        f"import utils, {script[:-3]} as script\n"
        "from training import dataset\n"
        f"files = [Path({str(gone)!r}) / f'{{n}}-1_0123456{{n}}.png' for n in range(9)]\n"
        "utils.image_files = lambda folder: files\n"
        "dataset.labelled_images = lambda folder: [(file, file.name[0]) for file in files]\n"
        f"sys.argv = {command(script, *SETTINGS[script](tmp_path))[1:]!r}\n"
        "utils.run(script.main)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120, cwd="/"
    )
    assert_one_sentence(done)


# ---------------------------------------------------------------- wicked labels

WICKED = [
    "../../etc/x", "a\\b", "..", ".", "a\x01b", "\n\r\t", "\x1b[31mred", "\u202egnp.exe",
    "\U0001f600\U0001f468\u200d\U0001f467", "CON", "nul.png", "$\\frac$", "=", "x" * 100,
    "\xe9" * 16, ' "a",b; ', "\udcff", "%2E", "\ufb01", "e\u0301",
]  # fmt: skip


def write_labels(file, labels):
    """Label images as the label window does."""
    labelling = Labelling(list(labels), file)
    for label in labels.values():
        labelling.decide(label)
    labelling.close()


def test_any_label_goes_through_labels_csv_split_training_and_prediction(tmp_path):
    images = practice_folder(tmp_path / "images", 120, "digit", size=16)
    files = utils.image_files(images)
    labels = {file.name: WICKED[i % len(WICKED)] for i, file in enumerate(files)}
    write_labels(tmp_path / "labels.csv", labels)
    split, trained = tmp_path / "split", tmp_path / "model"
    run_script(
        "split_data.py", f"IMAGE_FOLDER={images}", f"LABELS_FILE={tmp_path / 'labels.csv'}",
        f"SPLIT_FOLDER={split}", cwd="/",
    )  # fmt: skip
    found = {
        file.read_bytes(): label for name in SPLITS for file, label in labelled_images(split / name)
    }
    assert found == {file.read_bytes(): labels[file.name] for file in files}
    run_script(
        "train_script.py", f"SPLIT_FOLDER={split}", f"MODEL_FOLDER={trained}", *QUICK,
        "AUDIT_FOLDS=2", cwd="/",
    )  # fmt: skip
    net, _ = model.load_model(trained / model.MODEL_NAME)
    assert set(net.charset) == set("".join(WICKED))
    assert net.length == 100
    with open(
        trained / "suspects.csv", encoding="utf-8-sig", errors="surrogateescape", newline=""
    ) as file:
        assert {row["original"]: row["label"] for row in csv.DictReader(file)} == labels
    # A network that answers with the wicked characters themselves:
    with torch.no_grad():
        net.head.classifier.bias[0] = -1e4
    model.save_model(net, trained / model.MODEL_NAME, {})
    done = run_script(
        "predict.py", images, f"MODEL_FILE={trained / model.MODEL_NAME}",
        f"OUTPUT={tmp_path / 'table.csv'}", cwd="/",
    )  # fmt: skip
    assert len(done.stdout.splitlines()) >= 120
    with open(
        tmp_path / "table.csv", encoding="utf-8-sig", errors="surrogateescape", newline=""
    ) as file:
        assert [len(row["text"]) for row in csv.DictReader(file)] == [100] * 120


@pytest.mark.parametrize("label", ["x" * 300, "\xe9" * 17])
def test_a_label_too_long_for_a_file_name_is_refused_and_nothing_is_lost(place, tmp_path, label):
    labels = {file.name: file.name[0] for file in utils.image_files(place / "images")}
    long = sorted(labels)[7]
    write_labels(tmp_path / "labels.csv", labels | {long: label})
    before = [snapshot(place), snapshot(tmp_path)]
    done = run_here(
        "split_data.py", *split_settings(place), f"LABELS_FILE={tmp_path / 'labels.csv'}"
    )
    assert_one_sentence(done, long, repr(label[:20]), "too long")
    assert [snapshot(place), snapshot(tmp_path)] == before


# ---------------------------------------------------------------- broken files


def flip_one_bit(data, place):
    bit = int(place * 8 * len(data)) % (8 * len(data))
    return data[: bit // 8] + bytes([data[bit // 8] ^ (1 << bit % 8)]) + data[bit // 8 + 1 :]


def test_a_model_file_with_any_bit_flipped_is_refused(tmp_path):
    """In its header, its texts and its weights; a hundred places in each."""
    file = tmp_path / model.MODEL_NAME
    model.save_model(small_net(), file, {"val": {"images": 9}})
    data = file.read_bytes()
    header = 8 + int.from_bytes(data[:8], "little")
    parts = [(0, 8), (8, header), (header, len(data))]
    for start, end in parts:
        for step in range(100):
            part = flip_one_bit(data[start:end], (step + 0.37) / 100)
            file.write_bytes(data[:start] + part + data[end:])
            with pytest.raises(ValueError, match=model.MODEL_NAME):
                model.load_model(file)


@pytest.mark.parametrize(
    "forged",
    [
        {"charset": ["a", "b", "c"]}, {"length": 2.5}, {"length": True}, {"height": 48.0},
        {"height": 8}, {"width": 0}, {"channels": 10**9}, {"channels": 2}, {"cut": [1, 1, 0, 0]},
        {"cut": [0, 0, 1, float("nan")]}, {"cut": "elsewhere"}, {"head": "other"}, {"known": 3},
        {"known": "abcd"}, {"charset": "ab"}, {"rows": torch.zeros(4, 2)},
        {"rows": torch.full((4, 2), 5)}, {"rows": torch.zeros(3, 2, dtype=torch.int64)},
        {"odds": torch.zeros(3)},
        {"length": 0, "rows": torch.tensor([[0, 4], [1, 4], [2, 4], [3, 4]])},
        {"positions": 5}, {"positions": 2}, {"positions": "3"}, {"stretch": 0}, {"stretch": 99},
        {"stretch": "2"}, {"stretch": float("nan")},
    ],
)  # fmt: skip
def test_a_model_file_forged_with_its_checksum_is_refused_when_loaded(tmp_path, forged):
    """Not later, when an image is read with it, nor after asking for gigabytes."""
    net, file = small_net(), tmp_path / model.MODEL_NAME
    for name in ("rows", "odds") & forged.keys():
        setattr(net, name, forged.pop(name))
    architecture = net.architecture()
    place = architecture["input"] if forged.keys() <= architecture["input"].keys() else architecture
    place.update(forged)
    net.architecture = lambda: architecture
    model.save_model(net, file, {})
    with pytest.raises(ValueError, match=model.MODEL_NAME):
        model.load_model(file)


class Call:
    """Unpickled, this creates a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def asking_for_gigabytes():
    """A file whose header announces a weight of a terabyte, of which little is there."""
    header = b'{"trunk.0.weight":{"dtype":"F32","shape":[500000,500000],"data_offsets":[0,%d]}}'
    header %= 4 * 500_000**2
    return len(header).to_bytes(8, "little") + header + bytes(100)


def unknown_kind_of_number():
    """A model whose weights are of a kind that numpy does not know."""
    return safetensors.torch.save({"weight": torch.zeros(3).bfloat16()}, {"format": model.FORMAT})


@pytest.mark.parametrize(
    "how", ["cut", "flipped", "pickle", "torch", "gigabytes", "bfloat16", "empty", "folder"]
)
@pytest.mark.parametrize("script", ["predict.py", "train_script.py"])
def test_a_bad_model_file_is_refused_in_one_sentence(place, tmp_path, script, how):
    file = tmp_path / "bad.safetensors"
    data = utils.PRACTICE_MODEL.read_bytes()
    if how == "folder":
        file.mkdir()
    elif how == "torch":
        torch.save({"weights": Call(tmp_path / "ran")}, file)
    else:
        file.write_bytes({
            "cut": data[: len(data) // 2],
            "flipped": flip_one_bit(data, 0.7),
            "pickle": pickle.dumps(Call(tmp_path / "ran")),
            "gigabytes": asking_for_gigabytes(),
            "bfloat16": unknown_kind_of_number(),
            "empty": b"",
        }[how])  # fmt: skip
    before = snapshot(place)
    setting = "MODEL_FILE" if script == "predict.py" else "START_FROM"
    done = run_here(script, *SETTINGS[script](place), f"{setting}={file}")
    assert_one_sentence(done, str(file))
    assert snapshot(place) == before
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(("kind", "count"), [("models", 150), ("labels", 300), ("index", 150)])
def test_broken_files_are_read_or_refused_soon_and_in_little_memory(kind, count):
    """benchmarks/fuzz_files.py, on fewer; it fails on a crash, a hang or too much memory."""
    done = run_script("benchmarks/fuzz_files.py", f"KIND={kind}", f"COUNT={count}", cwd="/")
    read, refused = map(int, re.match(r"read (\d+), refused (\d+)", done.stdout).groups())
    assert read + refused == count
    assert read
    assert refused
