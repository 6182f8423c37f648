import contextlib
import csv
import os
import subprocess
import sys

import pytest
from helpers import project
from hypothesis import given
from hypothesis import strategies as st

from files import tables
from files.atomic import replacing
from files.tables import Journal, read_table, write_table

BUSY = "it is open elsewhere; close that."
text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=9)
rows_of_three = st.lists(st.lists(text, min_size=3, max_size=3))


def append(path, columns, *rows):
    """Open a journal, append rows one by one, and close it; return the rows that it had."""
    journal = Journal(path, columns, BUSY)
    for row in rows:
        journal.append([row])
    journal.close()
    return journal.rows


@given(rows_of_three)
def test_rows_survive_and_a_torn_one_is_cut_off(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("table") / "t.csv"
    columns = ["a", "b", "c"]
    append(path, columns, *rows)
    expected = [dict(zip(columns, row, strict=True)) for row in rows]
    assert read_table(path, columns) == expected
    with open(path, encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        assert list(csv.reader(file)) == [columns, *rows]
    with open(path, "ab") as file:
        file.write(b'x,"torn\r\nrow')
    assert read_table(path, columns) == expected
    assert append(path, columns, ["1", "2", "3"]) == expected
    assert read_table(path, columns) == [*expected, {"a": "1", "b": "2", "c": "3"}]


@given(rows_of_three)
def test_a_whole_table_has_the_same_bytes_as_a_journal_of_the_same_rows(tmp_path_factory, rows):
    """Above all the byte order mark, by which spreadsheets know the encoding."""
    folder = tmp_path_factory.mktemp("table")
    append(folder / "journal.csv", ["a", "b", "c"], *rows)
    write_table(folder / "table.csv", ["a", "b", "c"], rows)
    written = (folder / "table.csv").read_bytes()
    assert written == (folder / "journal.csv").read_bytes()
    assert written.startswith(b"\xef\xbb\xbfa,b,c\r\n")
    assert written.count(b"\xef\xbb\xbf") == 1 + str(rows).count("\ufeff")


def test_bytes_that_are_no_utf_8_survive(tmp_path):
    for write in (append, lambda path, columns, row: write_table(path, columns, [row])):
        write(tmp_path / "t.csv", ["a"], ["\udcff"])
        assert read_table(tmp_path / "t.csv", ["a"]) == [{"a": "\udcff"}]
        assert (tmp_path / "t.csv").read_bytes().endswith(b"a\r\n\xff\r\n")
        (tmp_path / "t.csv").unlink()


def test_a_table_cut_at_any_byte_keeps_its_whole_rows(tmp_path):
    path, columns = tmp_path / "t.csv", ["a", "b"]
    append(path, columns, *[[str(i), 'two\r\nlines, "quoted"'] for i in range(3)])
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        opened = append(path, columns)
        kept = read_table(path, columns)
        assert opened == kept
        assert [row["a"] for row in kept] == [str(i) for i in range(len(kept))]
        assert all(row["b"] == 'two\r\nlines, "quoted"' for row in kept)
        assert len(kept) == sum(size >= end for end in row_ends(whole))
        assert path.read_bytes().startswith(b"\xef\xbb\xbfa,b\r\n")


def row_ends(data):
    """The slow way: read the table byte by byte and see where each row has just ended."""
    ends, quoted = [], False
    for i, byte in enumerate(data):
        quoted ^= byte == ord('"')
        if byte == ord("\n") and not quoted:
            ends.append(i + 1)
    return ends[1:]  # without the header


@pytest.mark.parametrize(
    "content", [b"a poem", b"a poem\nof two lines\n", b"a,c\n1,2\n", b"a\n1\n"]
)
def test_a_file_of_another_kind_is_refused_and_kept(tmp_path, content):
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"t\.csv"):
        Journal(path, ["a", "b"], BUSY)
    assert path.read_bytes() == content


def test_a_row_with_too_few_columns_is_named(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(b"a,b\n1,2\n3\n")
    with pytest.raises(ValueError, match=r"t\.csv, row 3"):
        Journal(path, ["a", "b"], BUSY)
    assert path.read_bytes() == b"a,b\n1,2\n3\n"


def test_columns_that_a_person_added_are_left_alone(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(b"a,b,mine\n1,2,note\n")
    assert append(path, ["a", "b"], ["3", "4"]) == [{"a": "1", "b": "2"}]
    assert path.read_bytes() == b"a,b,mine\n1,2,note\n3,4\r\n"


def test_an_unclosed_quote_does_not_cost_the_rows_behind_it(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a,b\n" + '"oops,1\n' + "x,2\n" * 2000)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="line 2"):
        Journal(path, ["a", "b"], BUSY)
    assert path.read_bytes() == before


# ---- one program at a time


def open_elsewhere(path):
    """Open a journal in another process; return what that process says."""
    program = f"from files.tables import Journal; Journal({path!r}, ['a'], {BUSY!r})"
    program = program.replace("PosixPath", "__import__('pathlib').Path")
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=project, timeout=60
    )
    return done.stderr.strip().splitlines()[-1:]


def test_a_journal_is_open_in_one_program_only(tmp_path):
    path = tmp_path / "t.csv"
    journal = Journal(path, ["a"], BUSY)
    with pytest.raises(ValueError, match=BUSY):
        Journal(path, ["a"], BUSY)
    assert open_elsewhere(path) == [f"ValueError: {BUSY}"]
    journal.append([["1"]])  # the one that has it goes on
    journal.close()
    assert open_elsewhere(path) == []
    assert append(path, ["a"]) == [{"a": "1"}]


def test_a_table_that_was_refused_is_not_locked(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(b"a poem\n")
    with pytest.raises(ValueError, match="columns"):
        Journal(path, ["a"], BUSY)
    path.write_bytes(b"a\n")
    assert append(path, ["a"]) == []


def test_many_rows_cost_one_wait_for_the_disk(tmp_path, monkeypatch):
    journal = Journal(tmp_path / "t.csv", ["a"], BUSY)
    synced = []
    monkeypatch.setattr(tables.os, "fsync", synced.append)
    journal.append([[str(i)] for i in range(1000)])
    assert len(synced) == 1
    assert len(read_table(journal.path, ["a"])) == 1000
    journal.close()


def full_disk(_):
    raise OSError(28, "No space left on device")


def test_a_row_that_cannot_be_written_is_said_and_costs_no_other(tmp_path, monkeypatch):
    path = tmp_path / "t.csv"
    journal = Journal(path, ["a"], BUSY)
    journal.append([["1"]])
    with monkeypatch.context() as patch:
        patch.setattr(tables.os, "fsync", full_disk)
        with pytest.raises(OSError, match=r"t\.csv: the last row .* \(No space left on device\)"):
            journal.append([["2"]])
    assert append(path, ["a"], ["3"])[0] == {"a": "1"}  # closed, so that another may open it


@pytest.mark.skipif(os.name == "nt", reason="there an open file cannot be replaced")
def test_a_file_that_another_program_replaced_gets_no_rows(tmp_path):
    """A spreadsheet that saves writes another file in its place; the row would go nowhere."""
    path = tmp_path / "t.csv"
    journal = Journal(path, ["a"], BUSY)
    write_table(path, ["a"], [["theirs"]])
    with pytest.raises(OSError, match="another program has replaced the file"):
        journal.append([["ours"]])
    assert append(path, ["a"]) == [{"a": "theirs"}]


# ---- whole files


def test_replacing_keeps_the_old_file_until_the_new_one_is_complete(tmp_path):
    path = tmp_path / "f"
    path.write_text("old")
    with contextlib.suppress(OSError), replacing(path) as temporary:
        temporary.write_text("ha")
        raise OSError("disk full")
    assert path.read_text() == "old"
    with replacing(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]
