import os
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from helpers import assert_one_sentence, practice_folder, run_script, snapshot
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import split_data
from files import split_names
from files.images import content_hash
from files.split_names import SPLITS, labelled_images, parse_split_name
from files.tables import INDEX_COLUMNS, LABEL_COLUMNS, SPLIT_COLUMNS, Journal, now, read_table

named = ["LABELS_FILE=None", "LABEL_PATTERN=^([^-]+)-"]


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return practice_folder(tmp_path_factory.mktemp("split") / "images", 60, "digit")


def split(images, *arguments, check=True):
    return run_script(
        "split_data.py", f"IMAGE_FOLDER={images}", *named, *arguments, cwd="/", check=check
    )


def splits(folder):
    """Return the split of each image content, with its label."""
    return {
        file.read_bytes(): (name, label)
        for name in SPLITS
        for file, label in labelled_images(folder / name)
    }


def journal(path, columns, rows):
    """Write a table as the scripts do."""
    table = Journal(path, columns, "busy")
    table.append(rows)
    table.close()


def test_every_image_is_copied_once_with_its_label_and_the_source_stays(images, tmp_path):
    before = snapshot(images)
    done = split(images, f"SPLIT_FOLDER={tmp_path / 's'}")
    assert snapshot(images) == before
    found = splits(tmp_path / "s")
    expected = {data: name.partition("-")[0] for name, data in before.items()}
    assert {data: label for data, (_, label) in found.items()} == expected
    counts = Counter(name for name, _ in found.values())
    assert f"train {counts['train']}, val {counts['val']}, test {counts['test']}" in done.stdout
    assert counts["test"] > counts["val"] > 0


def test_the_index_is_the_way_back_to_the_originals(images, tmp_path):
    split(images, f"SPLIT_FOLDER={tmp_path / 's'}")
    rows = read_table(tmp_path / "s" / "index.csv", SPLIT_COLUMNS)
    assert len(rows) == 60
    for row in rows:
        copy = tmp_path / "s" / row["copy"]
        assert copy.read_bytes() == (images / row["original"]).read_bytes()
        assert (copy.parent.name, row["label"]) == (row["split"], row["original"][0])


def test_a_label_too_long_for_a_file_name_is_refused_with_its_image(images, tmp_path):
    rows = [[f.name, "\xe9" * 40, "confirmed", "typed", 1, now()] for f in images.iterdir()]
    journal(tmp_path / "labels.csv", LABEL_COLUMNS, rows)
    before = snapshot(tmp_path)
    done = split(
        images, f"LABELS_FILE={tmp_path / 'labels.csv'}", f"SPLIT_FOLDER={tmp_path / 's'}",
        check=False,
    )  # fmt: skip
    assert_one_sentence(done, ".png", "too long", "240 bytes")
    assert snapshot(tmp_path) == before


def test_an_image_keeps_its_split_when_others_are_labelled(images, tmp_path):
    few = tmp_path / "few"
    few.mkdir()
    for file in sorted(images.iterdir())[:40]:
        shutil.copy(file, few / f"x{file.name}")
    split(few, f"SPLIT_FOLDER={tmp_path / 'a'}", "LABEL_PATTERN=^x(.)-")
    split(images, f"SPLIT_FOLDER={tmp_path / 'b'}")
    all_splits = splits(tmp_path / "b")
    assert all(all_splits[data] == place for data, place in splits(tmp_path / "a").items())
    split(images, f"SPLIT_FOLDER={tmp_path / 'b'}", "SEED=1")
    assert splits(tmp_path / "b") != all_splits


@given(st.integers(0, 2**64), st.integers(0, 9))
def test_the_split_follows_from_hash_and_seed_alone(number, seed):
    digest = content_hash(str(number).encode())
    name = split_data.split_of(digest, 0.1, 0.2, seed)
    # More for validation takes nothing from the test.
    assert (name == "test") == (split_data.split_of(digest, 0.3, 0.2, seed) == "test")


def test_fractions_are_met():
    counts = Counter(
        split_data.split_of(content_hash(b"%d" % i), 0.1, 0.2, 0) for i in range(20_000)
    )
    assert abs(counts["test"] / 20_000 - 0.2) < 0.01
    assert abs(counts["val"] / 20_000 - 0.1) < 0.01


def test_labels_file_counts_confirmed_last_rows_only(images, tmp_path):
    files = sorted(images.iterdir())
    rows = [[f.name, label, "confirmed", "typed", 1, now()] for label in "xL" for f in files]
    for file, state in zip(files, ("skipped", "unreadable", "undone"), strict=False):
        rows.append([file.name, "L", state, "typed", 1, now()])
    journal(tmp_path / "labels.csv", LABEL_COLUMNS, rows)
    run_script(
        "split_data.py", f"IMAGE_FOLDER={images}", f"LABELS_FILE={tmp_path / 'labels.csv'}",
        f"SPLIT_FOLDER={tmp_path / 's'}", cwd=tmp_path,
    )  # fmt: skip
    found = splits(tmp_path / "s")
    assert {label for _, label in found.values()} == {"L"}
    assert set(found) == {file.read_bytes() for file in files[3:]}


def test_one_source_alone_can_be_split(images, tmp_path):
    files = sorted(images.iterdir())
    folder = shutil.copytree(images, tmp_path / "images")
    assert_one_sentence(split(folder, "ONLY_SOURCE=a", check=False), "from 'a'", "no sources")
    sources = ["practice:digit/page"] * 40 + ["https://x/ -> img"] * 15
    rows = [[f.name, s, "url", now(), ""] for f, s in zip(files[5:], sources, strict=True)]
    journal(folder / "index.csv", INDEX_COLUMNS, rows)
    split(folder, f"SPLIT_FOLDER={tmp_path / 's'}", "ONLY_SOURCE=practice:digit/page")
    assert set(splits(tmp_path / "s")) == {file.read_bytes() for file in files[5:45]}
    done = split(folder, "ONLY_SOURCE=practice:digit", check=False)
    assert_one_sentence(done, "practice:digit/page", "https://x/ -> img")


def test_one_image_under_two_labels_is_left_out_and_named(images, tmp_path):
    folder = shutil.copytree(images, tmp_path / "images")
    first, second = sorted(folder.iterdir())[:2]
    shutil.copy(first, folder / f"z-{first.name}")
    shutil.copy(second, folder / second.name.replace("-", "-again-"))
    done = split(folder, f"SPLIT_FOLDER={tmp_path / 's'}")
    assert f"z-{first.name}" in done.stderr
    found = splits(tmp_path / "s")
    assert first.read_bytes() not in found
    assert second.read_bytes() in found


def test_damaged_images_are_named_and_left_out(images, tmp_path):
    folder = shutil.copytree(images, tmp_path / "images")
    (folder / "a-cut.png").write_bytes(next(folder.iterdir()).read_bytes()[:60])
    (folder / "b-text.png").write_text("hello")
    Image.new("1", (8000, 5000)).save(folder / "c-large.png")
    done = split(folder, f"SPLIT_FOLDER={tmp_path / 's'}")
    assert all(name in done.stderr for name in ("a-cut.png", "b-text.png", "c-large.png"))
    assert len(splits(tmp_path / "s")) == 60


def test_any_size_channels_and_extension_get_through(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(60):
        mode, kind = (("RGB", "PNG"), ("RGBA", "PNG"), ("L", "JPEG"))[i % 3]
        array = rng.integers(0, 256, (20 + i, 50, 4), dtype=np.uint8)
        Image.fromarray(array).convert(mode).save(folder / f"ab-{i}.PNG", kind)
    split(folder, f"SPLIT_FOLDER={tmp_path / 's'}")
    assert len(splits(tmp_path / "s")) == 60
    assert {f.suffix for f in (tmp_path / "s" / "train").iterdir()} == {".png", ".jpg"}


def test_copies_are_links_where_the_disk_allows_and_the_last_line_says_so(images, tmp_path):
    done = split(images, f"SPLIT_FOLDER={tmp_path / 's'}")
    assert done.stdout.endswith("as hard links, which take no space\n")
    for row in read_table(tmp_path / "s" / "index.csv", SPLIT_COLUMNS):
        assert (tmp_path / "s" / row["copy"]).samefile(images / row["original"])


@pytest.mark.parametrize("error", [OSError, NotImplementedError])
def test_where_a_disk_knows_no_links_images_are_copied(images, tmp_path, monkeypatch, error):
    first, *files = sorted(images.iterdir())
    link = os.link

    def refuse(file, copy):
        if not Path(file).samefile(first):
            raise error
        link(file, copy)

    monkeypatch.setattr(os, "link", refuse)
    labels = {file: file.name[0] for file in (first, *files)}
    counts = split_data.split(labels, tmp_path / "s", 0.1, 0.2, 0)
    assert counts["linked"] == 1
    assert split_data.how_copied(counts) == "59 of them copied, the others as hard links"
    for row in read_table(tmp_path / "s" / "index.csv", SPLIT_COLUMNS):
        copy, original = tmp_path / "s" / row["copy"], images / row["original"]
        assert copy.read_bytes() == original.read_bytes()
        assert copy.samefile(original) == (original == first)
    assert split_data.how_copied(counts - Counter(linked=1)) == "copied"


def test_an_original_is_never_written_to_through_a_link(images, tmp_path):
    file, other = sorted(images.iterdir())[:2]
    (tmp_path / "copy").hardlink_to(file)
    before = snapshot(images)
    with pytest.raises(FileExistsError):
        split_data.link_or_copy(other, tmp_path / "copy")
    assert snapshot(images) == before


def test_of_a_symbolic_link_the_file_itself_is_linked(images, tmp_path):
    (tmp_path / "there").symlink_to(next(images.iterdir()))
    assert split_data.link_or_copy(tmp_path / "there", tmp_path / "copy")
    assert not (tmp_path / "copy").is_symlink()
    assert (tmp_path / "copy").samefile(tmp_path / "there")


def test_an_original_changed_in_place_does_not_stop_the_next_split(images, tmp_path):
    folder = shutil.copytree(images, tmp_path / "images")
    split(folder, f"SPLIT_FOLDER={tmp_path / 's'}")
    file, other = sorted(folder.iterdir())[:2]
    file.write_bytes(other.read_bytes() + b"changed")
    split(folder, f"SPLIT_FOLDER={tmp_path / 's'}")
    assert file.read_bytes() in splits(tmp_path / "s")


def test_many_images_are_dealt_into_subfolders_and_come_in_the_same_order(
    images, tmp_path, monkeypatch
):
    labels = {file: file.name[0] for file in images.iterdir()}
    split_data.split(labels, tmp_path / "flat", 0.1, 0.2, 0)
    monkeypatch.setattr(split_names, "MANY", 10)
    for _ in range(2):  # the second replaces the first
        counts = split_data.split(labels, tmp_path / "deep", 0.1, 0.2, 0)
    assert counts["train"] > 10 >= counts["val"]
    for name in SPLITS:
        flat, deep = (labelled_images(tmp_path / kind / name) for kind in ("flat", "deep"))
        assert [(f.read_bytes(), label) for f, label in deep] == [
            (f.read_bytes(), label) for f, label in flat
        ]
        subfolders = {f.parent.name: parse_split_name(f.name)[1][:2] for f, _ in deep}
        if counts[name] > 10:
            assert all(folder == digits for folder, digits in subfolders.items())
        else:
            assert [*subfolders] == [name]
    copies = [row["copy"] for row in read_table(tmp_path / "deep" / "index.csv", SPLIT_COLUMNS)]
    files = [f for name in SPLITS for f, _ in labelled_images(tmp_path / "deep" / name)]
    assert sorted(copies) == sorted(map(split_names.copy_name, files))


def test_two_images_that_would_have_one_name_do_not_overwrite_each_other(
    images, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(split_data, "split_name", lambda label, digest, extension: f"{label}.png")
    labels = {file: file.name[0] for file in images.iterdir()}
    counts = split_data.split(labels, tmp_path / "s", 0.1, 0.2, 0)
    assert sum(counts[name] for name in SPLITS) == 10
    assert capsys.readouterr().err.count("would have the name of") == 50


@pytest.mark.parametrize(
    "name",
    [
        "notes.txt", "train/mine.png", "train/a_01234567.png", "x/y.png", "3f/y.png",
        "train/3f/mine.png", "train/x/y.png", "train/3f/3f/a_01234567.png",
    ],
)  # fmt: skip
def test_files_of_the_users_own_stop_the_split(images, tmp_path, name):
    folder = tmp_path / "s"
    split(images, f"SPLIT_FOLDER={folder}")
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("mine")
    before = snapshot(tmp_path)
    assert_one_sentence(split(images, f"SPLIT_FOLDER={folder}", check=False), Path(name).parts[0])
    assert snapshot(tmp_path) == before


def test_litter_of_file_managers_does_not_stop_the_split(images, tmp_path):
    folder = tmp_path / "s"
    split(images, f"SPLIT_FOLDER={folder}")
    (folder / ".DS_Store").write_text("")
    (folder / "train" / "Thumbs.db").write_text("")
    split(images, f"SPLIT_FOLDER={folder}")
    assert len(splits(folder)) == 60


def test_a_run_that_was_stopped_anywhere_is_made_good_by_the_next(images, tmp_path):
    folder = tmp_path / "s"
    split(images, f"SPLIT_FOLDER={folder}")
    whole = snapshot(folder)
    partial = shutil.copytree(folder, tmp_path / "s.partial")  # stopped while copying
    next((partial / "train").iterdir()).write_bytes(b"half a fi")
    split(images, f"SPLIT_FOLDER={folder}")
    assert snapshot(folder) == whole
    folder.rename(tmp_path / "s.previous")  # stopped between the two renames
    split(images, f"SPLIT_FOLDER={folder}")
    shutil.copytree(folder, tmp_path / "s.previous")  # stopped before the old one was removed
    split(images, f"SPLIT_FOLDER={folder}")
    assert snapshot(tmp_path) == {f"s/{name}": data for name, data in whole.items()}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["IMAGE_FOLDER=/nowhere"], "/nowhere"),
        (["LABELS_FILE=/nowhere.csv"], "label_helper.py"),
        (["LABEL_PATTERN=^(x)y"], "LABEL_PATTERN"),
        (["LABEL_PATTERN=("], "LABEL_PATTERN"),
        (["LABEL_PATTERN=abc"], "group"),
        (["VAL_FRACTION=-0.1"], "VAL_FRACTION"),
        (["VAL_FRACTION=0.6", "TEST_FRACTION=0.4"], "nothing to train on"),
        (["VAL_FRACTION=0.001"], "val would stay empty"),
        (["LABEL_PATTERN=^(.)-0$"], "with 1 labels"),
    ],
)
def test_mistakes_end_in_one_sentence_and_change_nothing(images, tmp_path, arguments, words):
    done = split(images, f"SPLIT_FOLDER={tmp_path / 's'}", *arguments, check=False)
    assert_one_sentence(done, words)
    assert snapshot(tmp_path) == {}


def test_a_folder_without_images_or_labels_is_named(images, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    assert_one_sentence(split(empty, check=False), "no images", str(empty))
    journal(tmp_path / "labels.csv", LABEL_COLUMNS, [])
    done = split(images, f"LABELS_FILE={tmp_path / 'labels.csv'}", check=False)
    assert_one_sentence(done, "no label", "label_helper.py")
