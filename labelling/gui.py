"""What the label window is made of: PySimpleGUI opened safely, its layout, and pictures for it."""

import math
import os
import signal
import ssl
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
from PIL import Image, ImageDraw, ImageFont

import utils
from files.images import read_image

fixed_font = {"win32": "Consolas", "darwin": "Menlo"}.get(sys.platform, "Monospace")
ink, paper, shade, soft, warning = "#1f2933", "#f4f5f7", "#dde2e8", "#5b6672", "#a33b00"

# A key gives the same event as the button that names it.
buttons = {
    "Keep": ("Enter", "<Return>", "<KP_Enter>", "<Linefeed>"),  # xdotool types the last
    "Skip": ("Esc", "<Escape>"),
    "Unreadable": ("Ctrl+U", "<Control-u>", "<Control-U>"),  # the second with Caps Lock
    "Undo": ("Ctrl+Z", "<Control-z>", "<Control-Z>"),
    "Previous": ("PageUp", "<Prior>"),
    "Next": ("PageDown", "<Next>"),
    "Order": ("F2", "<F2>"),
    "Help": ("F1", "<F1>"),
}
view_keys = {  # these have no button
    "Larger": ("<Control-plus>", "<Control-equal>", "<Control-KP_Add>"),
    "Smaller": ("<Control-minus>", "<Control-KP_Subtract>"),
}
help_lines = (
    ("Enter", "keep what stands in the entry, and go on; so does the keypad's Enter"),
    ("a character", "replaces what is selected, then the next doubtful character is selected"),
    ("Tab", "keep the selected character, select the next doubtful one"),
    ("Ctrl+A", "select all, to type it anew"),
    ("Esc   Ctrl+U", "skip the image; mark it as unreadable"),
    ("Ctrl+Z", "take the last decision back, as often as you like, also those of last week"),
    ("PageUp, PageDown", "walk without deciding anything"),
    ("F2", "order: by name, least sure first (these teach most), most sure first (fast)"),
    ("Ctrl+plus, minus", "larger, smaller; Ctrl+Left, Right: move the enlarged picture"),
    ("F1   Ctrl+Q", "this help, or back to the picture; close the window, all is kept"),
)


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
    cv2.setNumThreads(1)  # on a busy computer its threads wait for each other longer than they save
    try:
        tkinter.Tk().destroy()
    except tkinter.TclError as error:
        raise OSError(f"no window can be opened without a screen ({error}).") from error
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl+C ends at once; Tk would swallow it
    # A mistake in the code must raise: a pop-up would wait for a click, for ever.
    sg.set_options(suppress_error_popups=True, suppress_raise_key_errors=False)
    sg.set_options(font=("Segoe UI" if os.name == "nt" else "Helvetica", 12))
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


def draw(
    file: Path, size: tuple[int, int], zoom: float = 1.0, pan: float = 0.0
) -> tuple[bytes, str]:
    """Return an image file as large as fits a canvas of ``size`` = (width, height), as PPM.

    ``zoom`` makes it larger still, or smaller; ``pan``, 0 to 1, says which part of one that is too
    wide then is shown. Tk reads few formats, but this one fast. The second value says why the file
    cannot be read, or is "".
    """
    canvas, trouble = Image.new("RGB", size, shade), ""
    try:
        image = read_image(file)
    except (ValueError, OSError) as error:
        trouble = str(error).replace(str(file), file.name)
        middle, font = (size[0] / 2, size[1] / 2), ImageFont.load_default(24)
        pen = ImageDraw.Draw(canvas)
        pen.text(middle, "This file cannot be read.", fill="#8a1c1c", font=font, anchor="mm")
    else:
        height, width = image.shape[:2]
        scale = min(size[0] / width, size[1] / height, 10) * zoom
        seen_width, seen_height = min(width, size[0] / scale), min(height, size[1] / scale)
        left, top = round(pan * (width - seen_width)), round((height - seen_height) / 2)
        image = image[top : top + math.ceil(seen_height), left : left + math.ceil(seen_width)]
        width = max(1, min(size[0], round(image.shape[1] * scale)))
        height = max(1, min(size[1], round(image.shape[0] * scale)))
        how = cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA
        large = Image.fromarray(cv2.resize(image, (width, height), interpolation=how))
        canvas.paste(large, ((size[0] - width) // 2, (size[1] - height) // 2))
    return ppm(canvas), trouble


def draw_help(size: tuple[int, int]) -> bytes:
    """Return the help as a picture for the canvas: a window of its own would take the keys."""
    canvas, font = Image.new("RGB", size, "white"), ImageFont.load_default(17)
    pen = ImageDraw.Draw(canvas)
    for number, (key, what) in enumerate(help_lines):
        pen.text((20, 8 + 27 * number), key, fill=warning, font=font)
        pen.text((190, 8 + 27 * number), what, fill=ink, font=font)
    return ppm(canvas)


def ppm(picture: Image.Image) -> bytes:
    """Return an RGB picture in the format that Tk reads fastest."""
    return b"P6 %d %d 255\n" % picture.size + picture.tobytes()


def make_window(sg: ModuleType, canvas: tuple[int, int]) -> Any:  # noqa: ANN401
    """Return the label window."""
    grey, wide = {"text_color": soft, "pad": 0}, {"pad": (0, 6), "expand_x": True}
    row = [
        sg.Button(f"{name}\n{legend}", key=name, border_width=0, size=(8, 2), **wide)
        for name, (legend, *_) in buttons.items()
    ]
    left = [
        [sg.Text(key="name", size=(50, 1), **grey), sg.Push(), sg.Text(key="place", **grey)],
        [sg.Image(key="image", size=canvas, background_color=shade, **wide)],
        [sg.Input(key="entry", size=9, font=(fixed_font, 34), justification="center", **wide)],
        [
            sg.Canvas(
                key="marks", size=(canvas[0], 46), background_color=paper, pad=0, expand_x=True
            )
        ],
        [sg.Text(key="said", size=(80, 3), justification="center", **wide)],
        [sg.ProgressBar(1, key="bar", size=(1, 8), **wide)],
        [sg.Text(key="counts", **grey)],
        [element for button in row for element in (button, sg.Text("", pad=3))][:-1],
    ]
    right = [
        [sg.Text("Last labels", **grey)],
        [sg.Text(key="last", size=(14, 12), font=(fixed_font, 12), pad=(0, 6))],
    ]
    layout = [[sg.Column(left, pad=8), sg.Column(right, pad=8, vertical_alignment="top")]]
    # By default Ctrl with an arrow key, meant for the entry, would move the window.
    window = sg.Window("Label helper", layout, grab_anywhere_using_control=False, finalize=True)
    window["marks"].widget.configure(highlightthickness=0)
    for name, (_, *bindings) in buttons.items():
        window[name].widget.configure(takefocus=0)  # Tab must not lead out of the entry
        for binding in bindings:
            window.bind(binding, name)
    for name, bindings in {**view_keys, "Close": ("<Control-q>", "<Control-Q>")}.items():
        for binding in bindings:
            window.bind(binding, name)
    window.TKroot.focus_force()  # without a window manager nothing could be typed otherwise
    return window


def draw_marks(window: Any, marks: dict[int, str], doubtful: set[int]) -> None:  # noqa: ANN401
    """Write ``marks`` beneath the characters of the entry, by their places in the text.

    A doubtful character has a question mark and a bar, so that nobody needs to see colours.
    """
    canvas, entry = window["marks"].widget, window["entry"].widget
    canvas.delete("all")
    offset = entry.winfo_x() - canvas.winfo_x()
    for place, mark in marks.items():
        # tkinter's own bbox method asks the grid, not the entry.
        left, _, width, _ = map(int, entry.tk.splitlist(entry.tk.call(entry, "bbox", place)))
        left, middle = offset + left, offset + left + width // 2
        if place in doubtful:
            canvas.create_rectangle(left + 2, 0, left + width - 2, 4, fill=warning, outline="")
            style = {"font": (fixed_font, -15, "bold"), "fill": warning, "justify": "center"}
            canvas.create_text(middle, 6, text=f"{mark}\n?", anchor="n", **style)
        else:
            canvas.create_text(middle, 6, text=mark, anchor="n", fill=soft, font=(fixed_font, -15))
