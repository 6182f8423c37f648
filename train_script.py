"""Train the network on the split folders, judge it on the test folder, show what it learnt.

    python train_script.py
    python train_script.py EPOCHS=30 HEAD=flatten MODEL_FOLDER=data/flatten

Reads data/split/, writes data/model/: captcha.safetensors (the model, best on validation),
metrics.json, history.csv, runs.csv, and as pictures curves, confusion, mistakes, attention and
augmented. previous.safetensors is the model before. last.pt lets an interrupted run go on:
RESUME=True. With AUDIT_FOLDS also suspects.csv and suspects.png.
Next: python predict.py
"""

import functools
import math
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import utils

if __name__ == "__main__":  # --help and mistyped settings are answered before torch is imported
    utils.check_early(__file__)

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

import model
from files.images import read_image
from files.split_names import labelled_images
from model import CaptchaNet
from reading import export
from training import audit, checkup, dataset, judge, metrics, plots, pseudo_labels, runs, schedule
from training.augment import augment
from training.dataset import Dataset
from training.muon import optimizers_for
from training.runs import History, Training
from training.transfer import copy_matching_weights

# ---- edit these ----------------------------------------------------------------------------------
SPLIT_FOLDER = utils.DATA / "split"  # train/, val/ and test/, made by split_data.py
MODEL_FOLDER = utils.DATA / "model"  # the model, its figures and its pictures
EPOCHS: int | None = None  # passes through the training images; None: enough for their number
BATCH_SIZE = 64  # images per step
# the highest; it rises to it in the first steps, then falls to zero. None: 0.003, and 0.001 where
# no more than 500 images change a trained model
LEARNING_RATE: float | None = None
HEAD = "attention"  # or "flatten": how a position finds its character, see model.py
# "practice" starts from the model that ships, a model file from that one, None from scratch
START_FROM: Path | str | None = "practice"
RESUME = False  # True: go on where an interrupted run stopped

# Stop after this many epochs without a better validation; None: never, because the network is at
# its best at the end, when the learning rate has fallen
PATIENCE: int | None = None
# characters that may occur although no label has them yet: with START_FROM they stay known
CHARACTERS: str | None = None
TRAIN_IMAGES: int | None = None  # train on this many only, to see what labels are worth
UNLABELLED_FOLDER: Path | None = None  # images without labels that help; about 5 times slower
SEED = 0  # another number: other first weights, other order, other augmentation
AUDIT_FOLDS = 0  # 4: afterwards, list the labels that look wrong; costs 4 more trainings
EXPORT_ONNX = False  # True: captcha.onnx, too, which programs without PyTorch read with
SHOW_PLOTS = True  # False: never open a window
# --------------------------------------------------------------------------------------------------


class Hyperparameters(NamedTuple):
    """What a training is told besides its data; None: what suits the number of images."""

    head: str
    start: CaptchaNet | None  # the trained network that it starts from
    epochs: int | None
    batch_size: int
    learning_rate: float | None
    patience: int | None


def main() -> None:
    """Load, check up, train, judge, keep."""
    utils.settings(globals(), sys.argv[1:])
    constants = utils.plain_settings(globals())
    check(constants)
    plots.use_screen(SHOW_PLOTS)
    torch.manual_seed(SEED)

    data = dataset.load(SPLIT_FOLDER, TRAIN_IMAGES, SEED, CHARACTERS or "")
    originals = audit.originals(SPLIT_FOLDER) if AUDIT_FOLDS else {}
    start = None if START_FROM is None else model.load_model(utils.model_file(START_FROM))[0]
    hyper = Hyperparameters(HEAD, start, EPOCHS, BATCH_SIZE, LEARNING_RATE, PATIENCE)
    net = new_net(data, hyper)
    print(runs.describe(net, len(data.train.labels)))

    rate = LEARNING_RATE or schedule.good_rate(len(data.train.labels), start is not None)
    findings = checkup.before_training(net, data, rate, fresh=start is None)
    checkup.print_findings("before training", findings)

    trainings = [train(net, data, hyper, MODEL_FOLDER / "last.pt", RESUME)]
    if UNLABELLED_FOLDER is not None:
        train_again = functools.partial(train_anew, hyper=hyper)
        trainings += pseudo_labels.go_on(trainings[0], data, UNLABELLED_FOLDER, train_again)
    net, history, rate = trainings[-1].best_net(), trainings[-1].history, trainings[-1].rate

    figures, test_logits = judge.judge(net, data)
    train_logits = model.compute_logits(net, data.train.images[:1000])
    late_findings = checkup.after_training(history, train_logits, data.train, rate)
    figures |= judge.about_trainings(trainings) | {
        "labelled_images": len(data.train.labels),
        "device": net.mean.device.type,
        "findings": findings + late_findings,
        "constants": constants,
    }
    runs.keep_model(net, MODEL_FOLDER, figures, history)
    if EXPORT_ONNX:
        images = [read_image(file) for file, _ in labelled_images(SPLIT_FOLDER / "val")]
        file = MODEL_FOLDER / "captcha.onnx"
        print(export.export(net, images, file, "float32", "of the training"))
    judge.save_pictures(net, data, test_logits, history, MODEL_FOLDER)
    runs.list_run(MODEL_FOLDER, figures)
    judge.print_figures(figures)
    checkup.print_findings("after training", late_findings)
    if AUDIT_FOLDS:
        # Every epoch is gone through: to stop early would be a choice by the labels under audit.
        train_again = functools.partial(train_anew, hyper=hyper._replace(patience=None))
        audit.audit(data, originals, AUDIT_FOLDS, train_again, MODEL_FOLDER)
    print(f"The model and its pictures are in {MODEL_FOLDER}")
    plots.show()


def check(constants: dict[str, Any]) -> None:
    """Raise ValueError for a setting that no training could use."""
    lowest = {"EPOCHS": 1, "BATCH_SIZE": 2, "PATIENCE": 1, "TRAIN_IMAGES": 2, "SEED": 0}
    for name, value in (lowest | {"AUDIT_FOLDS": 0}).items():
        utils.at_least(name, constants[name], value)
    if constants["AUDIT_FOLDS"] == 1:
        raise ValueError("AUDIT_FOLDS is 1; it must be 2 or more, or 0 for no audit.")
    if constants["EXPORT_ONNX"]:
        export.check_extras()
    rate = constants["LEARNING_RATE"]
    if rate is not None and not 0 < rate <= 1:
        raise ValueError(f"LEARNING_RATE is {rate}; it must lie between 0 and 1.")
    if constants["RESUME"] and constants["UNLABELLED_FOLDER"] is not None:
        raise ValueError("with UNLABELLED_FOLDER there are three trainings; RESUME knows one only.")


# ---- training ------------------------------------------------------------------------------------


def new_net(data: Dataset, hyper: Hyperparameters) -> CaptchaNet:
    """Return a network to train on a dataset, on the fastest device."""
    start = hyper.start
    widths, context = (start.widths, start.context) if start else (model.WIDTHS, False)
    net = CaptchaNet(data.charset, data.length, data.spec, hyper.head, widths, context)
    if start is None:
        net.set_normalisation(data.train.images)
    else:
        copy_matching_weights(net, start)
    net.to(model.best_device())
    return net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def train_anew(data: Dataset, hyper: Hyperparameters) -> Training:
    """Train a new network; nothing is kept to resume from."""
    return train(new_net(data, hyper), data, hyper, None, resume=False)


def train(
    net: CaptchaNet, data: Dataset, hyper: Hyperparameters, state_file: Path | None, resume: bool
) -> Training:
    """Train ``net``, epoch by epoch; print a line per epoch.

    The state after each epoch goes to ``state_file``. With ``resume`` the training starts from
    there, and ends as if it had never been interrupted.
    """
    device, count = net.mean.device, len(data.train.labels)
    trained = hyper.start is not None
    epochs = hyper.epochs or schedule.enough_epochs(count, hyper.batch_size, trained)
    rate = hyper.learning_rate or schedule.good_rate(count, trained)
    optimizers = optimizers_for(net, rate)
    history: History = []
    best = copy_weights(net)
    images_digest = runs.digest_of(data.train)
    if resume and state_file:
        history, best = runs.load_state(state_file, net, optimizers, images_digest)
        if history and history[-1]["done"] >= epochs:
            utils.note(f"All {len(history)} epochs are done already; EPOCHS can be set higher.")
    elif state_file and state_file.exists():
        utils.note(f"Starting anew; {state_file} of the run before is replaced.")
    first = len(history) + 1
    done = int(history[-1]["done"]) if history else 0  # epochs of the plan
    curves = plots.LiveCurves() if plots.on_screen() else None

    print("epoch  train loss  chars %   val loss  chars %  images %   rate     s")
    while done < epochs:
        epoch, started = len(history) + 1, time.perf_counter()
        pace = schedule.pace(history, len(data.val.labels))
        # Easy images need fewer epochs, but a number that a person gave is kept to.
        counts = 1 if hyper.epochs else min(pace, epochs - done)
        net.train()
        loss_sum, correct = 0.0, 0
        batches = schedule.epoch_batches(count, hyper.batch_size)
        for number, batch in enumerate(utils.progress(batches, f"epoch {epoch}")):
            progress = (done + counts * number / len(batches)) / epochs
            schedule.set_rates(optimizers, progress)
            strength = schedule.augmentation_strength(progress)
            images = augment(data.train.images[batch].to(device), strength)  # (B, C, H, W)
            targets = data.train.targets[batch].to(device)  # (B, L)
            with model.autocast(device):
                logits = net(images)  # (B, L, classes)
            loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten())
            net.zero_grad()
            loss.backward()
            for optimizer in optimizers:
                optimizer.step()
            loss_sum += loss.item()
            correct += (logits.argmax(dim=2) == targets).sum().item()
        if not math.isfinite(loss_sum):
            raise ValueError(
                f"the loss became infinite or NaN in epoch {epoch}: LEARNING_RATE={rate:g} is too "
                "high; try a tenth of it."
            )

        done += counts
        scores = metrics.score(model.compute_logits(net, data.val.images), data.val)
        history.append({
            "epoch": epoch,
            "done": done,
            "progress": done / epochs,
            "train_loss": loss_sum / len(batches),
            "train_character_accuracy": correct / (len(batches) * hyper.batch_size * data.length),
            "val_loss": scores.loss,
            "val_character_accuracy": scores.character_accuracy,
            "val_image_accuracy": scores.image_accuracy,
            "learning_rate": rate * schedule.one_cycle(done / epochs),
            "seconds": time.perf_counter() - started,
        })  # fmt: skip
        is_best = runs.best_of(history) is history[-1]
        if is_best:
            best = copy_weights(net)
        if state_file:
            kept = {"history": history, "best": best, "images": images_digest}
            runs.save_state(state_file, net, optimizers, kept)
        print(runs.epoch_line(history[-1], is_best), flush=True)
        if curves:
            curves.refresh(history)
        if hyper.patience and epoch - max(runs.last_progress(history), first) >= hyper.patience:
            print(f"No better validation for {hyper.patience} epochs: stopped.")
            break
    if curves:
        curves.close()
    return Training(net, best, history, count, rate)


def copy_weights(net: CaptchaNet) -> dict[str, Tensor]:
    """Return a copy of the network's weights that further training leaves alone."""
    return {name: value.clone() for name, value in net.state_dict().items()}


if __name__ == "__main__":
    utils.run(main)
