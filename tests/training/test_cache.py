"""The cache of decoded images gives what the files hold, or is made anew; never an error."""

import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from helpers import hear_ctrl_c, practice_folder, project, snapshot

from files.images import InputSpec, fit_image, read_image
from files.split_names import CACHE, SPLITS
from training import cache, dataset, runs
from training.cache import load_images

spec = InputSpec(16, 16, 3)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Let every set be large."""
    monkeypatch.setattr(cache, "CACHE_FROM", 1)


@pytest.fixture
def files(tmp_path):
    return sorted(practice_folder(tmp_path / "images", 20, "digit").iterdir())


def expected(files, spec=spec):
    return torch.stack([torch.from_numpy(fit_image(read_image(file), spec)) for file in files])


def makes(monkeypatch):
    """Return a list that gets an entry each time images are decoded."""
    made, decode = [], cache.decode
    monkeypatch.setattr(cache, "decode", lambda *a: made.append(a) or decode(*a))
    return made


def test_the_cache_gives_the_same_images_as_the_files_and_is_made_once(
    files, tmp_path, monkeypatch
):
    made, before = makes(monkeypatch), snapshot(tmp_path / "images")
    for _ in range(3):
        assert torch.equal(load_images(files, spec, tmp_path / CACHE), expected(files))
    assert len(made) == 1
    assert torch.equal(load_images(files, spec, None), expected(files))
    assert len(made) == 2
    assert (tmp_path / CACHE).stat().st_size == 20 * 3 * 16 * 16 + 32
    assert snapshot(tmp_path / "images") == before


def test_a_small_set_needs_no_cache(files, tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "CACHE_FROM", 21)
    assert torch.equal(load_images(files, spec, tmp_path / CACHE), expected(files))
    assert not (tmp_path / CACHE).exists()


def change(files):
    """Make the first image another one of the same size in bytes."""
    about, data = files[0].stat(), bytearray(files[1].read_bytes())
    data = (bytes(data) + b"\0" * about.st_size)[: max(about.st_size, len(data))]
    files[0].write_bytes(data)


def touch(files):
    about = files[3].stat()
    os.utime(files[3], ns=(about.st_atime_ns, about.st_mtime_ns + 1000))


def add(files):
    files.append(files[0].with_name("1-100.png"))
    files[-1].write_bytes(files[5].read_bytes())


def remove(files):
    files.pop(7).unlink()


def rename(files):
    files[2] = files[2].rename(files[2].with_name("z.png"))


def exchange(files):
    files[4], files[5] = files[5], files[4]


@pytest.mark.parametrize("alter", [change, touch, add, remove, rename, exchange])
def test_other_files_make_it_anew(files, tmp_path, monkeypatch, alter):
    load_images(files, spec, tmp_path / CACHE)
    alter(files)
    made = makes(monkeypatch)
    assert torch.equal(load_images(files, spec, tmp_path / CACHE), expected(files))
    assert len(made) == 1
    load_images(files, spec, tmp_path / CACHE)
    assert len(made) == 1


@pytest.mark.parametrize(
    "other",
    [
        spec._replace(cut=(0.1, 0.0, 1.0, 1.0)), spec._replace(height=32, width=8),
        spec._replace(channels=1),
    ],
)  # fmt: skip
def test_another_cut_size_or_colour_makes_it_anew(files, tmp_path, other):
    for one in (spec, other, spec):
        assert torch.equal(load_images(files, one, tmp_path / CACHE), expected(files, one))


def test_another_version_of_the_format_makes_it_anew(files, tmp_path, monkeypatch):
    load_images(files, spec, tmp_path / CACHE)
    made = makes(monkeypatch)
    monkeypatch.setattr(cache, "FORMAT", "another")
    load_images(files, spec, tmp_path / CACHE)
    assert len(made) == 1


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"", lambda data: data[:-1], lambda data: data[:1000],
        lambda data: data + b"\0", lambda data: data[1:], lambda data: b"hello" * 9999,
        lambda data: data[:-32] + bytes(32),
    ],
)  # fmt: skip
def test_a_truncated_or_foreign_file_is_replaced(files, tmp_path, damage):
    load_images(files, spec, tmp_path / CACHE)
    whole = (tmp_path / CACHE).read_bytes()
    (tmp_path / CACHE).write_bytes(damage(whole))
    assert torch.equal(load_images(files, spec, tmp_path / CACHE), expected(files))
    assert (tmp_path / CACHE).read_bytes() == whole


def test_a_training_keeps_its_images_while_another_replaces_the_cache(files, tmp_path):
    mine = load_images(files, spec, tmp_path / CACHE)
    grey = spec._replace(channels=1)
    other = load_images(files, grey, tmp_path / CACHE)
    (tmp_path / CACHE).unlink()
    assert torch.equal(mine, expected(files))
    assert torch.equal(other, expected(files, grey))


@pytest.mark.parametrize("name", [CACHE, f".{CACHE}.lock"])
def test_where_nothing_can_be_written_images_stay_in_memory(files, tmp_path, name, capsys):
    (tmp_path / name).mkdir()  # also stops the administrator, whom a read-only folder does not
    assert torch.equal(load_images(files, spec, tmp_path / CACHE), expected(files))
    assert "cannot be made" in capsys.readouterr().err
    assert {file.name for file in tmp_path.iterdir()} <= {"images", name, f".{CACHE}.lock"}


def test_on_a_full_disk_images_stay_in_memory_and_nothing_half_is_left(files, tmp_path):
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, limits[1]))  # bytes of any file
    try:
        images = load_images(files, spec, tmp_path / CACHE)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert torch.equal(images, expected(files))
    assert {file.name for file in tmp_path.iterdir()} == {"images", f".{CACHE}.lock"}


def test_an_image_that_cannot_be_read_is_named_and_no_cache_is_made(files, tmp_path):
    files[6].write_bytes(b"no image")
    with pytest.raises(ValueError, match=files[6].name):
        load_images(files, spec, tmp_path / CACHE)
    assert not (tmp_path / CACHE).exists()


LOADER = """
import sys, time
from pathlib import Path
from files.images import InputSpec
from training import cache
from training.dataset import torch
cache.CACHE_FROM, folder = 1, Path(sys.argv[1])
decode = cache.decode
def slowly(*arguments):
    print("making", flush=True)
    for image in decode(*arguments):
        time.sleep(float(sys.argv[2]))
        yield image
cache.decode = slowly
images = cache.load_images(sorted((folder / "images").iterdir()), InputSpec(16, 16, 3),
                           folder / "images.cache")
print(images.to(torch.int64).sum().item())
"""


def loader(folder, seconds):
    return subprocess.Popen(
        [sys.executable, "-c", LOADER, str(folder), str(seconds)],
        cwd=project, stdout=subprocess.PIPE, text=True, preexec_fn=hear_ctrl_c,
    )  # fmt: skip


def test_of_two_trainings_at_once_one_makes_the_cache_and_both_have_it(files, tmp_path):
    both = [loader(tmp_path, 0.1) for _ in range(2)]
    said = [one.communicate()[0].split() for one in both]
    total = str(expected(files).to(torch.int64).sum().item())
    assert [words[-1] for words in said] == [total, total]
    assert sum(words.count("making") for words in said) == 1


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_maker_that_is_stopped_leaves_nothing_half(files, tmp_path, how):
    one = loader(tmp_path, 1.0)
    assert one.stdout.readline() == "making\n"
    time.sleep(0.2)
    one.send_signal(how)
    one.wait(timeout=30)
    one.stdout.close()
    assert not (tmp_path / CACHE).exists()
    assert torch.equal(load_images(files, spec, tmp_path / CACHE), expected(files))
    names = {file.name for file in tmp_path.iterdir()}
    assert names == {"images", CACHE, f".{CACHE}.lock"}  # not what was half written


def split_folder(tmp_path):
    """Return a folder as split_data.py makes it."""
    folder = tmp_path / "split"
    images = practice_folder(tmp_path / "images", 60, "digit")
    for number, file in enumerate(sorted(images.iterdir())):
        place = folder / SPLITS[number % 3]
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{file.name[0]}_{number:08x}.png").hardlink_to(file)
    return folder


def test_a_dataset_is_the_same_with_and_without_a_cache(tmp_path, monkeypatch):
    folder = split_folder(tmp_path)
    cached = [dataset.load(folder, None, 0) for _ in range(2)]
    assert (folder / CACHE).exists()
    monkeypatch.setattr(cache, "CACHE_FROM", 1000)
    plain = dataset.load(folder, None, 0)
    for data in cached:
        assert (data.charset, data.spec, data.files) == (plain.charset, plain.spec, plain.files)
        for mine, other in zip(data[3:6], plain[3:6], strict=True):
            assert mine.labels == other.labels
            assert torch.equal(mine.images, other.images)
            assert torch.equal(mine.targets, other.targets)
        assert runs.digest_of(data.train) == runs.digest_of(plain.train)


def test_with_some_of_the_training_images_no_cache_is_made_or_spoilt(tmp_path):
    folder = split_folder(tmp_path)
    dataset.load(folder, None, 0)
    before = (folder / CACHE).stat()
    data = dataset.load(folder, 10, 0)
    assert len(data.train.labels) == 10
    assert (folder / CACHE).stat().st_mtime_ns == before.st_mtime_ns
