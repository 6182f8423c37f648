"""Label captchas: look at an image, type what it says, press Enter.

    python label_helper.py

Each label is on the disk before the next image comes up, so the window may be closed at any time;
the next start goes on at the first open image. LABELLER=answers needs no window: it takes the
answers that the practice site gave.

Run split_data.py next.
"""

import contextlib
import functools
import os
import signal
import ssl
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
from PIL import Image, ImageDraw, ImageFont

import utils
from labelling import Labelling, read_answers

# ---- edit these ----------------------------------------------------------------------------------
IMAGE_FOLDER: Path | None = utils.DATA / "download"  # the images; None asks with a window
LABELS_FILE = utils.DATA / "labels.csv"  # one row a decision; the last row of an image counts
LABELLER = "person"  # "person" types in a window; "answers" takes those of the practice site
ORDER = "name"  # the order in which the images come: "name" is by file name
# --------------------------------------------------------------------------------------------------


# ---------------------------------------------------------------- the window


def open_gui() -> ModuleType:
    """Import PySimpleGUI and see that it can open windows. Raises OSError if it cannot."""
    try:
        import tkinter
    except ImportError as error:
        raise OSError(
            f"no window can be opened ({error}). On Linux: apt install python3-tk; on a Mac: "
            "brew install python-tk; on Windows: run Python's installer, Modify, tick tcl/tk."
        ) from error
    checks_certificates = ssl._create_default_https_context
    import PySimpleGUI as sg

    # The import has switched the check of certificates off, for the whole program.
    ssl._create_default_https_context = checks_certificates
    try:
        tkinter.Tk().destroy()
    except tkinter.TclError as error:
        raise OSError(f"no window can be opened without a screen ({error}).") from error
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl+C ends at once; Tk would swallow it
    # A mistake in the code must raise: a pop-up would wait for a click, for ever.
    sg.set_options(suppress_error_popups=True, suppress_raise_key_errors=False)
    sg.set_options(font=("Segoe UI" if os.name == "nt" else "Helvetica", 12))
    ink, paper, shade = "#1f2933", "#f4f5f7", "#dde2e8"
    sg.theme_background_color(paper)
    sg.theme_text_element_background_color(paper)
    sg.theme_text_color(ink)
    sg.theme_input_background_color("white")
    sg.theme_input_text_color(ink)
    sg.theme_button_color((ink, shade))
    sg.theme_progress_bar_color(("#4f8a6b", shade))
    return sg


def ask_for_images(sg: ModuleType, why: str) -> list[Path]:
    """Ask for a folder, or for files of one folder; return none if the person gives up."""
    ends = " ".join(f"*{end} *{end.upper()}" for end in utils.IMAGE_SUFFIXES)
    buttons = [sg.Button("Choose a folder"), sg.Button("Choose files"), sg.Button("Cancel")]
    layout = [[sg.Text(why, key="why", size=(60, 3))], buttons]
    window, files = sg.Window("Which images?", layout, finalize=True), []
    window.bind("<Escape>", "Cancel")
    window["Choose a folder"].set_focus(force=True)
    while not files:
        event, _ = window.read()
        if event in (None, "Cancel"):
            break
        if event == "Choose files":
            kinds = (("Images", ends), ("All files", "*"))
            names = sg.popup_get_file("", no_window=True, multiple_files=True, file_types=kinds)
            files = sorted(Path(name) for name in names or ())
        elif folder := sg.popup_get_folder("", no_window=True):
            try:
                files = utils.image_files(Path(folder))
            except ValueError as error:
                window["why"].update(str(error))
    window.close()
    return files


def draw(file: Path, size: tuple[int, int]) -> tuple[bytes, str]:
    """Return an image file as large as fits a canvas of ``size`` = (width, height), as PPM.

    Tk reads few formats, but this one fast. The second value says why the file cannot be read, or
    is "".
    """
    canvas, trouble = Image.new("RGB", size, "#dde2e8"), ""
    try:
        image = utils.read_image(file)
    except (ValueError, OSError) as error:
        trouble = str(error).replace(str(file), file.name)
        middle, font = (size[0] / 2, size[1] / 2), ImageFont.load_default(24)
        pen = ImageDraw.Draw(canvas)
        pen.text(middle, "This file cannot be read.", fill="#8a1c1c", font=font, anchor="mm")
    else:
        height, width = image.shape[:2]
        scale = min(size[0] / width, size[1] / height, 10)
        width, height = max(1, round(width * scale)), max(1, round(height * scale))
        how = cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA
        large = Image.fromarray(cv2.resize(image, (width, height), interpolation=how))
        canvas.paste(large, ((size[0] - width) // 2, (size[1] - height) // 2))
    return b"P6 %d %d 255\n" % size + canvas.tobytes(), trouble


def make_window(sg: ModuleType, canvas: tuple[int, int]) -> Any:  # noqa: ANN401
    """Return the label window. A key gives the same event as the button that names it."""
    keys = {
        "Keep": ("Enter", "<Return>", "<KP_Enter>", "<Linefeed>"),  # xdotool types the last
        "Skip": ("Esc", "<Escape>"),
        "Unreadable": ("Ctrl+U", "<Control-u>", "<Control-U>"),  # the second with Caps Lock
        "Undo": ("Ctrl+Z", "<Control-z>", "<Control-Z>"),
        "Previous": ("PageUp", "<Prior>"),
        "Next": ("PageDown", "<Next>"),
    }
    fixed = {"win32": "Consolas", "darwin": "Menlo"}.get(sys.platform, "Monospace")
    grey, wide = {"text_color": "#5b6672", "pad": 0}, {"pad": (0, 6), "expand_x": True}
    buttons = [
        sg.Button(f"{name}\n{legend}", key=name, border_width=0, size=(11, 2), **wide)
        for name, (legend, *_) in keys.items()
    ]
    left = [
        [sg.Text(key="name", size=(50, 1), **grey), sg.Push(), sg.Text(key="place", **grey)],
        [sg.Image(key="image", size=canvas, pad=(0, 6))],
        [sg.Input(key="entry", size=9, font=(fixed, 34), justification="center", **wide)],
        [sg.Text(key="said", size=(80, 2), justification="center", **wide)],
        [sg.ProgressBar(1, key="bar", size=(1, 8), **wide)],
        [sg.Text(key="counts", **grey)],
        [element for button in buttons for element in (button, sg.Text("", pad=3))][:-1],
    ]
    right = [
        [sg.Text("Last labels", **grey)],
        [sg.Text(key="last", size=(14, 12), font=(fixed, 12), pad=(0, 6))],
    ]
    layout = [[sg.Column(left, pad=8), sg.Column(right, pad=8, vertical_alignment="top")]]
    # By default Ctrl with an arrow key, meant for the entry, would move the window.
    window = sg.Window("Label helper", layout, grab_anywhere_using_control=False, finalize=True)
    for name, (_, *bindings) in keys.items():
        window[name].widget.configure(takefocus=0)  # Tab must not lead out of the entry
        for binding in bindings:
            window.bind(binding, name)
    window.TKroot.focus_force()  # without a window manager nothing could be typed otherwise
    return window


class LabelWindow:
    """The view of a Labelling: shows the image in turn, and passes on what is typed and pressed.

    While an event is handled the window must see no other (by a refresh, a pop-up, or the update
    method of the progress bar): keys that were typed ahead would be lost.
    """

    def __init__(self, sg: ModuleType, labelling: Labelling, folder: Path) -> None:
        canvas = (840, 280)  # width and height in pixels
        self.labelling = labelling
        self.picture = functools.lru_cache(maxsize=16)(lambda image: draw(folder / image, canvas))
        self.ahead = ThreadPoolExecutor(1)  # draws the next image while this one is looked at
        self.window = make_window(sg, canvas)
        self.show()

    def run(self) -> None:
        """Label until the window is closed."""
        event, values = self.window.read()
        while event is not None:
            self.handle(event, values["entry"].strip())
            event, values = self.window.read()
        self.window.close()

    def handle(self, event: str, typed: str) -> None:
        """Do what a key or a button asks for, with what stands in the entry."""
        labelling, draft, said = self.labelling, "", ""
        if event == "Keep" and self.trouble:
            draft, said = typed, "A file that cannot be read gets no label: Ctrl+U marks it."
        elif event == "Keep" and not typed:
            said = "Type what the image says; Esc skips it."
        elif event == "Keep":
            said = labelling.remark(typed)
            labelling.decide(typed)
        elif event in ("Skip", "Unreadable"):
            row = labelling.decision(labelling.image)
            if row and row["label"]:
                said = f"{row['label']} no longer counts; Ctrl+Z brings it back."
            labelling.decide("", "skipped" if event == "Skip" else "unreadable")
        elif event == "Undo":
            undone = labelling.undo()
            draft, said = (undone["label"], "") if undone else (typed, "Nothing is left to undo.")
        else:
            labelling.go(labelling.position + {"Next": 1, "Previous": -1}[event])
            if typed != self.filled:
                said = f"{typed} was not kept; only Enter keeps a label."
        self.show(draft, said)

    def show(self, draft: str = "", said: str = "") -> None:
        """Show the image in turn; ``draft`` stands in the entry unless there is a label."""
        labelling, window = self.labelling, self.window
        row, counts = labelling.decision(labelling.image), labelling.counts()
        total, left = len(labelling.images), counts["open"]
        data, self.trouble = self.picture(labelling.image)
        self.filled = row["label"] if row else draft
        done = "" if left else "All images are done. Run split_data.py next; PageUp walks back."
        window["image"].update(data=data)
        window["entry"].update(self.filled)
        window["entry"].widget.selection_range(0, "end")  # typing replaces it, arrows edit it
        window["entry"].set_focus()
        window["name"].update(labelling.image)
        window["place"].update(
            f"{row['state'] + ', ' if row else ''}{labelling.position + 1} of {total}"
        )
        window["said"].update(said or self.trouble or done)
        window["bar"].widget.configure(maximum=total, value=total - left)
        window["counts"].update(
            f"{counts['confirmed']} done    {left} left    {counts['skipped']} skipped    "
            f"{counts['unreadable']} unreadable    {labelling.speed()[1]:.0f} a minute"
        )
        latest = filter(None, map(labelling.decision, labelling.decided[:-11:-1]))
        window["last"].update("\n".join(row["label"] or f"({row['state']})" for row in latest))
        following = labelling.next_open(labelling.position + 1)
        if following is not None:
            self.ahead.submit(self.picture, labelling.images[following])


def main() -> None:
    """Label the images of a folder."""
    utils.settings(globals(), sys.argv[1:])
    if LABELLER not in ("person", "answers"):
        raise ValueError(f"LABELLER={LABELLER}: it must be person or answers.")
    if ORDER != "name":
        raise ValueError(f"ORDER={ORDER}: it must be name.")
    files, why = [], "IMAGE_FOLDER is None: which images are to be labelled?"
    try:
        files = utils.image_files(IMAGE_FOLDER) if IMAGE_FOLDER else []
    except ValueError as error:
        why = f"{error} Run getData.py first, or choose other images."
    if LABELLER == "answers":
        if not files:
            raise ValueError(why)
        answers = read_answers(files[0].parent / "index.csv")
    else:
        if not files:
            utils.note(why)
        sg = open_gui()
        files = files or ask_for_images(sg, why)
        if not files:
            return

    folder = files[0].parent
    with contextlib.closing(Labelling([file.name for file in files], LABELS_FILE)) as labelling:
        if LABELLER == "answers":
            labelling.keep_known(answers, "answers")
        else:
            LabelWindow(sg, labelling, folder).run()
        print(labelling.summary())
    command = "python split_data.py"
    if folder != utils.DATA / "download":
        command += f' IMAGE_FOLDER="{folder}"'
    if LABELS_FILE != utils.DATA / "labels.csv":
        command += f' LABELS_FILE="{LABELS_FILE}"'
    print(f"Next: {command}")


if __name__ == "__main__":
    utils.run(main)
