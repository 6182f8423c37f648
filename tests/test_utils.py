import contextlib
import csv
import io

import cv2
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image
from practice import run_script

import imaging
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


# ---- images


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
        assert (imaging.decode_image(pillow(picture, kind), "x") == colours).all()
    assert (imaging.decode_image(pillow(picture, "WEBP", lossless=True), "x") == colours).all()
    palette = picture.quantize(16)
    for kind in ("PNG", "GIF"):
        read = imaging.decode_image(pillow(palette, kind), "x")
        assert (read == np.asarray(palette.convert("RGB"))).all()
    assert imaging.image_extension(pillow(picture, "JPEG"), "x") == "jpg"


def test_cmyk_jpeg_and_16_bit_grey_are_read():
    cmyk = pillow(Image.new("RGB", (9, 9), (200, 40, 40)).convert("CMYK"), "JPEG")
    assert abs(imaging.decode_image(cmyk, "x").mean(axis=(0, 1)) - (200, 40, 40)).max() < 12
    deep = (np.arange(600).reshape(20, 30) * 100).astype(np.uint16)
    assert (imaging.decode_image(encoded(deep, ".png"), "x")[:, :, 1] == deep >> 8).all()


def test_transparent_parts_become_white():
    rgba = np.zeros((10, 10, 4), np.uint8)
    rgba[:, 5:, 3] = 255  # the right half is black, the rest is transparent black
    rgba[0, 0, 3] = 128
    read = imaging.decode_image(pillow(Image.fromarray(rgba), "PNG"), "x")
    assert (read[1:, :5] == 255).all()
    assert (read[:, 5:] == 0).all()
    assert read[0, 0, 0] == 127
    grey = Image.fromarray(np.dstack([np.zeros((4, 4), np.uint8)] * 2), "LA")
    assert (imaging.decode_image(pillow(grey, "PNG"), "x") == 255).all()


def test_first_frame_of_an_animation_is_taken():
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    data = pillow(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert (imaging.decode_image(data, "x") == (255, 0, 0)).all()


@pytest.mark.parametrize("cut", [0, 4, 40, -60])
def test_cut_or_foreign_files_are_refused_by_name(tmp_path, cut):
    file = tmp_path / "cut.png"
    file.write_bytes(pillow(Image.fromarray(colours), "PNG")[:cut])
    with pytest.raises(ValueError, match=r"cut\.png"):
        imaging.read_image(file)
    file.write_text("not an image at all")
    with pytest.raises(ValueError, match=r"cut\.png"):
        imaging.read_image(file)


def test_a_40_megapixel_image_is_refused_before_it_is_decoded(tmp_path):
    file = tmp_path / "large.png"
    Image.new("1", (8000, 5000)).save(file)
    with pytest.raises(ValueError, match="8000 x 5000"):
        imaging.read_image(file)


@given(*[st.integers(1, 90)] * 2, st.sampled_from([(16, 16), (32, 128)]), st.sampled_from([1, 3]))
def test_fit_image_keeps_proportions_and_fills_with_the_ground(height, width, size, channels):
    image = np.full((height, width, 3), 200, np.uint8)
    image[: height // 2] = 190
    fitted = imaging.fit_image(image, size, channels)
    assert fitted.shape == (channels, *size)
    assert fitted.dtype == np.uint8
    assert fitted.min() >= 189
    assert fitted.max() <= 201


def test_fit_image_puts_the_image_left_and_in_the_middle():
    image = np.zeros((10, 10, 3), np.uint8)
    image[0] = image[-1] = image[:, 0] = 250  # ground is the median: black
    fitted = imaging.fit_image(image, (20, 80), 1)[0]
    assert fitted[:, 20:].max() == 0
    assert fitted[0, :20].min() > 200
    assert imaging.fit_image(image, (30, 10), 1)[0][:9].max() == 0


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


# ---- tables


@given(st.lists(st.lists(text, min_size=3, max_size=3)))
def test_rows_survive_and_a_torn_one_is_cut_off(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("table") / "t.csv"
    columns = ["a", "b", "c"]
    with utils.open_table(path, columns) as table:
        for row in rows:
            utils.append_row(table, row)
    expected = [dict(zip(columns, row, strict=True)) for row in rows]
    assert utils.read_table(path, columns) == expected
    with open(path, encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        assert list(csv.reader(file)) == [columns, *rows]
    with open(path, "ab") as file:
        file.write(b'x,"torn\r\nrow')
    assert utils.read_table(path, columns) == expected
    with utils.open_table(path, columns) as table:
        utils.append_row(table, ["1", "2", "3"])
    assert utils.read_table(path, columns) == [*expected, {"a": "1", "b": "2", "c": "3"}]


def test_a_table_cut_at_any_byte_keeps_its_whole_rows(tmp_path):
    path, columns = tmp_path / "t.csv", ["a", "b"]
    with utils.open_table(path, columns) as table:
        for i in range(3):
            utils.append_row(table, [str(i), 'two\r\nlines, "quoted"'])
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        utils.open_table(path, columns).close()
        kept = utils.read_table(path, columns)
        assert [row["a"] for row in kept] == [str(i) for i in range(len(kept))]
        assert all(row["b"] == 'two\r\nlines, "quoted"' for row in kept)
        assert len(kept) == sum(size >= end for end in row_ends(whole))


def row_ends(data):
    """The slow way: read the table up to each byte and see whether a row has just ended."""
    ends, quoted = [], False
    for i, byte in enumerate(data):
        quoted ^= byte == ord('"')
        if byte == ord("\n") and not quoted:
            ends.append(i + 1)
    return ends[1:]  # without the header


@pytest.mark.parametrize("content", [b"a poem", b"a poem\nof two lines\n", b"a,c\n1,2\n"])
def test_a_file_of_another_kind_is_refused_and_kept(tmp_path, content):
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"t\.csv"):
        utils.open_table(path, ["a", "b"])
    assert path.read_bytes() == content


def test_an_unclosed_quote_does_not_cost_the_rows_behind_it(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a,b\n" + '"oops,1\n' + "x,2\n" * 2000)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="line 2"):
        utils.open_table(path, ["a", "b"])
    assert path.read_bytes() == before


def test_replacing_keeps_the_old_file_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "f"
    path.write_text("old")
    with contextlib.suppress(OSError), utils.replacing(path) as temporary:
        temporary.write_text("ha")
        raise OSError("disk full")
    assert path.read_text() == "old"
    with utils.replacing(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]
