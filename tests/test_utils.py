import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import run_script

import utils
from files.tables import LABEL_COLUMNS, Journal, now

SCRIPT = '''"""A script.

    python script.py
"""
from pathlib import Path
import utils, sys
# ---- edit these ----
COUNT = 3  # how many
# two lines above
# of comment
NAME: str | None = None
RATE = 0.5  # a number # with a hash
SHOW = True  # yes or no
FOLDER = Path("/data")  # a folder
MAYBE: Path | None = Path("/x")  # None: nothing
# ------------------
BELOW = 1
lower = 1  # not a constant
def main():
    plain = utils.settings(globals(), sys.argv[1:], PLAIN)
    print([COUNT, NAME, RATE, SHOW, FOLDER, MAYBE, plain])
if __name__ == "__main__":
    utils.run(main)
'''


@pytest.fixture
def script(tmp_path, monkeypatch):
    """A small script, and a function that runs it in a process of its own."""
    monkeypatch.setenv("PYTHONPATH", str(utils.ROOT))
    file = tmp_path / "script.py"

    def run(*arguments, plain="None"):
        file.write_text(SCRIPT.replace("PLAIN", plain))
        return run_script(file, *arguments, cwd=tmp_path, check=False)

    return run


def test_settings_read_each_kind(script):
    done = script("COUNT=7", "NAME=7", "RATE=1", "SHOW=False", "FOLDER=a b", "MAYBE=None")
    assert done.stdout.strip() == "[7, '7', 1.0, False, PosixPath('a b'), None, []]"
    assert script("NAME=None").stdout == script().stdout
    for digits in ("0123", "1230", "1e5", "0x1F"):  # as they stand, whatever Python would read
        assert f"'{digits}'" in script(f"NAME={digits}").stdout


def test_a_list_of_texts_is_read_as_a_list_alone_or_in_a_union():
    for kind in (list[str], list[str] | None):
        assert utils.parse_value("NAMES", "['a', 'b']", kind) == ["a", "b"]
        assert utils.parse_value("NAMES", "[]", kind) == []
        with pytest.raises(ValueError, match="list"):
            utils.parse_value("NAMES", "a", kind)
    assert utils.parse_value("NAMES", "None", list[str] | None) is None


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("COUNTS=7", "COUNT, NAME, RATE, SHOW, FOLDER, MAYBE"),
        ("COUNT=seven", "int"),
        ("COUNT=7.5", "int"),
        ("COUNT=True", "int"),
        ("COUNT=", "int"),
        ("COUNT=None", "int"),
        ("RATE=fast", "float"),
        ("SHOW=1", "bool"),
        ("FOLDER=", "Path"),
        ("lower=2", "NAME=value"),
        ("seven", "NAME=value"),
    ],
)
def test_settings_refuse_in_one_sentence(script, argument, words):
    done = script(argument)
    assert done.returncode == 1
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert words in done.stderr


def test_a_terminal_that_lacks_a_character_gets_its_code(script, monkeypatch):
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    assert "\\u2603" in script("\N{SNOWMAN}", plain="'files'").stdout


def test_plain_arguments_pass_where_a_script_takes_them(script):
    assert "['a=b.png', 'x']" in script("a=b.png", "x", plain="'files'").stdout


def test_help_shows_docstring_constants_and_comments(script):
    shown = script("--help").stdout
    assert "python script.py" in shown
    for words in ("COUNT = 3", "how many", "two lines above of comment", "a number # with a hash"):
        assert words in shown
    assert "lower" not in shown


@pytest.mark.parametrize(
    "name", ["getData", "label_helper", "split_data", "train_script", "predict"]
)
def test_every_script_explains_each_constant(name):
    comments = utils.setting_comments(utils.ROOT / f"{name}.py")
    assert comments
    assert all(comments.values()), comments


@pytest.mark.parametrize(
    ("name", "argument", "told"),
    [
        ("label_helper", "--help", "ORDER = "),
        ("train_script", "--help", "EPOCHS = "),
        ("train_script", "EPOCH=3", "no constant EPOCH"),
        ("train_script", "EPOCHS=many", "kind int or None"),
        ("predict", "--help", "MIN_CONFIDENCE = "),
        ("predict", "MIN_CONFIDENCE=high", "kind float"),
    ],
)
def test_help_and_mistyped_settings_are_answered_without_torch(name, argument, told, tmp_path):
    (tmp_path / "torch.py").write_text("raise SystemExit('torch was imported')")
    done = subprocess.run(
        [sys.executable, str(utils.ROOT / f"{name}.py"), argument],
        env={**os.environ, "PYTHONPATH": str(tmp_path)}, capture_output=True, text=True,
    )  # fmt: skip
    assert told in done.stdout + done.stderr
    assert done.returncode == (argument != "--help")


def test_constants_outside_the_two_rules_are_no_settings(script):
    done = script("BELOW=2")
    assert done.returncode == 1
    assert "there is no constant BELOW" in done.stderr
    assert "BELOW" not in script("--help").stdout


@pytest.mark.parametrize(
    ("correct", "total", "low", "high"),
    [(105, 107, 0.9344, 0.9949), (0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0)],
)
def test_wilson_interval_has_its_published_values(correct, total, low, high):
    found = utils.wilson_interval(correct / total, total)
    assert found == (pytest.approx(low, abs=2e-4), pytest.approx(high, abs=2e-4))


def test_only_the_last_confirmed_row_of_an_image_is_its_label(tmp_path):
    journal = Journal(tmp_path / "labels.csv", LABEL_COLUMNS, "busy")
    rows = [("a", "x", "confirmed"), ("a", "y", "confirmed"), ("b", "x", "confirmed")]
    rows += [("b", "", "undone"), ("c", "", "skipped"), ("elsewhere", "x", "confirmed")]
    journal.append([[*row, "typed", 1, now()] for row in rows])
    journal.close()
    files = [tmp_path / name for name in ("a", "b", "c", "d")]
    labels = utils.confirmed_labels(files, tmp_path / "labels.csv")
    assert labels == {tmp_path / "a": "y"}


def test_the_word_practice_stands_for_the_model_that_ships():
    assert utils.model_file("practice").is_file()
    assert utils.model_file("/x/practice") == Path("/x/practice")


def test_image_files_come_by_name_without_what_is_no_image(tmp_path):
    for name in ("b.PNG", "a.jpeg", ".c.png", "notes.txt", "png"):
        (tmp_path / name).touch()
    (tmp_path / "d.png").mkdir()
    assert utils.image_files(tmp_path) == [tmp_path / "a.jpeg", tmp_path / "b.PNG"]


def test_results_in_parallel_come_in_order_few_at_a_time_and_the_first_error_is_raised():
    begun = []

    def work(number):
        begun.append(number)
        if number == 4000:
            raise ValueError("the 4000th")
        return number * 2

    results = utils.in_parallel(work, range(9000), "working")
    assert next(results) == 0
    assert len(begun) <= 1024
    with pytest.raises(ValueError, match="the 4000th"):
        assert [*results] == []
    assert len(begun) < 6000
    assert [*utils.in_parallel(str, range(3000), "working")] == [*map(str, range(3000))]
