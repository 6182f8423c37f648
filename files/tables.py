"""CSV files: whole tables that are swapped in, and journals that only ever grow.

Every table begins with a byte order mark, which tells spreadsheets that the text is UTF-8.
"""

import contextlib
import csv
import io
import os
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, BinaryIO

from files.atomic import replacing

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

INDEX_COLUMNS = ["image", "source", "url", "time", "answer"]  # data/download/index.csv
LABEL_COLUMNS = ["image", "label", "state", "how", "seconds", "time"]  # data/labels.csv
SPLIT_COLUMNS = ["copy", "original", "label", "split"]  # data/split/index.csv
SUSPECT_COLUMNS = ["image", "original", "label", "prediction", "confidence", "suspicion"]

MAX_TORN = 4096  # bytes; a row that was cut off while it was written is shorter


class Journal:
    """A table to which one program at a time appends rows.

    ``rows`` are those that the file had when it was opened. A torn last row, left by a crash, is
    cut off. ``busy`` is the sentence for a file that another program has open.
    Raises ValueError if the file is in use, or is a table of another kind.
    """

    def __init__(self, path: Path, columns: Sequence[str], busy: str) -> None:
        self.path = path
        self.lock = lock(path, busy)
        try:
            self.rows: list[dict[str, str]] = []
            if path.stat().st_size:
                self.rows = read_table(path, columns)  # refuses another kind before cutting
                os.truncate(path, whole_rows(path))
            self.file = path.open("a", encoding="utf-8", errors="surrogateescape", newline="")
            if path.stat().st_size == 0:
                self.file.write("\ufeff")
                self.append([columns])
        except BaseException:
            self.lock.close()
            raise

    def append(self, rows: Iterable[Sequence[Any]]) -> None:
        """Append rows and wait until they are on the disk.

        Raises OSError if that fails; then the journal is closed, as half a row may stand there.
        """
        try:
            if not os.path.samestat(os.fstat(self.file.fileno()), self.path.stat()):
                raise OSError("another program has replaced the file")
            csv.writer(self.file).writerows(rows)
            self.file.flush()
            os.fsync(self.file.fileno())
        except OSError as error:
            self.close()
            raise OSError(
                f"{self.path}: the last row could not be written ({error.strerror or error}). "
                "Everything before it is safe; fix that and start again."
            ) from error

    def close(self) -> None:
        """Let other programs have the file."""
        with contextlib.suppress(OSError):  # after a full disk, closing tries to write once more
            self.file.close()
        self.lock.close()


def lock(path: Path, busy: str) -> BinaryIO:
    """Keep other programs that lock a file off it, until the file returned is closed.

    The system drops the lock when the program ends, however it ends. Raises ValueError, with the
    sentence ``busy``, if another program has it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("ab")
    try:
        if sys.platform == "win32":  # it lets nobody read a locked byte: lock one far past the end
            file.seek(2**30)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError) as error:
        file.close()
        raise ValueError(busy) from error
    return file


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a whole CSV file, which replaces the old one."""
    with (
        replacing(path) as temporary,
        open(temporary, "w", encoding="utf-8-sig", errors="surrogateescape", newline="") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(rows)


def read_table(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """Return the whole rows of a CSV file that has these columns first, without a torn last row.

    Raises ValueError for a file with other columns.
    """
    data = path.read_bytes()
    text = data[: whole_rows(path)].decode("utf-8", errors="surrogateescape")
    try:
        rows = list(csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline=""), strict=True))
    except csv.Error as error:
        raise ValueError(f"{path} is not a table that can be read: {error}.") from error
    torn_header = not rows and f"\ufeff{','.join(columns)}\r\n".encode().startswith(data)
    if not torn_header and (not rows or rows[0][: len(columns)] != list(columns)):
        raise ValueError(f"{path} should begin with the columns {','.join(columns)}.")
    for number, row in enumerate(rows, start=1):
        if row and len(row) < len(columns):
            raise ValueError(f"{path}, row {number}, has too few columns.")
    return [dict(zip(columns, row, strict=False)) for row in rows[1:] if row]


def whole_rows(path: Path) -> int:
    """Return how many bytes of a CSV file are whole rows: up to the last line end not in quotes.

    Raises ValueError if more than a torn last row would be lost: then a quote never closes.
    """
    data = path.read_bytes()
    end = data.rfind(b"\n") + 1
    while end and data.count(b'"', 0, end) % 2:
        end = data.rfind(b"\n", 0, end - 1) + 1
    if len(data) - end > MAX_TORN:
        line = data.count(b"\n", 0, end) + 1
        raise ValueError(f"{path}, line {line}: a quotation mark opens there and never closes.")
    return end


def now() -> str:
    """Return the time in UTC, to the second, as it stands in the tables."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
