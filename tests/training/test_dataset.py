from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import model
from training.dataset import choose, encode_labels


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
