import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from files.split_names import labelled_images, parse_split_name, split_name

DIGEST = "0123456789abcdef"
# A character has up to four bytes, each of which is three characters when encoded.
characters = st.characters(exclude_characters="\0", exclude_categories=["Cs"])


@given(st.text(characters, min_size=1, max_size=8))
@example("é" * 16)
@example("x" * 100)
@example("../a\\b:c*\n\t\x1b\u202e😀")
@example("=")
@example("..")
@example("CON")
@example("a_01234567.png")
@example("\udcff")  # a byte of labels.csv that is no UTF-8
def test_any_label_survives_in_a_folder_of_the_split(tmp_path_factory, label):
    folder = tmp_path_factory.mktemp("split")
    name = split_name(label, DIGEST, "png")
    assert name.isascii()
    assert not set(name) & set('/\\:*?"<>| ')
    assert name.count(".") == 1
    assert len(name) < 120
    (folder / name).write_bytes(b"image")
    assert labelled_images(folder) == [(folder / name, label)]
    assert parse_split_name(name) == (label, "01234567")


@pytest.mark.parametrize("label", ["x" * 101, "é" * 17, "😀" * 9, "." * 34])
def test_a_label_too_long_for_a_file_name_is_refused(label):
    assert split_name(label[:-1], DIGEST, "png")
    with pytest.raises(ValueError, match="too long for a file name: 10[1-8] bytes .*, 100 at most"):
        split_name(label, DIGEST, "png")


def test_names_that_split_data_did_not_make_are_told_apart(tmp_path):
    for name in ("abc.png", "abc_0123456.png", "_01234567.png", "abc_01234567", "notes.txt"):
        assert parse_split_name(name) is None
    (tmp_path / "a_01234567.png").touch()
    for litter in (".DS_Store", "Thumbs.db", "desktop.ini"):
        (tmp_path / litter).touch()
    assert [label for _, label in labelled_images(tmp_path)] == ["a"]
    (tmp_path / "notes.txt").touch()
    with pytest.raises(ValueError, match=r"notes\.txt was not made by split_data\.py"):
        labelled_images(tmp_path)
    with pytest.raises(ValueError, match="nowhere"):
        labelled_images(tmp_path / "nowhere")
