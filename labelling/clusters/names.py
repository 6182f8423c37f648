"""The names of clusters, safe on the disk: the state behind the sheet window."""

import contextlib
from pathlib import Path
from typing import NamedTuple

from files.tables import Journal, now

NAME_COLUMNS = ["image", "place", "name", "state", "time"]  # of the names file
CropId = tuple[str, int]  # image and place: the crop is the image's place-th character, from 0


class Sheet(NamedTuple):
    """One cluster, as it is shown."""

    exemplar: CropId  # the crop nearest to the cluster's mean; its row holds the cluster's name
    members: list[CropId]  # the least typical first, so that strangers stand at the top


class Naming:
    """The current sheet, what was decided about each, and undo. It knows no window.

    A decision is stored under the sheet's exemplar, so that it is found again when clusters are
    computed anew. It is on the disk before the method returns. Raises ValueError if another window
    has the names file open, or if it is not a names file.
    """

    def __init__(self, sheets: list[Sheet], names_file: Path) -> None:
        self.sheets = sheets
        busy = f"{names_file} is open in another window; close that one."
        self.journal = Journal(names_file, NAME_COLUMNS, busy)
        self.decided: dict[CropId, tuple[str, str]] = {}  # (name, state); the latest last
        self.outliers: set[CropId] = set()
        for row in self.journal.rows:
            with contextlib.suppress(ValueError):  # a place that was damaged by hand
                self.apply((row["image"], int(row["place"])), row["name"], row["state"])
        self.go(self.next_open(0) or 0)

    def close(self) -> None:
        """Close the names file, so that another window can open it."""
        self.journal.close()

    def go(self, position: int) -> None:
        """Go to the sheet at ``position``; its name, if it has one, becomes the draft."""
        self.position = max(0, min(position, len(self.sheets) - 1))
        self.sheet = self.sheets[self.position]
        name, state = self.decided.get(self.sheet.exemplar, ("", "open"))
        self.draft = name if state == "named" else None  # "" means: not a character
        self.marked = {crop for crop in self.sheet.members if crop in self.outliers}

    def next_open(self, start: int) -> int | None:
        """Return the position of the first open sheet from ``start`` on, then from 0 on."""
        count = len(self.sheets)
        around = (position % count for position in range(start, start + count))
        return next((p for p in around if self.sheets[p].exemplar not in self.decided), None)

    def mark(self, crop: CropId) -> None:
        """Mark a crop of the sheet as not belonging, or remove its mark."""
        self.marked ^= {crop}

    def name(self) -> None:
        """Save the draft as the sheet's name, and the marks, and go on."""
        if self.draft is None:
            raise ValueError("there is no name to keep yet.")
        marks = [
            (crop, "", "outlier" if crop in self.marked else "member")
            for crop in self.sheet.members
            if (crop in self.marked) != (crop in self.outliers)
        ]
        self.decide(self.draft, "named", marks)

    def skip(self) -> None:
        """Leave the sheet without a name, and go on."""
        self.decide("", "skipped", [])

    def decide(self, name: str, state: str, marks: list[tuple[CropId, str, str]]) -> None:
        """Save new marks and a decision about the current sheet, if it is new, and go on."""
        decision = self.sheet.exemplar, name, state
        is_new = self.decided.get(self.sheet.exemplar) != (name, state)
        self.keep([*marks, decision] if is_new else marks)
        following = self.next_open(self.position + 1)
        self.go(self.position if following is None else following)

    def undo(self) -> bool:
        """Undo the last decision, also one of an earlier run, and go to its sheet.

        The name and the marks it had are offered again. Returns False if nothing is left.
        """
        place_of = {sheet.exemplar: place for place, sheet in enumerate(self.sheets)}
        last = next((crop for crop in reversed(self.decided) if crop in place_of), None)
        if last is None:
            return False
        name, state = self.decided[last]
        self.keep([(last, "", "undone")])
        self.go(place_of[last])
        self.draft = name if state == "named" else None
        return True

    def names(self) -> dict[CropId, str]:
        """Return the name of each named sheet, by its exemplar."""
        return {crop: name for crop, (name, state) in self.decided.items() if state == "named"}

    def counts(self) -> tuple[int, int, int]:
        """Return how many sheets are named, skipped and open."""
        states = [self.decided.get(sheet.exemplar, ("", "open"))[1] for sheet in self.sheets]
        return states.count("named"), states.count("skipped"), states.count("open")

    def keep(self, rows: list[tuple[CropId, str, str]]) -> None:
        """Write rows (crop, name, state), wait until they are on the disk, then apply them.

        Raises OSError if that fails; then the names file is closed.
        """
        self.journal.append([*crop, name, state, now()] for crop, name, state in rows)
        for row in rows:
            self.apply(*row)

    def apply(self, crop: CropId, name: str, state: str) -> None:
        """Apply a row of the names file to what is known."""
        if state == "outlier":
            self.outliers.add(crop)
        elif state == "member":
            self.outliers.discard(crop)
        else:
            self.decided.pop(crop, None)  # so that it comes last below
            if state != "undone":
                self.decided[crop] = (name, state)
