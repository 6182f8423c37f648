import json
import re
import sys

import pytest
from helpers import practice_folder, run_here, small_net

import model
import utils
from benchmarks import rivals, unseen
from files.images import FOUND


@pytest.fixture
def sets(tmp_path):
    """Two sets of practice captchas, and a model that has learnt nothing."""
    practice_folder(tmp_path / "sets" / "first", 12, "simple")
    practice_folder(tmp_path / "sets" / "second", 8, "noise")
    net = small_net(charset="2345678abcdefghkmnprtwxy", length=6, channels=3)
    net.spec = net.spec._replace(cut=FOUND)
    model.save_model(net, tmp_path / "model.safetensors", {})
    return tmp_path


def test_each_set_has_a_row_with_what_was_read_and_the_last_rows_are_mean_and_speed(sets):
    done = run_here(
        "benchmarks/unseen.py", f"FOLDER={sets / 'sets'}", "LABEL_PATTERN=^([^-]+)-", "IMAGES=10",
        f"MODEL_FILE={sets / 'model.safetensors'}", "RIVALS=[]", f"OUTPUT={sets / 'table.md'}",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in (sets / "table.md").read_text().splitlines()
    ]
    assert [row[0] for row in rows[2:]] == ["first", "second", "**mean**", "images a second"]
    assert [row[1] for row in rows[2:4]] == ["6", "8"]  # every second of twelve
    assert rows[4][2] == "**0.0**"
    assert re.fullmatch(r"\d+", rows[5][2])


def test_it_reads_as_well_as_the_labels_say(sets, monkeypatch):
    folder = sets / "sets" / "first"
    labels = utils.labels_from_names(utils.image_files(folder), "^([^-]+)-")
    files = list(labels)
    monkeypatch.setattr(unseen, "MODEL_FILE", sets / "model.safetensors")
    answers = [utils.Prediction(labels[file], 1.0, []) for file in files[:5]]
    answers += [utils.Prediction("wrong", 0.5, [])] * (len(files) - 5)
    monkeypatch.setattr(model, "read_images", lambda net, images: answers[-len(images) :])
    predictions, seconds = unseen.read_ours(files, "23456789abcdefghkmnprtwxyz")
    assert [p.text == labels[f] for p, f in zip(predictions, files, strict=True)] == [True] * 5 + [
        False
    ] * (len(files) - 5)
    assert seconds > 0


def test_a_text_is_read_off_the_steps_of_ctc():
    assert rivals.collapsed(list("aab") + ["", "b", "b", "", "", "a"]) == "abba"
    assert rivals.collapsed([]) == ""


def test_another_program_is_asked_in_a_process_of_its_own(tmp_path, monkeypatch):
    """A Python that answers as rivals.py does."""
    fake = tmp_path / "python"
    fake.write_text(f"#!{sys.executable}\nprint({json.dumps(json.dumps([['ab', 'x'], 2.0]))!s})\n")
    fake.chmod(0o755)
    monkeypatch.setattr(unseen, "RIVALS_PYTHON", fake)
    reading = unseen.read_rival("ddddocr", [tmp_path / "a.png"] * 2, ["ab", "cd"], "abcdx")
    assert reading == unseen.Reading([True, False], 2.0)
