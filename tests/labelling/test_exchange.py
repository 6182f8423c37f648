"""exchange.py: labels from elsewhere come in, none made here is lost, and labels go out again."""

import csv
import shutil
import tempfile
from pathlib import Path

import pytest
from helpers import practice_folder
from hypothesis import given, settings
from hypothesis import strategies as st

import utils
from files.images import content_hash
from files.split_names import split_name
from files.tables import LABEL_COLUMNS, read_table
from labelling.exchange import find_labels, read_pairs, write_rec_gt
from labelling.labels import Labelling


@pytest.fixture
def images(tmp_path):
    """Six different images; their names say nothing."""
    made = practice_folder(tmp_path / "made", 6)
    (tmp_path / "images").mkdir()
    for number, file in enumerate(utils.image_files(made)):
        shutil.copy(file, tmp_path / "images" / f"{number}.png")
    return utils.image_files(tmp_path / "images")


def write(path, *rows, delimiter=","):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=delimiter).writerows(rows)
    return path


def test_a_folder_of_named_files_is_matched_by_content(tmp_path, images, capsys):
    folder = tmp_path / "named"
    folder.mkdir()
    for image, label in zip(images, ["ab-1", "cd-2", "eF-3"], strict=False):
        shutil.copy(image, folder / f"{label}.png")
    shutil.copy(images[0], folder / "ab-9.png")  # twice, with the same label
    practice_folder(tmp_path / "strange", 1, seed=9)
    shutil.copy(utils.image_files(tmp_path / "strange")[0], folder / "1-x.png")
    found = find_labels(folder, images, "^([^-]+)-")
    assert found == {"0.png": "ab", "1.png": "cd", "2.png": "eF"}
    assert "1 labels" in capsys.readouterr().err


def test_copies_that_split_data_made_say_their_labels(tmp_path, images):
    folder = tmp_path / "train"
    folder.mkdir()
    for image, label in zip(images, ["a/b", "c_d"], strict=False):
        name = split_name(label, content_hash(image.read_bytes()), "png")
        shutil.copy(image, folder / name)
    assert find_labels(folder, images, "(.+)") == {"0.png": "a/b", "1.png": "c_d"}


def test_two_labels_for_one_image_are_refused(tmp_path, images):
    folder = tmp_path / "named"
    folder.mkdir()
    shutil.copy(images[0], folder / "ab.png")
    shutil.copy(images[0], folder / "ac.png")
    with pytest.raises(ValueError, match=r"two labels for 0\.png, ab and ac"):
        find_labels(folder, images, "(.+)")


@pytest.mark.parametrize(
    "rows",
    [
        [["image", "label"], ["0.png", "ab"], ["3.png", "c,d"]],
        [["0.png", "ab"], ["3.png", "c,d"]],
        [["id", "Label", "File"], ["1", "ab", "some/where/0.png"], ["2", "c,d", "3.png"]],
        [
            ["filename", "words"],
            ["0.png", "no"],
            ["0.png", " ab "],
            ["3.png", "c,d"],
            ["4.png", ""],
        ],
        [
            ["image", "label", "state"],
            ["0.png", "ab", "confirmed"],
            ["1.png", "zz", "confirmed"],
            ["1.png", "", "undone"],
            ["2.png", "", "skipped"],
            ["3.png", "c,d", "confirmed"],
        ],
    ],
)
def test_a_table_is_matched_by_name_whatever_its_columns_are_called(tmp_path, images, rows):
    table = write(tmp_path / "labels.csv", *rows)
    assert find_labels(table, images, "(.+)") == {"0.png": "ab", "3.png": "c,d"}


def test_a_table_about_files_beside_it_is_matched_by_content(tmp_path, images):
    folder = tmp_path / "other"
    folder.mkdir()
    shutil.copy(images[4], folder / "word_1.png")
    table = write(folder / "rec_gt.txt", ["word_1.png", 'q"x'], delimiter="\t")
    table.write_text('word_1.png\tq"x\n')
    assert find_labels(table, images, "(.+)") == {"4.png": 'q"x'}


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ([], "no label for any of the 6 images"),
        ([["image", "label"], ["zz.png", "ab"]], "no label for any of the 6 images"),
        ([["image", "label"], ["0.png"]], "an image and a label in each row"),
    ],
)
def test_a_table_that_does_not_fit_is_refused(tmp_path, images, rows, sentence):
    with pytest.raises(ValueError, match=sentence):
        find_labels(write(tmp_path / "labels.csv", *rows), images, "(.+)")
    with pytest.raises(ValueError, match="no folder or file"):
        find_labels(tmp_path / "none", images, "(.+)")


def test_what_was_decided_here_is_never_replaced_and_differences_are_named(tmp_path):
    file = tmp_path / "labels.csv"
    here = Labelling(list("abcdef"), file)
    for label, state in [
        ("same", "confirmed"),
        ("mine", "confirmed"),
        ("", "skipped"),
        ("", "unreadable"),
    ]:
        here.decide(label, state)
    there = {"a": "same", "b": "theirs", "c": "cc", "d": "dd", "e": "ee", "gone": "x"}
    said = here.import_labels(there)
    assert said.splitlines() == [
        "Imported: 2 labels; 1 were known already; 2 differ and were left as they are here:",
        "  b: mine here, theirs there",
        "  d: unreadable here, dd there",
    ]
    labels = utils.confirmed_labels([Path(name) for name in "abcdef"], file)
    assert {path.name: label for path, label in labels.items()} == {
        "a": "same",
        "b": "mine",
        "c": "cc",
        "e": "ee",
    }
    rows = read_table(file, LABEL_COLUMNS)[4:]
    assert [(row["image"], row["how"]) for row in rows] == [("c", "imported"), ("e", "imported")]
    assert here.undo()["label"] == "ee"
    assert "0 labels; 4" not in here.import_labels(there)


names = st.text("abcXYZ09é漢 ._-'\"", min_size=1, max_size=8).filter(
    lambda text: text.strip() == text
)


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(names.map(lambda name: name + ".png"), names, min_size=1, max_size=5))
def test_what_goes_out_for_paddleocr_comes_in_again(labels):
    with tempfile.TemporaryDirectory() as folder:
        inside = Path(folder) / "train_data" / "crawl"
        files = {inside / name: label for name, label in labels.items()}
        write_rec_gt(Path(folder) / "train_data" / "rec_gt.txt", files)
        lines = (Path(folder) / "train_data" / "rec_gt.txt").read_bytes().decode().split("\n")
        assert lines == [f"crawl/{name}\t{label}" for name, label in labels.items()] + [""]
        assert dict(read_pairs(Path(folder) / "train_data" / "rec_gt.txt")) == {
            f"crawl/{name}": label for name, label in labels.items()
        }


def test_a_label_that_would_break_the_format_stays_out_and_is_counted(tmp_path, capsys):
    far = tmp_path.parent / "far"
    labels = {far / "a.png": "a\tb", far / "b.png": "c\nd", far / "c.png": "ok"}
    said = write_rec_gt(tmp_path / "rec_gt.txt", labels)
    text = (tmp_path / "rec_gt.txt").read_text(encoding="utf-8")
    assert text == f"{tmp_path.parent.resolve().as_posix()}/far/c.png\tok\n"
    assert said.startswith("1 labels")
    assert "2 labels" in capsys.readouterr().err
