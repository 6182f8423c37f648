"""Which label each image has, kept safe on the disk: the state behind the label window."""

import itertools
import time
from collections import Counter
from pathlib import Path

from files.tables import LABEL_COLUMNS, Journal, now


class Labelling:
    """Which image is the current one, what was decided about each, and what undo takes back.

    It knows no window. ``images`` are file names, in the order in which they come; rows of the
    labels file about others are left alone. An image is open until there is a decision about it
    that was made at ``not_before`` or later: a review opens all once more. Every decision is a row
    on the disk before its method returns.
    Raises ValueError if another window has the labels file, or if it is no labels file.
    """

    def __init__(self, images: list[str], labels_file: Path, not_before: str = "") -> None:
        self.images, self.not_before = images, not_before
        busy = f"{labels_file} is open in another label window; close that."
        self.journal = Journal(labels_file, LABEL_COLUMNS, busy)
        self.past: dict[str, list[dict]] = {image: [] for image in images}  # rows not undone
        self.decided: list[str] = []  # the images of these rows, oldest first: what undo goes by
        self.written: list[dict] = []  # the rows of this run
        self.keys = 0  # pressed in this run
        self.states = Counter({"open": len(images)})
        self.lengths: Counter[int] = Counter()  # how many of the labels have each length, ...
        self.characters: Counter[str] = Counter()  # ... and how many have each character
        for row in self.journal.rows:
            if row["image"] in self.past:
                self.apply(row)
        first = self.next_open(0)
        self.go(len(images) - 1 if first is None else first)

    def close(self) -> None:
        """Close the labels file, so that another window may have it."""
        self.journal.close()

    def go(self, position: int) -> None:
        """Go to the image at ``position``, or to the first or last if it lies beyond."""
        self.position = max(0, min(position, len(self.images) - 1))
        self.image = self.images[self.position]
        self.since = time.monotonic()

    def decision(self, image: str) -> dict | None:
        """Return the row that counts for an image, or None if there is none."""
        return self.past[image][-1] if self.past[image] else None

    def is_open(self, image: str) -> bool:
        """Tell whether an image waits for a decision."""
        row = self.decision(image)
        return row is None or row["time"] < self.not_before

    def next_open(self, start: int) -> int | None:
        """Return the position of the first open image from ``start`` on, then from 0 on."""
        if not self.states["open"]:
            return None
        count = len(self.images)
        around = (position % count for position in range(start, start + count))
        return next((place for place in around if self.is_open(self.images[place])), None)

    def upcoming(self, count: int) -> list[str]:
        """Return the next open images, beginning with the current one if it is open."""
        around = itertools.chain(range(self.position, len(self.images)), range(self.position))
        names = (self.images[place] for place in around)
        return list(itertools.islice(filter(self.is_open, names), count))

    def reorder(self, images: list[str]) -> None:
        """Let the images come in another order; the current one stays."""
        self.images, self.position = images, images.index(self.image)

    # ---- decisions

    def decide(self, label: str, state: str = "confirmed", how: str = "typed") -> None:
        """Record a decision about the current image, unless it stands already, and go on.

        The next open image comes up; when there is none, simply the next one.
        """
        row = self.decision(self.image)
        stands = row and (row["label"], row["state"]) == (label, state)
        if self.is_open(self.image) or not stands:
            self.record({self.image: label}, state, how, time.monotonic() - self.since)
        following = self.next_open(self.position + 1)
        self.go(self.position + 1 if following is None else following)

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
        self.record({image: earlier["label"]}, earlier["state"], "undo", seconds)
        self.go(self.images.index(image))
        return last

    def accept_answers(self, answers: dict[str, str]) -> None:
        """Record the answers of the practice site for the open images."""
        new = {i: answers[i] for i in self.images if i in answers and self.decision(i) is None}
        self.record(new, "confirmed", "answers", 0)

    def import_labels(self, labels: dict[str, str]) -> str:
        """Record labels that were made elsewhere; return in words what became of them.

        What was labelled here, or marked as unreadable, stays as it is; differences are listed.
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
        self.record(new, "confirmed", "imported", 0)
        summary = f"Imported: {len(new)} labels; {same} were known already"
        if differ:
            summary += f"; {len(differ)} differ and were left as they are here:"
        return "\n".join([summary, *differ])

    def record(self, labels: dict[str, str], state: str, how: str, seconds: float) -> None:
        """Write a row for each image and wait until all are on the disk.

        Raises OSError if that fails; then nothing more can be written.
        """
        end = [str(round(seconds, 2)), now()]
        rows = [[image, label, state, how, *end] for image, label in labels.items()]
        if rows:
            self.journal.append(rows)
        for values in rows:
            row = dict(zip(LABEL_COLUMNS, values, strict=True))
            self.written.append(row)
            self.apply(row)

    def apply(self, row: dict) -> None:
        """Let a row of the labels file count."""
        image, past = row["image"], self.past[row["image"]]
        self.count(image, -1)
        if row["how"] == "undo":
            if len(past) > 1:  # it is the row before that stands again, as old as it is
                row = {**row, "time": past[-2]["time"]}
            del past[-2:]  # what was undone, and what stood before, which this row repeats
            places = range(len(self.decided) - 1, -1, -1)  # it is among the last, of many
            place = next((place for place in places if self.decided[place] == image), None)
            if place is not None:
                del self.decided[place]
        else:
            self.decided.append(image)
        if row["state"] == "undone":
            past.clear()
        else:
            past.append(row)
        self.count(image, 1)

    # ---- figures

    def count(self, image: str, step: int) -> None:
        """Add what counts for an image to the figures, or remove it with ``step`` = -1."""
        row = self.decision(image)
        self.states[row["state"] if row and not self.is_open(image) else "open"] += step
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
        """Return the rows of the images that were labelled in this run, not only imported."""
        last = {row["image"]: row for row in self.written}.values()
        other = ("undo", "imported")
        return [row for row in last if row["state"] == "confirmed" and row["how"] not in other]

    def speed(self) -> tuple[int, float]:
        """Return how many images were labelled in this run, and how many per minute.

        A pause counts as one minute, however long it was.
        """
        labelled = len(self.labelled_now())
        minutes = sum(min(1, float(row["seconds"]) / 60) for row in self.written)
        return labelled, labelled / minutes if minutes else 0.0

    def summary(self) -> str:
        """Return in one line what was done in this run and what is left."""
        counts, (labelled, speed) = self.counts(), self.speed()
        pace = f", {speed:.0f} per minute" if speed else ""
        keys = f", {self.keys / labelled:.1f} keys each" if self.keys and labelled else ""
        return (
            f"{labelled} labelled now{pace}{keys}; of {len(self.images)} images "
            f"{counts['confirmed']} are labelled, {counts['skipped']} skipped, "
            f"{counts['unreadable']} unreadable, {counts['open']} left."
        )

    def remark(self, label: str, finished: bool = True) -> str:
        """Say how a label for the current image differs from all others, once there are 20.

        A label that is still being typed may be shorter: that is said in other words.
        """
        self.count(self.image, -1)  # its own label is no reason
        lengths, new = sorted(+self.lengths), "".join(sorted(set(label) - set(+self.characters)))
        enough = self.lengths.total() >= 20
        self.count(self.image, 1)
        back = " Ctrl+Z goes back to it." if finished else ""
        if enough and new:
            return f"No label but {label} contains {new!r}.{back}"
        if not enough or len(label) in lengths:
            return ""
        if finished or len(label) > lengths[0]:
            return f"No label but {label} has {len(label)} characters.{back}"
        return f"{len(label)} of {lengths[0]} characters."
