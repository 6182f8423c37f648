"""The label window: shows the current image, and passes on what is typed and pressed."""

import functools
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

from labelling import gui
from labelling.keys import KEYS, VIEW_EVENTS, render_help
from labelling.labels import Labelling
from labelling.proposals import Offer, Proposals

CANVAS = (840, 280)  # width and height of the image in pixels, on a screen of scale 1
MODIFIERS = ("Shift_L", "Shift_R", "Control_L", "Control_R", "Alt_L", "Alt_R", "Caps_Lock")


class LabelWindow:
    """The view of a Labelling.

    While an event is handled the window must see no other (by a refresh, a pop-up, or the update
    method of the progress bar): keys that were typed ahead would be lost.
    """

    def __init__(
        self,
        sg: ModuleType,
        labelling: Labelling,
        folder: Path,
        proposals: Proposals | None = None,
        remark: str = "",
    ) -> None:
        self.labelling, self.proposals = labelling, proposals or Proposals({})
        self.zoom, self.pan, self.helping = 1.0, 0.0, False
        self.scale = gui.screen_scale()
        size = (round(CANVAS[0] * self.scale), round(CANVAS[1] * self.scale))
        self.help = render_help(size, self.scale)
        self.render = functools.lru_cache(maxsize=16)(
            lambda image, zoom, pan: gui.render(folder / image, size, zoom, pan)
        )
        self.prefetcher = ThreadPoolExecutor(1)  # renders the next images while this one is read
        self.window = make_window(sg, size, self.scale)
        self.entry = self.window["entry"].widget
        self.text = self.window["entry"].TKStringVar
        # A tag of its own, before all others: PySimpleGUI binds some keys to the entry itself.
        tag = f"press {self.entry}"
        self.entry.bindtags((tag, *self.entry.bindtags()))
        self.entry.bind_class(tag, "<Key>", self.press)
        self.check_waits = False
        self.text.trace_add("write", lambda *_: self.check_soon())
        self.show(remark=remark)
        self.poll_predictions()

    def run(self) -> None:
        """Label until the window is closed."""
        if self.proposals.reader:
            self.proposals.reader.start()
        event, values = self.window.read()
        while event not in (None, "Close"):
            self.handle(event, values["entry"].strip())
            event, values = self.window.read()
        self.window.close()

    # ---- what the keys do

    def handle(self, event: str, typed: str) -> None:
        """Do what a key or a button asks for; ``typed`` is the text in the entry."""
        if event in VIEW_EVENTS:
            self.change_view(event)
            return
        if typed != self.filled:
            typed = self.proposals.case(typed)
        draft = ""
        if event == "Keep":
            draft, remark = self.keep(typed)
        elif event in ("Skip", "Unreadable"):
            remark = self.leave("skipped" if event == "Skip" else "unreadable")
        elif event == "Undo":
            row = self.labelling.undo()
            draft, remark = (row["label"], "") if row else (typed, "Nothing is left to undo.")
        else:
            remark = ""
            if event == "Order":
                remark = self.proposals.change_order(self.labelling)
            else:
                step = {"Next": 1, "Previous": -1}[event]
                self.labelling.go(self.labelling.position + step)
            if typed != self.filled:
                remark += f" {typed} was not kept; only Enter keeps a label."
        self.show(draft, remark)

    def keep(self, typed: str) -> tuple[str, str]:
        """Confirm what was typed; return the text for the entry, and a remark."""
        if self.trouble:
            return typed, "A file that cannot be read gets no label: Ctrl+U marks it."
        if not typed:
            return "", "Type what the image says; Esc skips it."
        remark, how = self.labelling.remark(typed), "typed"
        if self.offer:
            how = self.offer.how if typed == self.offer.text else "corrected"
        self.proposals.sort_ahead(self.labelling)
        self.labelling.decide(typed, how=how)
        return "", remark

    def leave(self, state: str) -> str:
        """Leave the image without a label; return a remark if it had one."""
        row = self.labelling.decision(self.labelling.image)
        self.proposals.sort_ahead(self.labelling)
        self.labelling.decide("", state)
        if row and row["label"]:
            return f"{row['label']} no longer counts; Ctrl+Z brings it back."
        return ""

    def press(self, event: Any) -> str | None:  # noqa: ANN401
        """Handle a key before the entry does; "break" keeps it from the entry."""
        if event.keysym in MODIFIERS:
            return None
        self.labelling.keys += 1
        first = last = self.entry.index("insert")
        if self.entry.selection_present():
            first, last = self.entry.index("sel.first"), self.entry.index("sel.last")
        if event.keysym == "Tab":
            self.select_next(first if last > first + 1 else last)
            return "break"
        if event.char == "\x01":  # Ctrl+A, which on Linux would move to the beginning
            self.entry.selection_range(0, "end")
            return "break"
        control = event.state & 0x4 and not event.state & 0x20000  # AltGr on Windows is both
        if control and event.keysym in ("Left", "Right"):  # the entry would move its cursor
            self.change_view(event.keysym)
            return "break"
        if control or not event.char or not event.char.isprintable():
            return None
        char = self.proposals.case(event.char)
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

    def change_view(self, event: str) -> None:
        """Change how the image is shown, and nothing else."""
        self.helping = event == "Help" and not self.helping
        self.zoom *= {"Larger": 1.25, "Smaller": 0.8}.get(event, 1)
        self.zoom = min(max(self.zoom, 0.3), 5)
        self.pan = min(max(self.pan + {"Left": -0.25, "Right": 0.25}.get(event, 0), 0), 1)
        self.show_image()

    # ---- what the window shows

    def show(self, draft: str = "", remark: str = "") -> None:
        """Show the current image; ``draft`` stands in the entry unless the image has a label."""
        labelling, image = self.labelling, self.labelling.image
        row, is_open = labelling.decision(image), labelling.is_open(image)
        self.helping, self.pan = False, 0.0
        self.show_image()
        offer = self.proposals.offer(image) if is_open else None
        if offer and draft not in ("", offer.text):
            offer = None  # a label that was taken back, to be corrected
        left = labelling.counts()["open"]
        done = "" if left else "All images are done. Run split_data.py next; PageUp goes back."
        withheld = is_open and not draft and image in self.proposals.predictions and not offer
        unaided = "Without a proposal, to measure how well the model reads." if withheld else ""
        self.remark = remark or self.trouble or done or (offer.remark if offer else unaided)
        self.fill(offer.text if offer else row["label"] if row and not is_open else draft, offer)
        self.show_remark(self.filled)
        if offer and offer.doubtful:
            self.select_next(0)
        self.entry.focus_set()
        self.show_progress(f"{row['state']}, " if row and not is_open else "")
        upcoming = labelling.upcoming(16)
        for following in [name for name in upcoming if name != image][:4]:
            self.prefetcher.submit(self.render, following, self.zoom, 0.0)
        if self.proposals.reader:
            self.proposals.reader.needed = upcoming

    def show_progress(self, state: str) -> None:
        """Show how far the work is; ``state`` is what was decided about the current image."""
        labelling, window, counts = self.labelling, self.window, self.labelling.counts()
        total, place = len(labelling.images), f"{labelling.position + 1} of {len(labelling.images)}"
        window.TKroot.title(f"Label helper: {place}")
        window["name"].update(labelling.image)
        ordered = self.proposals.order != "name"
        order = f", {self.proposals.order_in_words()}" if ordered else ""
        window["place"].update(f"{state}{place}{order}")
        window["bar"].widget.configure(maximum=total, value=total - counts["open"])
        labelled, speed = labelling.speed()
        window["counts"].update(
            f"{counts['confirmed']} done    {counts['open']} left    {counts['skipped']} skipped"
            f"    {counts['unreadable']} unreadable    {speed:.0f} per minute    "
            f"{labelling.keys / max(1, labelled):.1f} keys each"
        )
        latest = filter(None, map(labelling.decision, labelling.decided[:-11:-1]))
        window["last"].update("\n".join(row["label"] or f"({row['state']})" for row in latest))

    def show_image(self) -> None:
        """Show the current image at the chosen size, or the help."""
        data, self.trouble = self.render(self.labelling.image, self.zoom, self.pan)
        self.window["image"].update(data=self.help if self.helping else data)

    def fill(self, text: str, offer: Offer | None) -> None:
        """Put a text into the entry, selected as a whole: typing replaces it, arrows edit it."""
        self.filled, self.offer = text, offer
        self.doubts = set(offer.doubtful) if offer else set()
        self.text.set(text)
        self.entry.icursor("end")
        self.entry.selection_range(0, "end")

    def check_soon(self) -> None:
        """Have the text checked once the entry holds it and no key waits."""
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
        show_marks(self.window, marks, self.doubts, self.scale)
        self.show_remark(text)

    def show_remark(self, text: str) -> None:
        """Show the remark about the image, and what is unusual about the text of its label."""
        unusual = self.labelling.remark(text, finished=False) if text else ""
        self.window["remark"].update("\n".join(filter(None, [self.remark, unusual])))

    def poll_predictions(self) -> None:
        """Ten times a second: offer a prediction that arrives while its image is shown.

        It is selected as a whole, as typing may begin at this moment, and replaces no text.
        """
        reader, labelling = self.proposals.reader, self.labelling
        if reader is None or self.window.is_closed(quick_check=True):
            return
        if self.offer is None and not self.entry.get() and labelling.is_open(labelling.image):
            offer = self.proposals.offer(labelling.image)
            if reader.trouble and not self.remark:
                self.remark = f"No proposals: {reader.trouble}"
                self.check_soon()
            elif offer:
                self.remark = self.remark or offer.remark
                self.fill(offer.text, offer)
        self.window.TKroot.after(100, self.poll_predictions)


# ---------------------------------------------------------------- what the window is made of


def make_window(sg: ModuleType, size: tuple[int, int], scale: float) -> Any:  # noqa: ANN401
    """Return the label window, fitted to the screen; ``size`` is that of the image in pixels."""
    grey, wide = {"text_color": gui.SOFT, "pad": 0}, {"pad": (0, 6), "expand_x": True}
    figures = "99999 done    99999 left    9999 skipped    9999 unreadable"
    longest = f"{figures}    99 per minute    99.9 keys each"
    buttons = []
    for key in KEYS:
        if key.button:
            text = f"{key.event}\n{key.legend}"
            button = sg.Button(text, key=key.event, border_width=0, **wide)
            buttons += [button, sg.Text("", pad=3)]
    marks = {
        "size": (size[0], round(50 * scale)),
        "background_color": gui.PAPER,
        "pad": 0,
        "expand_x": True,
    }
    left = [
        [sg.Text(key="place", **grey), sg.Push(), sg.Text(key="name", **grey)],
        [sg.Image(key="image", size=size, background_color=gui.SHADE, **wide)],
        [sg.Input(key="entry", size=9, font=(gui.FIXED_FONT, 34), justification="center", **wide)],
        [sg.Canvas(key="marks", **marks)],
        [sg.Text(key="remark", size=(1, 3), justification="center", **wide)],
        [sg.ProgressBar(1, key="bar", size=(1, 8), **wide)],
        [sg.Text(longest, key="counts", **grey)],
        buttons[:-1],
    ]
    labels = "\n".join(["w" * 14] * 12)
    font = (gui.FIXED_FONT, gui.TEXT_FONT[1])
    right = [
        [sg.Text("Last labels", **grey)],
        [sg.Text(labels, key="last", font=font, expand_y=True, **wide)],
    ]
    layout = [[sg.Column(left, pad=8), sg.Column(right, pad=8, vertical_alignment="top")]]
    # By default Ctrl with an arrow key, meant for the entry, would move the window.
    window = sg.Window("Label helper", layout, grab_anywhere_using_control=False, finalize=True)
    for key in KEYS:
        if key.button:  # two lines; Tab must not lead out of the entry
            window[key.event].widget.configure(height=2, takefocus=0)
        for binding in key.bindings:
            window.bind(binding, key.event)
    window["marks"].widget.configure(highlightthickness=0)
    window["remark"].widget.configure(wraplength=size[0])
    gui.fit_window(window, scale)
    window.TKroot.focus_force()  # without a window manager nothing could be typed otherwise
    return window


def show_marks(
    window: Any,  # noqa: ANN401
    marks: dict[int, str],
    doubtful: set[int],
    scale: float,
) -> None:
    """Write ``marks`` beneath the characters of the entry, by their places in the text.

    A doubtful character has a question mark and a bar, so that nobody needs to see colours.
    """
    canvas, entry = window["marks"].widget, window["entry"].widget
    canvas.delete("all")
    offset = entry.winfo_x() - canvas.winfo_x()
    font = (gui.FIXED_FONT, -round(15 * scale))
    top, bar = round(6 * scale), round(4 * scale)  # pixels
    for place, mark in marks.items():
        # tkinter's own bbox method asks the grid, not the entry.
        left, _, width, _ = map(int, entry.tk.splitlist(entry.tk.call(entry, "bbox", place)))
        left, middle = offset + left, offset + left + width // 2
        if place in doubtful:
            canvas.create_rectangle(
                left + 2, 0, left + width - 2, bar, fill=gui.WARNING, outline=""
            )
            style = {"font": (*font, "bold"), "fill": gui.WARNING, "justify": "center"}
            canvas.create_text(middle, top, text=f"{mark}\n?", anchor="n", **style)
        else:
            canvas.create_text(middle, top, text=mark, anchor="n", fill=gui.SOFT, font=font)
