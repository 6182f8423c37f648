import pytest
from helpers import run_script
from hypothesis import example, given
from hypothesis import strategies as st

import utils

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
    monkeypatch.setenv("PYTHONPATH", str(utils.DATA.parent))
    file = tmp_path / "script.py"

    def run(*arguments, plain="None"):
        file.write_text(SCRIPT.replace("PLAIN", plain))
        return run_script(file, *arguments, cwd=tmp_path, check=False)

    return run


def test_settings_read_each_kind(script):
    done = script("COUNT=7", "NAME=7", "RATE=1", "SHOW=False", "FOLDER=a b", "MAYBE=None")
    assert done.stdout.strip() == "[7, '7', 1.0, False, PosixPath('a b'), None, []]"
    assert script("NAME=None").stdout == script().stdout


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
    comments = utils.constant_comments(utils.DATA.parent / f"{name}.py")
    assert comments
    assert all(comments.values()), comments


# ---- labels

text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=9)


@given(st.lists(text.filter(bool), min_size=1))
def test_labels_survive_encoding(labels):
    charset, length = utils.make_charset(labels), max(map(len, labels))
    classes = utils.encode_labels(labels, charset, length)
    assert classes.shape == (len(labels), length)
    assert utils.decode_labels(classes, charset) == labels


def test_unknown_characters_and_long_labels_are_refused():
    with pytest.raises(ValueError, match="'z'"):
        utils.encode_labels(["ab", "az"], "ab", 2)
    with pytest.raises(ValueError, match="longer"):
        utils.encode_labels(["aba"], "ab", 2)


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1))
@example("é" * 300)
@example("../a\\b:c*\n\t\x1b\u202e😀")
@example("=")
@example("\udcff")  # a byte of labels.csv that is no UTF-8
def test_any_label_survives_in_a_folder_of_the_split(tmp_path_factory, label):
    folder = tmp_path_factory.mktemp("split")
    (folder / "image").write_bytes(b"image")
    name = utils.split_name(label, "0123456789abcdef", "png")
    assert name.isascii()
    assert not set(name) & set('/\\:*?"<>| ')
    assert name.count(".") == 1
    assert len(name) < 120
    (folder / "train").mkdir()
    utils.copy_labelled(folder / "image", label, folder / "train" / name)
    assert utils.labelled_images(folder / "train") == [(folder / "train" / name, label)]
    assert utils.split_label(folder / "train" / name) == (label, "01234567")


def test_a_long_label_that_is_missing_is_named(tmp_path):
    (tmp_path / "=_01234567.png").write_bytes(b"image")
    with pytest.raises(ValueError, match=r"=_01234567\.txt.* is missing"):
        utils.labelled_images(tmp_path)


def test_names_that_split_data_did_not_make_are_told_apart():
    for name in ("abc.png", "abc_0123456.png", "_01234567.png", "abc_01234567", "notes.txt"):
        assert utils.parse_split_name(name) is None
