"""reader.py: images are read in another process, those needed next first."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from helpers import practice_folder, project

import model
import utils
from files.framing import read_sample
from files.images import FOUND, InputSpec, read_image
from labelling import reader as reader_module
from labelling.reader import Reader, find_model
from reading import limits
from utils import Prediction


def some_net():
    """A network of random weights: what it reads is rubbish, but always the same."""
    torch.manual_seed(1)
    return model.CaptchaNet("abcdef", 5, InputSpec(24, 48, 3, (0, 0, 1, 1))).eval()


@pytest.fixture
def model_file(tmp_path):
    file = tmp_path / "net.safetensors"
    model.save_model(some_net(), file, {"time": "2026-01-01T00:00:00+00:00"})
    return file


def read_all(model_file, folder, images, needed=(), *site):
    predictions = {}
    reader = Reader(model_file, folder, images, predictions, *site)
    reader.needed = needed
    reader.start()
    reader.thread.join(60)
    reader.close()
    return predictions, reader


def test_the_reader_reads_as_the_model_does_and_what_is_needed_next_first(
    tmp_path, model_file, monkeypatch
):
    folder = practice_folder(tmp_path / "images", 90)
    (folder / "broken.png").write_text("no image")
    images = [*(file.name for file in utils.image_files(folder)), "gone.png"]
    needed = images[:60:-7]
    monkeypatch.chdir(tmp_path)  # the other process has another working directory
    predictions, reader = read_all(Path(model_file.name), Path("images"), images, needed)
    assert (reader.trouble, reader.trained) == ("", "2026-01-01T00:00:00+00:00")
    assert predictions.keys() == set(images) - {"broken.png", "gone.png"}
    shown = [name for name in needed if name in predictions]
    assert list(predictions)[: len(shown)] == shown
    net = some_net()
    for name in list(predictions)[::10]:
        image = model.prepare(net, read_image(folder / name))
        (expected,) = model.read_images(net, image[None])
        read = predictions[name]
        assert isinstance(read, Prediction)
        assert read.text == expected.text
        assert read.confidence == pytest.approx(expected.confidence, rel=0.05)
        each = pytest.approx(expected.character_confidences, rel=0.05)
        assert read.character_confidences == each


def test_a_model_that_taught_itself_learnt_from_no_label(tmp_path):
    about = {"time": "2026-01-01T00:00:00+00:00", "labelled_images": 0}
    model.save_model(some_net(), tmp_path / "net.safetensors", about)
    _, reader = read_all(tmp_path / "net.safetensors", tmp_path, [])
    assert (reader.trouble, reader.trained) == ("", "")


def test_a_missing_model_is_reported_and_nothing_else_happens(tmp_path):
    predictions, reader = read_all(tmp_path / "net.safetensors", tmp_path, ["a.png"])
    assert predictions == {}
    assert "net.safetensors" in reader.trouble
    assert reader.process.poll() is not None


def test_what_is_sure_to_occur_is_told_and_a_general_model_is_suited_to_the_site(tmp_path):
    net = some_net()
    net.spec = net.spec._replace(cut=FOUND)
    net.head.classifier.bias.data[0] = -100  # never a blank: always five characters
    file = tmp_path / "general.safetensors"
    model.save_model(net, file, {})
    folder = practice_folder(tmp_path / "images", 24)
    images = [file.name for file in utils.image_files(folder)]
    for sample, length in ((images, None), (images[:5], 5), (images[:5], 3)):
        predictions, reader = read_all(file, folder, images[:4], (), sample, "Abc", length)
        assert reader.trouble == ""
        expected = model.load_model(file)[0]
        limits.suit(expected, read_sample([folder / name for name in sample]), "Abc", length)
        assert expected.length == (length or 5)
        batch = [model.prepare(expected, read_image(folder / name)) for name in images[:4]]
        for name, read in zip(
            images, model.read_images(expected, torch.stack(batch)), strict=False
        ):
            assert predictions[name].text == read.text
            assert set(read.text) <= set("Abc")


def test_what_the_model_cannot_read_is_the_trouble(tmp_path, model_file):
    _, reader = read_all(model_file, tmp_path, [], (), [], "aé")
    assert "CHARACTERS has 'é', which the model cannot read" in reader.trouble


def test_the_model_that_ships_stands_in_for_the_usual_one_and_any_other_must_exist(
    tmp_path, monkeypatch
):
    usual = tmp_path / "captcha.safetensors"
    monkeypatch.setattr(reader_module, "USUAL_MODEL", usual)
    assert find_model(None) is None
    assert find_model(usual) == find_model(str(usual)) == utils.PRACTICE_MODEL
    assert find_model(tmp_path / "other.safetensors") == tmp_path / "other.safetensors"
    assert find_model("practice") == utils.PRACTICE_MODEL
    usual.write_text("")
    assert find_model(str(usual)) == usual


def test_the_reading_process_ends_when_the_window_is_killed(tmp_path, model_file):
    practice_folder(tmp_path / "images", 3)
    program = """
import sys, time
from pathlib import Path
from labelling.reader import Reader
folder = Path(sys.argv[2])
reader = Reader(Path(sys.argv[1]), folder, [file.name for file in folder.iterdir()], {})
reader.start()
print(reader.process.pid, flush=True)
time.sleep(60)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", program, model_file, tmp_path / "images"],
        env={**os.environ, "PYTHONPATH": str(project)},
        stdout=subprocess.PIPE,
        text=True,
    )
    child = int(process.stdout.readline())
    process.kill()
    process.communicate()
    end = time.monotonic() + 30
    while Path(f"/proc/{child}").exists() and time.monotonic() < end:
        state = Path(f"/proc/{child}/stat").read_text().split()[2]
        if state == "Z":  # ended; nobody has asked how, as its parent is gone
            break
        time.sleep(0.05)
    else:
        if Path(f"/proc/{child}").exists():
            os.kill(child, signal.SIGKILL)
            pytest.fail("it was still there")
