"""What all windows share: PySimpleGUI opened safely, fonts that fit, images as Tk reads them."""

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

TEXT_FONT = ("Segoe UI" if os.name == "nt" else "Helvetica", 12)  # family, size in points
FIXED_FONT = {"win32": "Consolas", "darwin": "Menlo"}.get(sys.platform, "Monospace")
INK, PAPER, SHADE, SOFT, WARNING = "#1f2933", "#f4f5f7", "#dde2e8", "#5b6672", "#a33b00"
TITLE_BAR = 60  # pixels of the screen's height that a title bar and a panel may need
SCREEN = 1280, 800  # width and height in pixels of the smallest usual screen


def open_gui() -> ModuleType:
    """Import PySimpleGUI and check that it can open windows. Raises OSError if it cannot."""
    try:
        import tkinter
    except ImportError as error:
        raise OSError(
            f"no window can be opened ({error}). On Linux: apt install python3-tk; on a Mac: "
            "brew install python-tk; on Windows: run Python's installer, Modify, tick tcl/tk."
        ) from error
    verifying_context = ssl._create_default_https_context
    import PySimpleGUI as sg

    # The import has switched off the verification of certificates, for the whole program.
    ssl._create_default_https_context = verifying_context
    cv2.setNumThreads(1)  # on a busy computer its threads wait for each other longer than they save
    try:
        root = tkinter.Tk()
        tkinter.Label(root)  # fails where there is no font at all
        root.destroy()
    except tkinter.TclError as error:
        raise OSError(f"no window can be opened without a screen and fonts ({error}).") from error
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl+C ends at once; Tk would swallow it
    # A mistake in the code must raise: a pop-up would wait for a click that never comes.
    sg.set_options(suppress_error_popups=True, suppress_raise_key_errors=False)
    sg.set_options(font=TEXT_FONT)
    sg.theme_background_color(PAPER)
    sg.theme_text_element_background_color(PAPER)
    sg.theme_text_color(INK)
    sg.theme_input_background_color("white")
    sg.theme_input_text_color(INK)
    sg.theme_button_color((INK, SHADE))
    sg.theme_progress_bar_color(("#4f8a6b", SHADE))
    return sg


def screen_scale() -> float:
    """Return how large pictures must be on this screen, 1 where it has 96 pixels to the inch.

    Fonts are given in points and grow by themselves where pixels are small. At least 1, and no
    more than the screen has room for.
    """
    import tkinter

    root = tkinter.Tk()
    root.withdraw()
    room = min(root.winfo_screenwidth() / SCREEN[0], root.winfo_screenheight() / SCREEN[1])
    scale = max(1.0, min(root.winfo_fpixels("1i") / 96, room))
    root.destroy()
    return scale


def fit_window(window: Any, scale: float = 1.0) -> None:  # noqa: ANN401
    """Shrink a new window's fonts until it fits the screen, then fix the place of everything in it.

    ``scale`` is that of screen_scale(). Fonts and their sizes differ from machine to machine, so
    call this once for each window, while its texts are as long as they may get: whatever they say
    later, nothing moves. A text longer than its place is cut off.
    """
    from tkinter import Frame, Toplevel
    from tkinter.font import Font

    root = window.TKroot
    width, height = SCREEN[0] * scale, SCREEN[1] * scale - TITLE_BAR
    widgets = [root]
    for widget in widgets:  # grows while it is gone through
        widgets += widget.winfo_children()
    fonts = []
    for widget in widgets:
        if "font" in widget.keys():  # noqa: SIM118 (a widget is no dictionary)
            font = Font(root, font=widget.cget("font")).actual()
            points = int(font["size"])
            pixels = root.winfo_fpixels(f"{points}p") if points > 0 else -points
            fonts.append((widget, font["family"], pixels, font["weight"]))
    root.update_idletasks()
    for step in range(1, 60):
        if root.winfo_reqwidth() <= width and root.winfo_reqheight() <= height:
            break
        for widget, family, pixels, weight in fonts:
            widget.configure(font=(family, -max(7, round(pixels * 0.95**step)), weight))
        root.update_idletasks()
    for widget in widgets:
        if isinstance(widget, Frame | Toplevel):
            widget.configure(width=widget.winfo_reqwidth(), height=widget.winfo_reqheight())
            widget.pack_propagate(False)
    window.move_to_center()


def find_images(folder: Path | None, ask: bool) -> list[Path]:
    """Return the images of a folder; without any, ask a person, who may also choose none.

    With ``ask``, raises OSError if no window can be opened, now or later; without, ValueError if
    there are no images.
    """
    files, why = [], "IMAGE_FOLDER is None: which images are to be labelled?"
    try:
        files = utils.image_files(folder) if folder else []
    except ValueError as error:
        why = f"{error} Run getData.py first, or choose other images."
    if ask:
        sg = open_gui()  # first of all, so that nothing is written without a screen
        if not files:
            utils.note(why)
            files = ask_for_images(sg, why)
    elif not files:
        raise ValueError(why)
    return files


def ask_for_images(sg: ModuleType, why: str) -> list[Path]:
    """Ask for a folder, or for files of one folder; return none if the person cancels."""
    extensions = " ".join(f"*{suffix} *{suffix.upper()}" for suffix in utils.IMAGE_SUFFIXES)
    scale = screen_scale()
    width = round(560 * scale)
    layout = [
        [sg.Text(why, key="why", size=(1, 4), expand_x=True)],
        [sg.Canvas(size=(width, 1), background_color=PAPER, pad=0)],  # makes the window as wide
        [sg.Button("Choose a folder"), sg.Button("Choose files"), sg.Button("Cancel")],
    ]
    files: list[Path] = []
    window = sg.Window("Which images?", layout, finalize=True)
    window["why"].widget.configure(wraplength=width)
    fit_window(window, scale)
    window.bind("<Escape>", "Cancel")
    window["Choose a folder"].set_focus(force=True)
    while not files:
        event, _ = window.read()
        if event in (None, "Cancel"):
            break
        if event == "Choose files":
            kinds = (("Images", extensions), ("All files", "*"))
            names = sg.popup_get_file("", no_window=True, multiple_files=True, file_types=kinds)
            files = sorted(Path(name) for name in names or ())
        elif folder := sg.popup_get_folder("", no_window=True):
            try:
                files = utils.image_files(Path(folder))
            except ValueError as error:
                window["why"].update(str(error))
    window.close()
    return files


def render(
    file: Path, size: tuple[int, int], zoom: float = 1.0, pan: float = 0.0
) -> tuple[bytes, str]:
    """Return an image file, scaled to fit a canvas of ``size`` = (width, height), as PPM.

    ``zoom`` enlarges it further, or shrinks it; ``pan``, 0 to 1, says which part of an image is
    shown that is then too wide. The second value says why the file cannot be read, or is "".
    """
    canvas, trouble = Image.new("RGB", size, SHADE), ""
    try:
        image = read_image(file)  # (H, W, 3)
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


def ppm(picture: Image.Image) -> bytes:
    """Return an RGB picture in the format that Tk reads fastest; it reads few others."""
    return b"P6 %d %d 255\n" % picture.size + picture.tobytes()
