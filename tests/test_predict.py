import csv
import shutil
from unittest import mock

import pytest
from helpers import assert_one_sentence, practice_folder, run_here, run_script, split_practice
from helpers import snapshot as files_below
from PIL import Image

from model import MODEL_NAME


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A trained model of digits, and ten digits that it has never seen."""
    folder = tmp_path_factory.mktemp("predict")
    split = split_practice(folder, 150, "digit")
    folders = [f"SPLIT_FOLDER={split}", f"MODEL_FOLDER={folder / 'm'}"]
    with mock.patch("training.judge.save_pictures"):
        done = run_here("train_script.py", *folders, "BATCH_SIZE=16", "EPOCHS=5")
    assert done.returncode == 0, done.stderr
    practice_folder(folder / "new", 10, "digit", seed=5)
    return folder


def predict(place, tmp_path, *arguments):
    return run_here(
        "predict.py", f"MODEL_FILE={place / 'm' / MODEL_NAME}", f"OUTPUT={tmp_path / 'p.csv'}",
        *arguments,
    )  # fmt: skip


def test_a_folder_is_read_line_by_line_into_a_table_and_a_picture(place, tmp_path):
    done = run_script(
        "predict.py", f"MODEL_FILE={place / 'm' / MODEL_NAME}", f"OUTPUT={tmp_path / 'p.csv'}",
        "new", cwd=place,
    )  # fmt: skip
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    assert [name for name, *_ in lines] == [
        f"new/{f.name}" for f in sorted((place / "new").iterdir())
    ]
    correct = sum(name.split("/")[1][0] == text for name, text, _ in lines)
    assert correct >= 8
    with open(tmp_path / "p.csv", encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [[r["image"], r["answer"], r["confidence"]] for r in rows] == lines
    assert all(0 < float(row["character_confidences"]) <= 1 for row in rows)
    with Image.open(tmp_path / "p.png") as picture:
        assert picture.width > 300


def test_one_image_needs_no_sheet_and_none_of_before_is_left(place, tmp_path):
    (tmp_path / "p.png").write_bytes(b"of other images")
    done = predict(place, tmp_path, next((place / "new").iterdir()))
    assert done.stderr.strip() == f"1 images read; see {tmp_path / 'p.csv'}"
    assert not (tmp_path / "p.png").exists()


def test_what_cannot_be_read_is_named_and_the_rest_go_on(place, tmp_path):
    good = next((place / "new").iterdir())
    (tmp_path / "cut.png").write_bytes(good.read_bytes()[:50])
    (tmp_path / "text.png").write_text("hello")
    shutil.copy(good, tmp_path / "A=good.png")
    shutil.copy(good, tmp_path / "no extension")
    names = ["cut.png", "text.png", "A=good.png", "no extension"]
    done = predict(place, tmp_path, *[tmp_path / name for name in names])
    assert done.returncode == 0
    assert [line.split("\t")[0] for line in done.stdout.splitlines()] == [
        str(tmp_path / name) for name in names[2:]
    ]
    assert "cut.png" in done.stderr
    assert "text.png" in done.stderr


def test_unsure_images_are_left_unanswered_below_min_confidence(place, tmp_path):
    files = sorted((place / "new").iterdir())
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    for i in range(10):  # each a blend of two digits: hard to be sure of
        with Image.open(files[i]) as one, Image.open(files[(i + 3) % 10]) as other:
            Image.blend(one, other, 0.3 + 0.05 * i).save(mixed / f"{i}.png")
    sure = predict(place, tmp_path, mixed).stdout.splitlines()
    confidences = sorted(float(line.split("\t")[2]) for line in sure)
    # In the middle of the largest gap, where the four printed digits leave no doubt.
    gap, low = max((b - a, a) for a, b in zip(confidences, confidences[1:], strict=False))
    assert gap > 0.001
    limit = low + gap / 2
    done = predict(place, tmp_path, f"MIN_CONFIDENCE={limit}", mixed)
    for line, all_answered in zip(done.stdout.splitlines(), sure, strict=True):
        _, text, confidence = line.split("\t")
        assert text == (all_answered.split("\t")[1] if float(confidence) >= limit else "")
    answers = [line.split("\t")[1] for line in done.stdout.splitlines()]
    assert answers.count("") == sum(c < limit for c in confidences) > 0
    with open(tmp_path / "p.csv", encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert all(row["text"] for row in rows)  # what it would have said stays visible


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["/nowhere.png"], "/nowhere.png"),
        (["MODEL_FILE=/nowhere.safetensors"], "train_script.py"),
        (["MIN_CONFIDENCE=1.5"], "MIN_CONFIDENCE"),
        (["IMAGES=/nowhere"], "/nowhere"),
    ],
)
def test_mistakes_end_in_one_sentence(place, tmp_path, arguments, words):
    images = [] if "IMAGES" in arguments[0] else [place / "new"]
    assert_one_sentence(predict(place, tmp_path, *arguments, *images), words)
    assert files_below(tmp_path) == {}


def test_a_folder_without_images_and_files_that_are_none_are_named(place, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    assert_one_sentence(predict(place, tmp_path, empty), "no images")
    (tmp_path / "x.png").write_text("hello")
    assert_one_sentence(predict(place, tmp_path, tmp_path / "x.png"), "none of the files")


def test_a_cut_off_model_is_named(place, tmp_path):
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes((place / "m" / MODEL_NAME).read_bytes()[:10_000])
    done = run_here("predict.py", f"MODEL_FILE={cut}", place / "new")
    assert_one_sentence(done, "cut.safetensors")
