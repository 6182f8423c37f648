"""The folder of fetched images: each whole, each once, each with its row, whenever it is killed."""

import contextlib
import csv
import os
import re
import threading
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import utils
from files import tables


class Download:
    """The folder of fetched images and its index.csv, which says where each came from.

    An image is written under a temporary name and synced, then its row is written and synced,
    and only then it gets its name: whenever the program is killed, every image that is there is
    whole and in the index, and the next run finishes what has a row.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.index = folder / "index.csv"
        self.names: set[str] = set()  # of the images that are kept, or about to be
        self.numbers: dict[str, set[int]] = defaultdict(set)  # the practice images there, by form
        self.orphans: set[str] = set()  # files that have lost their row: somebody edited the index
        self.kept = 0  # how many images are in the index
        self.unsettled: list[str] = []  # images that have a row but not their name
        self.table = None  # opened with the first image: a crawl that finds nothing writes nothing
        self.guard = threading.Lock()
        if self.index.exists():
            self.open()

    def open(self) -> None:
        """Open the index for this program alone, and mend what a killed run left behind."""
        self.folder.mkdir(parents=True, exist_ok=True)
        busy = f"another getData.py is filling {self.folder}; wait for it to end."
        self.lock = tables.lock(self.index, busy)
        self.table = tables.open_table(self.index, utils.INDEX_COLUMNS)
        rows = tables.read_table(self.index, utils.INDEX_COLUMNS)
        named = {row["image"] for row in rows}
        for row in rows:
            if form := re.match("practice:([a-z]+)", row["source"]):
                numbers = self.numbers[form[1]]
                number = re.search(r"[?&]n=(\d{1,15})$", row["url"])
                numbers.add(int(number[1]) if number else len(numbers))
        self.kept += len(named)
        self.names |= named
        self.orphans = {file.name for file in self.folder.glob("[0-9a-f]*.*")} - named
        for partial in self.folder.glob(".*.partial"):
            name = partial.name[1:].removesuffix(".partial")
            whole = utils.content_hash(partial.read_bytes())[:16] == name.partition(".")[0]
            if whole and name in named and not (self.folder / name).exists():
                partial.replace(self.folder / name)
            elif re.fullmatch("[0-9a-f]{16}[.][a-z]+", name):
                partial.unlink()

    def save(self, data: bytes, extension: str) -> tuple[str, bool]:
        """Write an image under its temporary name, unless it is known; in any thread.

        Returns its name and whether it is new; if so, enter() must follow.
        """
        name = f"{utils.content_hash(data)[:16]}.{extension}"
        with self.guard, told(self.folder):
            if self.table is None:
                self.open()
            if name in self.names:
                return name, False
            self.names.add(name)
        with told(self.folder):
            if name not in self.orphans:
                with self.partial(name).open("wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
        return name, True

    def enter(self, name: str, source: str, url: str, answer: str) -> None:
        """Write the row of an image that was saved; in the main thread only, as is settle()."""
        with told(self.folder):
            csv.writer(self.table).writerow([name, source, url, utils.now(), answer])
            self.table.flush()
            self.kept += 1
            if name not in self.orphans:
                self.unsettled.append(name)

    def settle(self) -> None:
        """Wait until all rows are on the disk, and give the images their names."""
        if self.table is None:
            return
        with told(self.folder):
            os.fsync(self.table.fileno())
            if not os.path.samestat(os.fstat(self.table.fileno()), self.index.stat()):
                raise OSError("another program has replaced index.csv")
            while self.unsettled:
                self.partial(self.unsettled[-1]).replace(self.folder / self.unsettled[-1])
                self.unsettled.pop()

    def partial(self, name: str) -> Path:
        """Return the temporary file of an image."""
        return self.folder / f".{name}.partial"

    def close(self) -> None:
        """Let other programs have the folder."""
        if self.table is not None:
            with contextlib.suppress(OSError):  # after a full disk it would try to write again
                self.table.close()
            self.lock.close()


@contextlib.contextmanager
def told(folder: Path) -> Iterator[None]:
    """Turn trouble with the disk into a sentence that says what to do."""
    try:
        yield
    except OSError as error:
        raise OSError(
            f"{folder}: {error.strerror or error}. What was kept before is safe; mend that and "
            "run this again."
        ) from error
