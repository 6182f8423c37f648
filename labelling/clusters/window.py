"""Name clusters of characters that look alike: one key names a whole sheet of them.

    python cluster_sheet.py

Cuts the characters out of the images without any label, groups them, and shows one group after
another, the biggest first. Press the character that the sheet shows, mark the few that do not
belong, Enter. Every name is on the disk before the next sheet comes up; the next start goes on.
Then prints a proposal for each image: file, text, confidence. A proposal is no label:
label_helper.py shows each to be confirmed.

Run label_helper.py next.
"""

import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np

import model
import utils
from files.images import read_image
from labelling.clusters import grouping
from labelling.clusters.grouping import Found
from labelling.clusters.names import CropId, Naming, Sheet
from labelling.gui import fixed_font, open_gui
from model import Reading

# ---- edit these ----------------------------------------------------------------------------------
IMAGE_FOLDER = utils.DATA / "download"  # the images
NAMES_FILE = utils.DATA / "names.csv"  # one row a decision; the last row of a cluster counts
# --------------------------------------------------------------------------------------------------

sheet_size = 960, 512  # width and height in pixels of what shows the crops
small_cell, large_cell = 64, 96  # pixels; the large ones where few crops are to be shown


# ---------------------------------------------------------------- from images to proposals


def name_characters(files: Sequence[Path], names_file: Path) -> dict[str, Reading]:
    """Let a person name the clusters of characters; return what the images then seem to say.

    The readings are by file name, for those images of which something is known; they are
    proposals, to be confirmed image by image. What is kept in ``names_file`` is not asked again.
    Raises ValueError where clusters will not help, and says why.
    """
    images = read_images(files)
    found = find_forms(images)
    sheets = sorted(
        (sheet for names, one in found for sheet in make_sheets(names, one)),
        key=lambda sheet: -len(sheet.members),
    )
    boxes = {
        (names[crop.image], crop.place): crop.box for names, one in found for crop in one.crops
    }
    with contextlib.closing(Naming(sheets, names_file)) as naming:
        if naming.next_open(0) is not None:
            SheetWindow(open_gui(), naming, images, boxes).run()
        named, outliers = naming.names(), naming.outliers
    readings: dict[str, Reading] = {}
    for names, one in found:
        ids = [(names[crop.image], crop.place) for crop in one.crops]
        cluster_names = {
            number: named[ids[i]]
            for number, i in enumerate(grouping.exemplars(one))
            if ids[i] in named
        }
        strange = {i for i, crop in enumerate(ids) if crop in outliers}
        read = grouping.propose(one, cluster_names, strange)
        readings.update({names[image]: reading for image, reading in read.items()})
    return readings


def image_groups(files: Sequence[Path]) -> dict[str, int]:
    """Return the form of captcha that each image seems to be, by file name; 0 is the commonest.

    Files that cannot be read are left out.
    """
    images = read_images(files)
    return dict(zip(images, grouping.group_images(list(images.values())).tolist(), strict=True))


def read_images(files: Sequence[Path]) -> dict[str, np.ndarray]:
    """Return the images, (H, W, 3) RGB, by file name; one that cannot be read is left out."""
    images = {}
    for file in utils.progress(files, "reading"):
        try:
            images[file.name] = read_image(file)
        except (ValueError, OSError) as error:
            utils.note(f"not read: {error}")
    if not images:
        raise ValueError("none of the images could be read.")
    return images


def find_forms(images: dict[str, np.ndarray]) -> list[tuple[list[str], Found]]:
    """Find the characters of each form of captcha; return its image names and what was found.

    Forms where clusters will not help are left out with a remark. Raises ValueError if that is
    all of them.
    """
    form = grouping.group_images(list(images.values()))
    net, _ = model.load_checkpoint(utils.PRACTICE_MODEL)
    helpful, reasons = [], []
    for number in range(form.max() + 1):
        names = [name for name, own in zip(images, form, strict=True) if own == number]
        try:
            found = grouping.find([images[name] for name in names], net)
        except ValueError as error:
            reasons.append(f"{len(names)} images like {names[0]}: {error}")
            continue
        if found.helps():
            helpful.append((names, found))
        else:
            reasons.append(
                f"{len(names)} images like {names[0]}: clusters will not help here. Their two "
                f"halves were grouped unlike (agreement {found.agreement:.2f}, "
                f"{grouping.least_agreement} are needed): the characters touch or vary too much. "
                "Label with ORDER=name."
            )
    if not helpful:
        raise ValueError(" ".join(reasons))
    for reason in reasons:
        utils.note(reason)
    return helpful


def make_sheets(names: list[str], found: Found) -> list[Sheet]:
    """Return the clusters of one form as sheets."""
    ids = [(names[crop.image], crop.place) for crop in found.crops]
    sheets = []
    for number, exemplar in enumerate(grouping.exemplars(found)):
        own = np.flatnonzero(found.cluster == number)
        far_first = own[np.argsort(-grouping.from_middle(found.features[own]), kind="stable")]
        sheets.append(Sheet(ids[exemplar], [ids[i] for i in far_first]))
    return sheets


# ---------------------------------------------------------------- the window


def grid(count: int) -> tuple[int, int, int]:
    """Return the side of a cell, and how many columns and rows there are, for so many crops."""
    for cell in (large_cell, small_cell):
        columns, rows = sheet_size[0] // cell, sheet_size[1] // cell
        if count <= columns * rows:
            break
    return cell, columns, rows


def draw_page(
    crops: list[np.ndarray], marked: Sequence[bool], framed: int, cell: int, columns: int
) -> bytes:
    """Draw crops (H, W, 3) in rows, as PPM; marked ones are crossed out, one is framed."""
    page = np.full((sheet_size[1], sheet_size[0], 3), (221, 226, 232), np.uint8)
    red, blue = (190, 20, 30), (30, 70, 160)
    for i, (crop, is_marked) in enumerate(zip(crops, marked, strict=True)):
        square = page[i // columns * cell :, i % columns * cell :][:cell, :cell]
        scale = min((cell - 8) / crop.shape[0], (cell - 8) / crop.shape[1], 4)
        width, height = (max(1, round(scale * length)) for length in crop.shape[1::-1])
        how = cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA
        y, x = (cell - height) // 2, (cell - width) // 2
        square[y : y + height, x : x + width] = cv2.resize(crop, (width, height), interpolation=how)
        if is_marked:
            picture, low, high = np.ascontiguousarray(square), 4, cell - 5
            cv2.line(picture, (low, low), (high, high), red, 3, cv2.LINE_AA)
            cv2.line(picture, (low, high), (high, low), red, 3, cv2.LINE_AA)
            square[:] = picture
        if i == framed:
            square[:3], square[-3:], square[:, :3], square[:, -3:] = (blue,) * 4
    return b"P6 %d %d 255\n" % sheet_size + page.tobytes()


def make_window(sg: ModuleType) -> Any:  # noqa: ANN401
    """Return the window. A key gives the same event as the button that names it."""
    keys = {
        "Keep": ("Enter", "<Return>", "<KP_Enter>", "<Linefeed>"),  # xdotool types the last
        "Skip": ("Esc", "<Escape>"),
        "Mark": ("Space, click", "<space>"),
        "No character": ("Delete", "<Delete>"),
        "Undo": ("Ctrl+Z", "<Control-z>", "<Control-Z>"),  # the second with Caps Lock
        "Previous page": ("PageUp", "<Prior>"),
        "Next page": ("PageDown", "<Next>"),
    }
    grey, wide = {"text_color": "#5b6672", "pad": 0}, {"pad": (0, 6), "expand_x": True}
    buttons = [
        sg.Button(f"{name}\n{legend}", key=name, border_width=0, size=(11, 2), **wide)
        for name, (legend, *_) in keys.items()
    ]
    left = [
        [sg.Text(key="what", **grey, size=(70, 1)), sg.Push(), sg.Text(key="place", **grey)],
        [sg.Image(key="sheet", size=sheet_size, pad=(0, 6))],
        [sg.Text(key="said", size=(80, 1), justification="center", **wide)],
        [sg.ProgressBar(1, key="bar", size=(1, 8), **wide)],
        [element for button in buttons for element in (button, sg.Text("", pad=2))][:-1],
    ]
    right = [
        [sg.Text("Name", **grey)],
        [
            sg.Text(
                size=(4, 1),
                font=(fixed_font, 52),
                key="name",
                justification="center",
                background_color="white",
                **wide,
            )
        ],
        [sg.Text("Last names", **grey)],
        [sg.Text(key="last", size=(10, 14), font=(fixed_font, 12), pad=(0, 6))],
    ]
    layout = [[sg.Column(left, pad=8), sg.Column(right, pad=8, vertical_alignment="top")]]
    window = sg.Window("Cluster sheet", layout, grab_anywhere_using_control=False, finalize=True)
    for name, (_, *bindings) in keys.items():
        window[name].widget.configure(takefocus=0)  # else Space would press the button
        for binding in bindings:
            window.bind(binding, name)
    for arrow in ("Left", "Right", "Up", "Down"):
        window.bind(f"<{arrow}>", arrow)
    window.bind("<Key>", "Key")
    window["sheet"].bind("<Button-1>", "+click")
    window.TKroot.focus_force()  # without a window manager nothing could be typed otherwise
    return window


class SheetWindow:
    """The view of a Naming: shows the sheet in turn, and passes on what is pressed.

    While an event is handled the window must see no other: keys typed ahead would be lost.
    """

    def __init__(
        self,
        sg: ModuleType,
        naming: Naming,
        images: dict[str, np.ndarray],
        boxes: dict[CropId, tuple[int, int, int, int]],
    ) -> None:
        self.naming, self.images, self.boxes = naming, images, boxes
        self.place = 0  # of the framed crop in the sheet
        self.closed = False
        self.window = make_window(sg)
        self.show()

    def run(self) -> None:
        """Name sheets until the window is closed, or all are done."""
        while not self.closed:
            event, _ = self.window.read()
            if event is None:
                break
            tk_event = self.window["sheet"].user_bind_event
            if event == "Key":
                self.handle(event, self.window.user_bind_event.char)
            elif event == "sheet+click":
                self.click(tk_event.x, tk_event.y)
            else:
                self.handle(event)
        self.window.close()

    def handle(self, event: str, character: str = "") -> None:
        """Do what a key or a button asks for."""
        naming, said = self.naming, ""
        last = len(naming.sheet.members) - 1
        _, columns, rows = grid(last + 1)
        step = {"Left": -1, "Right": 1, "Up": -columns, "Down": columns}.get(event)
        page = {"Previous page": -1, "Next page": 1}.get(event)
        page_start = self.place // (columns * rows) * columns * rows
        if event == "Key" and character.isprintable() and character:
            naming.draft = character
        elif event == "Key":
            return  # Shift and the like
        elif event == "No character":
            naming.draft = ""
        elif event == "Keep" and naming.draft is None:
            said = "Press the character that the sheet shows; Esc skips it."
            self.closed = naming.next_open(0) is None
        elif event in ("Keep", "Skip"):
            done = naming.next_open(0) is None
            naming.name() if event == "Keep" else naming.skip()
            self.place, self.closed = 0, done and event == "Keep"
        elif event == "Undo":
            said = "" if naming.undo() else "Nothing is left to undo."
            self.place = 0
        elif event == "Mark":
            naming.mark(naming.sheet.members[self.place])
            self.place = min(self.place + 1, last)
        elif step is not None and 0 <= self.place + step <= last:
            self.place += step
        elif page is not None and 0 <= page_start + page * columns * rows <= last:
            self.place = page_start + page * columns * rows
        if not self.closed:
            self.show(said)

    def click(self, x: int, y: int) -> None:
        """Mark the crop at a pixel of the page."""
        cell, columns, rows = grid(len(self.naming.sheet.members))
        page = self.place // (columns * rows)
        column, row = min(x // cell, columns - 1), min(y // cell, rows - 1)
        place = (page * rows + row) * columns + column
        if place < len(self.naming.sheet.members):
            self.place = place
            self.naming.mark(self.naming.sheet.members[place])
            self.show()

    def show(self, said: str = "") -> None:
        """Show the sheet in turn."""
        naming, window = self.naming, self.window
        members = naming.sheet.members
        cell, columns, rows = grid(len(members))
        page, pages = self.place // (columns * rows), -(-len(members) // (columns * rows))
        start = page * columns * rows
        shown = members[start : start + columns * rows]
        marked = [crop in naming.marked for crop in shown]
        crops = [self.crop(crop) for crop in shown]
        window["sheet"].update(data=draw_page(crops, marked, self.place - start, cell, columns))
        named, skipped, left = naming.counts()
        window["what"].update(
            f"{len(members)} alike, the least typical first"
            + (f"; page {page + 1} of {pages}" if pages > 1 else "")
            + (f"; {len(naming.marked)} marked as not belonging" if naming.marked else "")
        )
        window["place"].update(f"{named} named    {skipped} skipped    {left} left")
        draft = {None: "?", "": "none"}.get(naming.draft, naming.draft)
        window["name"].update(draft)
        hint = "Press the character that most of these show; mark those that are another."
        done = "" if left else "All sheets are done. Enter closes; Ctrl+Z goes back."
        window["said"].update(said or done or hint)
        total = len(naming.sheets)
        window["bar"].widget.configure(maximum=total, value=total - left)
        latest = list(naming.decided.values())[:-15:-1]
        window["last"].update(
            "\n".join(
                name or ("(none)" if state == "named" else "(skipped)") for name, state in latest
            )
        )

    def crop(self, crop: CropId) -> np.ndarray:
        """Return a crop with a little of what is around it, (h, w, 3) RGB."""
        image = self.images[crop[0]]
        left, top, right, bottom = self.boxes[crop]
        return image[max(0, top - 3) : bottom + 3, max(0, left - 3) : right + 3]


def main() -> None:
    """Name the clusters of a folder's images, and print what the images then seem to say."""
    utils.settings(globals(), sys.argv[1:])
    files = utils.image_files(IMAGE_FOLDER)
    readings = name_characters(files, NAMES_FILE)
    for name, reading in readings.items():
        print(f"{name}\t{reading.text}\t{reading.confidence:.4f}")
    utils.note(f"{len(readings)} of {len(files)} images have a proposal. Next: label_helper.py")


if __name__ == "__main__":
    utils.run(main)
