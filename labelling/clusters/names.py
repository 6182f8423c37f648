"""Which clusters have got which name, kept safe on the disk: the state behind the cluster sheet."""

import contextlib
import os
from pathlib import Path
from typing import NamedTuple

import utils
from files import tables

name_columns = ["image", "place", "name", "state", "time"]  # of the names file
CropId = tuple[str, int]  # image and place: the crop is the image's place-th character, from 0


class Sheet(NamedTuple):
    """One cluster, as it is shown."""

    exemplar: CropId  # the crop nearest to the cluster's mean; its row keeps the cluster's name
    members: list[CropId]  # the least typical first: what does not belong stands at the start


class Naming:
    """Which sheet is in turn, what was decided about each, and the way back. It knows no window.

    A decision names the sheet's exemplar, so that it is found again when the clusters are computed
    anew. It is on the disk before its method returns. Raises ValueError if another window has
    the names file, or if it is no names file.
    """

    def __init__(self, sheets: list[Sheet], names_file: Path) -> None:
        self.sheets = sheets
        self.names_file = names_file
        busy = f"{names_file} is open in another window; close that."
        self.lock = tables.lock(names_file, busy)
        self.table = tables.open_table(names_file, name_columns)
        self.decided: dict[CropId, tuple[str, str]] = {}  # (name, state); the latest last
        self.outliers: set[CropId] = set()
        for row in tables.read_table(names_file, name_columns):
            with contextlib.suppress(ValueError):  # a place that was spoilt by hand
                self.take((row["image"], int(row["place"])), row["name"], row["state"])
        self.go(self.next_open(0) or 0)

    def close(self) -> None:
        """Close the names file, so that another window may have it."""
        self.table.close()
        self.lock.close()

    def go(self, position: int) -> None:
        """Go to the sheet at ``position``; its name, if it has one, is the draft."""
        self.position = max(0, min(position, len(self.sheets) - 1))
        self.sheet = self.sheets[self.position]
        name, state = self.decided.get(self.sheet.exemplar, ("", "open"))
        self.draft = name if state == "named" else None  # "" is: no character
        self.marked = {crop for crop in self.sheet.members if crop in self.outliers}

    def next_open(self, start: int) -> int | None:
        """Return the position of the first open sheet from ``start`` on, then from 0 on."""
        count = len(self.sheets)
        around = (position % count for position in range(start, start + count))
        return next((p for p in around if self.sheets[p].exemplar not in self.decided), None)

    def mark(self, crop: CropId) -> None:
        """Mark a crop of the sheet as one that does not belong, or as one that does after all."""
        self.marked ^= {crop}

    def name(self) -> None:
        """Keep the draft as the sheet's name, and what is marked, and go on."""
        if self.draft is None:
            raise ValueError("there is no name to keep yet.")
        for crop in self.sheet.members:
            if (crop in self.marked) != (crop in self.outliers):
                self.keep(crop, "", "outlier" if crop in self.marked else "member")
        self.decide(self.draft, "named")

    def skip(self) -> None:
        """Leave the sheet without a name, and go on."""
        self.decide("", "skipped")

    def decide(self, name: str, state: str) -> None:
        """Keep a decision about the sheet in turn, unless it stands already, and go on."""
        if self.decided.get(self.sheet.exemplar) != (name, state):
            self.keep(self.sheet.exemplar, name, state)
        following = self.next_open(self.position + 1)
        self.go(self.position if following is None else following)

    def undo(self) -> bool:
        """Take back the last decision, also one of an earlier run, and go to its sheet.

        What was named and marked there is offered again. Returns False if nothing is left.
        """
        place_of = {sheet.exemplar: place for place, sheet in enumerate(self.sheets)}
        last = next((crop for crop in reversed(self.decided) if crop in place_of), None)
        if last is None:
            return False
        name, state = self.decided[last]
        self.keep(last, "", "undone")
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

    def keep(self, crop: CropId, name: str, state: str) -> None:
        """Write one row and wait until it is on the disk.

        Raises OSError if that fails; then nothing is kept any more, as a half row may stand there.
        """
        try:
            if not os.path.samestat(os.fstat(self.table.fileno()), self.names_file.stat()):
                raise OSError("another program has replaced the file")
            tables.append_row(self.table, [*crop, name, state, utils.now()])
        except OSError as error:
            with contextlib.suppress(OSError):  # closing tries to write the row again
                self.table.close()
            raise OSError(
                f"{self.names_file}: the last decision could not be kept, all before it is "
                f"({error.strerror or error}). Mend that and start again."
            ) from error
        self.take(crop, name, state)

    def take(self, crop: CropId, name: str, state: str) -> None:
        """Note a row of the names file."""
        if state == "outlier":
            self.outliers.add(crop)
        elif state == "member":
            self.outliers.discard(crop)
        else:
            self.decided.pop(crop, None)  # so that it comes last below
            if state != "undone":
                self.decided[crop] = (name, state)
