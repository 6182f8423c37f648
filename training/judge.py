"""The judgement at the end of a training: the figures of metrics.json, and the pictures."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import model
from model import CaptchaNet
from training import plots, pseudo_labels, report
from training.augment import augment
from training.calibration import confidences_of, coverage_table, fit_temperature
from training.dataset import Dataset, Split
from training.metrics import confusion_counts, describe
from training.pseudo_labels import Round
from training.runs import Training

SPREAD = 0.05  # how far the accuracy that a network expects without any label is off, see README


def judge(net: CaptchaNet, data: Dataset) -> tuple[dict[str, Any], Tensor]:
    """Calibrate a network, and read the test folder, for the only time.

    Sets the network's temperature. Returns the figures of validation and test as they stand in
    metrics.json, and the calibrated logits of the test images, (N, length, classes).
    """
    val_logits = model.read_logits(net, data.val.images)
    net.temperature.fill_(fit_temperature(val_logits, data.val))
    test_logits = model.read_logits(net, data.test.images)
    val_logits, test_logits = (x / net.temperature.cpu() for x in (val_logits, test_logits))
    figures = {
        "test": describe(test_logits, data.test, data.charset),
        "val": describe(val_logits, data.val, data.charset),
        "temperature": net.temperature.item(),
        "coverage": coverage_table(val_logits, test_logits, data.test),
    }
    return figures, test_logits


def judge_without_labels(
    teacher: CaptchaNet, rounds: Sequence[Round], images: Tensor
) -> tuple[CaptchaNet, dict[str, Any]]:
    """Return the network to keep, and the figures of metrics.json, of one that taught itself.

    It expects to read as large a share of the images as its mean confidence says, in those that it
    did not learn from. TEMPERATURE makes up for its being too sure; how well, differs from site to
    site by some SPREAD. If its first ``teacher`` expected more, that one is kept.
    """
    unseen = images[pseudo_labels.is_held_out(images)]
    net = rounds[-1].training.net
    before = confidences_of(rounds[0].teacher_logits)
    confidences = confidences_of(pseudo_labels.read(net, unseen, net.charset))
    afterwards = confidences.mean().item()
    unlearnt = afterwards < before.mean().item()
    if unlearnt:
        net, confidences = teacher, before
    expected = confidences.mean().item()
    reach = 1.96 * confidences.std().item() / len(unseen) ** 0.5 + SPREAD
    return net, about_trainings([one.training for one in rounds]) | {
        "labelled_images": 0,
        "joined_images": [one.joined for one in rounds],
        "unlearnt": unlearnt,
        "expected_image_accuracy": expected,
        "expected_image_accuracy_before": before.mean().item(),
        "expected_image_accuracy_afterwards": afterwards,
        "expected_image_accuracy_95": [max(0, expected - reach), min(1, expected + reach)],
        "device": model.best_device().type,
    }


def about_trainings(trainings: Sequence[Training]) -> dict[str, Any]:
    """Return what metrics.json says about the trainings of a run.

    Above all about the last one, which made the model. Images without labels take several, and
    "trainings" has each; "train_images" includes pseudo-labels.
    """
    rows = [
        {
            "train_images": training.train_images,
            "epochs": len(training.history),
            "seconds": round(sum(row["seconds"] for row in training.history), 1),
        }
        for training in trainings
    ]
    parameters = sum(parameter.numel() for parameter in trainings[-1].net.parameters())
    return rows[-1] | {"trainings": rows, "parameters": parameters}


def print_figures(figures: dict[str, Any]) -> None:
    """Print the figures of metrics.json that matter most."""
    test = figures["test"]
    low, high = test["image_accuracy_95"]
    print(
        f"Test: {100 * test['image_accuracy']:.1f} % of {test['images']} images read correctly "
        f"(95 % interval {100 * low:.1f} to {100 * high:.1f} %), "
        f"{100 * test['character_accuracy']:.2f} % of their characters"
    )
    if test["confusions"]:
        print(f"Most frequent confusions: {', '.join(report.pairs(test['confusions'][:6]))}")
    val_images = figures["val"]["images"]
    row = next((row for row in figures["coverage"] if row["wanted_precision"] == 0.995), None)
    if row is None:
        print(f"None of {val_images} validation images is read surely enough for 99.5 % precision")
    else:
        share = row["precision"]
        correct = "" if share is None else f", {100 * share:.1f} % of them correctly"
        print(
            f"Only confident answers (MIN_CONFIDENCE={row['min_confidence']}, found on "
            f"{val_images} validation images): {100 * row['answered']:.1f} % answered{correct}"
        )


def print_expected(figures: dict[str, Any]) -> None:
    """Say how well a network probably reads that learnt without a label."""
    low, high = figures["expected_image_accuracy_95"]
    share = f"{100 * figures['expected_image_accuracy']:.0f} % of such images"
    print(
        f"Nobody checked a reading. The model expects to read {share} correctly (probably "
        f"{100 * low:.0f} to {100 * high:.0f} %); label_helper.py proposes what it reads."
    )
    if figures["unlearnt"]:
        before = 100 * figures["expected_image_accuracy_before"]
        afterwards = 100 * figures["expected_image_accuracy_afterwards"]
        print(
            f"Before it taught itself it expected {before:.0f} %, afterwards {afterwards:.0f} %: "
            "it has rather unlearnt, so the model it began with is kept. Leave EPOCHS as it is, or "
            "label some 50 images."
        )


def save_readings(rounds: Sequence[Round], images: Tensor, folder: Path) -> None:
    """Show for some images that no round learnt from what each teacher and the last pupil read.

    Saves readings.png, and removes the pictures of another training.
    """
    net = rounds[-1].training.net
    unseen = images[pseudo_labels.is_held_out(images)]
    logits = [one.teacher_logits for one in rounds] + [pseudo_labels.read(net, unseen, net.charset)]
    shown, cells, titles, colours = some(len(unseen), 10), [], [], []
    for i in shown:
        texts = [
            model.decode_labels(x[i : i + 1].argmax(dim=2).numpy(), net.charset)[0] for x in logits
        ]
        for text, x in zip(texts, logits, strict=True):
            cells.append(unseen[i].numpy())
            percent = 100 * confidences_of(x[i : i + 1]).item()
            titles.append(f"{plots.visible(text) or 'nothing'}  {percent:.0f} %")
            colours.append("black" if text == texts[-1] else plots.WRONG)
    heading = "What each round read, the last one in the column on the right"
    sheet = plots.image_sheet(cells, titles, colours, heading, len(logits))
    plots.save(sheet, folder / "readings.png")
    for name in ("curves", "confusion", "confidence", "mistakes", "attention", "augmented"):
        (folder / f"{name}.png").unlink(missing_ok=True)


def save_pictures(
    net: CaptchaNet,
    data: Dataset,
    test_logits: Tensor,
    history: Sequence[dict[str, float]],
    folder: Path,
) -> None:
    """Save curves, confusion, confidence, mistakes, attention and augmented as PNG in ``folder``.

    readings.png, of a training without labels, is removed.

    ``test_logits`` are (N, length, classes), ``history`` has a row per epoch.
    """
    (folder / "readings.png").unlink(missing_ok=True)
    curves = plots.LiveCurves()
    curves.plot(history)
    plots.save(curves.figure, folder / "curves.png")

    test = data.test
    counts = confusion_counts(test_logits, test, len(data.charset) + 1)
    plots.save(plots.confusion_matrix(counts, data.charset), folder / "confusion.png")

    read = test_logits.argmax(dim=2)  # (N, L)
    texts = model.decode_labels(read.numpy(), data.charset)
    sure, correct = confidences_of(test_logits), (read == test.targets).all(dim=1)
    plots.save(plots.confidence_plot(sure.numpy(), correct.numpy()), folder / "confidence.png")

    confidences, wrong = sure.tolist(), (~correct).nonzero().flatten().tolist()
    wrong.sort(key=lambda i: -confidences[i])
    mistakes = [
        (test.images[i].numpy(), test.labels[i], texts[i], confidences[i]) for i in wrong[:24]
    ]
    plots.save(plots.mistakes_sheet(mistakes, len(texts)), folder / "mistakes.png")

    save_attention(net, test, test_logits, texts, folder / "attention.png")
    save_augmented(data.train, folder / "augmented.png")


def save_attention(
    net: CaptchaNet, split: Split, logits: Tensor, texts: Sequence[str], path: Path
) -> None:
    """Show for some images where each position attended, if the network has attention."""
    shown = some(len(texts))
    with torch.no_grad():
        _, maps, _ = net.eval().attend(split.images[shown].to(net.mean.device))
    if maps is None:
        path.unlink(missing_ok=True)  # that of another training
        return
    confidences = logits[shown].softmax(dim=2).amax(dim=2).numpy()  # (N, L)
    images = list(split.images[shown].numpy())
    sheet = plots.attention_sheet(
        images, maps.cpu().numpy(), [texts[i] for i in shown], confidences
    )
    plots.save(sheet, path)


def save_augmented(split: Split, path: Path) -> None:
    """Show some training images as they are, each beside what augmentation makes of it."""
    images, titles = [], []
    for i in some(len(split.labels)):
        changed = augment(split.images[i].repeat(4, 1, 1, 1))  # (4, C, H, W)
        images += [split.images[i].numpy(), *changed.byte().numpy()]
        titles += [plots.visible(split.labels[i]), *[""] * 4]
    colours = ["black"] * len(images)
    heading = "Training images, each beside what augmentation makes of it: still readable?"
    plots.save(plots.image_sheet(images, titles, colours, heading, columns=5), path)


def some(count: int, most: int = 6) -> np.ndarray:
    """Return up to ``most`` of ``count`` numbers, evenly spread."""
    return np.linspace(0, count - 1, min(most, count)).astype(int)
