"""Files that survive a crash: written beside and swapped in, or appended row by row.

Whenever a program is stopped, a reader sees a file as it was before or after a change.
"""

import contextlib
import csv
import io
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, TextIO

if os.name == "nt":
    import msvcrt
else:
    import fcntl

MAX_TORN = 4096  # bytes; a row that was cut off while it was written is shorter


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary name beside ``path`` to write to; on success it replaces ``path``.

    A reader sees the old file or the new one, never half of it, whenever the program is stopped.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.partial")
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        if error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error  # it lacked the name
    finally:
        temporary.unlink(missing_ok=True)


def open_table(path: Path, columns: Sequence[str]) -> TextIO:
    """Open a CSV file to append rows to; a new one gets its header, a torn last row is cut off.

    Raises ValueError if the file has other columns.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        read_table(path, columns)  # refuses a file of another kind before anything is cut
        os.truncate(path, whole_rows(path))
    # The byte order mark tells spreadsheets that the text is UTF-8; read_table expects it or not.
    table = path.open("a", encoding="utf-8", errors="surrogateescape", newline="")
    if path.stat().st_size == 0:
        table.write("\ufeff")
        append_row(table, columns)
    return table


def lock(path: Path, busy: str) -> BinaryIO:
    """Keep other programs that lock it off a file until the file returned is closed.

    The system drops the lock when the program ends, however it ends. Raises ValueError, with the
    sentence ``busy``, if another program has it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("ab")
    try:
        if os.name == "nt":  # Windows lets nobody read a locked byte: lock one far past the end
            file.seek(2**30)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError) as error:
        file.close()
        raise ValueError(busy) from error
    return file


def append_row(table: TextIO, row: Sequence[Any]) -> None:
    """Append one row to a table and wait until it is on the disk."""
    csv.writer(table).writerow(row)
    table.flush()
    os.fsync(table.fileno())


def read_table(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """Return the whole rows of a CSV file that has these columns first, a torn last row left out.

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

    Raises ValueError if more than a torn last row would be left out: then a quote never closes.
    """
    data = path.read_bytes()
    end = data.rfind(b"\n") + 1
    while end and data.count(b'"', 0, end) % 2:
        end = data.rfind(b"\n", 0, end - 1) + 1
    if len(data) - end > MAX_TORN:
        line = data.count(b"\n", 0, end) + 1
        raise ValueError(
            f"{path}: mend line {line}, where a quotation mark opens and never closes."
        )
    return end
