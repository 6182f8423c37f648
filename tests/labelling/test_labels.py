"""labels.py: no decision is lost, all can be undone, and figures are honest."""

import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from labelling_helpers import IMAGES, rows_of

import utils
from files.tables import LABEL_COLUMNS, write_table
from labelling.labels import Labelling

STATES = ["confirmed", "skipped", "unreadable", "undone"]

steps = st.lists(
    st.one_of(
        st.tuples(st.just("decide"), st.sampled_from(["x", "y"]), st.just("confirmed")),
        st.tuples(st.just("decide"), st.just(""), st.sampled_from(["skipped", "unreadable"])),
        st.tuples(st.sampled_from(["undo", "undo", "previous", "next", "reopen"])),
    ),
    max_size=30,
)


class SlowModel:
    """Labelling as one would say it: a list of decisions, of which undo removes the last."""

    def __init__(self):
        self.history, self.place = [], 0

    def current(self, place):
        found = [(label, state) for where, label, state in self.history if where == place]
        return found[-1] if found else None

    def first_open(self, places):
        return next((place for place in places if self.current(place) is None), None)

    def do(self, action, label="", state=""):
        here, end = self.place, len(IMAGES) - 1
        if action == "decide":
            if self.current(here) != (label, state):
                self.history.append((here, label, state))
            following = self.first_open([*range(here + 1, end + 1), *range(here + 1)])
            self.place = min(here + 1, end) if following is None else following
        elif action == "undo" and self.history:
            self.place = self.history.pop()[0]
        elif action == "reopen":
            following = self.first_open(range(end + 1))
            self.place = end if following is None else following
        elif action in ("previous", "next"):
            self.place = min(max(here + (1 if action == "next" else -1), 0), end)


@settings(max_examples=60, deadline=None)
@given(steps)
def test_any_course_of_decisions_undos_and_restarts_agrees_with_a_slow_model(course):
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "labels.csv"
        labelling, model = Labelling(IMAGES, file), SlowModel()
        for action, *decision in course:
            if action == "decide":
                labelling.decide(*decision)
            elif action == "undo":
                labelling.undo()
            elif action == "reopen":
                labelling.close()
                labelling = Labelling(IMAGES, file)
            else:
                labelling.go(labelling.position + (1 if action == "next" else -1))
            model.do(action, *decision)
            assert labelling.position == model.place
            expected = [model.current(place) for place in range(len(IMAGES))]
            rows = map(labelling.decision, IMAGES)
            assert [row and (row["label"], row["state"]) for row in rows] == expected
            assert labelling.counts()["open"] == expected.count(None)
            last = utils.label_rows(file)
            kept = [last.get(image, {"state": "undone"}) for image in IMAGES]
            kept = [r["state"] != "undone" and (r["label"], r["state"]) or None for r in kept]
            assert kept == expected
        undone = 0
        while labelling.undo():
            undone += 1
        assert undone == len(model.history)
        assert labelling.counts() == {"open": len(IMAGES)}
        labelling.close()


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([*IMAGES, "elsewhere.png"]),
            st.sampled_from(["x", ""]),
            st.sampled_from(STATES),
            st.sampled_from(["typed", "answers", "undo"]),
        ),
        max_size=12,
    )
)
def test_the_last_row_of_an_image_counts_in_any_table_also_one_edited_by_hand(rows):
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "labels.csv"
        write_table(file, LABEL_COLUMNS, [[*row, "1", ""] for row in rows])
        labelling = Labelling(IMAGES, file)
        for undo in (False, True):
            if undo:
                labelling.undo()
            last = utils.label_rows(file)
            for image in IMAGES:
                row = last.get(image, {"state": "undone"})
                counts = labelling.decision(image)
                assert (
                    counts is None if row["state"] == "undone" else counts["label"] == row["label"]
                )
        labelling.close()


def test_undo_reaches_only_decisions_about_the_images_at_hand(tmp_path):
    labelling = Labelling(["a.png", "b.png"], tmp_path / "labels.csv")
    labelling.decide("one")
    labelling.decide("two")
    labelling.close()
    labelling = Labelling(["a.png", "z.png"], tmp_path / "labels.csv")
    assert labelling.undo()["label"] == "one"
    assert labelling.undo() is None
    labelling.close()
    labelling = Labelling(["a.png", "b.png"], tmp_path / "labels.csv")
    assert labelling.undo()["label"] == "two"


def test_a_row_torn_by_a_crash_is_cut_off_and_its_image_is_open(tmp_path):
    file = tmp_path / "labels.csv"
    labelling = Labelling(IMAGES, file)
    labelling.decide("one")
    labelling.close()
    with file.open("ab") as torn:
        torn.write(b"b.png,tw")
    labelling = Labelling(IMAGES, file)
    assert labelling.image == "b.png"
    labelling.decide("two")
    assert [row[:2] for row in rows_of(file)] == [("a.png", "one"), ("b.png", "two")]


def test_kill_loses_no_acknowledged_label_and_leaves_no_lock(tmp_path):
    program = """
import sys, pathlib
from labelling.labels import Labelling
names = [f"{i}.png" for i in range(50_000)]
labelling = Labelling(names, pathlib.Path(sys.argv[1]))
for i in range(50_000):
    labelling.decide(f"label {i}")
    print(i, flush=True)
"""
    for attempt in range(4):
        file = tmp_path / f"{attempt}.csv"
        process = subprocess.Popen(
            [sys.executable, "-c", program, file],
            stdout=subprocess.PIPE,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(utils.ROOT)},
        )
        process.stdout.readline()
        time.sleep(random.uniform(0, 0.3))
        process.kill()
        acknowledged = 1 + len(process.communicate()[0].splitlines())
        labelling = Labelling([f"{i}.png" for i in range(50_000)], file)
        kept = rows_of(file)
        assert acknowledged <= len(kept) <= acknowledged + 1
        assert all(row[:2] == (f"{i}.png", f"label {i}") for i, row in enumerate(kept))
        labelling.close()


def test_a_full_disk_stops_before_the_next_image_and_keeps_all_before(tmp_path):
    file = tmp_path / "labels.csv"
    labelling = Labelling(IMAGES, file)
    labelling.decide("one")
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (file.stat().st_size + 9, hard))
    try:
        with pytest.raises(OSError, match="labels.csv.* could not be written"):
            labelling.decide("two")
        assert labelling.image == "b.png"
        assert labelling.decision("b.png") is None
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    with pytest.raises(ValueError, match="closed"):  # half a row may stand there
        labelling.decide("two")
    labelling.close()
    labelling = Labelling(IMAGES, file)
    assert rows_of(file) == [("a.png", "one", "confirmed", "typed")]
    assert labelling.image == "b.png"


def test_a_labels_file_that_was_replaced_meanwhile_is_noticed(tmp_path):
    file = tmp_path / "labels.csv"
    labelling = Labelling(IMAGES, file)
    shutil.copy(file, tmp_path / "edited.csv")
    (tmp_path / "edited.csv").replace(file)  # as a spreadsheet saves
    with pytest.raises(OSError, match="another program has replaced the file"):
        labelling.decide("one")


def test_a_second_window_on_the_same_labels_is_refused_until_the_first_is_closed(tmp_path):
    first = Labelling(IMAGES, tmp_path / "labels.csv")
    with pytest.raises(ValueError, match="open in another label window"):
        Labelling(IMAGES, tmp_path / "labels.csv")
    Labelling(IMAGES, tmp_path / "others.csv")
    first.decide("one")
    first.close()
    assert Labelling(IMAGES, tmp_path / "labels.csv").image == "b.png"


def test_a_label_unlike_all_others_is_pointed_out_once_there_are_twenty(tmp_path):
    labelling = Labelling([f"{i:02}.png" for i in range(30)], tmp_path / "labels.csv")
    for _ in range(19):
        assert labelling.remark("odd one") == ""
        labelling.decide("ab12")
    labelling.decide("cd345")
    assert labelling.remark("12ab") == labelling.remark("d5c4b") == ""
    assert "3 characters" in labelling.remark("abc")
    assert "'AB'" in labelling.remark("aBA1")
    labelling.decide("abc")
    labelling.go(labelling.position - 1)
    assert "3 characters" in labelling.remark("abc")  # its own label is no reason
    labelling.undo()
    labelling.undo()
    assert labelling.remark("abc") == ""


def test_speed_counts_labels_that_stand_and_a_pause_as_one_minute(tmp_path):
    labelling = Labelling(IMAGES, tmp_path / "labels.csv")
    assert labelling.speed() == (0, 0)
    for label, seconds in [("one", 3600), ("two", 15), ("three", 15)]:
        labelling.since -= seconds
        labelling.decide(label)
    assert labelling.speed() == (3, pytest.approx(2, rel=0.01))
    labelling.undo()
    assert labelling.speed() == (2, pytest.approx(4 / 3, rel=0.01))
    assert labelling.summary().startswith(
        "2 labelled now, 1 per minute; of 4 images 2 are labelled"
    )
    labelling.close()
    labelling = Labelling(IMAGES, tmp_path / "labels.csv")
    labelling.go(0)
    labelling.decide("uno")
    assert labelling.speed()[0] == 1
    labelling.undo()  # what stands again was labelled earlier
    assert labelling.speed()[0] == 0


def test_opening_many_images_goes_through_them_a_few_times_only(tmp_path):
    """A folder of 100 000 opens within two seconds; this is a fifth of it, on a slow computer."""
    folder, first = tmp_path / "images", tmp_path / "first.png"
    folder.mkdir()
    first.write_bytes(b"image")
    names = [f"{number:05d}.png" for number in range(20_000)]
    for name in names:
        (folder / name).hardlink_to(first)
    labels_file = tmp_path / "labels.csv"
    rows = [[name, "abcde", "confirmed", "typed", 1, "2001-01-01"] for name in names[:19_000]]
    write_table(labels_file, LABEL_COLUMNS, rows)
    started = time.process_time()
    labelling = Labelling([file.name for file in utils.image_files(folder)], labels_file)
    assert len(labelling.upcoming(20_000)) == 1000
    for _ in range(100):
        labelling.decide("abcde")
        labelling.upcoming(16)
    assert time.process_time() - started < 3
    assert labelling.image == "19100.png"
    labelling.close()


def test_an_undo_takes_back_the_last_of_several_decisions_about_an_image(tmp_path):
    labelling = Labelling(IMAGES, tmp_path / "labels.csv")
    for image, label in (("a.png", "a1"), ("b.png", "b1"), ("a.png", "a2")):
        labelling.go(IMAGES.index(image))
        labelling.decide(label)
    labelling.undo()
    assert labelling.decided == ["a.png", "b.png"]
    labelling.close()
