from helpers import practice_folder, run_here

from files.split_names import labelled_images


def test_a_set_gets_a_row_and_is_not_measured_again(tmp_path):
    """One short round: the figures need not be good."""
    for name in ("first", "second"):
        practice_folder(tmp_path / "sets" / name, 50, "simple")
    arguments = [
        "benchmarks/self_taught.py", f"FOLDER={tmp_path / 'sets'}", "LABEL_PATTERN=^([^-]+)-",
        "SETS=['second']", "CRAWL=30", f"OUTPUT={tmp_path / 'table.md'}",
        f"WORK_FOLDER={tmp_path / 'work'}", "SETTINGS=EPOCHS=1 ROUNDS=1 BATCH_SIZE=16",
    ]  # fmt: skip
    done = run_here(*arguments)
    assert done.returncode == 0, done.stderr
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in (tmp_path / "table.md").read_text().splitlines()
    ]
    assert [row[0] for row in rows[2:]] == ["second"]
    assert rows[2][1:4] == ["30", "0", "10"]
    assert all(0 <= float(share) <= 100 for share in rows[2][4:7])
    assert float(rows[2][4]) > 30  # the practice model knows this form
    assert len(list((tmp_path / "work" / "crawl").iterdir())) == 30
    before = (tmp_path / "table.md").read_text()
    assert run_here(*arguments).returncode == 0
    assert (tmp_path / "table.md").read_text() == before

    done = run_here(*arguments, "SETS=['first']", "LABELS=12")
    assert done.returncode == 0, done.stderr
    assert "| first | 30 | 12 | 10 |" in (tmp_path / "table.md").read_text()
    split = tmp_path / "work" / "split"
    counts = [len(labelled_images(split / name)) for name in ("train", "val", "test")]
    assert counts == [9, 3, 10]
    assert len(list((tmp_path / "work" / "crawl").iterdir())) == 18
