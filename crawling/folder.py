"""The folder of fetched images: each whole, each once, each with its row, however a crawl ends."""

import contextlib
import os
import re
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from files.images import content_hash
from files.tables import INDEX_COLUMNS, Journal


class ImageFolder:
    """The fetched images and index.csv, which says where each came from.

    An image is written under a temporary name and synced, then its row is written and synced, and
    only then does it get its name. So whenever the program is killed, every image with a name is
    whole and in the index, and the next run names the images that have a row.

    ``rows`` are those that the index had at first; ``count`` is how many images are in it now.
    Raises ValueError if another program fills the folder, or index.csv is a table of another kind.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows: list[dict[str, str]] = []
        self.count = 0
        self.names: set[str] = set()  # of the images in the index, and of those being written
        self.orphans: set[str] = set()  # images that have lost their row: somebody edited the index
        self.guard = threading.Lock()
        # Opened with the first image, so that a crawl that finds nothing writes nothing.
        self.index: Journal | None = None
        if (folder / "index.csv").exists():
            self.open()

    def open(self) -> Journal:
        """Open the index for this program alone, and repair what a killed run left behind."""
        busy = f"another getData.py is filling {self.folder}; wait for it to end."
        self.index = Journal(self.folder / "index.csv", INDEX_COLUMNS, busy)
        self.rows = self.index.rows
        in_index = {row["image"] for row in self.rows}
        self.count += len(in_index)
        self.names |= in_index
        self.orphans = {file.name for file in self.folder.glob("[0-9a-f]*.*")} - in_index
        for partial in self.folder.glob(".*.partial"):
            name = partial.name[1:].removesuffix(".partial")
            whole = content_hash(partial.read_bytes())[:16] == name.partition(".")[0]
            if whole and name in in_index and not (self.folder / name).exists():
                partial.replace(self.folder / name)
            elif re.fullmatch("[0-9a-f]{16}[.][a-z]+", name):
                partial.unlink()
        return self.index

    def write(self, data: bytes, extension: str) -> tuple[str, bool]:
        """Write an image under its temporary name, unless it is known; in any thread.

        Returns its name and whether it is new; if so, enter() must follow.
        """
        name = f"{content_hash(data)[:16]}.{extension}"
        with self.guard, explained(self.folder):
            if self.index is None:
                self.open()
            if name in self.names:
                return name, False
            self.names.add(name)
        if name not in self.orphans:
            with explained(self.folder), self.partial(name).open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        return name, True

    def enter(self, rows: Sequence[Sequence[str]]) -> None:
        """Write the rows of images that were written, then name these; in one thread only."""
        index = self.index or self.open()
        index.append(rows)
        with explained(self.folder):
            for name, *_ in rows:
                if name not in self.orphans:
                    self.partial(name).replace(self.folder / name)
                self.count += 1

    def partial(self, name: str) -> Path:
        """Return the temporary file of an image."""
        return self.folder / f".{name}.partial"

    def __enter__(self) -> "ImageFolder":
        return self

    def __exit__(self, *_: object) -> None:
        """Let other programs have the folder."""
        if self.index is not None:
            self.index.close()


@contextlib.contextmanager
def explained(folder: Path) -> Iterator[None]:
    """Turn trouble with the disk into a sentence that says what to do."""
    try:
        yield
    except OSError as error:
        raise OSError(
            f"{folder}: {error.strerror or error}. Everything before it is safe; fix that and "
            "start again."
        ) from error
