"""Which label each image has, kept safe on the disk: the state behind the label window."""

import contextlib
import os
import time
from collections import Counter
from pathlib import Path
from typing import BinaryIO

import utils

if os.name == "nt":
    import msvcrt
else:
    import fcntl


class Labelling:
    """Which image is in turn, what was decided about each, and the way back. It knows no window.

    ``images`` are file names, in the order in which they come; rows of the labels file about
    others are left alone. Every decision is a row on the disk before its method returns.
    Raises ValueError if another window has the labels file, or if it is no labels file.
    """

    def __init__(self, images: list[str], labels_file: Path) -> None:
        self.images = images
        self.labels_file = labels_file
        self.lock = lock(labels_file)
        self.table = utils.open_table(labels_file, utils.LABEL_COLUMNS)
        self.past: dict[str, list[dict]] = {image: [] for image in images}  # rows not taken back
        self.decided: list[str] = []  # the images of these rows, oldest first: the way back
        self.written: list[dict] = []  # the rows of this run
        for row in utils.read_table(labels_file, utils.LABEL_COLUMNS):
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
        count = len(self.images)
        around = (position % count for position in range(start, start + count))
        return next((place for place in around if not self.past[self.images[place]]), None)

    def decide(self, label: str, state: str = "confirmed") -> None:
        """Keep a decision about the image in turn, unless it stands already, and go on.

        The next open image comes up; when there is none, simply the next one.
        """
        row = self.decision(self.image)
        if row is None or (row["label"], row["state"]) != (label, state):
            self.keep(self.image, label, state, "typed", time.monotonic() - self.since)
        following = self.next_open(self.position + 1)
        self.go(self.position + 1 if following is None else following)

    def keep_answers(self, answers: dict[str, str]) -> None:
        """Keep the known answers of the images that are open."""
        for image in self.images:
            if image in answers and self.decision(image) is None:
                self.keep(image, answers[image], "confirmed", "answers", 0)

    def undo(self) -> dict | None:
        """Take back the last decision, also one of an earlier run, and go to its image.

        Returns the row that was taken back, or None if there is nothing left to take back.
        """
        if not self.decided:
            return None
        image = self.decided[-1]
        undone = {"label": "", "state": "undone"}
        earlier, last = [undone, undone, *self.past[image]][-2:]
        self.keep(image, earlier["label"], earlier["state"], "undo", time.monotonic() - self.since)
        self.go(self.images.index(image))
        return last

    def keep(self, image: str, label: str, state: str, how: str, seconds: float) -> None:
        """Write one row and wait until it is on the disk.

        Raises OSError if that fails; then nothing is kept any more, as a half row may stand there.
        """
        values = [image, label, state, how, round(seconds, 2), utils.now()]
        try:
            if not os.path.samestat(os.fstat(self.table.fileno()), self.labels_file.stat()):
                raise OSError("another program has replaced the file")
            utils.append_row(self.table, values)
        except OSError as error:
            with contextlib.suppress(OSError):  # closing tries to write the row again
                self.table.close()
            raise OSError(
                f"{self.labels_file}: what was decided about {image} could not be kept, all before "
                f"it is ({error.strerror or error}). Mend that and start again."
            ) from error
        row = dict(zip(utils.LABEL_COLUMNS, values, strict=True))
        self.written.append(row)
        self.take(row)

    def take(self, row: dict) -> None:
        """Note a row of the labels file."""
        image, past = row["image"], self.past[row["image"]]
        if row["how"] == "undo":
            del past[-2:]  # what was taken back, and what stood before, which this row repeats
            if image in self.decided:
                del self.decided[-1 - self.decided[::-1].index(image)]
        else:
            self.decided.append(image)
        if row["state"] == "undone":
            past.clear()
        else:
            past.append(row)

    def counts(self) -> Counter:
        """Return how many images are confirmed, skipped, unreadable and open."""
        return Counter(past[-1]["state"] if past else "open" for past in self.past.values())

    def speed(self) -> tuple[int, float]:
        """Return how many images were labelled in this run, and how many a minute.

        A pause counts as one minute, however long it was.
        """
        last = {row["image"]: row for row in self.written}.values()
        labelled = sum(row["state"] == "confirmed" and row["how"] != "undo" for row in last)
        minutes = sum(min(1, row["seconds"] / 60) for row in self.written)
        return labelled, labelled / minutes if minutes else 0.0

    def summary(self) -> str:
        """Return in one line what was done in this run and what is left."""
        counts, (labelled, speed) = self.counts(), self.speed()
        return (
            f"{labelled} labelled now{f', {speed:.0f} a minute' if speed else ''}; of "
            f"{len(self.images)} images {counts['confirmed']} are labelled, {counts['skipped']} "
            f"skipped, {counts['unreadable']} unreadable, {counts['open']} left."
        )

    def remark(self, label: str) -> str:
        """Say in what a label for the image in turn is unlike all others, once there are 20."""
        rows = (past[-1] for image, past in self.past.items() if past and image != self.image)
        others = [row["label"] for row in rows if row["state"] == "confirmed"]
        new = "".join(sorted(set(label) - set("".join(others))))
        if len(others) < 20:
            return ""
        if new:
            return f"No label but {label} has {new!r} in it. Ctrl+Z goes back to it."
        if len(label) not in {len(other) for other in others}:
            return f"No label but {label} has {len(label)} characters. Ctrl+Z goes back to it."
        return ""


def lock(labels_file: Path) -> BinaryIO:
    """Keep other label windows off a labels file until the file returned is closed.

    The system drops the lock when the program ends, however it ends. Raises ValueError.
    """
    labels_file.parent.mkdir(parents=True, exist_ok=True)
    file = labels_file.open("ab")
    try:
        if os.name == "nt":  # Windows lets nobody read a locked byte: lock one far past the end
            file.seek(2**30)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError) as error:
        file.close()
        raise ValueError(f"{labels_file} is open in another label window; close that.") from error
    return file


def read_answers(index: Path) -> dict[str, str]:
    """Return the answers that stand in getData.py's index. Raises ValueError if there are none."""
    rows = utils.read_table(index, utils.INDEX_COLUMNS) if index.is_file() else []
    answers = {row["image"]: row["answer"].strip() for row in rows if row["answer"].strip()}
    if not answers:
        raise ValueError(f"there are no answers in {index}; label with LABELLER=person.")
    return answers
