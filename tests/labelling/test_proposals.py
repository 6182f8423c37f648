"""proposals.py: readings come in the background and in the right order, and figures are honest."""

import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from helpers import practice_folder
from hypothesis import given, settings
from hypothesis import strategies as st

import model
import utils
from files import tables
from files.images import read_image
from labelling import proposals
from labelling.labels import Labelling
from labelling.proposals import Proposals, Reader, Suspect
from training.metrics import wilson_interval
from utils import Reading

REPOSITORY = Path(proposals.__file__).parent


def some_net():
    """A network of random weights: what it reads is rubbish, but always the same."""
    torch.manual_seed(1)
    return model.CaptchaNet("abcdef", 5, (24, 48), 3).eval()


@pytest.fixture
def model_file(tmp_path):
    model.save_checkpoint(some_net(), tmp_path / "net.pt", {"time": "2026-01-01T00:00:00+00:00"})
    return tmp_path / "net.pt"


def read_all(model_file, folder, images, needed=()):
    readings = {}
    reader = Reader(model_file, folder, images, readings)
    reader.needed = needed
    reader.start()
    reader.thread.join(60)
    reader.close()
    return readings, reader


# ---------------------------------------------------------------- reading in another process


def test_the_reader_reads_as_the_model_does_and_passes_over_what_is_no_image(tmp_path, model_file):
    folder = practice_folder(tmp_path / "images", 70)
    (folder / "broken.png").write_text("no image")
    images = [*(file.name for file in utils.image_files(folder)), "gone.png"]
    readings, reader = read_all(model_file, folder, images)
    assert (reader.trouble, reader.trained) == ("", "2026-01-01T00:00:00+00:00")
    assert readings.keys() == set(images) - {"broken.png", "gone.png"}
    net = some_net()
    for name in list(readings)[::10]:
        image = model.prepare(net, read_image(folder / name))
        (expected,) = model.read_images(net, image[None])
        assert isinstance(readings[name], Reading)
        assert readings[name].text == expected.text
        assert readings[name].confidence == pytest.approx(expected.confidence, rel=0.05)
        assert readings[name].characters == pytest.approx(expected.characters, rel=0.05)


def test_what_is_needed_next_is_read_first(tmp_path, model_file):
    folder = practice_folder(tmp_path / "images", 90)
    images = [file.name for file in utils.image_files(folder)]
    needed = images[:60:-7]
    readings, _ = read_all(model_file, folder, images, needed)
    assert list(readings)[: len(needed)] == needed
    assert len(readings) == 90


@pytest.mark.parametrize("content", [None, b"", b"no model"])
def test_a_missing_or_broken_model_is_said_and_nothing_else_happens(tmp_path, content):
    file = tmp_path / "net.pt"
    if content is not None:
        file.write_bytes(content)
    readings, reader = read_all(file, tmp_path, ["a.png"])
    assert readings == {}
    assert "net.pt" in reader.trouble
    assert reader.process.poll() is not None


def test_the_reading_process_ends_when_the_window_is_killed(tmp_path, model_file):
    practice_folder(tmp_path / "images", 3)
    program = """
import sys, time
from pathlib import Path
from labelling.proposals import Reader
folder = Path(sys.argv[2])
reader = Reader(Path(sys.argv[1]), folder, [f.name for f in folder.iterdir()] * 1, {})
reader.start()
print(reader.process.pid, flush=True)
time.sleep(60)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", program, model_file, tmp_path / "images"],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
        text=True,
    )
    child = int(process.stdout.readline())
    process.kill()
    process.communicate()
    end = time.monotonic() + 30
    while Path(f"/proc/{child}").exists() and time.monotonic() < end:
        state = Path(f"/proc/{child}/stat").read_text().split()[2]
        if state == "Z":  # ended; nobody has asked how, as its parent is gone
            break
        time.sleep(0.05)
    else:
        if Path(f"/proc/{child}").exists():
            os.kill(child, signal.SIGKILL)
            pytest.fail("it was still there")


def test_the_window_needs_no_torch():
    program = "import sys, label_helper; print('torch' in sys.modules)"
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.stdout == "False\n", done.stderr


# ---------------------------------------------------------------- what is offered


def test_an_offer_marks_what_is_below_the_threshold():
    computer = Proposals({"a": Reading("x7f", 0.4, [0.999, 0.5, 0.95])}, doubtful=0.95)
    offer = computer.offer("a")
    assert (offer.text, offer.doubtful, offer.marks) == ("x7f", [1], ["99", "50", "95"])
    assert offer.how == "accepted"
    assert "40 %" in offer.said
    assert computer.offer("b") is None
    longer = Proposals({"a": Reading("ß7", 0.4, [0.5, 0.5])}, fold=str.upper).offer("a")
    assert (longer.text, longer.doubtful, longer.marks) == ("SS7", [], ["", "", ""])
    assert Proposals({"a": Reading("", 0.9, [])}).offer("a") is None


def test_the_share_without_a_proposal_is_about_that_share_and_always_the_same_images():
    names = [f"{number}.png" for number in range(4000)]
    readings = {name: Reading("x", 1.0, [1.0]) for name in names}
    without = [name for name in names if Proposals(readings, unaided=0.03).offer(name) is None]
    assert 80 < len(without) < 160
    more = Proposals(readings, unaided=0.1)
    assert all(more.offer(name) is None for name in without)
    assert all(Proposals(readings).offer(name) for name in names)
    assert not any(Proposals(readings, unaided=1.0).offer(name) for name in names)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.sampled_from("abcdefgh"), st.floats(0, 1)), st.randoms())
def test_orders_put_the_unread_last_and_the_rest_by_confidence(confidences, rng):
    images = list("abcdefgh")
    rng.shuffle(images)
    readings = {name: Reading("x", value, [value]) for name, value in confidences.items()}
    for order, sign in (("least-sure", 1), ("most-sure", -1)):
        arranged = Proposals(readings, order).arrange(images)
        read = [sign * confidences[name] for name in arranged if name in confidences]
        assert sorted(arranged) == sorted(images)
        assert read == sorted(read)
        assert all(name in confidences for name in arranged[: len(read)])
    assert Proposals(readings, "name").arrange(images) == sorted(images)


def test_readings_that_come_later_sort_what_is_still_to_come_and_nothing_else(tmp_path):
    names = list("abcdef")
    labelling = Labelling(names, tmp_path / "labels.csv")
    computer = Proposals({}, "most-sure")
    labelling.decide("1")
    for name, confidence in zip("bcdf", [0.1, 0.2, 0.9, 0.5], strict=True):
        computer.readings[name] = Reading("x", confidence, [confidence])
    computer.sort_ahead(labelling)
    assert labelling.images == ["a", "b", "d", "f", "c", "e"]
    assert labelling.image == "b"
    labelling.decide("2")
    assert labelling.image == "d"
    labelling.undo()
    assert labelling.image == "b"


def test_one_key_goes_round_the_orders(tmp_path):
    labelling = Labelling(list("abc"), tmp_path / "labels.csv")
    computer = Proposals({})
    assert "needs a model" in computer.change_order(labelling)
    computer.readings |= {"a": Reading("x", 0.5, [0.5]), "b": Reading("x", 0.9, [0.9])}
    computer.readings["c"] = Reading("x", 0.1, [0.1])
    seen = []
    for _ in range(3):
        computer.change_order(labelling)
        seen.append((computer.order, "".join(labelling.images), labelling.image))
    assert seen == [("least-sure", "cab", "c"), ("most-sure", "bac", "b"), ("name", "abc", "a")]


# ---------------------------------------------------------------- labels under review


def suspects_table(folder, rows):
    with (folder / "suspects.csv").open("w", encoding="utf-8-sig", newline="") as file:
        csv.writer(file).writerows([utils.SUSPECT_COLUMNS, *rows])
    return folder / "suspects.csv"


def test_suspects_are_found_by_content_and_agreeing_rows_are_left_out(tmp_path, capsys):
    folder = practice_folder(tmp_path / "images", 4)
    files = utils.image_files(folder)
    names = [
        utils.split_name(label, utils.content_hash(file.read_bytes()), "png")
        for label, file in zip(["a/b", "cd", "ef", "gh"], files, strict=True)
    ]
    table = suspects_table(
        tmp_path,
        [
            [f"test/{names[2]}", "ef", "eF", "0.9", "8"],
            [f"train/{names[0]}", "a/b", "axb", "0.8", "7"],
            ["train/zz_00000000.png", "zz", "zy", "0.8", "6"],
            [f"train/{names[1]}", "cd", "cd", "0.99", "0.1"],
        ],
    )
    here = {files[2].name: {"label": "Ef", "state": "confirmed"}}
    suspects = proposals.read_suspects(table, files, here)
    assert list(suspects.items()) == [
        (files[2].name, Suspect("Ef", "eF", 0.9)),
        (files[0].name, Suspect("a/b", "axb", 0.8)),
    ]
    assert "1 of the images have no row" in capsys.readouterr().err
    with pytest.raises(ValueError, match="AUDIT_FOLDS"):
        proposals.read_suspects(tmp_path / "none.csv", files, {})
    with pytest.raises(ValueError, match="names no image"):
        proposals.read_suspects(suspects_table(tmp_path, []), files, {})


def test_what_differs_from_the_reading_is_doubtful_in_a_label_under_review():
    offer = proposals.offer_suspect(Suspect("ab1d", "ab7c", 0.9))
    assert (offer.text, offer.doubtful, offer.marks) == ("ab1d", [2, 3], ["", "", "7", "c"])
    assert offer.how == "checked"
    offer = proposals.offer_suspect(Suspect("abc", "abcd", 0.9))
    assert (offer.doubtful, len(offer.marks)) == ([], 3)
    assert "abcd" in offer.said


def test_a_review_opens_each_image_once_also_across_restarts_and_undo(tmp_path):
    file = tmp_path / "labels.csv"
    first = Labelling(["a", "b", "c"], file)
    for label in "xyz":
        first.decide(label)
    first.close()
    # The rows above seem to be of the past by now:
    not_before = "2999-01-01T00:00:00+00:00"
    text = file.read_text(encoding="utf-8-sig")
    review = Labelling(["b", "c"], file, not_before)
    assert review.counts() == {"open": 2}
    assert review.image == "b"
    review.close()
    past = [line.rsplit(",", 1)[0] + ",2000-01-01T00:00:00+00:00" for line in text.splitlines()[1:]]
    file.write_text("\n".join([text.splitlines()[0], *past, ""]))
    review = Labelling(["b", "c"], file, "2020-01-01T00:00:00+00:00")
    review.decide("y", how="checked")
    review.decide("Z", how="corrected")
    assert review.counts() == {"confirmed": 2}
    review.close()
    review = Labelling(["b", "c"], file, "2020-01-01T00:00:00+00:00")
    assert review.next_open(0) is None
    assert review.undo()["label"] == "Z"
    assert (review.image, review.decision("c")["label"]) == ("c", "z")
    assert review.counts() == {"confirmed": 1, "open": 1}
    review.close()
    review = Labelling(["b", "c"], file, "2020-01-01T00:00:00+00:00")
    assert review.counts() == {"confirmed": 1, "open": 1}
    rows = tables.read_table(file, utils.LABEL_COLUMNS)
    assert [row["how"] for row in rows[3:]] == ["checked", "corrected", "undo"]


# ---------------------------------------------------------------- what a session says


def test_the_models_accuracy_is_that_on_images_typed_without_seeing_its_proposal(tmp_path):
    names = [f"{number}.png" for number in range(400)]
    rng = random.Random(0)
    readings = {name: Reading(rng.choice(["ab", "ac"]), 0.9, [0.9, 0.9]) for name in names}
    computer = Proposals(readings, unaided=0.1)
    labelling = Labelling(names, tmp_path / "labels.csv")
    labelling.take_over(dict.fromkeys(names[300:], "ab"))  # not typed here: says nothing
    right = wrong = 0
    for name in names[:300]:  # all say "ab"; all other proposals are accepted blindly
        if offer := computer.offer(name):
            labelling.decide(offer.text, how=offer.how)
        else:
            labelling.decide("ab")
            right, wrong = (
                right + (readings[name].text == "ab"),
                wrong + (readings[name].text != "ab"),
            )
    low, high = wilson_interval(right / (right + wrong), right + wrong)
    text = "".join(proposals.report(labelling, computer))
    assert f"on {right} of {right + wrong} images" in text
    assert f"{100 * low:.0f} to {100 * high:.0f} %" in text
    assert f"{300 - right - wrong} proposals were right, 0 were corrected" in text
    labelling.undo()
    assert sum(computer.unaided_right(labelling)) in (right, right - 1)


@pytest.mark.parametrize(
    ("labels", "learnt", "wrong", "left", "words"),
    [
        (10, None, None, 90, "From about 40 labels on, train"),
        (60, None, None, 90, "60 labels are enough to train"),
        (60, 0, 0.3, 900, "would pay: the model learnt from 0 labels, now there are 60"),
        (60, 50, 0.3, 900, "will pay from about 75 labels on"),
        (100, 50, 0.3, 900, "it would read about 270 wrong"),
        (100, 50, None, 900, "would pay"),
        (100, 50, 0.01, 900, "would hardly save"),
        (100, 50, 0.3, 20, "would hardly save"),
    ],
)
def test_retraining_is_advised_when_it_saves_typing(labels, learnt, wrong, left, words):
    assert words in proposals.advice(labels, learnt, wrong, left)


def test_a_run_says_nothing_of_a_model_that_it_could_not_ask(tmp_path):
    labelling = Labelling(["a", "b"], tmp_path / "labels.csv")
    computer = Proposals({})
    assert "From about 40 labels" in "".join(proposals.report(labelling, computer))
    computer.reader = Reader(tmp_path / "net.pt", tmp_path, [], {})
    assert proposals.report(labelling, computer) == []
    computer.reader.close()
    labelling.decide("x")
    labelling.decide("y")
    computer.reader = None
    assert proposals.report(labelling, computer) == []


def test_the_reading_process_can_be_asked_by_hand(tmp_path, model_file):
    folder = practice_folder(tmp_path / "images", 2)
    names = [file.name for file in utils.image_files(folder)]
    done = subprocess.run(
        [sys.executable, REPOSITORY / "proposals.py", model_file, folder],
        input=json.dumps(names) + "\n" + json.dumps([]) + "\n",
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    about, read, nothing = map(json.loads, done.stdout.splitlines())
    assert about == {"trained": "2026-01-01T00:00:00+00:00"}
    assert (list(read), nothing) == (names, {})


def test_the_order_by_cluster_shows_one_form_after_the_other_and_the_unread_last(tmp_path):
    computer = Proposals({}, "cluster")
    computer.groups = {"a": 1, "b": 0, "d": 1, "e": 0}
    assert computer.arrange(list("edcba")) == list("beadc")
    labelling = Labelling(list("abcde"), tmp_path / "labels.csv")
    computer.readings["a"] = Reading("x", 0.5, [0.5])
    seen = []
    for _ in range(4):
        computer.change_order(labelling)
        seen.append(computer.order)
    assert seen == ["name", "least-sure", "most-sure", "cluster"]


def test_where_clusters_do_not_help_one_says_why_and_goes_on(tmp_path):
    files = list(practice_folder(tmp_path / "images", 3, "digit").iterdir())
    computer = Proposals({}, "cluster")
    assert "too few" in computer.group(files, tmp_path / "names.csv")
    assert set(computer.groups) == {file.name for file in files}
    assert computer.readings == {}
