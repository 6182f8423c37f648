"""The window in which clusters of characters are named, one key per sheet."""

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import cv2
import numpy as np

from labelling.clusters.names import CropId, Naming
from labelling.gui import FIXED_FONT, SOFT, fit_window, screen_scale

SHEET_SIZE = 960, 512  # width and height in pixels of the picture that shows the crops
SMALL_CELL, LARGE_CELL = 64, 96  # pixels; the large ones where there are few crops
GREY, RED, BLUE = (221, 226, 232), (190, 20, 30), (30, 70, 160)  # RGB: background, cross, frame

# Event: the legend of its button ("" where it has none) and the keys that give the same event.
KEYS = {
    "Keep": ("Enter", "<Return>", "<KP_Enter>", "<Linefeed>"),  # xdotool types the last
    "Skip": ("Esc", "<Escape>"),
    "Mark": ("Space, click", "<space>"),
    "No character": ("Delete", "<Delete>"),
    "Undo": ("Ctrl+Z", "<Control-z>", "<Control-Z>"),  # the second with Caps Lock
    "Previous page": ("PageUp", "<Prior>"),
    "Next page": ("PageDown", "<Next>"),
    **{arrow: ("", f"<{arrow}>") for arrow in ("Left", "Right", "Up", "Down")},
    "Key": ("", "<Key>"),  # any other
}


# ---------------------------------------------------------------- the window


def grid(count: int) -> tuple[int, int, int]:
    """Return the side of a cell in pixels, the columns and the rows for a number of crops."""
    for cell in (LARGE_CELL, SMALL_CELL):
        columns, rows = SHEET_SIZE[0] // cell, SHEET_SIZE[1] // cell
        if count <= columns * rows:
            break
    return cell, columns, rows


def sheet_size(scale: float) -> tuple[int, int]:
    """Return width and height of the picture in pixels on a screen of this scale."""
    return round(SHEET_SIZE[0] * scale), round(SHEET_SIZE[1] * scale)


def render_page(
    crops: list[np.ndarray],
    marked: Sequence[bool],
    framed: int,
    cell: int,
    columns: int,
    scale: float = 1.0,
) -> bytes:
    """Return a picture of crops (H, W, 3) in rows, as PPM; marked ones are crossed out.

    The picture is ``scale`` times as large as SHEET_SIZE.
    """
    page: np.ndarray = np.full((SHEET_SIZE[1], SHEET_SIZE[0], 3), GREY, np.uint8)
    for i, (crop, is_marked) in enumerate(zip(crops, marked, strict=True)):
        square = page[i // columns * cell :, i % columns * cell :][:cell, :cell]
        zoom = min((cell - 8) / crop.shape[0], (cell - 8) / crop.shape[1], 4)
        width, height = (max(1, round(zoom * length)) for length in crop.shape[1::-1])
        how = cv2.INTER_CUBIC if zoom > 1 else cv2.INTER_AREA
        y, x = (cell - height) // 2, (cell - width) // 2
        square[y : y + height, x : x + width] = cv2.resize(crop, (width, height), interpolation=how)
        if is_marked:
            picture, low, high = np.ascontiguousarray(square), 4, cell - 5
            cv2.line(picture, (low, low), (high, high), RED, 3, cv2.LINE_AA)
            cv2.line(picture, (low, high), (high, low), RED, 3, cv2.LINE_AA)
            square[:] = picture
        if i == framed:
            square[:3], square[-3:], square[:, :3], square[:, -3:] = (BLUE,) * 4
    if scale != 1:
        page = cv2.resize(page, sheet_size(scale), interpolation=cv2.INTER_CUBIC)
    return b"P6 %d %d 255\n" % sheet_size(scale) + page.tobytes()


def make_window(sg: ModuleType, scale: float) -> Any:  # noqa: ANN401
    """Return the window, of a size that no later text changes."""
    grey, wide = {"text_color": SOFT, "pad": 0}, {"pad": (0, 6), "expand_x": True}
    buttons = [
        sg.Button(f"{event}\n{legend}", key=event, border_width=0, **wide)
        for event, (legend, *_) in KEYS.items()
        if legend
    ]
    # The longest texts: fit_window makes room for them.
    what = "9999 alike, the least typical first; page 99 of 99; 999 marked"
    place = "999 named    999 skipped    999 left"
    left = [
        [sg.Text(what, key="what", expand_x=True, **grey), sg.Text(place, key="place", **grey)],
        [sg.Push(), sg.Image(key="sheet", size=sheet_size(scale), pad=(0, 6)), sg.Push()],
        [sg.Text(key="said", size=(80, 1), justification="center", **wide)],
        [sg.ProgressBar(1, key="bar", size=(1, 8), **wide)],
        [element for button in buttons for element in (button, sg.Text("", pad=2))][:-1],
    ]
    name = {"size": (4, 1), "font": (FIXED_FONT, 52), "background_color": "white"}
    right = [
        [sg.Text("Name", **grey)],
        [sg.Text(key="name", justification="center", **name, **wide)],
        [sg.Text("Last names", **grey)],
        [sg.Text(key="last", size=(10, 14), font=(FIXED_FONT, 12), pad=(0, 6))],
    ]
    layout = [[sg.Column(left, pad=8), sg.Column(right, pad=8, vertical_alignment="top")]]
    # By default Ctrl with an arrow key would move the window.
    window = sg.Window("Cluster sheet", layout, grab_anywhere_using_control=False, finalize=True)
    for event, (legend, *bindings) in KEYS.items():
        if legend:  # two lines; Space must not press the button
            window[event].widget.configure(height=2, takefocus=0)
        for binding in bindings:
            window.bind(binding, event)
    window["sheet"].bind("<Button-1>", "+click")
    fit_window(window, scale)
    window.TKroot.focus_force()  # without a window manager nothing could be typed otherwise
    return window


class SheetWindow:
    """The view of a Naming: shows the current sheet, and handles what is pressed.

    No other event may be processed while one is handled: keys typed ahead would be lost.
    """

    def __init__(
        self,
        sg: ModuleType,
        naming: Naming,
        images: dict[str, np.ndarray],
        boxes: dict[CropId, tuple[int, int, int, int]],
        promise: str = "",
    ) -> None:
        self.naming, self.images, self.boxes = naming, images, boxes
        self.place = 0  # of the framed crop in the sheet
        self.closed = False
        self.scale = screen_scale()
        self.window = make_window(sg, self.scale)
        self.show(promise)

    def run(self) -> None:
        """Name sheets until the window is closed, or all are done."""
        while not self.closed:
            event, _ = self.window.read()
            if event is None:
                break
            if event == "sheet+click":
                tk_event = self.window["sheet"].user_bind_event
                self.click(int(tk_event.x / self.scale), int(tk_event.y / self.scale))
            else:
                character = self.window.user_bind_event.char if event == "Key" else ""
                self.handle(event, character)
        self.window.close()

    # ---- what the keys do

    def handle(self, event: str, character: str = "") -> None:
        """Handle an event of KEYS; ``character`` is what the key "Key" types."""
        said = ""
        if event == "Key":
            if not character.isprintable() or not character:
                return  # Shift and the like
            self.naming.draft = character
        elif event == "No character":
            self.naming.draft = ""
        elif event in ("Keep", "Skip"):
            said = self.decide(event)
        elif event == "Undo":
            said = "" if self.naming.undo() else "There is nothing left to undo."
            self.place = 0
        elif event == "Mark":
            self.naming.mark(self.naming.sheet.members[self.place])
            self.move("Right")
        else:
            self.move(event)
        if not self.closed:
            self.show(said)

    def decide(self, event: str) -> str:
        """Name the sheet or skip it; return what there is to say. Enter after the last closes."""
        naming = self.naming
        finished = naming.next_open(0) is None
        if event == "Keep":
            self.closed = finished
            if naming.draft is None:
                return "Press the character that the sheet shows; Esc skips it."
            naming.name()
        else:
            naming.skip()
        self.place = 0
        return ""

    def move(self, event: str) -> None:
        """Move the frame by a cell or a page, as far as there are crops."""
        count = len(self.naming.sheet.members)
        _, columns, rows = grid(count)
        size = columns * rows
        page_start = self.place // size * size
        place = {
            "Left": self.place - 1,
            "Right": self.place + 1,
            "Up": self.place - columns,
            "Down": self.place + columns,
            "Previous page": page_start - size,
            "Next page": page_start + size,
        }[event]
        if 0 <= place < count:
            self.place = place

    def click(self, x: int, y: int) -> None:
        """Mark the crop at a pixel of the page, on a screen of scale 1."""
        cell, columns, rows = grid(len(self.naming.sheet.members))
        page = self.place // (columns * rows)
        column, row = min(x // cell, columns - 1), min(y // cell, rows - 1)
        place = (page * rows + row) * columns + column
        if place < len(self.naming.sheet.members):
            self.place = place
            self.naming.mark(self.naming.sheet.members[place])
            self.show()

    # ---- what the window shows

    def show(self, said: str = "") -> None:
        """Show the current sheet, and what there is to say."""
        naming, window = self.naming, self.window
        self.show_page()
        named, skipped, left = naming.counts()
        window["place"].update(f"{named} named    {skipped} skipped    {left} left")
        draft = {None: "?", "": "none"}.get(naming.draft, naming.draft)
        window["name"].update(draft)
        hint = "Press the character that most of these show; mark those that are another."
        done = "" if left else "All sheets are done. Enter closes; Ctrl+Z goes back."
        window["said"].update(said or done or hint)
        total = len(naming.sheets)
        window["bar"].widget.configure(maximum=total, value=total - left)
        latest = list(naming.decided.values())[:-15:-1]
        words = {"named": "(none)", "skipped": "(skipped)"}
        window["last"].update("\n".join(name or words[state] for name, state in latest))

    def show_page(self) -> None:
        """Show the page of the current sheet that holds the framed crop."""
        members, marked = self.naming.sheet.members, self.naming.marked
        cell, columns, rows = grid(len(members))
        size = columns * rows
        page, pages = self.place // size, -(-len(members) // size)
        shown = members[page * size : (page + 1) * size]
        crops = [self.crop(crop) for crop in shown]
        crossed = [crop in marked for crop in shown]
        framed = self.place - page * size
        data = render_page(crops, crossed, framed, cell, columns, self.scale)
        self.window["sheet"].update(data=data)
        self.window["what"].update(
            f"{len(members)} alike, the least typical first"
            + (f"; page {page + 1} of {pages}" if pages > 1 else "")
            + (f"; {len(marked)} marked" if marked else "")
        )

    def crop(self, crop: CropId) -> np.ndarray:
        """Return a crop with a little of what is around it, (h, w, 3) RGB."""
        image = self.images[crop[0]]
        left, top, right, bottom = self.boxes[crop]
        return image[max(0, top - 3) : bottom + 3, max(0, left - 3) : right + 3]
