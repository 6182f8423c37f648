"""window.py: each key does what its button says, and the window fits any screen."""

import random
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
from helpers import project
from labelling_helpers import IMAGES, let_years_pass, make_images, prediction, rows_of
from PIL import Image
from pyvirtualdisplay import Display

import utils
from labelling import gui, keys
from labelling.labels import Labelling
from labelling.proposals import Proposals
from labelling.review import Suspect
from labelling.window import CANVAS, LabelWindow


@pytest.fixture
def open_view(display, tmp_path):
    """Open label windows in this process, and close them when the test is over."""
    before = signal.getsignal(signal.SIGINT)
    sg = gui.open_gui()
    first = sg.Window("", [[sg.Canvas()]], finalize=True)  # all windows share its scaling
    tk, opened = first.TKroot.tk, []
    scaling_before = tk.call("tk", "scaling")

    def open_one(folder, proposals=None, not_before="", scaling=None):
        if scaling:
            tk.call("tk", "scaling", scaling)
        sg.set_options(font=gui.TEXT_FONT)
        names = [file.name for file in utils.image_files(folder)]
        labelling = Labelling(names, tmp_path / "labels.csv", not_before)
        view = LabelWindow(sg, labelling, folder, proposals)
        opened.append(view)
        return view

    yield open_one
    for view in opened:
        view.window.close()
        view.labelling.close()
    tk.call("tk", "scaling", scaling_before)
    first.close()
    signal.signal(signal.SIGINT, before)


def press(view, *keys):
    """Press keys in the window and let it do what they ask for."""
    for key in keys:
        *modifier, keysym = key.split("-")
        view.window["entry"].widget.event_generate(
            f"<{'-'.join([*modifier, 'Key'])}>", keysym=keysym
        )
        event, values = view.window.read(timeout=1)
        if event != "__TIMEOUT__":
            view.handle(event, values["entry"].strip())


def in_entry(view):
    return view.window["entry"].get()


def test_each_key_does_what_its_button_says(open_view, tmp_path):
    view = open_view(make_images(tmp_path / "images"))
    press(view, "x", "1", "Return", "y", "KP_Enter", "Escape", "Control-u")
    kept = [
        ("a.png", "x1", "confirmed", "typed"),
        ("b.png", "y", "confirmed", "typed"),
        ("c.png", "", "skipped", "typed"),
        ("d.png", "", "unreadable", "typed"),
    ]
    assert rows_of(tmp_path / "labels.csv") == kept
    assert "split_data.py" in view.window["remark"].get()
    press(view, "Prior", "Prior")
    assert (view.labelling.image, in_entry(view)) == ("b.png", "y")
    press(view, "Next")
    assert view.labelling.image == "c.png"
    press(view, "Control-z", "Control-Z")  # the second as with Caps Lock
    assert view.labelling.image == "c.png"
    view.window["Undo"].click()
    press(view, "Shift_L")  # the click waits to be seen
    assert rows_of(tmp_path / "labels.csv")[4:] == [
        ("d.png", "", "undone", "undo"),
        ("c.png", "", "undone", "undo"),
        ("b.png", "", "undone", "undo"),
    ]


def test_enter_on_an_unchanged_label_writes_nothing_and_typing_replaces_it(open_view, tmp_path):
    view = open_view(make_images(tmp_path / "images"))
    press(view, "x", "Return", "Return", "space", "Return", "Prior", "Return")
    assert rows_of(tmp_path / "labels.csv") == [("a.png", "x", "confirmed", "typed")]
    assert view.labelling.image == "b.png"
    press(view, "Prior", "z", "space", "Return")
    assert rows_of(tmp_path / "labels.csv")[1:] == [("a.png", "z", "confirmed", "typed")]
    press(view, "Control-z")
    assert (view.labelling.image, in_entry(view)) == ("a.png", "x")


def test_undo_offers_the_label_taken_back_for_correction(open_view, tmp_path):
    view = open_view(make_images(tmp_path / "images"))
    press(view, "x", "y", "Return", "Control-z")
    assert in_entry(view) == "xy"
    press(view, "End", "z", "Return")
    assert rows_of(tmp_path / "labels.csv")[-1] == ("a.png", "xyz", "confirmed", "typed")


# ---------------------------------------------------------------- the window, and what is proposed


def selected(view):
    entry = view.entry
    if not entry.selection_present():
        return None
    return entry.index("sel.first"), entry.index("sel.last")


def settle(view):
    """Let the window do what waits until it is idle, and what it does ten times a second."""
    end = time.monotonic() + 0.3
    while time.monotonic() < end:
        view.window.read(timeout=20)


def marks(view):
    """The marks beneath the entry: (place of the character above, text), and where bars are."""
    canvas, entry = view.window["marks"].widget, view.entry
    offset = entry.winfo_x() - canvas.winfo_x()
    texts, bars = [], []
    for item in canvas.find_all():
        left, _, right, _ = canvas.bbox(item)
        place = entry.index(f"@{(left + right) // 2 - offset}")
        if canvas.type(item) == "text":
            texts.append((place, canvas.itemcget(item, "text")))
        else:
            bars.append(place)
    return sorted(texts), sorted(bars)


def test_a_proposal_is_accepted_with_enter_and_corrected_at_the_doubtful_characters(
    open_view, tmp_path
):
    predictions = {
        "a.png": prediction("xy12z"),
        "b.png": prediction("xy12z", doubtful=[1, 3]),
        "c.png": prediction("q1", doubtful=[0]),
        "d.png": prediction("long", doubtful=[2]),
    }
    view = open_view(make_images(tmp_path / "images"), Proposals(predictions))
    assert (in_entry(view), selected(view)) == ("xy12z", (0, 5))
    press(view, "Return")
    assert (in_entry(view), selected(view)) == ("xy12z", (1, 2))
    press(view, "k")
    assert (in_entry(view), selected(view)) == ("xk12z", (3, 4))
    press(view, "2")  # the character that stands there: it was right
    assert (in_entry(view), selected(view)) == ("xk12z", None)
    press(view, "KP_Enter")
    press(view, "Tab", "w", "Return")  # Tab leaves the q, so the w comes behind
    press(view, "Control-a", "n", "o", "Return")
    assert rows_of(tmp_path / "labels.csv") == [
        ("a.png", "xy12z", "confirmed", "accepted"),
        ("b.png", "xk12z", "confirmed", "corrected"),
        ("c.png", "q1w", "confirmed", "corrected"),
        ("d.png", "no", "confirmed", "corrected"),
    ]
    press(view, "Control-z", "Control-z", "Control-z")
    assert (view.labelling.image, in_entry(view)) == ("b.png", "xk12z")
    press(view, "Control-z", "Return")  # what was accepted and taken back is offered again
    assert rows_of(tmp_path / "labels.csv")[-1] == ("a.png", "xy12z", "confirmed", "accepted")


def test_typing_at_the_doubtful_characters_corrects_any_prediction(open_view, tmp_path):
    view = open_view(make_images(tmp_path / "images"), Proposals({}))
    rng = random.Random(1)
    for _ in range(15):
        truth = "".join(rng.choices("abcdefgh2345678", k=rng.randint(1, 7)))
        doubtful = sorted(rng.sample(range(len(truth)), rng.randint(1, len(truth))))
        read = list(truth)
        for place in doubtful:
            read[place] = rng.choice("abcdefgh2345678")
        view.proposals.predictions["a.png"] = prediction("".join(read), doubtful)
        view.labelling.go(0)
        view.show()
        press(view, *(truth[place] for place in doubtful))
        assert in_entry(view) == truth


def test_confidence_stands_beneath_each_character_and_doubt_is_no_mere_colour(open_view, tmp_path):
    proposals = Proposals({"a.png": prediction("mwi1j", doubtful=[1, 4])})
    view = open_view(make_images(tmp_path / "images"), proposals)
    settle(view)
    assert marks(view) == (
        [(0, "99"), (1, "50\n?"), (2, "99"), (3, "99"), (4, "50\n?")],
        [1, 4],
    )
    press(view, "x")
    settle(view)
    assert marks(view) == ([(0, "99"), (2, "99"), (3, "99"), (4, "50\n?")], [4])
    press(view, "j")  # it was right
    settle(view)
    assert marks(view) == ([(0, "99"), (2, "99"), (3, "99")], [])
    press(view, "Home", "y")  # now all are one place further right
    settle(view)
    assert marks(view) == ([], [])


def test_a_reading_that_comes_late_never_touches_what_is_typed(open_view, tmp_path):
    proposals = Proposals({})
    proposals.reader = SimpleNamespace(trouble="", needed=(), trained=None, start=lambda: None)
    view = open_view(make_images(tmp_path / "images"), proposals)
    press(view, "t")
    proposals.predictions["a.png"] = prediction("late", doubtful=[0])
    settle(view)
    assert in_entry(view) == "t"
    press(view, "Return")
    settle(view)
    assert view.proposals.reader.needed[:2] == ["b.png", "c.png"]
    proposals.predictions["b.png"] = prediction("late", doubtful=[0])
    settle(view)
    assert (in_entry(view), selected(view)) == ("late", (0, 4))  # typing replaces all of it
    press(view, "Tab")
    assert selected(view) == (0, 1)
    press(view, "Control-a")
    press(view, "n", "e", "w", "Return", "Prior")
    proposals.predictions["b.png"] = prediction("later")
    settle(view)
    assert in_entry(view) == "new"
    proposals.reader.trouble = "the model is broken"
    press(view, "Next")
    settle(view)
    assert "No proposals: the model is broken" in view.window["remark"].get()


def test_an_unaided_image_comes_without_its_proposal_and_says_so(open_view, tmp_path):
    proposals = Proposals({"a.png": prediction("secret")}, unaided=1.0)
    view = open_view(make_images(tmp_path / "images"), proposals)
    assert in_entry(view) == ""
    assert "Without a proposal" in view.window["remark"].get()
    press(view, "s", "Return")
    assert rows_of(tmp_path / "labels.csv") == [("a.png", "s", "confirmed", "typed")]
    assert proposals.unaided_correct(view.labelling) == [False]


def test_f2_changes_the_order_and_says_which_it_is(open_view, tmp_path):
    predictions = {n: prediction("x", (), c) for n, c in zip(IMAGES, [5, 2, 7, 3], strict=True)}
    proposals = Proposals(predictions)
    view = open_view(make_images(tmp_path / "images"), proposals)
    for image, words in [("b.png", "least-sure"), ("c.png", "most-sure"), ("a.png", "by name")]:
        press(view, "F2")
        assert view.labelling.image == image
        assert words in view.window["remark"].get()
    press(view, "F2", "Return", "Return")
    assert view.labelling.image == "a.png"
    assert "least-sure first" in view.window["place"].get()


def test_predictions_that_came_meanwhile_decide_which_image_is_next(open_view, tmp_path):
    view = open_view(make_images(tmp_path / "images"), Proposals({}, "most-sure"))
    view.proposals.predictions["b.png"] = prediction("x", confidence=0.2)
    view.proposals.predictions["d.png"] = prediction("y", confidence=0.9)
    press(view, "q", "Return")
    assert view.labelling.image == "d.png"
    view.proposals.predictions["c.png"] = prediction("z", confidence=0.5)
    press(view, "Escape")
    assert view.labelling.image == "c.png"


def test_zoom_stays_and_neither_it_nor_help_touches_what_is_typed(open_view, tmp_path):
    view = open_view(make_images(tmp_path / "images"))
    press(view, "x", "Control-plus", "Control-plus", "Control-Right", "F1", "F1", "y", "F1")
    assert in_entry(view) == "xy"
    assert view.helping
    press(view, "Return")
    assert not view.helping
    assert (view.zoom, view.pan) == (1.25**2, 0)
    view.proposals.predictions["c.png"] = prediction("abc", doubtful=[1])
    press(view, "Next", *["Control-minus"] * 30, "Control-Left")
    assert (view.zoom, view.pan, in_entry(view), selected(view)) == (0.3, 0, "abc", (1, 2))
    assert rows_of(tmp_path / "labels.csv") == [("a.png", "xy", "confirmed", "typed")]


def test_zoomed_in_the_picture_fills_the_canvas_and_can_be_moved(tmp_path):
    pixels = np.zeros((28, 84, 3), np.uint8)
    pixels[:, :, 0] = np.arange(84)  # the red of a column says which it is
    Image.fromarray(pixels).save(tmp_path / "a.png")
    for pan, low, high in [(0.0, 0, 42), (0.5, 21, 63), (1.0, 41, 83)]:
        data, _ = gui.render(tmp_path / "a.png", (840, 280), 2.0, pan)
        seen = np.frombuffer(data[15:], np.uint8).reshape(280, 840, 3)[140, :, 0]
        assert seen.min() >= low
        assert seen.max() <= high
        assert seen.max() - seen.min() >= 40


def test_odd_labels_are_pointed_out_while_they_are_typed_and_stay_as_typed(open_view, tmp_path):
    names = [f"{number:02}.png" for number in range(22)]
    view = open_view(make_images(tmp_path / "images", names))
    for _ in range(20):
        view.labelling.decide("ab12")
    view.show()
    for key, words in [("a", "1 of 4"), ("X", "'X'"), ("1", "'X'"), ("BackSpace", "'X'")]:
        press(view, key)
        settle(view)
        assert words in view.window["remark"].get()
    press(view, "Control-a", *"ab12")
    settle(view)
    assert view.window["remark"].get() == ""
    press(view, "b")
    settle(view)
    assert "5 characters" in view.window["remark"].get()
    press(view, "Return")
    assert "Ctrl+Z" in view.window["remark"].get()
    assert rows_of(tmp_path / "labels.csv")[-1] == ("20.png", "ab12b", "confirmed", "typed")


@pytest.mark.parametrize(("case", "label"), [(str, "aBc"), (str.lower, "abc"), (str.upper, "ABC")])
def test_case_changes_only_if_asked_for(open_view, tmp_path, case, label):
    proposals = Proposals({"b.png": prediction("dEf", doubtful=[1])}, case=case)
    view = open_view(make_images(tmp_path / "images"), proposals)
    press(view, *"aBc")
    assert in_entry(view) == label
    press(view, "Return")
    assert in_entry(view) == case("dEf")
    press(view, "g", "Return")  # in the place of the E
    corrected = "dgf" if case is str else case("dgf")
    assert [row[1] for row in rows_of(tmp_path / "labels.csv")] == [label, corrected]


def test_keys_are_counted_whatever_they_do(open_view, tmp_path):
    view = open_view(make_images(tmp_path / "images"))
    press(view, "a", "b", "Return", "Shift_L", "c", "BackSpace", "d", "Return", "Escape")
    assert view.labelling.keys == 8
    assert "4.0 keys each" in view.window["counts"].get()
    assert "4.0 keys each" in view.labelling.summary()


def test_a_review_shows_label_and_reading_and_enter_keeps(open_view, tmp_path):
    images = make_images(tmp_path / "images")
    labelling = Labelling(IMAGES, tmp_path / "labels.csv")
    for label in ("ab1", "cd", "ef", "gh"):
        labelling.decide(label)
    labelling.close()
    let_years_pass(tmp_path / "labels.csv")
    suspects = {
        "a.png": Suspect("ab1", "ab7", 0.98),
        "b.png": Suspect("cd", "cdx", 0.5),
        "c.png": Suspect("ef", "efz", 0.5),
        "d.png": Suspect("gh", "gx", 0.9),
    }
    proposals = Proposals({}, "suspects")
    proposals.suspects = suspects
    view = open_view(images, proposals, "2020-01-01T00:00:00+00:00")
    assert (in_entry(view), selected(view)) == ("ab1", (2, 3))
    assert "Read as ab7 with 98 %" in view.window["remark"].get()
    press(view, "Return", "Next", "Prior", "Return", "End", "z", "Return", "Tab", "j", "Return")
    press(view, "F2")
    assert rows_of(tmp_path / "labels.csv")[4:] == [
        ("a.png", "ab1", "confirmed", "checked"),
        ("b.png", "cd", "confirmed", "checked"),
        ("c.png", "efz", "confirmed", "corrected"),
        ("d.png", "ghj", "confirmed", "corrected"),
    ]


# ---------------------------------------------------------------- the window and difficult images


def test_a_damaged_image_is_shown_as_such_and_can_only_be_marked_or_skipped(open_view, tmp_path):
    folder = make_images(tmp_path / "images")
    (folder / "a.png").write_bytes((folder / "a.png").read_bytes()[:50])
    (folder / "b.png").write_text("no image")
    view = open_view(folder)
    assert "a.png" in view.window["remark"].get()
    press(view, "x", "Return")
    assert (view.labelling.image, in_entry(view)) == ("a.png", "x")
    (folder / "c.png").unlink()
    press(view, "Control-u", "Escape", "Escape", "x", "Return")
    assert rows_of(tmp_path / "labels.csv") == [
        ("a.png", "", "unreadable", "typed"),
        ("b.png", "", "skipped", "typed"),
        ("c.png", "", "skipped", "typed"),
        ("d.png", "x", "confirmed", "typed"),
    ]


@pytest.mark.parametrize("shape", [(28, 28), (50, 200), (1, 900), (900, 1), (600, 900), (80, 780)])
def test_any_image_is_drawn_whole_in_the_middle_of_the_same_canvas(tmp_path, shape):
    Image.new("RGB", shape[::-1], (200, 30, 40)).save(tmp_path / "a.png")
    data, trouble = gui.render(tmp_path / "a.png", (840, 280))
    assert (data[:15], trouble) == (b"P6 840 280 255\n", "")
    canvas = np.frombuffer(data[15:], np.uint8).reshape(280, 840, 3)
    there = np.argwhere((canvas == (200, 30, 40)).all(axis=2))
    top, left = there.min(axis=0)
    bottom, right = there.max(axis=0) + 1
    assert len(there) == (bottom - top) * (right - left)
    assert abs(top - (280 - bottom)) <= 1
    assert abs(left - (840 - right)) <= 1
    if max(shape) < 800:
        assert (right - left) / (bottom - top) == pytest.approx(shape[1] / shape[0], rel=0.02)
        assert bottom - top == 280 or right - left == 840


def test_every_binding_in_the_table_of_keys_gives_its_event(open_view, tmp_path):
    view = open_view(make_images(tmp_path / "images"))
    for key in keys.KEYS:
        assert view.window.key_dict.get(key.event) is not None or not key.button
        for binding in key.bindings:
            view.entry.event_generate(binding)
            event, _ = view.window.read(timeout=1)
            assert event == key.event
            if event != "Close":
                view.handle(event, "x")


@pytest.mark.parametrize("scale", [1, 2])
def test_the_help_fits_the_canvas(scale):
    data = keys.render_help((2400, 1000), scale)
    picture = np.frombuffer(data[17:], np.uint8).reshape(1000, 2400, 3)
    rows, columns, _ = np.nonzero(picture != 255)
    assert columns.max() < scale * (CANVAS[0] - 10)
    assert rows.max() < scale * CANVAS[1]
    assert len(np.unique(rows)) > 100 * scale  # something is written there


@pytest.mark.parametrize(
    ("dots_per_inch", "size", "expected"),
    [
        (96, (2560, 1600), 1),
        (192, (2560, 1600), 2),
        (192, (1280, 800), 1),
        (144, (3000, 2000), 1.5),
    ],
)
def test_pictures_are_as_large_as_letters_on_a_screen_of_small_pixels(
    display, dots_per_inch, size, expected
):
    extra = ["-dpi", str(dots_per_inch)]
    with Display(size=size, manage_global_env=False, extra_args=extra) as screen:
        code = "from labelling import gui; gui.open_gui(); print(gui.screen_scale())"
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=project, env=screen.env(), text=True,
            capture_output=True, timeout=60,
        )  # fmt: skip
    assert float(done.stdout) == pytest.approx(expected, abs=0.02), done.stderr


def test_the_window_of_a_large_scale_shows_all_it_shows_otherwise(open_view, tmp_path, monkeypatch):
    monkeypatch.setattr(gui, "screen_scale", lambda: 2.0)
    proposals = Proposals({"a.png": prediction("abc", doubtful=(1,))})
    view = open_view(make_images(tmp_path / "images"), proposals, scaling=2.66)
    root, image = view.window.TKroot, view.window["image"].widget
    root.update()
    assert (image.winfo_width(), image.winfo_height()) == (2 * CANVAS[0], 2 * CANVAS[1])
    assert root.winfo_width() <= 2560
    marks = view.window["marks"].widget
    assert len(marks.find_all()) == 4  # three confidences and a bar
    assert marks.bbox("all")[3] <= marks.winfo_height()


def places(widget):
    """Return where everything in a window is, and how large."""
    own = [str(widget), widget.winfo_x(), widget.winfo_y(), widget.winfo_width()]
    children = [place for child in widget.winfo_children() for place in places(child)]
    return [(*own, widget.winfo_height()), *children]


@pytest.mark.parametrize(
    ("family", "size", "scaling"),
    [
        ("Helvetica", 12, 1.0),
        ("Helvetica", 18, 1.33),
        ("Courier", 18, 2.0),
        ("fixed", 18, 1.33),
        ("Times", 12, 2.0),
        ("a family that is not there", 40, 3.0),
    ],
)
def test_the_window_fits_a_small_screen_whatever_the_fonts_and_never_moves(
    open_view, tmp_path, monkeypatch, family, size, scaling
):
    monkeypatch.setattr(gui, "TEXT_FONT", (family, size))
    monkeypatch.setattr(gui, "FIXED_FONT", "Courier" if family == "Helvetica" else family)
    folder = make_images(tmp_path / "images", [*IMAGES, "n" * 200 + ".png"])
    Image.new("RGB", (2000, 30)).save(folder / "b.png")
    (folder / "c.png").write_text("no image")
    view = open_view(folder, scaling=scaling)
    root = view.window.TKroot
    root.update()
    assert root.winfo_width() <= 1280
    assert root.winfo_height() <= 800 - gui.TITLE_BAR
    for button in (view.window[key.event].widget for key in keys.KEYS if key.button):
        assert button.winfo_width() >= button.winfo_reqwidth()  # nothing is cut off
        assert button.winfo_height() >= button.winfo_reqheight()
    before = [place for place in places(root) if "label" not in place[0]]
    for key in ["Escape", *"wwwwwwwww", "Prior", "Next", *["Escape"] * 4, *["w"] * 25, "Return"]:
        press(view, key)
        root.update()
        assert [place for place in places(root) if "label" not in place[0]] == before


def test_closing_the_window_ends_run(open_view, tmp_path):
    view = open_view(make_images(tmp_path / "images"))
    root = view.window.TKroot
    root.after(50, lambda: root.tk.eval(root.protocol("WM_DELETE_WINDOW")))
    view.run()
    assert view.window.is_closed()
