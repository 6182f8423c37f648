"""Which label each image has, kept safe on the disk: the state behind the label window."""

import contextlib
import csv
import itertools
import os
import time
from collections import Counter
from pathlib import Path

import utils
from files import tables


class Labelling:
    """Which image is in turn, what was decided about each, and the way back. It knows no window.

    ``images`` are file names, in the order in which they come; rows of the labels file about
    others are left alone. An image is open until there is a decision about it that was made at
    ``not_before`` or later: a review opens all once more. Every decision is a row on the disk
    before its method returns.
    Raises ValueError if another window has the labels file, or if it is no labels file.
    """

    def __init__(self, images: list[str], labels_file: Path, not_before: str = "") -> None:
        self.images, self.labels_file, self.not_before = images, labels_file, not_before
        busy = f"{labels_file} is open in another label window; close that."
        self.lock = tables.lock(labels_file, busy)
        self.table = tables.open_table(labels_file, utils.LABEL_COLUMNS)
        self.past: dict[str, list[dict]] = {image: [] for image in images}  # rows not taken back
        self.decided: list[str] = []  # the images of these rows, oldest first: the way back
        self.written: list[dict] = []  # the rows of this run
        self.keys = 0  # pressed in this run
        self.states = Counter({"open": len(images)})
        self.lengths: Counter[int] = Counter()  # how many of the labels have each length, ...
        self.characters: Counter[str] = Counter()  # ... and how many have each character
        for row in tables.read_table(labels_file, utils.LABEL_COLUMNS):
            if row["image"] in self.past:
                self.take(row)
        first = self.next_open(0)
        self.go(len(images) - 1 if first is None else first)

    def close(self) -> None:
        """Close the labels file, so that another window may have it."""
        self.table.close()
        self.lock.close()

    def go(self, position: int) -> None:
        """Go to the image at ``position``, or to the end that it lies beyond."""
        self.position = max(0, min(position, len(self.images) - 1))
        self.image = self.images[self.position]
        self.since = time.monotonic()

    def decision(self, image: str) -> dict | None:
        """Return the row that counts for an image, or None if the image is open."""
        return self.past[image][-1] if self.past[image] else None

    def next_open(self, start: int) -> int | None:
        """Return the position of the first open image from ``start`` on, then from 0 on."""
        if not self.states["open"]:
            return None
        count = len(self.images)
        around = (position % count for position in range(start, start + count))
        return next((place for place in around if self.is_open(self.images[place])), None)

    def coming(self, count: int) -> list[str]:
        """Return the open images that come next, the one in turn first if it is open."""
        around = itertools.chain(range(self.position, len(self.images)), range(self.position))
        names = (self.images[place] for place in around)
        return list(itertools.islice(filter(self.is_open, names), count))

    def is_open(self, image: str) -> bool:
        """Tell whether an image waits for a decision."""
        row = self.decision(image)
        return row is None or row["time"] < self.not_before

    def arrange(self, images: list[str]) -> None:
        """Let the images come in another order; the one in turn stays in turn."""
        self.images, self.position = images, images.index(self.image)

    def decide(self, label: str, state: str = "confirmed", how: str = "typed") -> None:
        """Keep a decision about the image in turn, unless it stands already, and go on.

        The next open image comes up; when there is none, simply the next one.
        """
        row = self.decision(self.image)
        if self.is_open(self.image) or (row["label"], row["state"]) != (label, state):
            self.keep({self.image: label}, state, how, time.monotonic() - self.since)
        following = self.next_open(self.position + 1)
        self.go(self.position + 1 if following is None else following)

    def keep_known(self, labels: dict[str, str], how: str) -> None:
        """Keep labels that are known from elsewhere, of the images that are open."""
        known = {i: labels[i] for i in self.images if i in labels and self.decision(i) is None}
        if known:
            self.keep(known, "confirmed", how, 0)

    def take_over(self, labels: dict[str, str]) -> str:
        """Keep labels that were made elsewhere; return in words what became of them.

        What was labelled here, or marked as unreadable, stays as it is; differences are named.
        """
        new, same, differ = {}, 0, []
        for image in filter(labels.__contains__, self.images):
            row = self.decision(image)
            if row is None or row["state"] == "skipped":
                new[image] = labels[image]
            elif (row["state"], row["label"]) == ("confirmed", labels[image]):
                same += 1
            else:
                here = row["label"] or row["state"]
                differ.append(f"  {image}: {here} here, {labels[image]} there")
        if new:
            self.keep(new, "confirmed", "imported", 0)
            self.go(self.next_open(0) or 0)
        said = f"Imported: {len(new)} labels; {same} were known already"
        if differ:
            said += f"; {len(differ)} differ and were left as they are here:"
        return "\n".join([said, *differ])

    def undo(self) -> dict | None:
        """Take back the last decision, also one of an earlier run, and go to its image.

        Returns the row that was taken back, or None if there is nothing left to take back.
        """
        if not self.decided:
            return None
        image = self.decided[-1]
        undone = {"label": "", "state": "undone"}
        earlier, last = [undone, undone, *self.past[image]][-2:]
        seconds = time.monotonic() - self.since
        self.keep({image: earlier["label"]}, earlier["state"], "undo", seconds)
        self.go(self.images.index(image))
        return last

    def keep(self, labels: dict[str, str], state: str, how: str, seconds: float) -> None:
        """Write a row for each image and wait until all are on the disk.

        Raises OSError if that fails; then nothing is kept any more, as a half row may stand there.
        """
        end = [round(seconds, 2), utils.now()]
        rows = [[image, label, state, how, *end] for image, label in labels.items()]
        try:
            if not os.path.samestat(os.fstat(self.table.fileno()), self.labels_file.stat()):
                raise OSError("another program has replaced the file")
            csv.writer(self.table).writerows(rows[:-1])
            tables.append_row(self.table, rows[-1])
        except OSError as error:
            with contextlib.suppress(OSError):  # closing tries to write the row again
                self.table.close()
            raise OSError(
                f"{self.labels_file}: what was decided about {rows[0][0]} could not be kept, all "
                f"before it is ({error.strerror or error}). Mend that and start again."
            ) from error
        for values in rows:
            row = dict(zip(utils.LABEL_COLUMNS, values, strict=True))
            self.written.append(row)
            self.take(row)

    def take(self, row: dict) -> None:
        """Note a row of the labels file."""
        image, past = row["image"], self.past[row["image"]]
        self.count(image, -1)
        if row["how"] == "undo":
            if len(past) > 1:  # it is the row before that stands again, as old as it is
                row = {**row, "time": past[-2]["time"]}
            del past[-2:]  # what was taken back, and what stood before, which this row repeats
            if image in self.decided:
                del self.decided[-1 - self.decided[::-1].index(image)]
        else:
            self.decided.append(image)
        if row["state"] == "undone":
            past.clear()
        else:
            past.append(row)
        self.count(image, 1)

    def count(self, image: str, step: int) -> None:
        """Add what counts for an image to the figures, or take it out with ``step`` = -1."""
        row = self.decision(image)
        self.states["open" if self.is_open(image) else row["state"]] += step
        if row and row["state"] == "confirmed":
            self.lengths[len(row["label"])] += step
            for character in set(row["label"]):
                self.characters[character] += step

    def counts(self) -> Counter:
        """Return how many images are confirmed, skipped, unreadable and open."""
        return +self.states

    def confirmed_before(self, moment: str) -> int:
        """Return how many images were confirmed before a time in UTC."""
        rows = filter(None, map(self.decision, self.images))
        return sum(row["state"] == "confirmed" and row["time"] < moment for row in rows)

    def labelled_now(self) -> list[dict]:
        """Return the rows of the images that were labelled in this run, not only taken over."""
        last = {row["image"]: row for row in self.written}.values()
        other = ("undo", "imported")
        return [row for row in last if row["state"] == "confirmed" and row["how"] not in other]

    def speed(self) -> tuple[int, float]:
        """Return how many images were labelled in this run, and how many a minute.

        A pause counts as one minute, however long it was.
        """
        labelled = len(self.labelled_now())
        minutes = sum(min(1, row["seconds"] / 60) for row in self.written)
        return labelled, labelled / minutes if minutes else 0.0

    def summary(self) -> str:
        """Return in one line what was done in this run and what is left."""
        counts, (labelled, speed) = self.counts(), self.speed()
        pace = f", {speed:.0f} a minute" if speed else ""
        keys = f", {self.keys / labelled:.1f} keys each" if self.keys and labelled else ""
        return (
            f"{labelled} labelled now{pace}{keys}; of {len(self.images)} images "
            f"{counts['confirmed']} are labelled, {counts['skipped']} skipped, "
            f"{counts['unreadable']} unreadable, {counts['open']} left."
        )

    def remark(self, label: str, finished: bool = True) -> str:
        """Say in what a label for the image in turn is unlike all others, once there are 20.

        A label that is still being typed may be shorter: that is said in other words.
        """
        self.count(self.image, -1)  # its own label is no reason
        lengths, new = sorted(+self.lengths), "".join(sorted(set(label) - set(+self.characters)))
        enough = self.lengths.total() >= 20
        self.count(self.image, 1)
        back = " Ctrl+Z goes back to it." if finished else ""
        if enough and new:
            return f"No label but {label} has {new!r} in it.{back}"
        if not enough or len(label) in lengths:
            return ""
        if finished or len(label) > lengths[0]:
            return f"No label but {label} has {len(label)} characters.{back}"
        return f"{len(label)} of {lengths[0]} characters."
