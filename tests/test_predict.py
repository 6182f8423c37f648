import csv
import http.client
import json
import shutil
import signal
import subprocess
from unittest import mock

import pytest
from helpers import (
    assert_one_sentence,
    command,
    hear_ctrl_c,
    practice_folder,
    run_here,
    run_script,
    small_net,
    split_practice,
)
from helpers import snapshot as files_below
from PIL import Image

from files.framing import find_frame, read_sample
from files.images import FOUND
from model import MODEL_NAME, save_model
from utils import Prediction


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A trained model of digits, and ten digits that it has never seen."""
    folder = tmp_path_factory.mktemp("predict")
    split = split_practice(folder, 150, "digit")
    folders = [f"SPLIT_FOLDER={split}", f"MODEL_FOLDER={folder / 'm'}"]
    with mock.patch("training.judge.save_pictures"):
        done = run_here("train_script.py", *folders, "BATCH_SIZE=16", "EPOCHS=5", "START_FROM=None")
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
        (["CHARACTERS=0é"], "predict.py: CHARACTERS has 'é', which the model cannot read."),
        (["LENGTH=2"], "LENGTH is 2; the model reads 1 to 1 characters."),
        (["LENGTH=x"], "LENGTH=x: the value must be of the kind int or None"),
        (["IMAGES=/nowhere"], "/nowhere"),
    ],
)
def test_mistakes_end_in_one_sentence(place, tmp_path, arguments, words):
    images = [] if "IMAGES" in arguments[0] else [place / "new"]
    assert_one_sentence(predict(place, tmp_path, *arguments, *images), words)
    assert files_below(tmp_path) == {}


def test_only_what_is_known_to_occur_is_read_however_it_is_written(place, tmp_path):
    answers = {}
    for characters in ("0123456789", "01234", "98765"):  # the last is a number in Python, too
        lines = predict(place, tmp_path, f"CHARACTERS={characters}", place / "new").stdout
        answers[characters] = [line.split("\t")[1] for line in lines.splitlines()]
        assert set("".join(answers[characters])) <= set(characters)
        assert len(answers[characters]) == 10
    assert answers["0123456789"] not in (answers["01234"], answers["98765"])
    assert {len(text) for text in answers["01234"]} <= {0, 1}
    lines = predict(place, tmp_path, "CHARACTERS=01", "LENGTH=1", place / "new").stdout
    assert {line.split("\t")[1] for line in lines.splitlines()} <= {"0", "1"}


def test_a_general_model_is_suited_to_the_images_at_hand(tmp_path):
    net = small_net(charset="abAB1", length=5, size=(40, 160), channels=3)
    net.spec = net.spec._replace(cut=FOUND)
    net.head.classifier.bias.data[0] = -100  # never a blank: always five characters
    save_model(net, tmp_path / "general.safetensors", {})
    images = practice_folder(tmp_path / "new", 24)
    (images / "0.png").write_text("no image")
    arguments = (f"MODEL_FILE={tmp_path / 'general.safetensors'}", f"OUTPUT={tmp_path / 'p.csv'}")
    seen = []

    def read(net, batch):
        seen.append((tuple(batch.shape[1:]), net.charset, net.length))
        return say(batch, net.charset)

    remark = "These captchas seem to have 5 characters; LENGTH= changes that."
    assert remark in run_here("predict.py", *arguments, images).stderr
    done = run_here("predict.py", *arguments, "LENGTH=3", "CHARACTERS=b1", images)
    assert "seem to have" not in done.stderr
    texts = [line.split("\t")[1] for line in done.stdout.splitlines()]
    assert {len(text) for text in texts} == {3}
    assert set("".join(texts)) <= set("b1")

    def say(logits, charset):
        return [Prediction("ab", 0.9, [0.9, 0.9])] * len(logits)

    with mock.patch("model.read_images", read), mock.patch("model.as_predictions", say):
        run_here("predict.py", *arguments, images)
        run_here("predict.py", *arguments, next(images.iterdir()))
    frame = find_frame(list(read_sample(sorted(images.iterdir()))), 3)
    assert seen[0] == ((3, *frame[:2]), "abAB1", 2)
    assert len(seen) == 2  # of one image nothing is found but the frame
    assert seen[1][1:] == ("abAB1", 5)


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


def test_json_has_a_line_for_each_file_and_the_table_stays(place, tmp_path):
    (tmp_path / "cut.png").write_bytes(b"\x89PNG")
    done = predict(place, tmp_path, "JSON=True", "MIN_CONFIDENCE=1", tmp_path, place / "new")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(lines) == 11
    assert lines[0].keys() == {"image", "error"}
    assert "cut.png" in lines[0]["error"]
    assert all((line["answer"] is None) == (line["confidence"] < 1) for line in lines[1:])
    with open(tmp_path / "p.csv", encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["image"] for row in rows] == [line["image"] for line in lines[1:]]
    assert [row["text"] for row in rows] == [line["text"] for line in lines[1:]]
    for row, line in zip(rows, lines[1:], strict=True):
        assert float(row["confidence"]) == pytest.approx(line["confidence"], abs=1e-4)
        assert len(line["character_confidences"]) == len(line["text"])


@pytest.mark.parametrize("as_json", [True, False])
def test_each_line_of_standard_input_is_answered_at_once(place, as_json):
    model = f"MODEL_FILE={place / 'm' / MODEL_NAME}"
    with subprocess.Popen(
        command("predict.py", model, f"JSON={as_json}", "-"),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=place,
    ) as process:  # fmt: skip
        answers = []
        paths = [str(f).encode() for f in sorted((place / "new").iterdir())[:3]]
        for path in [*paths, b"/no\xffwhere.png", b"", b"new", b"a\0b", paths[0]]:
            process.stdin.write(path + b"\n")
            process.stdin.flush()
            answers.append(process.stdout.readline().decode())  # before the next is asked
        process.stdin.close()
        assert process.wait(60) == 0
    if as_json:
        read = [json.loads(answer) for answer in answers]
        assert ["error" in line for line in read] == [False] * 3 + [True] * 4 + [False]
        assert [line["image"].encode() for line in read[:3]] == paths
    else:
        read = [answer.rstrip("\n").split("\t") for answer in answers]
        assert [line[1] != "" for line in read] == [True] * 3 + [False] * 4 + [True]
        assert {line[2] for line in read[3:7]} == {"0.0000"}
    assert read[-1] == read[0]


def test_a_service_reads_what_is_posted_until_ctrl_c(place):
    file = sorted((place / "new").iterdir())[0]
    with subprocess.Popen(
        command("predict.py", f"MODEL_FILE={place / 'm' / MODEL_NAME}", "SERVE=0"),
        stderr=subprocess.PIPE, text=True, cwd=place, preexec_fn=hear_ctrl_c,
    ) as process:  # fmt: skip
        line = process.stderr.readline().strip()
        assert line.startswith("Programs on this machine, and no others, may POST an image to")
        connection = http.client.HTTPConnection(line.rpartition("/")[2], timeout=60)
        connection.request("POST", f"/{file.name}", file.read_bytes())
        answer = json.loads(connection.getresponse().read())
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
    assert answer["image"] == file.name
    assert answer["answer"] == answer["text"] != ""
    assert not (place / "data").exists()
