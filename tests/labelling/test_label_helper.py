"""label_helper.py: the script without a window, and with a real keyboard and a real window."""

import os
import random
import re
import subprocess
import sys

import pytest
from helpers import project, snapshot
from labelling_helpers import IMAGES, let_years_pass, make_images, rows_of, wait_for
from PIL import Image

import label_helper
import utils
from benchmarks import label_speed
from files.images import InputSpec, content_hash
from files.split_names import split_name
from files.tables import INDEX_COLUMNS, SUSPECT_COLUMNS, now, write_table
from labelling.labels import Labelling
from labelling.proposals import Proposals


def settings(tmp_path, **changes):
    """Return all settings of the script as arguments, so that no test depends on its defaults."""
    values = {
        "IMAGE_FOLDER": tmp_path / "images",
        "ONLY_SOURCE": None,
        "LABELS_FILE": tmp_path / "labels.csv",
        "LABELLER": "person",
        "MODEL_FILE": None,
        "ORDER": "name",
        "CHARACTERS": None,
        "LENGTH": None,
        "NAMES_FILE": tmp_path / "names.csv",
        "DOUBTFUL": 0.95,
        "UNAIDED": 0.0,
        "CASE": "keep",
        "IMPORT_FROM": None,
        "LABEL_PATTERN": "(.+)",
        "EXPORT_TO": None,
    }
    return [f"{name}={value}" for name, value in {**values, **changes}.items()]


def run_script(tmp_path, env=None, **changes):
    """Run the script from another folder with these settings changed."""
    command = [sys.executable, project / "label_helper.py", *settings(tmp_path, **changes)]
    return subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=60, env=env
    )


# ---------------------------------------------------------------- without a window


def index(folder, answers):
    rows = [[image, "s", "u", "t", text] for image, text in answers.items()]
    write_table(folder / "index.csv", INDEX_COLUMNS, rows)


def test_answers_are_taken_once_without_tkinter_and_without_a_screen(tmp_path):
    folder = make_images(tmp_path / "images")
    index(folder, {"a.png": "4x7", "b.png": "", "c.png": " k9 ", "d.png": "no", "gone.png": "zz"})
    file = tmp_path / "new" / "labels.csv"
    labelling = Labelling(IMAGES, file)
    labelling.go(3)
    labelling.decide("", "skipped")
    labelling.close()
    (tmp_path / "tkinter.py").write_text("raise ImportError('no tkinter here')")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    environment.pop("DISPLAY", None)
    for labelled in (2, 0):
        done = run_script(tmp_path, environment, LABELLER="answers", LABELS_FILE=file)
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[0] == (
            f"{labelled} labelled now; of 4 images 2 are labelled, 1 skipped, 0 unreadable, 1 left."
        )
        assert "Next: python split_data.py" in done.stdout
        assert rows_of(file) == [
            ("d.png", "", "skipped", "typed"),
            ("a.png", "4x7", "confirmed", "answers"),
            ("c.png", "k9", "confirmed", "answers"),
        ]
    done = run_script(tmp_path, environment, LABELS_FILE=file)
    assert done.returncode == 1
    assert "apt install python3-tk" in done.stderr


def break_nothing(folder, file):
    pass


def remove_images(folder, file):
    for image in IMAGES:
        (folder / image).unlink()


def remove_index(folder, file):
    (folder / "index.csv").unlink()


def remove_answers(folder, file):
    (folder / "index.csv").unlink()
    index(folder, {"a.png": " "})


def labels_are_a_folder(folder, file):
    file.mkdir()


def labels_are_something_else(folder, file):
    file.write_text("name,price\nbread,2\n")


@pytest.mark.parametrize(
    ("break_it", "changes", "sentence"),
    [
        (remove_images, {}, "no images in .*images.* getData.py"),
        (break_nothing, {"IMAGE_FOLDER": None}, "IMAGE_FOLDER is None"),
        (remove_index, {}, "no answers in .*index.csv.*LABELLER=person"),
        (remove_answers, {}, "no answers in .*index.csv"),
        (break_nothing, {"LABELLER": "cat"}, "LABELLER=cat: it must be person, answers or nobody"),
        (break_nothing, {"ORDER": "size"}, "ORDER=size: it must be name"),
        (break_nothing, {"LENGTH": 0}, "LENGTH is 0; it must be 1 or more"),
        (break_nothing, {"UNAIDED": 2}, "UNAIDED is 2.*between 0 and 1"),
        (labels_are_a_folder, {}, "labels.csv: Is a directory"),
        (labels_are_something_else, {}, "labels.csv should begin with"),
    ],
)
def test_bad_input_ends_in_one_sentence_and_changes_nothing(tmp_path, break_it, changes, sentence):
    folder = make_images(tmp_path / "images")
    index(folder, {"a.png": "4x7"})
    file = tmp_path / "labels.csv"
    break_it(folder, file)
    before = snapshot(tmp_path)
    done = run_script(tmp_path, **{"LABELLER": "answers", **changes})
    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.splitlines()) == 1
    assert re.search(sentence, done.stderr), done.stderr
    assert before == snapshot(tmp_path)


# ---------------------------------------------------------------- the script and a real keyboard


@pytest.fixture
def start(keyboard, tmp_path):
    """Start the script and wait until its window, by this title, has the keyboard."""
    started = []

    def start_one(title, options=None, **changes):
        command = [sys.executable, project / "label_helper.py", *settings(tmp_path, **changes)]
        pipe = subprocess.PIPE
        process = subprocess.Popen(command, cwd=tmp_path, stderr=pipe, text=True, **(options or {}))
        started.append(process)
        wait_for(lambda: title in keyboard("getwindowfocus", "getwindowname"))
        return process

    yield start_one
    for process in started:
        process.kill()
        process.communicate()


def test_what_is_typed_is_kept_and_undone_across_a_restart(start, keyboard, tmp_path):
    make_images(tmp_path / "images")
    file = tmp_path / "labels.csv"
    process = start("Label helper")
    keyboard("key", "--delay", "12", *"ab1", "Return", *"c2", "KP_Enter", *"d", "Return", "Escape")
    keyboard("key", "--delay", "12", "ctrl+z", *"e5", "Return", "Prior", "Prior", *"f", "Return")
    kept = [
        ("a.png", "ab1", "confirmed", "typed"),
        ("b.png", "c2", "confirmed", "typed"),
        ("c.png", "d", "confirmed", "typed"),
        ("d.png", "", "skipped", "typed"),
        ("d.png", "", "undone", "undo"),
        ("d.png", "e5", "confirmed", "typed"),
        ("b.png", "f", "confirmed", "typed"),
    ]
    wait_for(lambda: len(rows_of(file)) >= len(kept))
    assert rows_of(file) == kept
    second = run_script(tmp_path)
    assert second.returncode == 1
    assert "open in another label window" in second.stderr
    process.kill()
    process.wait()
    start("Label helper")
    keyboard("key", "ctrl+z", "ctrl+z")
    wait_for(lambda: len(rows_of(file)) >= len(kept) + 2)
    assert rows_of(file)[len(kept) :] == [
        ("b.png", "c2", "confirmed", "undo"),
        ("d.png", "", "undone", "undo"),
    ]


def test_characters_that_several_keys_compose_are_kept(start, keyboard, tmp_path, monkeypatch):
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    make_images(tmp_path / "images")
    start("Label helper")
    e_acute, u_umlaut = ["dead_acute", "e"], ["Multi_key", "quotedbl", "u"]
    typed = ["a", *e_acute, "b", "Return", *u_umlaut, *e_acute, "Return", *e_acute, "Return"]
    keyboard("key", "--delay", "12", *typed)
    wait_for(lambda: len(rows_of(tmp_path / "labels.csv")) >= 3)
    assert [row[1] for row in rows_of(tmp_path / "labels.csv")] == ["aéb", "üé", "é"]


def test_no_key_is_lost_however_fast_one_types(start, keyboard, tmp_path):
    names = [f"{number:02}.png" for number in range(50)]
    make_images(tmp_path / "images", names)
    file = tmp_path / "labels.csv"
    start("Label helper")
    labels = ["".join(random.choices("abcdefgh2345678", k=5)) for _ in names]
    keyboard("type", "--delay", "1", "".join(label + "\n" for label in labels))
    wait_for(lambda: len(rows_of(file)) >= len(names))
    assert [row[:2] for row in rows_of(file)] == list(zip(names, labels, strict=True))


def test_killed_while_typing_it_loses_no_label_that_it_has_acknowledged(start, tmp_path):
    folder = make_images(tmp_path / "images", [f"{number:02}.png" for number in range(40)])
    environment, acknowledged = dict(os.environ), 0
    for seed in range(3):  # benchmarks/label_speed.py does it a hundred times
        typed, shown, kept = label_speed.killed(
            folder, tmp_path / "labels.csv", 12, random.Random(seed), environment
        )
        assert kept == typed[: len(kept)]
        assert len(kept) >= shown
        acknowledged += shown
    assert acknowledged > 10


def test_suspects_are_walked_and_corrected_from_the_command_line(start, keyboard, tmp_path):
    folder = make_images(tmp_path / "images")
    file = tmp_path / "labels.csv"
    labelling = Labelling(IMAGES, file)
    for label in ("aa", "bb", "cc", "dd"):
        labelling.decide(label)
    labelling.close()
    let_years_pass(file)
    rows = []
    for image, label, read in [("c.png", "cc", "cx"), ("a.png", "aa", "xa"), ("b.png", "bb", "bb")]:
        copy = split_name(label, content_hash((folder / image).read_bytes()), "png")
        rows.append([f"train/{copy}", image, label, read, 0.9, 5])
    write_table(tmp_path / "suspects.csv", SUSPECT_COLUMNS, rows)
    changes = {"ORDER": "suspects", "MODEL_FILE": tmp_path / "captcha.safetensors"}
    process = start("Label helper", **changes)
    keyboard("key", "--delay", "12", "x", "Return")
    wait_for(lambda: len(rows_of(file)) == 5)
    process.kill()
    process.wait()
    start("Label helper", **changes)
    keyboard("key", "Return")
    wait_for(lambda: len(rows_of(file)) == 6)
    assert rows_of(file)[4:] == [
        ("c.png", "cx", "confirmed", "corrected"),
        ("a.png", "aa", "confirmed", "checked"),
    ]


def test_a_model_proposes_and_the_end_says_how_well_it_read(start, keyboard, tmp_path):
    from model import CaptchaNet, save_model  # torch, for this test alone

    net = CaptchaNet("abc", 3, InputSpec(16, 48, 3, (0, 0, 1, 1)))
    net.head.classifier.bias.data[0] = -100  # never a blank
    save_model(net, tmp_path / "net.safetensors", {"time": now()})
    make_images(tmp_path / "images")
    file, changes = tmp_path / "labels.csv", {"MODEL_FILE": tmp_path / "net.safetensors"}
    process = start("Label helper", {"stdout": subprocess.PIPE}, ORDER="most-sure", **changes)
    wait_for(
        lambda: keyboard("key", "Return") or rows_of(file), seconds=60
    )  # not before it is read
    keyboard("key", "--delay", "12", "ctrl+a", "n", "o", "Return")
    wait_for(lambda: len(rows_of(file)) >= 2)
    keyboard("key", "ctrl+q")
    said = process.communicate(timeout=60)[0]
    assert process.returncode == 0
    (_, text, state, how), corrected = rows_of(file)[0], rows_of(file)[-1]
    assert (len(text), state, how) == (3, "confirmed", "accepted")
    assert (corrected[1], corrected[3]) == ("no", "corrected")
    assert re.search(r"proposals were accepted, 1 were corrected\.\nTraining will pay", said)


def test_a_broken_model_costs_the_proposals_and_nothing_else(start, keyboard, tmp_path):
    make_images(tmp_path / "images")
    file = tmp_path / "labels.csv"
    (tmp_path / "net.safetensors").write_text("no model")
    process = start("Label helper", MODEL_FILE=tmp_path / "net.safetensors")
    keyboard("key", "--delay", "12", *"ab", "Return")
    wait_for(lambda: rows_of(file) == [("a.png", "ab", "confirmed", "typed")])
    assert process.poll() is None


def test_a_full_disk_ends_the_window_with_a_sentence(start, keyboard, tmp_path):
    resource = pytest.importorskip("resource")
    make_images(tmp_path / "images")
    limit = {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (60, 60))}
    process = start("Label helper", limit)
    keyboard("key", "a", "Return", "b", "Return")
    assert process.wait(20) == 1
    assert "labels.csv: the last row could not be written" in process.stderr.read()
    assert rows_of(tmp_path / "labels.csv") == []


def test_without_images_it_asks_and_cancelling_ends_quietly(start, keyboard, tmp_path):
    process = start("Which images?", IMAGE_FOLDER=tmp_path / "none")
    keyboard("key", "Escape")
    assert process.wait(20) == 0
    assert not (tmp_path / "labels.csv").exists()


def test_a_folder_can_be_chosen(start, keyboard, tmp_path):
    folder = make_images(tmp_path / "images")
    file = tmp_path / "labels.csv"
    start("Which images?", IMAGE_FOLDER=None)
    keyboard("key", "space")
    wait_for(lambda: "Choose Directory" in keyboard("getwindowfocus", "getwindowname"))
    keyboard("type", str(folder))
    keyboard("key", "Return", "Return")
    wait_for(lambda: "Label helper" in keyboard("getwindowfocus", "getwindowname"))
    keyboard("key", "x", "Return")
    wait_for(lambda: rows_of(file) == [("a.png", "x", "confirmed", "typed")])


def test_without_a_screen_one_sentence_says_so(tmp_path, monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    make_images(tmp_path / "images")
    done = run_script(tmp_path)
    assert done.returncode == 1
    assert re.fullmatch(r"label_helper.py: no window can be opened.*\n", done.stderr)
    assert not (tmp_path / "labels.csv").exists()


def test_the_images_of_one_source_alone_can_be_labelled(tmp_path):
    names = [f"{number}.png" for number in range(6)]
    folder = make_images(tmp_path / "images", names)
    rows = [[name, "ab"[i % 2], "url", now(), "text"] for i, name in enumerate(names)]
    write_table(folder / "index.csv", INDEX_COLUMNS, rows)
    run_script(tmp_path, LABELLER="answers", ONLY_SOURCE="b")
    assert [row[0] for row in rows_of(tmp_path / "labels.csv")] == names[1::2]


def test_labels_come_in_and_go_out_without_a_window_and_no_image_moves(tmp_path):
    folder = make_images(tmp_path / "images")
    (tmp_path / "theirs.csv").write_text("a.png,ab\nb.png,cd\n")
    before = snapshot(folder)
    done = run_script(
        tmp_path,
        {"PATH": ""},
        LABELLER="nobody",
        IMPORT_FROM=tmp_path / "theirs.csv",
        EXPORT_TO=tmp_path / "rec_gt.txt",
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Imported: 2 labels; 0 were known already\n")
    assert "2 labels are in" in done.stdout
    assert (tmp_path / "rec_gt.txt").read_text() == "images/a.png\tab\nimages/b.png\tcd\n"
    assert snapshot(folder) == before


def test_the_window_leaves_the_verification_of_certificates_on(display, tmp_path):
    program = """
import ssl, sys
from labelling import gui
gui.open_gui()
context = ssl._create_default_https_context()
print("PySimpleGUI" in sys.modules, context.verify_mode.name, context.check_hostname)
"""
    command = [sys.executable, "-c", program]
    environment = {**os.environ, "PYTHONPATH": str(project)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.stdout == "True CERT_REQUIRED True\n", done.stderr


def test_the_window_needs_no_torch():
    program = "import sys, label_helper; print('torch' in sys.modules)"
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True)
    assert done.stdout == "False\n", done.stderr


@pytest.fixture
def opened(monkeypatch):
    """Windows that are not opened: the labelling, the proposals and the remark of each."""
    windows = []

    class Window:
        def __init__(self, sg, labelling, folder, proposals, remark):
            windows.append((labelling, proposals, remark))

        def run(self):
            pass

    monkeypatch.setattr(label_helper, "LabelWindow", Window)
    return windows


@pytest.mark.parametrize(("model_file", "why"), [(None, "too few"), (utils.PRACTICE_MODEL, "")])
def test_the_order_by_cluster_shows_one_form_after_the_other(
    display, tmp_path, opened, model_file, why
):
    for number in range(10):  # two forms by turns, too few of each to name characters
        size, ground = ((60, 20), "white") if number % 2 else ((200, 80), "black")
        Image.new("RGB", size, ground).save(tmp_path / f"{number}.png")
    files, labels_file = utils.image_files(tmp_path), tmp_path / "labels.csv"
    arguments = files, labels_file, Proposals({}, "cluster"), model_file, tmp_path / "names.csv"
    label_helper.type_labels(*arguments)
    ((labelling, proposals, remark),) = opened
    forms = [int(name[0]) % 2 for name in labelling.images]
    assert forms in ([0] * 5 + [1] * 5, [1] * 5 + [0] * 5)
    assert labelling.image == labelling.images[0]
    assert why in remark
    assert bool(remark) == bool(why)  # characters are named only without a model
    assert bool(proposals.reader) == bool(model_file)


def test_a_model_is_told_what_can_occur_and_sees_a_sample_of_all_images(display, tmp_path, opened):
    files = utils.image_files(make_images(tmp_path / "images"))
    labelling = Labelling(IMAGES, tmp_path / "labels.csv")
    labelling.decide("1234")  # its image is read no more, but shows the site
    labelling.close()
    arguments = Proposals({}), utils.PRACTICE_MODEL, tmp_path / "names.csv", "0123456789", 4
    label_helper.type_labels(files, tmp_path / "labels.csv", *arguments)
    site = {"characters": "0123456789", "length": 4, "sample": IMAGES}
    assert opened[0][1].reader.site == site
