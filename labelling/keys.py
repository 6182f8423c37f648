"""The keys of the label window: its buttons, its bindings and its help all come from this table."""

from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

from labelling import gui


class Key(NamedTuple):
    """One key, or a few that do the same; a button with this legend gives the same event."""

    event: str  # what the window is told; "" where the entry itself handles the key
    legend: str  # the key's name, on the button and in the help
    bindings: tuple[str, ...]  # in Tk's words; a capital letter is for Caps Lock
    help: str  # what it does; "" shares the line of the next key
    button: bool = False  # whether there is one


KEYS = (
    Key(
        "Keep",
        "Enter",
        ("<Return>", "<KP_Enter>", "<Linefeed>"),  # xdotool types the last
        "accept the text in the entry and go on",
        button=True,
    ),
    Key("", "a character", (), "replace the selection and select the next doubtful character"),
    Key("", "Tab", (), "keep the selected character, select the next doubtful one"),
    Key("", "Ctrl+A", (), "select everything, to type it again"),
    Key("Skip", "Esc", ("<Escape>",), "skip the image", button=True),
    Key(
        "Unreadable",
        "Ctrl+U",
        ("<Control-u>", "<Control-U>"),
        "mark the image as unreadable",
        button=True,
    ),
    Key(
        "Undo",
        "Ctrl+Z",
        ("<Control-z>", "<Control-Z>"),
        "undo the last decision, as often as you like, even those of last week",
        button=True,
    ),
    Key("Previous", "PageUp", ("<Prior>",), "", button=True),
    Key("Next", "PageDown", ("<Next>",), "move through the images without deciding", button=True),
    Key(
        "Order",
        "F2",
        ("<F2>",),
        "order: by name, least sure first (teaches most), most sure first (fastest)",
        button=True,
    ),
    Key("Larger", "Ctrl+plus", ("<Control-plus>", "<Control-equal>", "<Control-KP_Add>"), ""),
    Key("Smaller", "minus", ("<Control-minus>", "<Control-KP_Subtract>"), "zoom in, zoom out"),
    Key("", "Ctrl+Left", (), ""),
    Key("", "Right", (), "move the enlarged image"),
    Key("Help", "F1", ("<F1>",), "show this help, or the image again", button=True),
    Key("Close", "Ctrl+Q", ("<Control-q>", "<Control-Q>"), "close the window; every label is kept"),
)
VIEW_EVENTS = ("Help", "Larger", "Smaller", "Left", "Right")  # these decide nothing


def render_help(size: tuple[int, int], scale: float = 1.0) -> bytes:
    """Return the help as a picture of ``size`` = (width, height), as PPM, in letters of a scale.

    It is shown in place of the image: a window of its own would take the keys.
    """
    canvas, font = Image.new("RGB", size, "white"), ImageFont.load_default(15 * scale)
    pen, legends, top = ImageDraw.Draw(canvas), [], 3 * scale
    for key in KEYS:
        legends.append(key.legend)
        if key.help:
            pen.text((20 * scale, top), ", ".join(legends), fill=gui.WARNING, font=font)
            pen.text((190 * scale, top), key.help, fill=gui.INK, font=font)
            legends, top = [], top + 21 * scale
    return gui.ppm(canvas)
