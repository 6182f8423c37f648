"""Label captchas: look at an image, type what it says, press Enter.

    python label_helper.py
    python label_helper.py ORDER=least-sure
    python label_helper.py ORDER=suspects

Each label is on the disk before the next image comes up, so the window may be closed at any time;
the next start goes on at the first open image. If there is a model, its reading stands in the entry
already, with the doubtful characters marked: Enter accepts, typing corrects. LABELLER=answers needs
no window: it takes the answers that the practice site gave.

Run split_data.py next.
"""

import functools
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from types import ModuleType
from typing import Any

import utils
from labelling import gui, proposals
from labelling.exchange import confirmed_labels, find_labels, read_answers, write_rec_gt
from labelling.labels import Labelling
from labelling.proposals import Offer, Proposals

# ---- edit these ----------------------------------------------------------------------------------
IMAGE_FOLDER: Path | None = utils.DATA / "download"  # the images; None asks with a window
ONLY_SOURCE: str | None = None  # only the images from this SOURCE of getData.py; None: all
LABELS_FILE = utils.DATA / "labels.csv"  # one row a decision; the last row of an image counts
# "person" types in a window; "answers" takes those of the practice site; "nobody" only imports and
# exports
LABELLER = "person"
MODEL_FILE: Path | None = utils.DATA / "model" / "captcha.pt"  # proposes, if it exists; None: no
# "name", "least-sure" first (these teach most), "most-sure" first (these are accepted fastest),
# "cluster": one form of captcha after the other; without a model, groups of characters are named
# first, or "suspects": only the labels that train_script.py AUDIT_FOLDS=4 found probably wrong
ORDER = "name"
NAMES_FILE = utils.DATA / "names.csv"  # the names of such groups; one row a decision
DOUBTFUL = 0.95  # characters that the model is less sure of are marked
UNAIDED = 0.03  # share of the images shown without a proposal, to see how well the model reads
CASE = "keep"  # or "lower", "upper": what every letter becomes
IMPORT_FROM: Path | None = None  # take labels from a folder of images named by them, or a CSV file
LABEL_PATTERN = "(.+)"  # regular expression; its group is the label in such a file name
EXPORT_TO: Path | None = None  # write the labels to this rec_gt.txt as well, for PaddleOCR
# --------------------------------------------------------------------------------------------------

folds = {"keep": str, "lower": str.lower, "upper": str.upper}
modifiers = ("Shift_L", "Shift_R", "Control_L", "Control_R", "Alt_L", "Alt_R", "Caps_Lock")


class LabelWindow:
    """The view of a Labelling: shows the image in turn, and passes on what is typed and pressed.

    While an event is handled the window must see no other (by a refresh, a pop-up, or the update
    method of the progress bar): keys that were typed ahead would be lost.
    """

    def __init__(
        self, sg: ModuleType, labelling: Labelling, folder: Path, computer: Proposals | None = None
    ) -> None:
        canvas = (840, 280)  # width and height in pixels
        self.labelling, self.computer = labelling, computer or Proposals({})
        self.zoom, self.pan, self.helping = 1.0, 0.0, False
        self.help = gui.draw_help(canvas)
        self.picture = functools.lru_cache(maxsize=16)(
            lambda image, zoom, pan: gui.draw(folder / image, canvas, zoom, pan)
        )
        self.ahead = ThreadPoolExecutor(1)  # draws the next images while this one is looked at
        self.window = gui.make_window(sg, canvas)
        self.entry = self.window["entry"].widget
        self.text = self.window["entry"].TKStringVar
        # A tag of its own, before all others: PySimpleGUI binds some keys to the entry itself.
        tag = f"press {self.entry}"
        self.entry.bindtags((tag, *self.entry.bindtags()))
        self.entry.bind_class(tag, "<Key>", self.press)
        self.check_waits = False
        self.text.trace_add("write", lambda *_: self.check_soon())
        self.show()
        self.wait_for_readings()

    def run(self) -> None:
        """Label until the window is closed."""
        if self.computer.reader:
            self.computer.reader.start()
        event, values = self.window.read()
        while event not in (None, "Close"):
            self.handle(event, values["entry"].strip())
            event, values = self.window.read()
        self.window.close()

    # ---- what the keys do

    def handle(self, event: str, typed: str) -> None:
        """Do what a key or a button asks for, with what stands in the entry."""
        if event in ("Help", *gui.view_keys):
            self.look(event)
            return
        labelling, draft, said = self.labelling, "", ""
        if typed != self.filled:
            typed = self.computer.fold(typed)
        if event == "Keep" and self.trouble:
            draft, said = typed, "A file that cannot be read gets no label: Ctrl+U marks it."
        elif event == "Keep" and not typed:
            said = "Type what the image says; Esc skips it."
        elif event == "Keep":
            said, how = labelling.remark(typed), "typed"
            if self.offer:
                how = self.offer.how if typed == self.offer.text else "corrected"
            self.computer.sort_ahead(labelling)
            labelling.decide(typed, how=how)
        elif event in ("Skip", "Unreadable"):
            row = labelling.decision(labelling.image)
            if row and row["label"]:
                said = f"{row['label']} no longer counts; Ctrl+Z brings it back."
            self.computer.sort_ahead(labelling)
            labelling.decide("", "skipped" if event == "Skip" else "unreadable")
        elif event == "Undo":
            undone = labelling.undo()
            draft, said = (undone["label"], "") if undone else (typed, "Nothing is left to undo.")
        else:
            if event == "Order":
                said = self.computer.change_order(labelling)
            else:
                labelling.go(labelling.position + {"Next": 1, "Previous": -1}[event])
            if typed != self.filled:
                said += f" {typed} was not kept; only Enter keeps a label."
        self.show(draft, said)

    def press(self, event: Any) -> str | None:  # noqa: ANN401
        """See to a key before the entry does: "break" keeps it from the entry."""
        if event.keysym in modifiers:
            return None
        self.labelling.keys += 1
        first = last = self.entry.index("insert")
        if self.entry.selection_present():
            first, last = self.entry.index("sel.first"), self.entry.index("sel.last")
        if event.keysym == "Tab":
            self.select_next(first if last > first + 1 else last)
            return "break"
        if event.char == "\x01":  # Ctrl+A, which on Linux would go to the beginning
            self.entry.selection_range(0, "end")
            return "break"
        control = event.state & 0x4 and not event.state & 0x20000  # AltGr on Windows is both
        if control and event.keysym in ("Left", "Right"):  # the entry would move its cursor
            self.look(event.keysym)
            return "break"
        if control or not event.char or not event.char.isprintable():
            return None
        char = self.computer.fold(event.char)
        doubtful = last == first + 1 and first in self.doubts
        if not doubtful and char == event.char:
            return None
        text = self.entry.get()
        self.doubts.discard(first)
        self.text.set(text[:first] + char + text[last:])
        self.entry.selection_clear()
        self.entry.icursor(first + len(char))
        if doubtful:
            self.select_next(first + 1)
        return "break"

    def select_next(self, start: int) -> None:
        """Select the first doubtful character from ``start`` on; past the last, go to the end."""
        places = [place for place in sorted(self.doubts) if place >= start]
        self.entry.selection_clear()
        self.entry.icursor(places[0] + 1 if places else "end")
        if places:
            self.entry.selection_range(places[0], places[0] + 1)

    def look(self, event: str) -> None:
        """Change how the image is looked at, and nothing else."""
        self.helping = event == "Help" and not self.helping
        self.zoom *= {"Larger": 1.25, "Smaller": 0.8}.get(event, 1)
        self.zoom = min(max(self.zoom, 0.3), 5)
        self.pan = min(max(self.pan + {"Left": -0.25, "Right": 0.25}.get(event, 0), 0), 1)
        self.show_picture()

    # ---- what the window shows

    def show(self, draft: str = "", said: str = "") -> None:
        """Show the image in turn; ``draft`` stands in the entry unless there is a label."""
        labelling, window, image = self.labelling, self.window, self.labelling.image
        row, counts = labelling.decision(image), labelling.counts()
        total, left = len(labelling.images), counts["open"]
        self.helping, self.pan = False, 0.0
        self.show_picture()
        is_open = labelling.is_open(image)
        offer = self.computer.offer(image) if is_open else None
        if offer and draft not in ("", offer.text):
            offer = None  # a label that was taken back, to be corrected
        done = "" if left else "All images are done. Run split_data.py next; PageUp walks back."
        withheld = is_open and not draft and image in self.computer.readings and not offer
        unaided = "Without a proposal, to see how well the model reads." if withheld else ""
        self.said = said or self.trouble or done or (offer.said if offer else unaided)
        self.fill(offer.text if offer else draft if is_open else row["label"], offer)
        self.tell(self.filled)
        if offer and offer.doubtful:
            self.select_next(0)
        self.entry.focus_set()
        window.TKroot.title(f"Label helper: {labelling.position + 1} of {total}")
        window["name"].update(image)
        order = "" if self.computer.order == "name" else f", {self.computer.order_in_words()}"
        state = f"{row['state']}, " if row and not is_open else ""
        window["place"].update(f"{state}{labelling.position + 1} of {total}{order}")
        window["bar"].widget.configure(maximum=total, value=total - left)
        labelled, speed = labelling.speed()
        window["counts"].update(
            f"{counts['confirmed']} done    {left} left    {counts['skipped']} skipped    "
            f"{counts['unreadable']} unreadable    {speed:.0f} a minute    "
            f"{labelling.keys / max(1, labelled):.1f} keys each"
        )
        latest = filter(None, map(labelling.decision, labelling.decided[:-11:-1]))
        window["last"].update("\n".join(row["label"] or f"({row['state']})" for row in latest))
        coming = labelling.coming(16)
        for following in [name for name in coming if name != image][:4]:
            self.ahead.submit(self.picture, following, self.zoom, 0.0)
        if self.computer.reader:
            self.computer.reader.needed = coming

    def show_picture(self) -> None:
        """Show the image in turn as large as it is wanted, or the help."""
        data, self.trouble = self.picture(self.labelling.image, self.zoom, self.pan)
        self.window["image"].update(data=self.help if self.helping else data)

    def fill(self, text: str, offer: Offer | None) -> None:
        """Put a text into the entry, selected as a whole: typing replaces it, arrows edit it."""
        self.filled, self.offer = text, offer
        self.doubts = set(offer.doubtful) if offer else set()
        self.text.set(text)
        self.entry.icursor("end")
        self.entry.selection_range(0, "end")

    def check_soon(self) -> None:
        """Have the text checked when the entry has taken it in and no key waits."""
        if not self.check_waits:
            self.check_waits = True
            self.entry.after_idle(self.check)

    def check(self) -> None:
        """Mark the characters that were not typed, and say what is unusual about the text."""
        self.check_waits = False
        if self.window.is_closed(quick_check=True):
            return
        text, marks = self.entry.get(), {}
        if self.offer and len(text) == len(self.offer.text):
            pairs = enumerate(zip(text, self.offer.text, self.offer.marks, strict=True))
            kept = self.doubts | set(range(len(text))) - set(self.offer.doubtful)
            marks = {i: mark for i, (now, was, mark) in pairs if now == was and i in kept}
        else:
            self.doubts.clear()
        gui.draw_marks(self.window, marks, self.doubts)
        self.tell(text)

    def tell(self, text: str) -> None:
        """Say what there is to say about the image, and what is unusual about its label."""
        remark = self.labelling.remark(text, finished=False) if text else ""
        self.window["said"].update("\n".join(filter(None, [self.said, remark])))

    def wait_for_readings(self) -> None:
        """Ten times a second: offer the reading that comes while its image is looked at.

        Selected as a whole, as typing may have begun at this moment, and never over anything.
        """
        reader, labelling = self.computer.reader, self.labelling
        if reader is None or self.window.is_closed(quick_check=True):
            return
        if self.offer is None and not self.entry.get() and labelling.is_open(labelling.image):
            offer = self.computer.offer(labelling.image)
            if reader.trouble and not self.said:
                self.said = f"No proposals: {reader.trouble}"
                self.check_soon()
            elif offer:
                self.said = self.said or offer.said
                self.fill(offer.text, offer)
        self.window.TKroot.after(100, self.wait_for_readings)


# ---------------------------------------------------------------- from the constants to the window


def main() -> None:
    """Label the images of a folder."""
    utils.settings(globals(), sys.argv[1:])
    for name, value, allowed in (
        ("LABELLER", LABELLER, ("person", "answers", "nobody")),
        ("ORDER", ORDER, (*proposals.orders, "suspects")),
        ("CASE", CASE, tuple(folds)),
    ):
        if value not in allowed:
            raise ValueError(
                f"{name}={value}: it must be {', '.join(allowed[:-1])} or {allowed[-1]}."
            )
    for name, value in (("DOUBTFUL", DOUBTFUL), ("UNAIDED", UNAIDED)):
        if not 0 <= value <= 1:
            raise ValueError(f"{name} is {value}; it must lie between 0 and 1.")
    files, why = [], "IMAGE_FOLDER is None: which images are to be labelled?"
    try:
        files = utils.image_files(IMAGE_FOLDER) if IMAGE_FOLDER else []
    except ValueError as error:
        why = f"{error} Run getData.py first, or choose other images."
    if LABELLER == "person":
        if not files:
            utils.note(why)
        sg = gui.open_gui()
        files = files or gui.ask_for_images(sg, why)
        if not files:
            return
    elif not files:
        raise ValueError(why)
    files = utils.only_source(files, ONLY_SOURCE)

    folder, images = files[0].parent, [file.name for file in files]
    not_before = trouble = ""
    answers = read_answers(folder / "index.csv") if LABELLER == "answers" else {}
    if IMPORT_FROM:
        known = find_labels(IMPORT_FROM, files, LABEL_PATTERN)
        with closing(Labelling(images, LABELS_FILE)) as labelling:
            print(labelling.take_over(known))
    usual_model = utils.DATA / "model" / "captcha.pt"
    computer = Proposals({}, ORDER, DOUBTFUL, UNAIDED, folds[CASE])
    if ORDER == "suspects":
        table = (MODEL_FILE or usual_model).parent / "suspects.csv"
        labels = utils.read_labels(LABELS_FILE) if LABELS_FILE.exists() else {}
        computer.suspects = proposals.read_suspects(table, files, labels)
        images, not_before = list(computer.suspects), proposals.written_at(table)
    with closing(Labelling(images, LABELS_FILE, not_before)) as labelling, closing(computer):
        if answers:
            labelling.keep_known(answers, "answers")
        if LABELLER == "person":
            wanted = MODEL_FILE and (MODEL_FILE.exists() or usual_model != MODEL_FILE)
            if ORDER == "cluster" and labelling.counts()["open"]:
                trouble = computer.group(files, None if wanted else NAMES_FILE)
                labelling.arrange(computer.arrange(images))
                labelling.go(labelling.next_open(0) or 0)
            if wanted and ORDER != "suspects" and labelling.counts()["open"]:
                computer.read(MODEL_FILE, folder, labelling.coming(len(images)))
            window = LabelWindow(sg, labelling, folder, computer)
            if trouble:
                window.show(said=trouble)
            window.run()
        print(labelling.summary())
        if LABELLER == "person" and ORDER != "suspects":
            print("".join(proposals.report(labelling, computer)), end="")
        if EXPORT_TO:
            print(write_rec_gt(EXPORT_TO, folder, confirmed_labels(files, LABELS_FILE)))
    command = "python split_data.py"
    if folder != utils.DATA / "download":
        command += f' IMAGE_FOLDER="{folder}"'
    if LABELS_FILE != utils.DATA / "labels.csv":
        command += f' LABELS_FILE="{LABELS_FILE}"'
    print(f"Next: {command}")


if __name__ == "__main__":
    utils.run(main)
