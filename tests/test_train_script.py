"""The whole training: what it learns, what it writes, and what it refuses."""

import csv
import json
import re
import shutil
import subprocess
from pathlib import Path
from unittest import mock

import pytest
import torch
from helpers import (
    assert_one_sentence,
    command,
    practice_folder,
    random_images,
    run_here,
    run_script,
    small_net,
    snapshot,
    split_narrow,
    split_practice,
)
from PIL import Image

import model
import train_script
from files.images import read_image
from files.split_names import labelled_images
from files.tables import SPLIT_COLUMNS, SUSPECT_COLUMNS, read_table, write_table
from training import augment, checkup, metrics, runs, schedule
from training.dataset import Dataset, Split, encode_labels
from training.metrics import Scores
from training.pseudo_labels import UNKNOWN
from training.runs import RUN_COLUMNS

# A quarter of the time of the usual batch; and the steps of the model that ships take five times as
# long as those of a network from scratch, most of it for Muon.
SMALL = ["BATCH_SIZE=16", "START_FROM=None"]
PIXELS = 16  # as few as can be read


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    """400 practice digits, small ones, split."""
    return split_practice(tmp_path_factory.mktemp("digits"), 400, "digit", PIXELS)


@pytest.fixture(scope="module")
def trained(split, tmp_path_factory):
    """The model folder of one short training, from another working folder."""
    folder = tmp_path_factory.mktemp("trained")
    done = run_script(
        "train_script.py", f"SPLIT_FOLDER={split}", f"MODEL_FOLDER={folder}", *SMALL, "EPOCHS=12",
        cwd="/",
    )  # fmt: skip
    (folder / "printed.txt").write_text(done.stdout)
    return folder


def train(split, folder, *arguments):
    """Train in this process, without the pictures, which take longer than these trainings."""
    with mock.patch("training.judge.save_pictures"):
        return run_here(
            "train_script.py", f"SPLIT_FOLDER={split}", f"MODEL_FOLDER={folder}", *SMALL, *arguments
        )


def history_of(folder):
    """Return the rows of history.csv."""
    with open(folder / "history.csv", encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def test_digits_are_learnt_and_every_result_is_written(trained, split):
    written = json.loads((trained / "metrics.json").read_text())
    for name in ("val", "test"):
        figures = written[name]
        assert figures["images"] == len(list((split / name).iterdir()))
        assert figures["image_accuracy"] > 0.85
        low, high = figures["image_accuracy_95"]
        assert 0 < low <= figures["image_accuracy"] <= high <= 1
        assert figures["character_accuracy"] == figures["image_accuracy"]  # 1 digit
    assert written["epochs"] == 12
    assert written["train_images"] == len(list((split / "train").iterdir()))
    assert written["constants"]["EPOCHS"] == 12
    assert written["parameters"] > 100_000
    for name in ("curves", "confusion", "confidence", "mistakes", "attention", "augmented"):
        with Image.open(trained / f"{name}.png") as picture:
            assert picture.width > 300
    rows = history_of(trained)
    assert [int(row["epoch"]) for row in rows] == list(range(1, 13))
    assert float(rows[-1]["train_loss"]) < 0.1  # guessing: 2.3
    printed = (trained / "printed.txt").read_text()
    assert f"Test: {100 * written['test']['image_accuracy']:.1f} %" in printed


def test_the_model_is_the_best_epoch_and_reads_what_metrics_say(trained, split):
    net, about = model.load_model(trained / model.MODEL_NAME)
    assert net.charset == "0123456789"
    assert net.length == 1
    assert net.spec.channels == 1  # grey digits need no colour
    files = labelled_images(split / "val")
    images = torch.stack([model.prepare(net, read_image(file)) for file, _ in files])
    predictions = model.read_images(net, images)
    pairs = zip(predictions, files, strict=True)
    share = sum(prediction.text == label for prediction, (_, label) in pairs) / len(files)
    assert share == about["val"]["image_accuracy"]
    at_once = model.compute_logits(net, images).argmax(dim=2).numpy()
    texts = model.decode_labels(at_once, net.charset)
    correct = sum(text == label for text, (_, label) in zip(texts, files, strict=True))
    best = max(float(row["val_image_accuracy"]) for row in history_of(trained)[9:])
    assert best == correct / len(files)


def test_the_weights_of_the_best_epoch_are_kept(monkeypatch):
    """Not those of the last one, nor those of a lucky epoch before the network settled."""
    net = small_net()
    images, labels = random_images(8, net), ["abc", "bca", "cab", "aab"] * 2
    split = Split(labels, images, torch.from_numpy(encode_labels(labels, "abc", 3)))
    data = Dataset("abc", 3, net.spec, split, split, split, [])
    accuracies, weights = [0.1, 0.9, 0.1, 0.1, 0.1, 0.1, 0.8, 0.5], []

    def score(logits, split):
        weights.append(train_script.copy_weights(net))
        return Scores(1.0, 0.5, accuracies[len(weights) - 1])

    monkeypatch.setattr(metrics, "score", score)
    hyper = train_script.Hyperparameters("attention", None, 8, 2, 0.001, None)
    training = train_script.train(net, data, hyper, None, resume=False)
    assert len(weights) == 8
    for name, value in training.best_net().state_dict().items():
        assert torch.equal(value, weights[6][name])
    assert not torch.equal(weights[6]["trunk.0.weight"], weights[7]["trunk.0.weight"])


def test_a_killed_run_resumes_as_if_it_had_never_been_killed(split, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    arguments = [f"SPLIT_FOLDER={split}", *SMALL, "EPOCHS=4", "TRAIN_IMAGES=64"]
    run_script("train_script.py", f"MODEL_FOLDER={whole}", *arguments, cwd=tmp_path)
    killed_command = command("train_script.py", f"MODEL_FOLDER={killed}", *arguments)
    process = subprocess.Popen(killed_command, stdout=subprocess.PIPE, text=True)
    for line in process.stdout:
        if line.startswith("    2 "):
            break
    process.kill()
    process.wait()
    assert not (killed / model.MODEL_NAME).exists()
    run_script("train_script.py", f"MODEL_FOLDER={killed}", *arguments, "RESUME=True", cwd=tmp_path)
    weights = [model.load_model(f / model.MODEL_NAME)[0].state_dict() for f in (whole, killed)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    histories = [history_of(whole), history_of(killed)]
    for row in histories[0] + histories[1]:
        del row["seconds"]
    assert histories[0] == histories[1]
    done = train(split, killed, "EPOCHS=4", "TRAIN_IMAGES=64", "RESUME=True")
    assert "All 4 epochs are done already" in done.stderr
    again, _ = model.load_model(killed / model.MODEL_NAME)
    assert all(torch.equal(value, weights[0][n]) for n, value in again.state_dict().items())


def test_resuming_with_other_images_of_the_same_kind_is_refused(split, tmp_path):
    train(split, tmp_path, "EPOCHS=1", "TRAIN_IMAGES=80")
    before = snapshot(tmp_path)
    done = train(split, tmp_path, "EPOCHS=2", "TRAIN_IMAGES=90", "RESUME=True")
    assert_one_sentence(done, "last.pt", "other training images")
    assert snapshot(tmp_path) == before


def test_the_model_before_is_kept_and_runs_are_listed(split, tmp_path):
    for rate in (0.002, 0.001):
        done = train(split, tmp_path, "EPOCHS=1", "TRAIN_IMAGES=64", f"LEARNING_RATE={rate}")
        assert done.returncode == 0, done.stderr
    _, about = model.load_model(tmp_path / "previous.safetensors")
    assert about["constants"]["LEARNING_RATE"] == 0.002
    rows = read_table(tmp_path / "runs.csv", RUN_COLUMNS)
    assert [json.loads(row["constants"])["LEARNING_RATE"] for row in rows] == [0.002, 0.001]
    assert not any("test" in column for column in rows[0])  # the test folder chooses nothing


@pytest.mark.parametrize(("start", "highest"), [("None", 0.003), ("practice", 0.001)])
def test_few_labels_change_a_trained_model_in_smaller_steps(split, tmp_path, start, highest):
    train(split, tmp_path, "EPOCHS=2", "TRAIN_IMAGES=64", f"START_FROM={start}")
    halfway = float(history_of(tmp_path)[0]["learning_rate"])
    assert halfway == pytest.approx(highest * schedule.one_cycle(0.5))
    assert schedule.good_rate(2000, from_trained=True) == 0.003


def test_training_stops_when_validation_no_longer_improves(split, tmp_path):
    done = train(split, tmp_path, "EPOCHS=30", "PATIENCE=1", "LEARNING_RATE=0.2")
    assert "stopped" in done.stdout
    assert len(history_of(tmp_path)) < 30


def test_unlabelled_images_join_the_training_but_never_those_of_the_split(split, tmp_path):
    more = practice_folder(tmp_path / "more", 50, "digit", seed=5, size=PIXELS)
    (more / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(20))
    for i, file in enumerate((split / "test").iterdir()):
        (more / f"copy{i}.png").write_bytes(file.read_bytes())
    trained, unlabelled = tmp_path / "trained", f"UNLABELLED_FOLDER={more}"
    with mock.patch("training.augment.augment", wraps=augment.augment) as step:
        done = train(split, trained, "EPOCHS=8", unlabelled, "START_FROM=None")
    assert done.returncode == 0, done.stderr
    count = len(list((split / "train").iterdir()))
    (joined,) = re.findall(r"(\d+) of 50 images without labels join", done.stdout)
    counts = [count, count + int(joined)]  # of the two trainings
    assert step.call_count == sum(8 * len(schedule.epoch_batches(n, 16)) for n in counts)
    assert int(joined) > 10
    assert "torn.png" in done.stderr
    written = json.loads((trained / "metrics.json").read_text())
    assert written["labelled_images"] == count
    assert [training["train_images"] for training in written["trainings"]] == counts
    last = written["trainings"][-1]  # which made the model
    assert {name: written[name] for name in last} == last
    assert len(history_of(trained)) == last["epochs"] == 8

    (tmp_path / "known").mkdir()
    shutil.copy(more / "copy0.png", tmp_path / "known")
    unlabelled = f"UNLABELLED_FOLDER={tmp_path / 'known'}"
    assert_one_sentence(train(split, trained, "EPOCHS=1", unlabelled, "START_FROM=None"), "known")
    assert_one_sentence(train(split, trained, "RESUME=True", unlabelled), "RESUME")


def test_a_trained_model_teaches_itself_a_site_without_a_label(trained, tmp_path):
    """What it reads of turned digits, which it never saw, gets better, and it says how good."""
    images = practice_folder(tmp_path / "images", 240, "digit", seed=7, size=PIXELS)
    upright = {file: Image.open(file).copy() for file in images.iterdir()}
    start, folder = trained / model.MODEL_NAME, tmp_path / "model"
    folder.mkdir()
    (folder / "mistakes.png").write_bytes(b"of the training before")

    def accuracy(file):
        net, _ = model.load_model(file)
        pictures = torch.stack([model.prepare(net, read_image(file)) for file in upright])
        read = model.read_images(net, pictures)
        return sum(r.text == f.name[0] for r, f in zip(read, upright, strict=True)) / len(upright)

    angle, before = 10, 1.0
    while before > 0.9:  # until they are hard to read
        angle += 5
        for file, image in upright.items():
            image.rotate(angle, fillcolor=image.getpixel((0, 0))).save(file)
        before = accuracy(start)
    done = run_here(
        "train_script.py", "SPLIT_FOLDER=None", f"UNLABELLED_FOLDER={images}", *SMALL,
        f"MODEL_FOLDER={folder}", f"START_FROM={start}", "EPOCHS=6", "ROUNDS=2",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert accuracy(folder / model.MODEL_NAME) > before + 0.02
    written = json.loads((folder / "metrics.json").read_text())
    assert written["labelled_images"] == 0
    assert len(written["joined_images"]) == len(written["trainings"]) == 2
    low, high = written["expected_image_accuracy_95"]
    assert low <= written["expected_image_accuracy"] <= high
    assert not written["unlearnt"]
    assert f"{100 * written['expected_image_accuracy']:.0f} % of such images" in done.stdout
    _, about = model.load_model(folder / model.MODEL_NAME)
    assert about["labelled_images"] == 0  # so label_helper.py knows that nobody checked it
    assert (folder / "readings.png").stat().st_size > 5000
    assert not (folder / "mistakes.png").exists()


def test_a_character_without_a_target_is_neither_right_nor_wrong():
    """Every image begins with an a; what follows nobody knows."""
    net = small_net(length=2)
    unknown = torch.tensor([[1, UNKNOWN]] * 32)
    split = Split(["a?"] * 32, random_images(32, net), unknown)
    known = Split(["aa"] * 4, split.images[:4], torch.ones(4, 2, dtype=torch.int64))
    data = Dataset("abc", 2, net.spec, split, known, known, [])
    hyper = runs.Hyperparameters("attention", None, 4, 16, 0.003, None)
    training = train_script.train(net, data, hyper, None, resume=False)
    assert training.history[-1]["train_character_accuracy"] > 0.9


@pytest.mark.parametrize(("share", "given", "epochs"), [(1, None, 11), (0.5, None, 6), (0.5, 3, 3)])
def test_a_pupil_trains_for_a_share_of_what_is_enough_or_as_long_as_a_person_said(
    monkeypatch, share, given, epochs
):
    """From a trained network 180 batches are enough; 16 of them are an epoch here."""
    net = small_net()
    split = Split(["abc"] * 40, random_images(40, net), torch.ones(40, 3, dtype=torch.int64))
    data = Dataset("abc", 3, net.spec, split, split, split, [])
    monkeypatch.setattr(train_script, "train_anew", lambda data, hyper: hyper.epochs)
    hyper = runs.Hyperparameters("attention", net, given, 40, None, None)
    assert train_script.train_pupil(data, share, hyper, labels=0) == epochs


def test_a_model_that_reads_next_to_nothing_does_not_teach_itself(trained, tmp_path):
    """Noise instead of digits."""
    images = tmp_path / "images"
    images.mkdir()
    for number in range(30):
        noise = torch.randint(0, 256, (16, 16, 3), dtype=torch.uint8).numpy()
        Image.fromarray(noise).save(images / f"{number}.png")
    net, about = model.load_model(trained / model.MODEL_NAME)
    net.temperature.fill_(20)
    model.save_model(net, tmp_path / "unsure.safetensors", about)
    folders = [f"UNLABELLED_FOLDER={images}", f"MODEL_FOLDER={tmp_path / 'model'}"]
    done = run_here(
        "train_script.py", "SPLIT_FOLDER=None", *folders,
        f"START_FROM={tmp_path / 'unsure.safetensors'}",
    )  # fmt: skip
    assert_one_sentence(done, "read surely", "label some 50 images")
    assert not (tmp_path / "model").exists()


def test_a_model_that_expects_less_than_before_is_not_kept(trained, tmp_path):
    """One short round: it has changed, but not had the time to settle."""
    images = practice_folder(tmp_path / "images", 60, "digit", seed=7, size=PIXELS)
    start = trained / model.MODEL_NAME
    done = run_here(
        "train_script.py", "SPLIT_FOLDER=None", f"UNLABELLED_FOLDER={images}", *SMALL,
        f"MODEL_FOLDER={tmp_path / 'model'}", f"START_FROM={start}",
        "EPOCHS=1", "ROUNDS=1", "LEARNING_RATE=0.1", "CHARACTERS='01234567'",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    written = json.loads((tmp_path / "model" / "metrics.json").read_text())
    before = written["expected_image_accuracy_before"]
    assert written["expected_image_accuracy_afterwards"] < 0.8 * before
    assert written["expected_image_accuracy"] == before
    assert f"Before it taught itself it expected {100 * before:.0f} %" in done.stdout
    kept, about = model.load_model(tmp_path / "model" / model.MODEL_NAME)
    began, _ = model.load_model(start)
    assert about["labelled_images"] == 0
    assert kept.charset == "01234567"  # its first teacher, which was told so
    assert all(torch.equal(kept.state_dict()[name], x) for name, x in began.state_dict().items())


def test_flatten_head_learns_digits_too(split, tmp_path):
    (tmp_path / "attention.png").write_bytes(b"of the training before")
    folders = [f"SPLIT_FOLDER={split}", f"MODEL_FOLDER={tmp_path}"]
    done = run_here("train_script.py", *folders, *SMALL, "EPOCHS=10", "HEAD=flatten")
    assert done.returncode == 0, done.stderr
    written = json.loads((tmp_path / "metrics.json").read_text())
    assert written["val"]["image_accuracy"] > 0.7
    assert not (tmp_path / "attention.png").exists()


def test_the_check_up_is_printed_and_kept(split, tmp_path):
    """A test label that training does not know, and one epoch, from scratch, on few images."""
    copy = shutil.copytree(split, tmp_path / "split")
    file = next((copy / "test").iterdir())
    file.rename(file.with_name(f"x_{file.stem[-8:]}.png"))
    done = train(copy, tmp_path / "m", "EPOCHS=1", "TRAIN_IMAGES=100", "START_FROM=None")
    assert done.returncode == 0, done.stderr
    before, after = done.stdout.split("Check-up after training:")
    assert "Check-up before training:\n  ! Labels of val or test have characters" in before
    assert "'x' (in 'x')" in before
    assert "\n  ! " in after
    findings = json.loads((tmp_path / "m" / "metrics.json").read_text())["findings"]
    assert findings == re.findall(r"^  ! (.*)$", done.stdout, re.MULTILINE)


def test_labels_of_varying_length_in_colour_are_trained(tmp_path):
    split = split_practice(tmp_path, 60, "noise")
    done = train(split, tmp_path / "m", "EPOCHS=1")
    assert done.returncode == 0, done.stderr
    net, _ = model.load_model(tmp_path / "m" / model.MODEL_NAME)
    assert net.length == 6
    assert net.spec.channels == 3


def test_fine_tuning_starts_from_what_was_learnt(trained, tmp_path):
    split = split_practice(
        tmp_path, 120, "digit"
    )  # of full size, as the model that ships knows them
    shares = []
    for folder, start in (
        ("new", None),
        ("fine", trained / model.MODEL_NAME),
        ("ours", "practice"),
    ):
        settings = ["EPOCHS=1", "TRAIN_IMAGES=40", f"START_FROM={start}"]
        done = train(split, tmp_path / folder, *settings)
        assert done.returncode == 0, done.stderr
        written = json.loads((tmp_path / folder / "metrics.json").read_text())
        shares.append(written["val"]["character_accuracy"])
    assert min(shares[1:]) > shares[0] + 0.3


def test_narrow_letters_are_stretched_and_the_model_file_remembers_it(tmp_path):
    split, _ = split_narrow(tmp_path, 80)
    done = train(split, tmp_path / "model", "START_FROM=practice", "EPOCHS=1")
    assert done.returncode == 0, done.stderr
    net, _ = model.load_model(tmp_path / "model" / model.MODEL_NAME)
    assert net.spec.stretch > 1.3
    size = f"{net.spec.width} x {net.spec.height} pixels"
    assert f"{size}, stretched by {net.spec.stretch:.2f}, " in done.stdout
    files = labelled_images(split / "test")
    images = torch.stack([model.prepare(net, read_image(file)) for file, _ in files])
    texts = [prediction.text for prediction in model.read_images(net, images)]
    assert sum(text == label for text, (_, label) in zip(texts, files, strict=True)) >= 15  # of 20


def test_characters_that_no_label_has_yet_stay_known(trained, split, tmp_path):
    settings = ["EPOCHS=1", "TRAIN_IMAGES=40", f"START_FROM={trained / model.MODEL_NAME}"]
    done = run_here(
        "train_script.py", f"SPLIT_FOLDER={split}", f"MODEL_FOLDER={tmp_path / 'more'}", *SMALL,
        *settings, "CHARACTERS=0123456789xy0",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    net, _ = model.load_model(tmp_path / "more" / model.MODEL_NAME)
    assert net.charset == "0123456789xy"
    # Going on with fewer labels: 7 occurs in none of them, and is still read.
    only = tmp_path / "split"
    shutil.copytree(split, only)
    for file in only.glob("*/7*"):
        file.unlink()
    done = train(only, tmp_path / "few", *settings, "CHARACTERS=7", "LEARNING_RATE=0.0001")
    assert done.returncode == 0, done.stderr
    net, _ = model.load_model(tmp_path / "few" / model.MODEL_NAME)
    images = [model.prepare(net, read_image(file)) for file in split.glob("test/7*")]
    texts = [read.text for read in model.read_images(net, torch.stack(images))]
    assert len(texts) >= 3
    assert texts.count("7") > len(texts) / 2


def test_what_a_training_spoils_is_taken_back(trained, split, tmp_path):
    file = trained / model.MODEL_NAME
    settings = ["EPOCHS=1", "TRAIN_IMAGES=40", "LEARNING_RATE=0.05", f"START_FROM={file}"]
    done = train(split, tmp_path, *settings)
    assert done.returncode == 0, done.stderr
    written = json.loads((tmp_path / "metrics.json").read_text())
    share = written["share_of_training"]
    assert share < 1
    assert f"Kept {100 * share:.0f} % of what was learnt now" in done.stdout
    assert float(history_of(tmp_path)[-1]["val_loss"]) > 2 * written["val"]["loss"]
    first, _ = model.load_model(file)
    kept, _ = model.load_model(tmp_path / model.MODEL_NAME)
    last = torch.load(tmp_path / "last.pt", weights_only=True)["best"]
    for name in ("trunk.0.weight", "head.classifier.bias"):
        weights = [net.state_dict()[name] for net in (first, kept)]
        assert torch.allclose(weights[1], weights[0].lerp(last[name], share), atol=1e-5)


def empty_folder(split):
    for file in (split / "val").iterdir():
        file.unlink()


def one_class(split):
    for file in (split / "train").iterdir():
        if not file.name.startswith("7"):
            file.unlink()


def foreign_file(split):
    (split / "train" / "notes.txt").write_text("mine")


def damaged_image(split):
    file = next((split / "train").iterdir())
    file.write_bytes(file.read_bytes()[:50])


mistakes = [
    (shutil.rmtree, [], "split_data.py"),
    (empty_folder, [], "val"),
    (one_class, [], "'7'"),
    (foreign_file, [], "notes.txt"),
    (damaged_image, [], "damaged"),
    (None, ["EPOCHS=-3"], "EPOCHS is -3"),
    (None, ["EPOCHS=0"], "EPOCHS is 0"),
    (None, ["ROUNDS=0"], "ROUNDS is 0"),
    (None, ["SPLIT_FOLDER=None"], "UNLABELLED_FOLDER must be given"),
    (None, ["SPLIT_FOLDER=None", "UNLABELLED_FOLDER=/x", "START_FROM=None"], "START_FROM must be"),
    (None, ["BATCH_SIZE=1"], "BATCH_SIZE"),
    (None, ["LEARNING_RATE=0.0"], "LEARNING_RATE"),
    (None, ["HEAD=transformer"], "attention, flatten"),
    (None, ["TRAIN_IMAGES=100000"], "there are only"),
    (None, ["TRAIN_IMAGES=1"], "TRAIN_IMAGES"),
    (None, ["START_FROM=/nowhere.safetensors"], "/nowhere.safetensors"),
    (None, ["RESUME=True"], "last.pt"),
    (None, ["EPOCH=3"], "EPOCHS"),
    (None, ["AUDIT_FOLDS=1"], "AUDIT_FOLDS"),
]


@pytest.mark.parametrize(("damage", "arguments", "words"), mistakes)
def test_mistakes_end_in_one_sentence_and_change_nothing(split, tmp_path, damage, arguments, words):
    copy = shutil.copytree(split, tmp_path / "split")
    if damage:
        damage(copy)
    before = snapshot(tmp_path)
    done = train(copy, tmp_path / "m", *arguments)
    assert_one_sentence(done, words)
    assert snapshot(tmp_path) == before


def test_resuming_with_other_labels_is_refused(trained, tmp_path):
    split = split_practice(tmp_path, 60, "simple")
    before = snapshot(trained)
    assert_one_sentence(train(split, trained, "RESUME=True"), "last.pt", "START_FROM")
    assert snapshot(trained) == before


def test_the_audit_lists_wrong_labels_first_with_their_originals(split, tmp_path):
    copy = shutil.copytree(split, tmp_path / "split")
    wrong, rows = {}, read_table(copy / "index.csv", SPLIT_COLUMNS)
    for row in [row for row in rows if row["split"] == "train"][::25]:
        label = str((int(row["label"]) + 5) % 10)
        renamed = f"train/{label}{Path(row['copy']).name[1:]}"
        (copy / row["copy"]).rename(copy / renamed)
        row |= {"copy": renamed, "label": label}
        wrong[renamed] = row["original"]
    write_table(copy / "index.csv", SPLIT_COLUMNS, [list(row.values()) for row in rows])
    done = train(copy, tmp_path / "m", "EPOCHS=8", "AUDIT_FOLDS=2")
    assert done.returncode == 0, done.stderr
    suspects = read_table(tmp_path / "m" / "suspects.csv", SUSPECT_COLUMNS)
    assert len(suspects) == 400
    first = {row["image"]: row["original"] for row in suspects[: 2 * len(wrong)]}
    assert len(first.items() & wrong.items()) >= 0.8 * len(wrong)
    suspicion = [float(row["suspicion"]) for row in suspects]
    assert suspicion == sorted(suspicion, reverse=True)
    with Image.open(tmp_path / "m" / "suspects.png") as picture:
        assert picture.width > 300


def test_an_audit_without_the_index_of_the_split_is_refused_before_any_training(split, tmp_path):
    copy = shutil.copytree(split, tmp_path / "split")
    (copy / "index.csv").unlink()
    done = train(copy, tmp_path / "m", "AUDIT_FOLDS=2")
    assert_one_sentence(done, "index.csv", "split_data.py")
    assert not (tmp_path / "m").exists()


def test_the_check_up_examines_the_network_that_trains(split, tmp_path):
    seen = []

    def before_training(net, *arguments, **options):
        seen.append((net, {name: value.clone() for name, value in net.state_dict().items()}))
        return []

    def keep_model(net, *arguments, **options):
        seen.append((net, None))
        return keep(net, *arguments, **options)

    keep = runs.keep_model
    with (
        mock.patch.object(checkup, "before_training", before_training),
        mock.patch.object(runs, "keep_model", keep_model),
    ):
        done = train(split, tmp_path / "m", "EPOCHS=1", "TRAIN_IMAGES=40", "START_FROM=None")
    assert done.returncode == 0, done.stderr
    (examined, fresh), (kept, _) = seen
    assert examined is kept
    assert not torch.equal(fresh["trunk.0.weight"], kept.state_dict()["trunk.0.weight"])


def test_a_model_is_exported_by_its_validation_images(tmp_path, monkeypatch):
    split = split_practice(tmp_path, 60, "digit")
    seen = []

    def remember(net, images, path, *_):
        seen.append((net.charset, len(images), path))
        return "They agree."

    monkeypatch.setattr("reading.export.check_extras", lambda: None)
    monkeypatch.setattr("reading.export.export", remember)
    monkeypatch.setattr("training.judge.save_pictures", lambda *_: None)
    done = run_here(
        "train_script.py", f"SPLIT_FOLDER={split}", f"MODEL_FOLDER={tmp_path / 'm'}", *SMALL,
        "EPOCHS=1", "EXPORT_ONNX=True",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "They agree." in done.stdout
    count = len(list((split / "val").iterdir()))
    assert seen == [("0123456789", count, tmp_path / "m" / "captcha.onnx")]
