"""The folder of fetched images: whatever a kill leaves, the next run repairs it."""

import os
import re

import pytest
from bad_server import encoded
from crawl_helpers import check_folder

from crawling.folder import ImageFolder
from files.tables import Journal, now


def fill(folder, *seeds):
    """Keep an image for each seed, as a crawl does; return their names."""
    with ImageFolder(folder) as images:
        kept = [images.write(encoded(seed), "png") for seed in seeds]
        images.enter([row(name) for name, new in kept if new])
    return [name for name, _ in kept]


def row(name):
    return [name, "http://x/", "http://x/?n=1", now(), 'a,"b']


def test_every_state_that_a_kill_can_leave_is_repaired(tmp_path):
    """The states between the steps: temporary file, torn row, row, name."""
    names = fill(tmp_path, 0, 1, 2, 3)
    index = tmp_path / "index.csv"
    lines = index.read_bytes().splitlines(keepends=True)
    waiting, torn, half = names[1], names[3], "0123456789abcdef.png"
    for name in (waiting, torn):
        (tmp_path / name).rename(tmp_path / f".{name}.partial")
    (tmp_path / f".{half}.partial").write_bytes(encoded(4)[:100])
    index.write_bytes(b"".join(lines[:4]) + lines[4][:30])
    mine = tmp_path / ".my.partial"
    mine.write_text("not ours")

    with ImageFolder(tmp_path) as images:
        assert images.count == 3
    mine.unlink()
    assert [row["image"] for row in check_folder(tmp_path)] == names[:3]
    assert fill(tmp_path, 3) == [torn]
    assert [row["image"] for row in check_folder(tmp_path)] == names


def test_an_image_gets_its_name_only_after_its_row(tmp_path, monkeypatch):
    """The row is on the disk before the name, and the whole image before the row."""
    steps = []
    append, fsync = Journal.append, os.fsync

    def watched_append(journal, rows):
        append(journal, rows)
        steps.append(sorted(file.name for file in tmp_path.iterdir()))

    def watched_fsync(number):
        steps.append(os.fstat(number).st_size)
        fsync(number)

    with ImageFolder(tmp_path) as images:
        fill_first = images.write(encoded(0), "png")[0]
        monkeypatch.setattr(Journal, "append", watched_append)
        monkeypatch.setattr(os, "fsync", watched_fsync)
        name, _ = images.write(encoded(1), "png")
        images.enter([row(fill_first), row(name)])
    partials = sorted([f".{fill_first}.partial", f".{name}.partial"])
    size = (tmp_path / "index.csv").stat().st_size
    assert steps == [len(encoded(1)), size, [*partials, "index.csv"]]
    check_folder(tmp_path)


def test_an_image_that_has_lost_its_row_gets_one_and_stays_as_it_is(tmp_path):
    names = fill(tmp_path, 0, 1, 2)
    (tmp_path / "index.csv").unlink()
    before = {name: (tmp_path / name).stat().st_mtime_ns for name in names}
    assert fill(tmp_path, 0, 1, 2) == names
    assert {name: (tmp_path / name).stat().st_mtime_ns for name in names} == before
    assert len(check_folder(tmp_path)) == 3


def test_an_image_that_is_known_is_kept_once(tmp_path):
    fill(tmp_path, 0, 0, 1)
    fill(tmp_path, 1, 2)
    assert len(check_folder(tmp_path)) == 3


def test_an_index_of_another_kind_is_left_as_it_is(tmp_path):
    index = tmp_path / "index.csv"
    index.write_text("my,own,table\n1,2,3\n")
    columns = "should begin with the columns image,source,url,time,answer"
    with pytest.raises(ValueError, match=f"{re.escape(str(index))} {columns}"):
        ImageFolder(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["index.csv"]
    assert index.read_text() == "my,own,table\n1,2,3\n"
