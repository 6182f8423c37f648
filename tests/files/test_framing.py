"""framing.py: what the network sees of a site's images."""

import numpy as np
import pytest
from PIL import Image

from files import framing
from files.framing import MAX_AREA, differing_box, find_frame, read_sample, spread
from files.images import MAX_INPUT, WHOLE, WRITTEN, InputSpec, fit_image


def written(height, width, colour=(40, 40, 40)):
    """An image with something written in its upper left quarter."""
    image = np.full((height, width, 3), 230, np.uint8)
    image[height // 4 : height // 2, width // 4 : width // 2] = colour
    return image


def blank(height, width):
    return np.zeros((height, width, 3), np.uint8)


def test_size_and_colour_follow_from_the_images_and_one_odd_image_changes_little():
    images = [written(50, 200)] * 60
    whole = InputSpec(40, 160, 1, WHOLE)
    assert find_frame(images) == whole
    assert find_frame([*images, written(40, 2000)]) == whole
    coloured = find_frame([*images, written(50, 200, (200, 9, 9))])
    assert coloured.channels == 3
    assert find_frame(images, channels=3) == whole._replace(channels=3)  # what a network takes
    large = find_frame([written(700, 1400)] * 12)
    assert large.height * large.width <= 1.1 * MAX_AREA


def test_small_images_are_enlarged_and_long_ones_as_far_as_there_is_room():
    assert find_frame([blank(28, 28)] * 12) == InputSpec(40, 40, 1)
    assert find_frame([blank(20, 60)] * 12) == InputSpec(40, 120, 1)
    assert find_frame([blank(60, 60)] * 12) == InputSpec(64, 64, 1)  # its own size is affordable
    assert find_frame([blank(20, 200)] * 12) == InputSpec(32, 256, 1)  # shrunk


@pytest.mark.parametrize("size", [(1, 4_000_000), (4_000_000, 1)])
def test_a_thread_of_an_image_does_not_fill_the_memory(size):
    image = np.zeros((*size, 3), np.uint8)
    spec = find_frame([image])
    assert spec.height * spec.width <= MAX_INPUT
    assert fit_image(image, spec).shape == (1, spec.height, spec.width)


def test_a_few_wide_images_do_not_make_the_others_tiny_unless_there_is_room():
    aspects = [4, 5, 6, 7, 8, 4, 5, 6, 8, 8, 16, 15]
    # Four in five are read as if the wide ones were not there, ...
    assert find_frame([blank(80, 80 * aspect) for aspect in aspects])[:2] == (32, 256)
    # ... but where there is room for the widest, all of it is seen.
    aspects = [1, 2, 2, 1, 2, 2, 1, 2, 2, 1, 4, 4]
    assert find_frame([blank(40, 40 * aspect) for aspect in aspects])[:2] == (40, 160)


def test_what_never_differs_is_cut_away():
    ground = np.tile(np.linspace(60, 200, 250).astype(np.uint8)[:, None], (40, 1, 3))
    images = []
    for left in (20, 30, 50):  # something is written in columns 20 to 70, rows 10 to 20
        image = ground.copy()
        image[10:20, left : left + 20] = 255
        images.append(image)
    assert differing_box(images) == (0, 0, 1, 90 / 250)  # half a height around it, at least
    assert differing_box(images[:1] * 3) == (0, 0, 1, 1)


def test_one_image_of_another_size_does_not_bring_back_the_empty_half():
    images = []
    for number in range(30):
        images.append(np.full((40, 160 if number else 150, 3), 255, np.uint8))
        images[-1][10:30, number : number + 30] = 0  # something is written on the left
    assert find_frame(images).cut == (0, 0, 1, (29 + 30 + 20) / 160)


def striped(width, share):
    """An image with striped text over a share of its height and of its width."""
    stripes = np.where(np.arange(400) % 6 < 3, 255, 0)[:, None]
    image = np.full((80, width, 3), 255, np.uint8)
    top, right = round(40 - 40 * share), round(width * share)
    image[top : 80 - top, :right] = stripes[:right]
    return image


def test_images_of_several_sizes_are_cut_to_what_is_written_where_most_is_empty():
    empty, full = ([striped(width, share) for width in (200, 300, 400)] for share in (0.5, 0.9))
    spec = find_frame(empty)
    assert spec.cut == WRITTEN
    # the proportions of what is written in the widest one
    assert spec.height * 3 < spec.width < spec.height * 5
    assert find_frame(full).cut == WHOLE
    seen = fit_image(empty[2], InputSpec(40, 160, 1, WRITTEN))  # (1, 40, 160)
    assert seen[:, 5:-5].astype(float).var(axis=2).min() > 0  # writing from top to bottom


def test_too_few_images_to_differ_are_cut_to_what_is_written():
    assert find_frame([striped(300, 0.5)]).cut == WRITTEN
    assert find_frame([striped(300, 0.5)] * 9).cut == WRITTEN
    assert find_frame([striped(300, 0.5)] * 10).cut == WHOLE  # they never differ


def test_a_sample_is_spread_evenly_and_leaves_out_what_cannot_be_read(tmp_path, monkeypatch):
    assert spread(range(10), 4) == range(0, 10, 3)
    assert spread([1, 2, 3], 3) == [1, 2, 3]
    for number in range(8):
        Image.new("RGB", (9, 9), (number, 0, 0)).save(tmp_path / f"{number}.png")
    (tmp_path / "4.png").write_text("no image")
    (tmp_path / "6.png").unlink()
    files = [tmp_path / f"{number}.png" for number in range(8)]
    monkeypatch.setattr(framing, "SAMPLE", 4)
    assert [image[0, 0, 0] for image in read_sample(files)] == [0, 2]
