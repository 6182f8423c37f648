"""Clusters: characters are cut out and grouped, names are never lost, and doubts are said."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers import assert_one_sentence, practice_folder, project, run_script, snapshot
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import utils
from files import tables
from files.images import read_image
from labelling.clusters import grouping, segmentation
from labelling.clusters import window as cluster_window
from labelling.clusters.grouping import Crop, Found
from labelling.clusters.names import Naming, Sheet, name_columns
from labelling.clusters.segmentation import Part
from labelling.gui import make_window, open_gui
from practice import forms


def drawn(form, count, seed=5):
    pairs = [forms.draw(form, number, seed) for number in range(count)]
    return [np.asarray(image) for image, _ in pairs], [answer for _, answer in pairs]


# ---------------------------------------------------------------- cutting


def test_touching_letters_of_two_colours_come_apart_and_a_line_across_vanishes():
    image = np.full((50, 200, 3), 235, np.uint8)
    cv2.putText(image, "B", (30, 40), cv2.FONT_HERSHEY_SIMPLEX, 1.3, (200, 30, 30), 4)
    cv2.putText(image, "R", (54, 40), cv2.FONT_HERSHEY_SIMPLEX, 1.3, (30, 30, 200), 4)
    cv2.putText(image, "K", (120, 40), cv2.FONT_HERSHEY_SIMPLEX, 1.3, (20, 130, 40), 4)
    alone = [(part.left, part.right) for part in segmentation.cut(image)]
    assert len(alone) == 3
    cv2.line(image, (0, 20), (199, 34), (40, 40, 40), 2, cv2.LINE_AA)
    crossed = [(part.left, part.right) for part in segmentation.cut(image)]
    crossed = [(left, right) for left, right in crossed if right - left > 2]  # no slivers
    assert len(crossed) == 3
    assert np.abs(np.array(alone) - crossed).max() <= 8  # pixels


@settings(max_examples=60, deadline=None)
@given(
    arrays.arrays(
        np.uint8,
        st.tuples(st.integers(1, 40), st.integers(1, 90), st.just(3)),
        elements=st.sampled_from([0, 10, 128, 255]),
        fill=st.just(255),
    )
)
def test_parts_of_any_image_lie_inside_it_and_hold_ink_from_edge_to_edge(image):
    parts = segmentation.cut(image)
    for part in segmentation.mend([parts, parts])[0]:
        assert 0 <= part.left < part.right <= image.shape[1]
        assert 0 <= part.top < part.bottom <= image.shape[0]
        assert part.mask.any(axis=0)[[0, -1]].all()
        assert part.mask.any(axis=1)[[0, -1]].all()
    assert [p.left + p.right for p in parts] == sorted(p.left + p.right for p in parts)


def test_an_empty_image_has_no_parts():
    assert segmentation.cut(np.full((50, 200, 3), 200, np.uint8)) == []
    assert segmentation.mend([[], []]) == [[], []]


boxes = st.tuples(*[st.integers(0, 6)] * 2, *[st.integers(1, 6)] * 2)


def part_at(box):
    left, top, width, height = box
    return Part(left, top, np.ones((height, width), bool), np.zeros(3))


@settings(deadline=None)
@given(boxes, boxes)
def test_joined_parts_cover_what_both_covered(one, other):
    def paint(*parts):
        canvas = np.zeros((12, 12), bool)
        for part in parts:
            for y, x in np.argwhere(part.mask):
                canvas[part.top + y, part.left + x] = True
        return canvas

    one, other = part_at(one), part_at(other)
    assert (paint(segmentation.join(one, other)) == paint(one, other)).all()


def test_the_usual_count_is_restored_by_splitting_the_widest_and_joining_pieces():
    def row(*widths, colour=0.0):
        lefts = np.cumsum([0, *[width + 6 for width in widths[:-1]]])
        return [
            Part(int(x), 0, np.ones((20, w), bool), np.full(3, colour))
            for x, w in zip(lefts, widths, strict=True)
        ]

    whole, merged, broken = row(10, 10, 10), row(10, 24), row(10, 3, 3, 10)
    counts = [
        [p.mask.shape[1] for p in r] for r in segmentation.mend([whole] * 5 + [merged, broken])
    ]
    assert counts == [[10, 10, 10]] * 5 + [[10, 12, 12], [10, 12, 10]]
    assert [len(r) for r in segmentation.mend([whole, merged, broken])] == [
        3,
        2,
        4,
    ]  # no usual count


@pytest.fixture(scope="module")
def simple():
    """Practice images, their answers, and what is found by cutting alone."""
    images, answers = drawn("simple", 200)
    return images, answers, grouping.find(images, None)


def test_practice_letters_are_cut_as_many_as_there_are(simple):
    images, answers, found = simple
    counts = Counter(crop.image for crop in found.crops)
    assert sum(counts[i] == len(answer) for i, answer in enumerate(answers)) >= 0.97 * len(images)


# ---------------------------------------------------------------- grouping and judging


def blobs(kinds, each, seed=0):
    random = np.random.default_rng(seed)
    centres = random.normal(0, 10, (kinds, 8))
    kind = np.repeat(np.arange(kinds), each)
    return (centres[kind] + random.normal(0, 0.5, (len(kind), 8))).astype(np.float32), kind


def test_a_group_has_one_kind_in_it_and_the_largest_comes_first():
    features, kind = blobs(12, 50)
    cluster = grouping.group(features)
    assert all(len(set(kind[cluster == number])) == 1 for number in set(cluster))
    sizes = np.bincount(cluster)
    assert list(sizes) == sorted(sizes, reverse=True)
    assert sizes.min() > 0


def test_more_crops_than_ward_can_take_join_the_nearest_group(monkeypatch):
    features, kind = blobs(6, 100)
    monkeypatch.setattr(grouping, "most_crops", 200)
    cluster = grouping.group(features, 6)
    assert all(len(set(kind[cluster == number])) == 1 for number in range(6))


def test_agreement_tells_kinds_from_noise():
    features, _ = blobs(20, 40)
    image_of = np.random.default_rng(1).permutation(len(features)) // 4
    assert grouping.agreement(features, image_of) > 0.9
    noise = np.random.default_rng(2).normal(size=features.shape).astype(np.float32)
    assert grouping.agreement(noise, image_of) < 0.3


def test_it_says_whether_clusters_will_help(simple):
    assert simple[2].helps()
    assert not grouping.find(drawn("noise", 120)[0], None).helps()
    net, _ = grouping.model.load_checkpoint(utils.PRACTICE_MODEL)
    looked = grouping.find(drawn("ripple", 120)[0], net)  # letters that touch
    assert looked.helps()
    assert looked.way == "look"


def test_too_few_characters_are_refused(simple):
    with pytest.raises(ValueError, match=r"fewer than .* in 10 images.*Fetch more"):
        grouping.find(simple[0][:10], None)


def test_a_network_looks_at_the_letters_themselves(simple):
    net, _ = grouping.model.load_checkpoint(utils.PRACTICE_MODEL)
    crops, features = grouping.look_all(simple[0], net)
    assert features.shape == (len(crops), 128)
    cut = {(crop.image, crop.place): crop.box for crop in simple[2].crops}
    off = [
        abs(crop.box[0] + crop.box[2] - sum(cut[crop.image, crop.place][::2])) / 2
        for crop in crops
        if (crop.image, crop.place) in cut
    ]
    assert np.median(off) < 4  # pixels


# ---------------------------------------------------------------- proposals


def made_up(count=40, kinds="abcd"):
    """Images of three characters each, in groups of one kind each but for one stranger."""
    features, kind = blobs(len(kinds), 3 * count // len(kinds) + 1)
    order = np.random.default_rng(3).permutation(len(kind))[: 3 * count]
    crops = [Crop(i // 3, i % 3, (0, 0, 9, 9)) for i in range(3 * count)]
    return Found("cut", crops, features[order], kind[order], 1.0)


def test_named_groups_become_texts_with_confidences_and_dirt_is_left_out():
    found = made_up()
    names = {0: "a", 1: "b", 2: "", 3: "d"}
    read = grouping.propose(found, names, set())
    for image in range(40):
        expected = "".join(names[number] for number in found.cluster[3 * image : 3 * image + 3])
        assert read[image].text == expected if expected else image not in read
        if expected:
            assert len(read[image].characters) == len(expected)
            assert min(read[image].characters) > 0.9
            assert read[image].confidence == pytest.approx(np.prod(read[image].characters))
    assert grouping.propose(found, {}, set()) == {}
    one = grouping.propose(found, {1: "b"}, set())
    assert {reading.text for reading in one.values()} == {"bbb"}  # all that it can say, ...
    for image, reading in one.items():  # ... and it says so
        for place, sure in enumerate(reading.characters):
            assert (sure > 0.9) == (found.cluster[3 * image + place] == 1)


def test_a_stranger_in_a_group_is_read_as_what_it_is_like_and_an_outlier_never_as_its_group():
    found = made_up()
    stranger = int(np.flatnonzero(found.cluster == 0)[0])
    found.cluster[stranger] = 1  # looks like group 0, stands in group 1
    names = {0: "a", 1: "b", 2: "c", 3: "d"}
    crop = found.crops[stranger]
    assert grouping.propose(found, names, set())[crop.image].text[crop.place] == "a"
    typical = int(np.flatnonzero(found.cluster == 2)[0])
    crop = found.crops[typical]
    reading = grouping.propose(found, names, {typical})[crop.image]
    assert reading.text[crop.place] != "c"
    assert reading.characters[crop.place] < 0.5


def test_naming_the_clusters_of_the_simple_form_saves_more_than_half_of_the_keys():
    done = run_script("benchmarks/clusters.py", "COUNT=250", "SEED=8", "WAY=cut", cwd="/")
    shares = [int(share) for share in re.findall(r"instead of 6.00: (\d+) %", done.stdout)]
    assert len(shares) == 2
    assert max(shares) <= 50, done.stdout


# ---------------------------------------------------------------- whole images


def test_a_crawl_of_several_forms_falls_apart_into_them():
    forms = ["simple"] * 40 + ["noise"] * 30 + ["ripple"] * 20 + ["digit"] * 12
    images = [np.asarray(forms.draw(form, i, 6)[0]) for i, form in enumerate(forms)]
    order = np.random.default_rng(0).permutation(len(forms))
    number = grouping.group_images([images[i] for i in order])
    pairs = {(forms[i], int(n)) for i, n in zip(order, number, strict=True)}
    assert pairs == {("simple", 0), ("noise", 1), ("ripple", 2), ("digit", 3)}
    assert grouping.group_images(images[:3]).tolist() == [0, 0, 0]


def test_unreadable_files_belong_to_no_form(tmp_path):
    folder = practice_folder(tmp_path / "images", 12)
    (folder / "broken.png").write_text("no image")
    files = utils.image_files(folder)
    assert cluster_window.image_groups(files) == {f.name: 0 for f in files if f.stem != "broken"}


# ---------------------------------------------------------------- names on the disk

SHEETS = [Sheet((f"{i}.png", 1), [(f"{i}.png", place) for place in range(4)]) for i in range(4)]


def rows_of(file):
    if not file.exists():
        return []
    table = tables.read_table(file, name_columns)
    return [(row["image"], int(row["place"]), row["name"], row["state"]) for row in table]


steps = st.lists(
    st.one_of(
        st.tuples(st.just("name"), st.sampled_from(["x", "y", ""])),
        st.tuples(st.just("mark"), st.integers(0, 3)),
        st.tuples(st.sampled_from(["skip", "undo", "undo", "reopen"])),
    ),
    max_size=30,
)


@settings(max_examples=60, deadline=None)
@given(steps)
def test_any_course_of_names_marks_undos_and_restarts_agrees_with_a_slow_model(course):
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "names.csv"
        naming = Naming(SHEETS, file)
        history, outliers, at, marked = [], {}, 0, set()  # the slow model

        def standing():
            return {place: decision for place, *decision in history}

        def following(start):
            around = [*range(start, 4), *range(start)]
            return next((place for place in around if place not in standing()), None)

        for action, *what in course:
            if action == "mark":
                naming.mark(SHEETS[at].members[what[0]])
                marked ^= {what[0]}
            elif action == "reopen":
                naming.close()
                naming = Naming(SHEETS, file)
                at = following(0) or 0
                marked = set(outliers.get(at, ()))
            elif action == "undo":
                assert naming.undo() == bool(history)
                if history:
                    at, name, state = history.pop()
                    marked = set(outliers.get(at, ()))
                    assert naming.draft == (name if state == "named" else None)
            else:
                decision = ["", "skipped"] if action == "skip" else [what[0], "named"]
                if action == "name":
                    naming.draft = what[0]
                    naming.name()
                    outliers[at] = set(marked)
                else:
                    naming.skip()
                if standing().get(at) != decision:
                    history = [entry for entry in history if entry[0] != at] + [(at, *decision)]
                after = following((at + 1) % 4)
                at = at if after is None else after
                marked = set(outliers.get(at, ()))
            assert naming.position == at
            assert naming.marked == {SHEETS[at].members[place] for place in marked}
            names = {SHEETS[p].exemplar: n for p, (n, s) in standing().items() if s == "named"}
            assert naming.names() == names
            assert naming.counts()[2] == 4 - len(standing())
        naming.close()


def test_names_survive_other_clusters_a_torn_row_and_a_row_spoilt_by_hand(tmp_path):
    file = tmp_path / "names.csv"
    with contextlib.closing(Naming(SHEETS, file)) as naming:
        naming.draft = "x"
        naming.name()
    with file.open("ab") as torn:
        torn.write(b"1.png,one,y,named,\r\n1.png,1,y")
    bigger = [Sheet(("new.png", 0), [("new.png", 0)]), *SHEETS[::-1]]
    with contextlib.closing(Naming(bigger, file)) as naming:
        assert naming.names() == {SHEETS[0].exemplar: "x"}
        assert naming.counts() == (1, 0, 4)
        with pytest.raises(ValueError, match="open in another"):
            Naming(SHEETS, file)
        with pytest.raises(ValueError, match="no name"):
            naming.name()


def test_a_full_disk_stops_before_the_next_sheet(tmp_path):
    resource = pytest.importorskip("resource")
    file = tmp_path / "names.csv"
    naming = Naming(SHEETS, file)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (file.stat().st_size + 9, hard))
    try:
        with pytest.raises(OSError, match=r"names.csv.* could not be kept"):
            naming.skip()
        assert naming.counts() == (0, 0, 4)
        assert naming.position == 0
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    naming.close()
    assert Naming(SHEETS, file).counts() == (0, 0, 4)


# ---------------------------------------------------------------- the window


@pytest.fixture
def keyboard(display):
    """Type on the screen with xdotool, as a person would."""
    if not shutil.which("xdotool"):
        message = "xdotool is missing: apt install xdotool"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)

    def xdotool(*arguments):
        command = ["xdotool", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, timeout=60).stdout

    return xdotool


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return practice_folder(tmp_path_factory.mktemp("sheet") / "images", 60)


@pytest.fixture
def start(keyboard, folder, tmp_path):
    """Start the script and wait until its window has the keyboard."""
    started = []

    def start_one():
        command = [sys.executable, project / "cluster_sheet.py", f"IMAGE_FOLDER={folder}"]
        command.append(f"NAMES_FILE={tmp_path / 'names.csv'}")
        pipe = subprocess.PIPE
        process = subprocess.Popen(command, cwd=tmp_path, stdout=pipe, stderr=pipe, text=True)
        started.append(process)
        wait_for(lambda: "Cluster sheet" in keyboard("getwindowfocus", "getwindowname"))
        return process

    yield start_one
    for process in started:
        process.kill()
        process.communicate()


def wait_for(condition):
    end = time.monotonic() + 240
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def test_fast_keys_are_all_kept_a_kill_loses_none_and_the_end_prints_proposals(
    start, keyboard, folder, tmp_path
):
    before, file = snapshot(folder), tmp_path / "names.csv"
    process = start()
    keyboard("key", "--delay", "12", "Right", "space", "a", "b", "Return", "Escape", "Delete",
             "KP_Enter", "shift+c", "Return", "ctrl+z", "ctrl+z", "e", "Return")  # fmt: skip
    wait_for(lambda: len(rows_of(file)) >= 8)
    rows = rows_of(file)
    assert [row[2:] for row in rows] == [
        ("", "outlier"), ("b", "named"), ("", "skipped"), ("", "named"), ("C", "named"),
        ("", "undone"), ("", "undone"), ("e", "named"),
    ]  # fmt: skip
    assert rows[4][:2] == rows[5][:2]
    assert rows[3][:2] == rows[6][:2] == rows[7][:2]
    process.kill()
    process.wait()
    process = start()
    open_sheets = 2 * 300**0.5 - 3
    keyboard("key", "--delay", "12", *["z", "Return"] * round(open_sheets))
    time.sleep(1)
    keyboard("key", "Return", "Return")  # all are done: Enter closes
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    assert rows_of(file)[:8] == rows
    assert Counter(row[2] for row in rows_of(file)[8:])["z"] >= round(open_sheets) - 1
    lines = [line.split("\t") for line in out.splitlines()]
    assert len(lines) >= 50
    assert all(set(text) <= set("bez") and 0 <= float(sure) <= 1 for _, text, sure in lines)
    again = run_script("cluster_sheet.py", f"IMAGE_FOLDER={folder}", f"NAMES_FILE={file}", cwd="/")
    assert again.stdout == out  # all are named: no window opens
    assert snapshot(folder) == before


@pytest.fixture
def view(display, tmp_path):
    """A window over sheets of 4, 130 and 2 crops."""
    before = signal.getsignal(signal.SIGINT)
    counts = [4, 130, 2]
    sheets = [Sheet((f"{n}.png", 0), [(f"{n}.png", i) for i in range(n)]) for n in counts]
    images = {f"{n}.png": np.full((50, 200, 3), 30 + n, np.uint8) for n in counts}
    every = {crop: (20, 5, 40, 45) for sheet in sheets for crop in sheet.members}
    naming = Naming(sheets, tmp_path / "names.csv")
    window = cluster_window.SheetWindow(open_gui(), naming, images, every)
    yield window
    window.window.close()
    naming.close()
    signal.signal(signal.SIGINT, before)


def test_a_click_marks_the_crop_under_it_also_on_the_second_page(view):
    view.click(10, 10)
    view.click(3 * 96 + 50, 90)
    view.click(500, 500)  # nothing there
    assert view.naming.marked == {("4.png", 0), ("4.png", 3)}
    view.click(10, 10)
    assert view.naming.marked == {("4.png", 3)}
    view.handle("Skip")
    view.handle("Next page")
    view.handle("Next page")  # there is no third
    view.click(64, 0)
    view.handle("Right")
    view.handle("Mark")
    assert view.naming.marked == {("130.png", 121), ("130.png", 122)}
    view.handle("Previous page")
    view.handle("Down")
    view.handle("Mark")
    assert ("130.png", 15) in view.naming.marked


def test_enter_without_a_name_and_keys_without_a_character_keep_nothing(view, tmp_path):
    for event, character in [
        ("Keep", ""),
        ("Key", ""),
        ("Key", "\x01"),
        ("Left", ""),
        ("Undo", ""),
    ]:
        view.handle(event, character)
    assert rows_of(tmp_path / "names.csv") == []
    assert view.naming.position == 0


def test_enter_closes_the_window_when_all_sheets_are_done_also_if_the_last_was_skipped(view):
    for event in ("Skip", "Skip", "Skip"):
        view.handle(event)
        assert not view.closed
    view.handle("Keep")
    assert view.closed


def test_the_sheet_fits_a_small_screen_and_does_not_jump(view):
    view.window.refresh()
    size = view.window.current_size_accurate()
    assert size[0] <= 1280
    assert size[1] <= 720
    for event, character in [("Key", "W"), ("Keep", ""), ("Mark", ""), ("Skip", ""), ("Undo", "")]:
        view.handle(event, character)
        view.window.refresh()
        assert view.window.current_size_accurate() == size


def test_the_page_shows_each_crop_marks_and_frame():
    crops = [np.full((10, 20, 3), 40 * i, np.uint8) for i in range(5)]
    page = cluster_window.draw_page(crops, [False, True, False, False, False], 2, 96, 10)
    assert page.startswith(b"P6 960 512 255\n")
    pixels = np.frombuffer(page[15:], np.uint8).reshape(512, 960, 3)
    centres = [tuple(pixels[48, 96 * i + 30]) for i in range(5)]
    assert centres == [(40 * i,) * 3 for i in range(5)]
    assert tuple(pixels[48, 96 + 48]) == (190, 20, 30)
    assert tuple(pixels[1, 2 * 96 + 1]) == (30, 70, 160)
    assert tuple(pixels[1, 1]) == tuple(pixels[500, 900])


def test_opening_a_window_leaves_the_check_of_certificates_on(display):
    program = """
import ssl, sys, gui
gui.open_gui()
context = ssl._create_default_https_context()
print("PySimpleGUI" in sys.modules, context.verify_mode.name, context.check_hostname)
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(project)},
        capture_output=True,
        text=True,
    )
    assert done.stdout == "True CERT_REQUIRED True\n", done.stderr


# ---------------------------------------------------------------- where it does not help


def blots(folder):
    """Fill a folder with eighty images of blots that are all different, and return it."""
    folder.mkdir()
    random = np.random.default_rng(0)
    for number in range(80):
        image = cv2.GaussianBlur(random.normal(0, 1, (50, 200)), (0, 0), 4)
        file = folder / f"{number:016x}.png"
        cv2.imwrite(str(file), np.where(image > 0.08, 40, 240).astype(np.uint8))
    return folder


@pytest.mark.usefixtures("display")
def test_the_whole_sentence_that_clusters_will_not_help_can_be_seen(tmp_path):
    files = utils.image_files(blots(tmp_path / "images"))
    with pytest.raises(ValueError, match="clusters will not help") as refused:
        cluster_window.find_forms({file.name: read_image(file) for file in files})
    sg = open_gui()
    window = make_window(sg, (840, 280))
    said = window["said"]
    said.update(str(refused.value))
    window.refresh()
    room, free = said.widget.winfo_height(), said.widget
    free.configure(height=0)  # as high as its text is
    assert free.winfo_reqheight() <= room
    window.close()


def test_where_cutting_fails_one_sentence_says_so_and_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    images = blots(tmp_path / "images")
    names = f"NAMES_FILE={tmp_path / 'names.csv'}"
    done = run_script("cluster_sheet.py", f"IMAGE_FOLDER={images}", names, cwd="/", check=False)
    assert_one_sentence(done, "clusters will not help", "ORDER=name")
    few = practice_folder(tmp_path / "few", 5)
    done = run_script("cluster_sheet.py", f"IMAGE_FOLDER={few}", names, cwd="/", check=False)
    assert_one_sentence(done, "fewer than 200 characters", "Fetch more")
    empty = tmp_path / "empty"
    done = run_script("cluster_sheet.py", f"IMAGE_FOLDER={empty}", names, cwd="/", check=False)
    assert_one_sentence(done, "there is no folder")
    assert not (tmp_path / "names.csv").exists()
