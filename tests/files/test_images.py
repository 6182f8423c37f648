import io

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from files.images import (
    FOUND,
    WHOLE,
    WRITTEN,
    InputSpec,
    crop,
    decode_image,
    fit_image,
    image_extension,
    read_image,
    written_box,
)


def encoded(array, extension, *options):
    done, data = cv2.imencode(extension, array, *options)
    assert done
    return data.tobytes()


def pillow(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


rng = np.random.default_rng(0)
colours = rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)


def test_lossless_kinds_are_read_exactly():
    picture = Image.fromarray(colours)
    for kind in ("PNG", "BMP"):
        assert (decode_image(pillow(picture, kind), "x") == colours).all()
    assert (decode_image(pillow(picture, "WEBP", lossless=True), "x") == colours).all()
    palette = picture.quantize(16)
    for kind in ("PNG", "GIF"):
        read = decode_image(pillow(palette, kind), "x")
        assert (read == np.asarray(palette.convert("RGB"))).all()
    assert image_extension(pillow(picture, "JPEG"), "x") == "jpg"


def test_cmyk_jpeg_and_16_bit_grey_are_read():
    cmyk = pillow(Image.new("RGB", (9, 9), (200, 40, 40)).convert("CMYK"), "JPEG")
    assert abs(decode_image(cmyk, "x").mean(axis=(0, 1)) - (200, 40, 40)).max() < 12
    deep = (np.arange(600).reshape(20, 30) * 100).astype(np.uint16)
    assert (decode_image(encoded(deep, ".png"), "x")[:, :, 1] == deep >> 8).all()


def test_transparent_parts_become_white():
    rgba = np.zeros((10, 10, 4), np.uint8)
    rgba[:, 5:, 3] = 255  # the right half is black, the rest is transparent black
    rgba[0, 0, 3] = 128
    read = decode_image(pillow(Image.fromarray(rgba), "PNG"), "x")
    assert (read[1:, :5] == 255).all()
    assert (read[:, 5:] == 0).all()
    assert read[0, 0, 0] == 127
    grey = Image.fromarray(np.dstack([np.zeros((4, 4), np.uint8)] * 2), "LA")
    assert (decode_image(pillow(grey, "PNG"), "x") == 255).all()


def test_an_animation_gives_its_first_frame():
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    data = pillow(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert (decode_image(data, "x") == (255, 0, 0)).all()


@pytest.mark.parametrize("cut", [0, 4, 40, -60])
def test_cut_or_foreign_files_are_refused_by_name(tmp_path, cut):
    file = tmp_path / "cut.png"
    file.write_bytes(pillow(Image.fromarray(colours), "PNG")[:cut])
    with pytest.raises(ValueError, match=r"cut\.png"):
        read_image(file)
    file.write_text("not an image at all")
    with pytest.raises(ValueError, match=r"cut\.png"):
        read_image(file)


def test_a_40_megapixel_image_is_refused_before_it_is_decoded(tmp_path):
    file = tmp_path / "large.png"
    Image.new("1", (8000, 5000)).save(file)
    with pytest.raises(ValueError, match="8000 x 5000"):
        read_image(file)


@given(*[st.integers(1, 90)] * 2, st.sampled_from([(16, 16), (32, 128)]), st.sampled_from([1, 3]))
def test_fit_image_fills_the_input_with_the_image_and_its_ground(height, width, size, channels):
    image = np.full((height, width, 3), 200, np.uint8)
    image[: height // 2] = 190
    fitted = fit_image(image, InputSpec(*size, channels))
    assert fitted.shape == (channels, *size)
    assert fitted.dtype == np.uint8
    assert fitted.min() >= 189
    assert fitted.max() <= 201


def test_fit_image_keeps_proportions_and_puts_the_image_left_and_in_the_middle():
    image = np.zeros((10, 10, 3), np.uint8)
    image[0] = image[-1] = image[:, 0] = 250  # ground is the median: black
    fitted = fit_image(image, InputSpec(20, 80, 1))[0]
    assert fitted[:, 20:].max() == 0
    assert fitted[0, :20].min() > 200
    fitted = fit_image(image, InputSpec(30, 10, 1))[0]
    assert fitted[:9].max() == fitted[-9:].max() == 0
    assert fitted[10].min() > 200


def test_fit_image_shows_the_cut_alone():
    image = np.zeros((40, 100, 3), np.uint8)
    image[10:30, 50:90] = (250, 0, 0)
    cut = (10 / 40, 50 / 100, 30 / 40, 90 / 100)
    in_colour = fit_image(image, InputSpec(20, 40, 3, cut))
    assert (in_colour == np.array([250, 0, 0])[:, None, None]).all()
    for cut in (WHOLE, FOUND):
        assert (fit_image(image, InputSpec(40, 100, 3, cut)) == image.transpose(2, 0, 1)).all()
    cut_out = crop(image, WRITTEN)  # with a margin of an eleventh of its height
    assert cut_out.shape[:2] == (24, 44)
    spec = InputSpec(24, 44, 3, WRITTEN)
    assert (fit_image(image, spec) == cut_out.transpose(2, 0, 1)).all()


@given(
    st.integers(50, 200), st.integers(0, 128), st.integers(10, 127), st.integers(0, 90),
    st.integers(0, 20),
)  # fmt: skip
def test_what_is_written_is_found_among_thin_lines_however_pale(width, ground, by, left, top):
    colour = ground + by
    image = np.full((60, 50 + width, 3), ground, np.uint8)
    image[1::20] = image[:, 4::70] = colour  # lines of one pixel from edge to edge
    left = min(left, width)
    image[top : top + 30, left : left + 40] = colour
    found = crop(image, WRITTEN)
    assert (found == colour).all(axis=2).sum() >= 30 * 40  # all of it
    assert found.shape[0] <= 30 + 2 * 5
    assert found.shape[1] <= 40 + 2 * 5
    only_lines = np.full((60, 90, 3), ground, np.uint8)
    assert written_box(only_lines) == WHOLE
    only_lines[20, 30:60] = colour
    assert crop(only_lines, WRITTEN).shape[:2] == (3, 32)
