"""The sheet window: no key is lost, one reading serves all, and it says where clusters fail."""

import signal
import subprocess
import sys
import time
from collections import Counter

import cv2
import numpy as np
import pytest
from helpers import practice_folder, project, snapshot

import label_helper
import utils
from files.tables import LABEL_COLUMNS, read_table
from labelling import gui
from labelling import window as label_window
from labelling.clusters import by_form, grouping
from labelling.clusters import predictions as cluster_predictions
from labelling.clusters import window as cluster_window
from labelling.clusters.names import NAME_COLUMNS, Naming, Sheet
from labelling.proposals import Proposals


def rows_of(file):
    """Return what stands in a names file, without the times."""
    if not file.exists():
        return []
    table = read_table(file, NAME_COLUMNS)
    return [(row["image"], int(row["place"]), row["name"], row["state"]) for row in table]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with about as few practice images as can be grouped."""
    return practice_folder(tmp_path_factory.mktemp("sheet") / "images", 45)


@pytest.fixture(scope="module")
def found(folder):
    """Return what find_forms() finds in the folder's images, which takes seconds."""
    images = cluster_predictions.read_images(utils.image_files(folder))
    return cluster_predictions.find_forms(images, dict.fromkeys(images, 0))


@pytest.fixture(scope="module")
def blots(tmp_path_factory):
    """Return a folder with images of blots that are all different."""
    folder = tmp_path_factory.mktemp("blots")
    random = np.random.default_rng(0)
    for number in range(60):
        image = cv2.GaussianBlur(random.normal(0, 1, (50, 200)), (0, 0), 4)
        file = folder / f"{number:016x}.png"
        cv2.imwrite(str(file), np.where(image > 0.08, 40, 240).astype(np.uint8))
    return folder


# ---------------------------------------------------------------- from images to predictions


class Person:
    """Stands in for the window: names each sheet what most of it shows, by the file names."""

    windows = 0

    def __init__(self, sg, naming, images, boxes, promise):
        Person.windows += 1
        Person.promise = promise
        self.naming = naming

    def run(self):
        while self.naming.next_open(0) is not None:
            shown = Counter(image[place] for image, place in self.naming.sheet.members)
            self.naming.draft = shown.most_common(1)[0][0]
            self.naming.name()


def test_images_are_read_and_grouped_once_and_names_become_predictions(
    folder, found, tmp_path, monkeypatch
):
    monkeypatch.setattr(cluster_predictions, "find_forms", lambda *_: found)
    monkeypatch.setattr(cluster_predictions, "SheetWindow", Person)
    monkeypatch.setattr(cluster_predictions, "open_gui", lambda: None)
    calls = Counter()

    def count(module, name):
        real = getattr(module, name)

        def counting(*arguments):
            calls[name] += 1
            return real(*arguments)

        monkeypatch.setattr(module, name, counting)

    count(cluster_predictions, "read_image")
    count(by_form, "group_images")
    files, names_file = utils.image_files(folder), tmp_path / "names.csv"
    Person.windows = 0
    forms, predictions, reason = cluster_predictions.group_and_name(files, names_file)
    assert calls == {"read_image": len(files), "group_images": 1}
    assert forms == {file.name: 0 for file in files}
    assert reason == ""
    sheets = sum(one.cluster.max() + 1 for _, one in found)
    assert f"Naming all {sheets} sheets probably saves" in Person.promise
    right = [predictions[file.name].text == file.stem.split("-")[0] for file in files]
    assert np.mean(right) > 0.9
    assert cluster_predictions.group_and_name(files, names_file) == (forms, predictions, "")
    assert Person.windows == 1  # nothing was left to name


def test_a_sheet_shows_the_least_typical_first_and_its_exemplar_is_the_most_typical(found):
    for names, one in found:
        number = {(names[crop.image], crop.place): i for i, crop in enumerate(one.crops)}
        sheets = cluster_predictions.make_sheets(names, one)
        assert sorted(crop for sheet in sheets for crop in sheet.members) == sorted(number)
        for sheet in sheets:
            own = one.features[[number[crop] for crop in sheet.members]]
            distances = grouping.distance_to_mean(own)
            assert (np.diff(distances) <= 1e-5).all()
            typical = distances[sheet.members.index(sheet.exemplar)]
            assert typical <= distances.min() + 1e-5  # of two, both are


def test_without_a_names_file_forms_alone_are_found_and_unreadable_files_have_none(
    tmp_path, monkeypatch
):
    monkeypatch.delenv("DISPLAY", raising=False)
    folder = practice_folder(tmp_path / "images", 12)
    (folder / "broken.png").write_text("no image")
    files = utils.image_files(folder)
    forms = {file.name: 0 for file in files if file.stem != "broken"}
    assert cluster_predictions.group_and_name(files, None) == (forms, {}, "")
    result = cluster_predictions.group_and_name([folder / "broken.png"], None)
    assert result == ({}, {}, "None of the images can be read.")


@pytest.mark.usefixtures("display")
def test_where_clusters_do_not_help_a_sentence_says_so_that_fits_the_label_window(blots, tmp_path):
    names_file = tmp_path / "names.csv"
    files = utils.image_files(blots)
    forms, predictions, reason = cluster_predictions.group_and_name(files, names_file)
    assert forms == {file.name: 0 for file in files}
    assert predictions == {}
    assert "clusters will not help" in reason
    assert "ORDER=name" in reason
    window = label_window.make_window(gui.open_gui(), (840, 280), 1.0)
    remark = window["remark"].widget
    window["remark"].update(reason)
    window.refresh()
    remark.configure(height=0)  # as high as its text
    assert remark.winfo_reqheight() <= remark.winfo_height()
    window.close()
    few = utils.image_files(practice_folder(tmp_path / "few", 5))
    forms, predictions, too_few = cluster_predictions.group_and_name(few, names_file)
    assert (len(forms), predictions) == (5, {})
    assert "fewer than 200 characters" in too_few
    assert "Fetch more" in too_few
    assert not names_file.exists()


def test_a_names_file_that_is_open_elsewhere_is_the_reason(folder, found, tmp_path, monkeypatch):
    monkeypatch.setattr(cluster_predictions, "find_forms", lambda *_: found)
    naming = Naming([Sheet(("x.png", 0), [("x.png", 0)])], tmp_path / "names.csv")
    files = utils.image_files(folder)
    forms, predictions, reason = cluster_predictions.group_and_name(files, tmp_path / "names.csv")
    assert (len(forms), predictions) == (len(files), {})
    assert "open in another window" in reason
    naming.close()


def test_what_a_person_says_can_occur_is_known_where_characters_are_found(
    folder, tmp_path, monkeypatch
):
    known = []

    def find(images, net, **site):
        known.append(site)
        raise ValueError("nothing was found.")

    class Window:
        def __init__(self, sg, labelling, folder, proposals, trouble):
            assert "nothing was found." in trouble

        def run(self):
            pass

    monkeypatch.setattr(grouping, "find", find)
    monkeypatch.setattr(label_helper, "LabelWindow", Window)
    monkeypatch.setattr(gui, "open_gui", lambda: None)
    files, names_file = utils.image_files(folder), tmp_path / "names.csv"
    proposals = Proposals({}, "cluster", 0.95, 0.0, str)
    label_helper.type_labels(files, tmp_path / "a.csv", proposals, None, names_file, "abc", 5)
    assert known == [{"characters": "abc", "length": 5}]


@pytest.mark.usefixtures("display")
def test_the_window_says_first_what_naming_saves(tmp_path):
    naming = Naming([Sheet(("x.png", 0), [("x.png", 0)])], tmp_path / "names.csv")
    images, boxes = {"x.png": np.zeros((20, 20, 3), np.uint8)}, {("x.png", 0): (2, 2, 9, 9)}
    promise = "Naming all 77 sheets probably saves 75 % of the keys."
    window = cluster_window.SheetWindow(gui.open_gui(), naming, images, boxes, promise)
    assert window.window["said"].get() == promise
    window.handle("Key", "a")
    assert "Press the character" in window.window["said"].get()
    window.window.close()
    naming.close()


# ---------------------------------------------------------------- the script and a real keyboard


@pytest.fixture
def start(keyboard, folder, tmp_path):
    """Start label_helper.py ORDER=cluster and wait until its sheet window has the keyboard."""
    settings = [
        "LABELLER=person", "ORDER=cluster", f"IMAGE_FOLDER={folder}", "ONLY_SOURCE=None",
        f"LABELS_FILE={tmp_path / 'labels.csv'}", f"NAMES_FILE={tmp_path / 'names.csv'}",
        "MODEL_FILE=None", "UNAIDED=0", "CASE=keep", "IMPORT_FROM=None", "EXPORT_TO=None",
    ]  # fmt: skip
    started = []

    def start_one():
        command = [sys.executable, project / "label_helper.py", *settings]
        process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
        started.append(process)
        wait_for_window(keyboard, "Cluster sheet")
        return process

    yield start_one
    for process in started:
        process.kill()
        process.communicate()


def wait_for_window(keyboard, title):
    wait_for(lambda: title in keyboard("getwindowfocus", "getwindowname"))


def wait_for(condition):
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def test_fast_keys_are_all_kept_a_kill_loses_none_and_names_become_proposals(
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
    open_sheets = round(2 * 225**0.5) - 3  # two sqrt(N) groups
    keyboard("key", "--delay", "12", *["z", "Return"] * open_sheets)
    wait_for(lambda: len(rows_of(file)) >= 8 + open_sheets)
    assert rows_of(file)[:8] == rows
    assert [row[2:] for row in rows_of(file)[8:]] == [("z", "named")] * open_sheets
    keyboard("key", "Return")  # all are done: Enter closes
    wait_for_window(keyboard, "Label helper")
    keyboard("key", "--delay", "12", "Return", "ctrl+q")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    (label,) = read_table(tmp_path / "labels.csv", LABEL_COLUMNS)
    assert (label["state"], label["how"]) == ("confirmed", "accepted")
    assert label["label"]
    assert set(label["label"]) <= set("bez")
    assert snapshot(folder) == before


# ---------------------------------------------------------------- the window


@pytest.fixture
def open_view(display, tmp_path):
    """Open a window over sheets of 4, 130 and 2 crops, and close it when the test is over."""
    before = signal.getsignal(signal.SIGINT)
    sg = gui.open_gui()
    first = sg.Window("", [[sg.Canvas()]], finalize=True)  # all windows share its scaling
    scaling_before = first.TKroot.tk.call("tk", "scaling")
    counts = [4, 130, 2]
    sheets = [Sheet((f"{n}.png", 0), [(f"{n}.png", i) for i in range(n)]) for n in counts]
    images = {f"{n}.png": np.full((50, 200, 3), 30 + n, np.uint8) for n in counts}
    boxes = {crop: (20, 5, 40, 45) for sheet in sheets for crop in sheet.members}
    naming = Naming(sheets, tmp_path / "names.csv")
    opened = []

    def open_one(scaling=scaling_before):
        first.TKroot.tk.call("tk", "scaling", scaling)
        sg.set_options(font=gui.TEXT_FONT)
        opened.append(cluster_window.SheetWindow(sg, naming, images, boxes))
        return opened[-1]

    yield open_one
    for view in opened:
        view.window.close()
    naming.close()
    first.TKroot.tk.call("tk", "scaling", scaling_before)
    first.close()
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def view(open_view):
    """Open the window with the fonts as they are."""
    return open_view()


def test_a_click_marks_the_crop_under_it_also_on_the_second_page(view):
    view.click(10, 10)
    view.click(3 * 96 + 50, 90)
    view.click(500, 500)  # nothing there
    assert view.naming.marked == {("4.png", 0), ("4.png", 3)}
    view.click(10, 10)
    assert view.naming.marked == {("4.png", 3)}
    view.handle("Skip")
    view.handle("Right")
    view.handle("Next page")
    view.handle("Next page")  # there is no third
    assert view.place == 120  # the first of the second
    view.click(64, 0)
    view.handle("Right")
    view.handle("Mark")
    assert view.naming.marked == {("130.png", 121), ("130.png", 122)}
    view.handle("Previous page")
    view.handle("Down")
    view.handle("Mark")
    assert ("130.png", 15) in view.naming.marked


def test_every_binding_in_the_table_of_keys_gives_its_event(view):
    root = view.window.TKroot
    for event, (legend, *bindings) in cluster_window.KEYS.items():
        assert (event in view.window.key_dict) == bool(legend)
        for binding in bindings:
            root.event_generate("<Key-a>" if binding == "<Key>" else binding)
            assert view.window.read(timeout=1)[0] == event


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


def places(widget, *without):
    """Return where everything in a window is, and how large."""
    own = str(widget), widget.winfo_x(), widget.winfo_y(), widget.winfo_width()
    children = [p for child in widget.winfo_children() for p in places(child, *without)]
    return [] if widget in without else [(*own, widget.winfo_height()), *children]


@pytest.mark.parametrize(
    ("family", "size", "scaling"),
    [
        ("Helvetica", 12, 1.0),
        ("Helvetica", 18, 1.33),
        ("Courier", 12, 1.33),
        ("Courier", 18, 2.0),
        ("Times", 12, 2.0),
        ("a family that is not there", 40, 3.0),
    ],
)
def test_the_sheet_fits_a_small_screen_whatever_the_fonts_and_never_moves(
    open_view, monkeypatch, family, size, scaling
):
    monkeypatch.setattr(gui, "TEXT_FONT", (family, size))
    fixed = "Courier" if family == "Helvetica" else family
    monkeypatch.setattr(cluster_window, "FIXED_FONT", fixed)
    view = open_view(scaling)
    root = view.window.TKroot
    root.update()
    assert root.winfo_width() <= 1280
    assert root.winfo_height() <= 800 - gui.TITLE_BAR
    sheet = view.window["sheet"].widget
    assert (sheet.winfo_width(), sheet.winfo_height()) == cluster_window.SHEET_SIZE
    for event in (event for event, (legend, *_) in cluster_window.KEYS.items() if legend):
        button = view.window[event].widget
        assert button.winfo_width() >= button.winfo_reqwidth()  # nothing is cut off
        assert button.winfo_height() >= button.winfo_reqheight()
    # Their texts begin at the left edge and end at the right one, however long they are.
    first_line = [view.window[key].widget for key in ("what", "place")]
    before = places(root, *first_line)
    keep, skip, undo = ("Keep", ""), ("Skip", ""), ("Undo", "")
    page, mark, none = ("Next page", ""), ("Mark", ""), ("No character", "")
    for event, character in [("Key", "W"), keep, page, mark, none, keep, skip, undo]:
        view.handle(event, character)
        root.update()
        assert places(root, *first_line) == before
        for key in ("what", "place", "said"):
            text, label = view.window[key].get(), view.window[key].widget
            assert root.tk.call("font", "measure", label["font"], text) <= label.winfo_width()


def test_the_page_shows_each_crop_marks_and_frame():
    crops = [np.full((10, 20, 3), 40 * i, np.uint8) for i in range(5)]
    page = cluster_window.render_page(crops, [False, True, False, False, False], 2, 96, 10)
    assert page.startswith(b"P6 960 512 255\n")
    pixels = np.frombuffer(page[15:], np.uint8).reshape(512, 960, 3)
    centres = [tuple(pixels[48, 96 * i + 30]) for i in range(5)]
    assert centres == [(40 * i,) * 3 for i in range(5)]
    assert tuple(pixels[48, 96 + 48]) == (190, 20, 30)
    assert tuple(pixels[1, 2 * 96 + 1]) == (30, 70, 160)
    assert tuple(pixels[1, 1]) == tuple(pixels[500, 900])
