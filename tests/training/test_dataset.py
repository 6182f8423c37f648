from pathlib import Path

import pytest
from helpers import practice_folder, split_narrow
from hypothesis import given
from hypothesis import strategies as st

import model
from files.images import InputSpec, content_hash, fit_image, read_image
from files.split_names import split_name
from reading import limits
from training import dataset
from training.dataset import choose, encode_labels, load_unlabelled
from utils import PRACTICE_MODEL


def test_a_larger_number_of_training_images_includes_the_smaller_one():
    files = [(Path(f"{i}"), str(i)) for i in range(100)]
    small, large = (choose(files, count, seed=3) for count in (20, 50))
    assert large[:20] == small
    assert len(set(large)) == 50


text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=9)


@given(st.lists(text.filter(bool), min_size=1))
def test_labels_survive_encoding(labels):
    charset, length = "".join(sorted(set("".join(labels)))), max(map(len, labels))
    classes = encode_labels(labels, charset, length)
    assert classes.shape == (len(labels), length)
    assert model.decode_labels(classes, charset) == labels


def test_unknown_characters_and_long_labels_are_refused():
    with pytest.raises(ValueError, match="'z'"):
        encode_labels(["ab", "az"], "ab", 2)
    with pytest.raises(ValueError, match="longer"):
        encode_labels(["aba"], "ab", 2)


def test_of_very_many_images_without_labels_an_even_sample_is_used(tmp_path, monkeypatch, capsys):
    folder, spec = practice_folder(tmp_path / "images", 30, "digit"), InputSpec(16, 16, 1)
    files = sorted(folder.iterdir())
    files[3].write_bytes(b"no image")
    whole = [fit_image(read_image(file), spec) for file in files if file != files[3]]
    assert (load_unlabelled(folder, [], spec).numpy() == whole).all()
    assert f"left out: {files[3]}" in capsys.readouterr().err
    known = Path(split_name("1", content_hash(files[6].read_bytes()), "png"))
    monkeypatch.setattr(dataset, "MOST_UNLABELLED", 10)
    some = load_unlabelled(folder, [known], spec)
    used = [fit_image(read_image(file), spec) for file in files[::3] if file not in files[3:7]]
    assert (some.numpy() == used).all()
    assert "Of the 30 images" in capsys.readouterr().err


def test_the_scale_is_the_one_that_the_network_to_begin_with_reads_surest(tmp_path):
    """Here of letters half as wide; by images without labels, too, if few have one."""
    folder, others = split_narrow(tmp_path, 40)
    start, _ = model.load_model(PRACTICE_MODEL)
    plain = dataset.load(folder, None, 0).spec
    assert plain.stretch == 1
    found = dataset.load(folder, None, 0, start=start)
    assert found.spec.stretch > 1.3
    height, width = found.train.images.shape[2:]
    assert (height, width) == found.spec[:2]
    assert width / height > 1.3 * plain.width / plain.height
    assert (start.charset, start.rows) == (start.known, None)  # it is as it was
    few = dataset.load(folder, 16, 0, start=start)
    assert few.spec == plain  # of 16 images nothing is certain
    assert dataset.load(folder, 16, 0, None, start, others).spec.stretch > 1.3  # four more
    unknown = "".join(c for c in start.known if c not in found.charset.upper() + found.charset)
    limits.limit(start, unknown, None)
    start.known = start.charset
    assert dataset.load(folder, None, 0, start=start).spec == plain  # it reads other characters
