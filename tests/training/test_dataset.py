from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import model
import utils
from files.images import WHOLE, WRITTEN, InputSpec, read_image
from training.dataset import MAX_AREA, choose, differing_box, encode_labels, learn_input


def test_size_and_colour_follow_from_the_images_and_one_odd_image_changes_little(tmp_path):
    def write(name, height, width, colour):
        image = np.full((height, width, 3), 230, np.uint8)
        image[height // 4 : height // 2, width // 4 : width // 2] = colour
        Image.fromarray(image).save(tmp_path / name)
        return tmp_path / name

    files = [write(f"{i}.png", 50, 200, (40, 40, 40)) for i in range(60)]
    whole = InputSpec(40, 160, 1, WHOLE)
    assert learn_input(files) == whole
    banner = write("banner.png", 40, 2000, (9, 9, 9))
    assert learn_input([*files, banner]) == whole
    assert learn_input([*files, write("red.png", 50, 200, (200, 9, 9))]).channels == 3
    assert learn_input([write("digit.png", 28, 28, (9, 9, 9))]) == InputSpec(32, 32, 1)
    large = learn_input([write("large.png", 700, 1400, (9, 9, 9))])
    assert large.height * large.width <= 1.1 * MAX_AREA


def test_a_few_wide_images_do_not_make_the_others_tiny_unless_there_is_room(tmp_path):
    def size(name, height, aspects):
        files = []
        for number, aspect in enumerate(aspects):
            image = np.full((height, height * aspect, 3), number, np.uint8)
            files.append(tmp_path / f"{name}{number}.png")
            Image.fromarray(image).save(files[-1])
        spec = learn_input(files)
        return spec.height, spec.width

    # Four in five are read as if the wide ones were not there, ...
    assert size("large", 80, [4, 5, 6, 7, 8, 4, 5, 6, 8, 8, 16, 15]) == (32, 256)
    # ... but images that are small anyway keep their size, the widest as well.
    assert size("small", 16, [4, 5, 6, 7, 8, 4, 5, 6, 8, 8, 16, 16]) == (16, 256)


def test_what_never_differs_is_cut_away():
    ground = np.tile(np.linspace(60, 200, 250).astype(np.uint8)[:, None], (40, 1, 3))
    images = []
    for left in (20, 30, 50):  # something is written in columns 20 to 70, rows 10 to 20
        image = ground.copy()
        image[10:20, left : left + 20] = 255
        images.append(image)
    assert differing_box(images) == (0, 0, 1, 90 / 250)  # half a height around it, at least
    assert differing_box(images[:1] * 3) == (0, 0, 1, 1)


def test_one_image_of_another_size_does_not_bring_back_the_empty_half(tmp_path):
    for number in range(30):
        image = np.full((40, 160 if number else 150, 3), 255, np.uint8)
        image[10:30, number : number + 30] = 0  # something is written on the left
        Image.fromarray(image).save(tmp_path / f"{number}.png")
    files = utils.image_files(tmp_path)
    assert learn_input(files).cut == (0, 0, 1, (29 + 30 + 20) / 160)


def test_images_of_several_sizes_are_cut_to_what_is_written_where_most_is_empty(tmp_path):
    stripes = np.where(np.arange(400) % 6 < 3, 255, 0)[:, None]

    def write(width, share):
        """Write striped text over a share of the height and of the width."""
        image = np.full((80, width, 3), 255, np.uint8)
        top, right = round(40 - 40 * share), round(width * share)
        image[top : 80 - top, :right] = stripes[:right]
        Image.fromarray(image).save(tmp_path / f"{width}-{share}.png")
        return tmp_path / f"{width}-{share}.png"

    empty, full = ([write(width, share) for width in (200, 300, 400)] for share in (0.5, 0.9))
    spec = learn_input(empty)
    assert spec.cut == WRITTEN
    # the proportions of what is written in the widest one
    assert spec.height * 3 < spec.width < spec.height * 5
    assert learn_input(full).cut == WHOLE

    model.save_model(
        model.CaptchaNet("ab", 2, InputSpec(40, 160, 1, WRITTEN)), tmp_path / "a.safetensors", {}
    )
    net = model.load_model(tmp_path / "a.safetensors")[0]
    seen = model.prepare(net, read_image(empty[2]))  # (1, 40, 160)
    assert seen[:, 5:-5].float().var(dim=2).min() > 0  # writing from top to bottom


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
