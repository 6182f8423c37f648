import contextlib
import csv

import pytest
from hypothesis import given
from hypothesis import strategies as st

from files import tables

text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=9)


@given(st.lists(st.lists(text, min_size=3, max_size=3)))
def test_rows_survive_and_a_torn_one_is_cut_off(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("table") / "t.csv"
    columns = ["a", "b", "c"]
    with tables.open_table(path, columns) as table:
        for row in rows:
            tables.append_row(table, row)
    expected = [dict(zip(columns, row, strict=True)) for row in rows]
    assert tables.read_table(path, columns) == expected
    with open(path, encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        assert list(csv.reader(file)) == [columns, *rows]
    with open(path, "ab") as file:
        file.write(b'x,"torn\r\nrow')
    assert tables.read_table(path, columns) == expected
    with tables.open_table(path, columns) as table:
        tables.append_row(table, ["1", "2", "3"])
    assert tables.read_table(path, columns) == [*expected, {"a": "1", "b": "2", "c": "3"}]


def test_a_table_cut_at_any_byte_keeps_its_whole_rows(tmp_path):
    path, columns = tmp_path / "t.csv", ["a", "b"]
    with tables.open_table(path, columns) as table:
        for i in range(3):
            tables.append_row(table, [str(i), 'two\r\nlines, "quoted"'])
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        tables.open_table(path, columns).close()
        kept = tables.read_table(path, columns)
        assert [row["a"] for row in kept] == [str(i) for i in range(len(kept))]
        assert all(row["b"] == 'two\r\nlines, "quoted"' for row in kept)
        assert len(kept) == sum(size >= end for end in row_ends(whole))


def row_ends(data):
    """The slow way: read the table up to each byte and see whether a row has just ended."""
    ends, quoted = [], False
    for i, byte in enumerate(data):
        quoted ^= byte == ord('"')
        if byte == ord("\n") and not quoted:
            ends.append(i + 1)
    return ends[1:]  # without the header


@pytest.mark.parametrize("content", [b"a poem", b"a poem\nof two lines\n", b"a,c\n1,2\n"])
def test_a_file_of_another_kind_is_refused_and_kept(tmp_path, content):
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"t\.csv"):
        tables.open_table(path, ["a", "b"])
    assert path.read_bytes() == content


def test_an_unclosed_quote_does_not_cost_the_rows_behind_it(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a,b\n" + '"oops,1\n' + "x,2\n" * 2000)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="line 2"):
        tables.open_table(path, ["a", "b"])
    assert path.read_bytes() == before


def test_replacing_keeps_the_old_file_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "f"
    path.write_text("old")
    with contextlib.suppress(OSError), tables.replacing(path) as temporary:
        temporary.write_text("ha")
        raise OSError("disk full")
    assert path.read_text() == "old"
    with tables.replacing(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]
