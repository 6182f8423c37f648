"""Train the network on the split folders, judge it on the test folder, show what it learnt.

    python train_script.py
    python train_script.py EPOCHS=30 HEAD=flatten MODEL_FOLDER=data/flatten
    python train_script.py SPLIT_FOLDER=None UNLABELLED_FOLDER=data/download
    torchrun --nproc-per-node 2 train_script.py

The third one needs no label: a trained model teaches itself the site, see readings.png. The last
one trains in two processes, see training/parallel.py. Reads data/split/, writes data/model/:
captcha.safetensors (the model, best on validation), metrics.json, history.csv, runs.csv, pictures,
and report.html, which shows it all. previous.safetensors is the model before. last.pt lets an
interrupted run go on: RESUME=True. With AUDIT_FOLDS also suspects.csv and suspects.png.
Next: python predict.py
"""

import functools
import math
import sys
import time
from pathlib import Path
from typing import Any

import utils

if __name__ == "__main__":  # --help and mistyped settings are answered before torch is imported
    utils.check_early(__file__)

import torch
from torch.nn import functional as F  # noqa: N812

import model
from model import CaptchaNet
from reading import export
from training import audit, dataset, judge, metrics, parallel, plots, pseudo_labels, runs, schedule
from training.augment import augment
from training.checkup import after_training, before_training, print_findings
from training.dataset import Dataset
from training.muon import optimizers_for
from training.report import write_report
from training.runs import History, Hyperparameters, Training, copy_weights
from training.transfer import new_net, settle

# ---- edit these ----------------------------------------------------------------------------------
# train/, val/ and test/, made by split_data.py; None: no labels, only UNLABELLED_FOLDER
SPLIT_FOLDER: Path | None = utils.DATA / "split"
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
LENGTH: int | None = None  # characters in each image, where no label says it; None: as it seems
TRAIN_IMAGES: int | None = None  # train on this many only, to see what labels are worth
UNLABELLED_FOLDER: Path | None = None  # images without labels that help; at least twice as slow
ROUNDS = 4  # of teaching itself, at most, where there are no labels or fewer than 50
SEED = 0  # another number: other first weights, other order, other augmentation
AUDIT_FOLDS = 0  # 4: afterwards, list the labels that look wrong; costs 4 more trainings
EXPORT_ONNX = False  # True: captcha.onnx, too, which programs without PyTorch read with
SHOW_PLOTS = True  # False: never open a window
# --------------------------------------------------------------------------------------------------


@parallel.processes()
def main() -> None:
    """Load, check up, train, judge, keep."""
    utils.settings(globals(), sys.argv[1:])
    constants = utils.plain_settings(globals())
    check(constants)
    plots.use_screen(SHOW_PLOTS and parallel.rank() == 0)
    torch.manual_seed(SEED)

    start = None if START_FROM is None else model.load_model(utils.model_file(START_FROM))[0]
    hyper = Hyperparameters(HEAD, start, EPOCHS, BATCH_SIZE, LEARNING_RATE, PATIENCE)
    characters = CHARACTERS
    if UNLABELLED_FOLDER is not None and start is not None:
        teacher = pseudo_labels.suited(start, UNLABELLED_FOLDER, CHARACTERS, LENGTH)
        if SPLIT_FOLDER is None:
            teach_itself(teacher, hyper, UNLABELLED_FOLDER, MODEL_FOLDER, ROUNDS, constants)
            return
        characters = CHARACTERS or pseudo_labels.charset_beside(SPLIT_FOLDER / "train", teacher)
    assert SPLIT_FOLDER is not None  # see check()
    data = dataset.load(SPLIT_FOLDER, TRAIN_IMAGES, SEED, characters, start, UNLABELLED_FOLDER)
    originals = audit.originals(SPLIT_FOLDER) if AUDIT_FOLDS else {}
    net = new_net(data, HEAD, start)
    print(runs.describe(net, len(data.train.labels)))

    rate = LEARNING_RATE or schedule.good_rate(len(data.train.labels), start is not None)
    findings = before_training(net, data, rate, fresh=start is None)
    print_findings("before training", findings)

    if UNLABELLED_FOLDER is None:
        trainings = [train(net, data, hyper, MODEL_FOLDER / "last.pt", RESUME)]
    else:
        pupil = functools.partial(train_pupil, hyper=hyper, labels=len(data.train.labels))
        trainings = pseudo_labels.learn_from_both(start, data, UNLABELLED_FOLDER, ROUNDS, pupil)
    if not parallel.part():
        return  # one process judges and keeps
    net, history, rate = trainings[-1].best_net(), trainings[-1].history, trainings[-1].rate
    share = settle(net, start, data.val) if start and UNLABELLED_FOLDER is None else 1.0

    figures, test_logits = judge.judge(net, data)
    train_logits = model.compute_logits(net, data.train.images[:1000])
    late_findings = after_training(history, train_logits, data.train, rate)
    figures |= judge.about_trainings(trainings) | {
        "labelled_images": len(data.train.labels),
        "share_of_training": share,  # of the way from the first weights to the last ones
        "device": net.mean.device.type,
        "findings": findings + late_findings,
        "constants": constants,
    }
    runs.keep_model(net, MODEL_FOLDER, figures, history)
    judge.save_pictures(net, data, test_logits, history, MODEL_FOLDER)
    runs.list_run(MODEL_FOLDER, figures)
    write_report(MODEL_FOLDER, figures)
    judge.print_figures(figures)
    print_findings("after training", late_findings)
    if AUDIT_FOLDS:
        # Every epoch is gone through: to stop early would be a choice by the labels under audit.
        train_again = functools.partial(train_anew, hyper=hyper._replace(patience=None))
        audit.audit(data, originals, AUDIT_FOLDS, train_again, MODEL_FOLDER)
    if EXPORT_ONNX:
        print(export.export_trained(net, SPLIT_FOLDER / "val", MODEL_FOLDER / "captcha.onnx"))
    print(f"The model and its pictures are in {MODEL_FOLDER}")
    plots.show()


def check(constants: dict[str, Any]) -> None:
    """Raise ValueError for a setting that no training could use."""
    lowest = {"EPOCHS": 1, "BATCH_SIZE": 2, "PATIENCE": 1, "TRAIN_IMAGES": 2, "SEED": 0}
    for name, value in (lowest | {"AUDIT_FOLDS": 0, "ROUNDS": 1}).items():
        utils.at_least(name, constants[name], value)
    if constants["AUDIT_FOLDS"] == 1:
        raise ValueError("AUDIT_FOLDS is 1; it must be 2 or more, or 0 for no audit.")
    if constants["SPLIT_FOLDER"] is None and constants["UNLABELLED_FOLDER"] is None:
        raise ValueError("SPLIT_FOLDER is None: without labels, UNLABELLED_FOLDER must be given.")
    if constants["SPLIT_FOLDER"] is None and constants["START_FROM"] is None:
        raise ValueError("without labels, START_FROM must be a model that reads a little already.")
    if constants["EXPORT_ONNX"]:
        export.check_extras()
        if constants["SPLIT_FOLDER"] is None:
            raise ValueError("without labels, let predict.py EXPORT_ONNX= write the ONNX file.")
    rate = constants["LEARNING_RATE"]
    if rate is not None and not 0 < rate <= 1:
        raise ValueError(f"LEARNING_RATE is {rate}; it must lie between 0 and 1.")
    if constants["RESUME"] and constants["UNLABELLED_FOLDER"] is not None:
        raise ValueError("with UNLABELLED_FOLDER there are several trainings; RESUME knows one.")
    if parallel.world() > 1 and (constants["AUDIT_FOLDS"] or constants["UNLABELLED_FOLDER"]):
        raise ValueError("torchrun knows neither AUDIT_FOLDS nor UNLABELLED_FOLDER.")


# ---- training ------------------------------------------------------------------------------------


def train_anew(data: Dataset, hyper: Hyperparameters) -> Training:
    """Train a new network; nothing is kept to resume from."""
    return train(new_net(data, hyper.head, hyper.start), data, hyper, None, resume=False)


def train_pupil(data: Dataset, share: float, hyper: Hyperparameters, labels: int) -> Training:
    """Train a new network as fast, and for a ``share`` of the time, as suits so many labels."""
    trained, images = hyper.start is not None, len(data.train.labels)
    epoch = len(schedule.epoch_batches(images, hyper.batch_size))
    batches = share * schedule.enough_batches(labels, trained)
    epochs = hyper.epochs or max(1, round(batches / epoch))
    rate = hyper.learning_rate or schedule.good_rate(labels, trained)
    return train_anew(data, hyper._replace(epochs=epochs, learning_rate=rate))


def teach_itself(
    teacher: CaptchaNet,
    hyper: Hyperparameters,
    folder: Path,
    model_folder: Path,
    rounds: int,
    constants: dict[str, Any],
) -> None:
    """Let a network teach itself a site without a label; keep it, and say what it may be worth."""
    data = dataset.without_labels(teacher.charset, teacher.length, teacher.spec)
    images = dataset.load_unlabelled(folder, [], data.spec)
    print(runs.describe_device(model.best_device()))
    pupil = functools.partial(train_pupil, hyper=hyper, labels=0)
    done = pseudo_labels.self_train(teacher, data, images, rounds, pupil)
    net, figures = judge.judge_without_labels(teacher, done, images)
    figures["constants"] = constants
    runs.keep_model(net, model_folder, figures, done[-1].training.history)
    judge.save_readings(done, images, model_folder)
    write_report(model_folder, figures)
    judge.print_expected(figures)
    print(f"The model and its pictures are in {model_folder}")
    plots.show()


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
    share = parallel.own_share(hyper.batch_size)  # of each batch: all of it, without torchrun
    same = [resume, epochs, rate, hyper._replace(start=None), runs.digest_of(data.val)]
    whole = parallel.join(net, share, [images_digest, *same])
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
        loss_sum, correct, known = 0.0, 0.0, 0.0
        batches = schedule.epoch_batches(count, hyper.batch_size)
        for number, batch in enumerate(utils.progress(batches, f"epoch {epoch}")):
            progress = (done + counts * number / len(batches)) / epochs
            schedule.set_rates(optimizers, progress)
            strength = schedule.augmentation_strength(progress)
            own = share.of(batch)
            images = augment(data.train.images[own].to(device), strength, share)  # (B, C, H, W)
            targets = data.train.targets[own].to(device)  # (B, L)
            with model.autocast(device):
                logits = whole(images)  # (B, L, classes)
            loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten()) * share.weight
            net.zero_grad()
            loss.backward()
            for optimizer in optimizers:
                optimizer.step()
            loss_sum += loss.item()
            correct += (logits.argmax(dim=2) == targets).sum().item()
            known += (targets >= 0).sum().item()  # all, unless nobody labelled the images
        loss_sum, correct, known = parallel.mean(loss_sum, correct, known)
        if not math.isfinite(loss_sum):
            raise ValueError(
                f"the loss became infinite or NaN in epoch {epoch}: LEARNING_RATE={rate:g} is too "
                "high; try a tenth of it."
            )

        done += counts
        scores = metrics.score(parallel.compute_logits(net, data.val.images), data.val)
        history.append(parallel.of_first({
            "epoch": epoch,
            "done": done,
            "progress": done / epochs,
            "train_loss": loss_sum / len(batches),
            "train_character_accuracy": correct / known,
            "val_loss": scores.loss,
            "val_character_accuracy": scores.character_accuracy,
            "val_image_accuracy": scores.image_accuracy,
            "learning_rate": rate * schedule.one_cycle(done / epochs),
            "seconds": time.perf_counter() - started,
        }))  # fmt: skip
        is_best = runs.best_of(history) is history[-1]
        if is_best:
            best = copy_weights(net)
        if state_file and parallel.rank() == 0:
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


if __name__ == "__main__":
    utils.run(main)
