import threading

import numpy as np
import pytest
from helpers import practice_folder, small_net

import predict
import utils
from files.images import FOUND, read_image
from model import save_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return practice_folder(tmp_path_factory.mktemp("reader") / "new", 24)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Two models with random weights: of one site, and a general one."""
    place = tmp_path_factory.mktemp("models")
    net = small_net(charset="abAB1", length=5, size=(40, 160), channels=3)
    save_model(net, place / "site.safetensors", {})
    net.spec = net.spec._replace(cut=FOUND)
    save_model(net, place / "general.safetensors", {})
    return place / "site.safetensors", place / "general.safetensors"


def close(one, other):
    return one.text == other.text and one.confidence == pytest.approx(other.confidence, abs=1e-2)


def test_a_file_its_bytes_and_its_pixels_are_read_alike(models, folder):
    reader = predict.Reader(str(models[0]))
    file = next(folder.iterdir())
    pixels = read_image(file)
    wanted = reader.read(file)
    assert len(wanted.character_confidences) == len(wanted.text)
    assert np.prod(wanted.character_confidences) >= wanted.confidence - 1e-6
    assert all(reader.read(i) == wanted for i in (str(file), file.read_bytes(), pixels))
    grey = pixels[:, :, 0]
    assert close(reader.read(grey), reader.read(np.stack([grey] * 3, axis=2)))
    assert reader.read_all([]) == []


@pytest.mark.parametrize(
    ("image", "words"),
    [
        ("/nowhere.png", "no file /nowhere.png"),
        (b"hello", "the image is not an image"),
        (b"x" * 5_000_000, "larger than 4 MB"),
        (np.zeros((5, 5, 3)), "uint8"),
        (np.zeros((5, 5, 4), np.uint8), r"not \(5, 5, 4\)"),
        (np.zeros((0, 5), np.uint8), "too few"),
        (np.zeros(5, np.uint8), "not"),
    ],
)
def test_what_is_no_image_is_refused(models, image, words):
    with pytest.raises(ValueError, match=words):
        predict.Reader(models[0]).read(image)


def test_threads_and_a_second_reader_do_not_disturb_each_other(models, folder):
    files = utils.image_files(folder)
    readers = [
        predict.Reader(models[0], characters="ab"),
        predict.Reader(models[1], sample=folder, length=3),
        predict.Reader(models[1]),
    ]
    wanted = [[reader.read(file) for file in files] for reader in readers]
    found = [[], [], []]

    def read(number):
        for _ in range(2):
            found[number] += [readers[number].read(file) for file in files]

    threads = [threading.Thread(target=read, args=[number % 3]) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [read * 2 for read in wanted]
    assert {len(p.text) for p in wanted[1]} == {3}
    assert {c for p in wanted[0] for c in p.text} <= set("ab")

    one, lists = readers[0], [[] for _ in range(4)]
    threads = [
        threading.Thread(target=lambda o=out: o.extend(map(one.read, files))) for out in lists
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert lists == [wanted[0]] * 4


def test_without_a_sample_a_general_model_frames_each_image_by_itself(models, folder):
    reader = predict.Reader(models[1])
    files = utils.image_files(folder)[:4]
    images = [read_image(file) for file in files] + [np.full((60, 90, 3), 255, np.uint8)]
    together = reader.read_all(images)  # of several sizes
    assert all(close(one, reader.read(image)) for one, image in zip(together, images, strict=True))
    assert reader.net.spec.cut == FOUND
    assert reader.is_general
    assert not predict.Reader(models[0]).is_general
