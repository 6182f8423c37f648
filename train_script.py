"""Train the network on the split folders, judge it on the test folder, draw what it learnt.

    python train_script.py
    python train_script.py EPOCHS=30 HEAD=flatten MODEL_FOLDER=data/flatten

Reads data/split/, writes data/model/: captcha.pt (the model, best on validation), metrics.json,
history.csv, runs.csv, and as pictures curves, confusion, mistakes, attention and augmented.
previous.pt is the model before, last.pt lets an interrupted run go on: RESUME=True. With
AUDIT_FOLDS also suspects.csv and suspects.png.
Next: python predict.py
"""

import math
import sys
import time
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812
from torch.optim.lr_scheduler import LambdaLR

import model
import utils
from model import CaptchaNet
from training import audit, checkup, dataset, metrics, plots, runs
from training.augment import augment
from training.dataset import Side

# ---- edit these ----------------------------------------------------------------------------------
SPLIT_FOLDER = utils.DATA / "split"  # train/, val/ and test/, made by split_data.py
MODEL_FOLDER = utils.DATA / "model"  # the model, its figures and its pictures
EPOCHS: int | None = None  # rounds through the training images; None: enough for their number
BATCH_SIZE = 64  # images a step
# the highest; it rises to it in the first steps, then falls to zero. None: 0.003, and 0.001 where
# no more than 500 images change a trained model
LEARNING_RATE: float | None = None
HEAD = "attention"  # or "flatten": how a position finds its character, see model.py
# "practice" begins with the model that ships, a captcha.pt with that one, None with nothing learnt
START_FROM: Path | str | None = "practice"
RESUME = False  # True: go on where an interrupted run stopped
# Stop after this many epochs without a better validation; None: never, because the network is at
# its best at the end, when the learning rate has fallen
PATIENCE: int | None = None
TRAIN_IMAGES: int | None = None  # train on this many only, to see what labels are worth
UNLABELLED_FOLDER: Path | None = None  # images without labels that help; about 5 times slower
SEED = 0  # another number: other first weights, other order, other augmentation
AUDIT_FOLDS = 0  # 4: afterwards, list the labels that look wrong; costs 4 more trainings
SHOW_PLOTS = True  # False: never open a window
# --------------------------------------------------------------------------------------------------


def main() -> None:
    """Train as the constants say."""
    utils.settings(globals(), sys.argv[1:])
    for name, value, smallest in (
        ("EPOCHS", EPOCHS, 1), ("BATCH_SIZE", BATCH_SIZE, 2), ("PATIENCE", PATIENCE, 1),
        ("TRAIN_IMAGES", TRAIN_IMAGES, 2), ("SEED", SEED, 0), ("AUDIT_FOLDS", AUDIT_FOLDS, 0),
    ):  # fmt: skip
        utils.at_least(name, value, smallest)
    if AUDIT_FOLDS == 1:
        raise ValueError("AUDIT_FOLDS is 1; it must be 2 or more, or 0 for no audit.")
    if LEARNING_RATE is not None and not 0 < LEARNING_RATE <= 1:
        raise ValueError(f"LEARNING_RATE is {LEARNING_RATE}; it must lie between 0 and 1.")
    if RESUME and UNLABELLED_FOLDER is not None:
        raise ValueError("with UNLABELLED_FOLDER there are three trainings; RESUME knows one only.")
    plots.use_screen(SHOW_PLOTS)
    torch.manual_seed(SEED)

    files = {side: utils.labelled_images(SPLIT_FOLDER / side) for side in ("train", "val", "test")}
    if TRAIN_IMAGES is not None:
        files["train"] = dataset.some_of(files["train"], TRAIN_IMAGES, SEED)
    charset, length = dataset.learn_labels(files)
    box, size, channels = dataset.learn_shape([file for file, _ in files["train"]])
    train_side, val_side, test_side = (
        dataset.load_side(files[side], box, size, channels, charset, length) for side in files
    )

    def learning_rate(side: Side) -> float:
        """Return the learning rate to train on a side with."""
        return LEARNING_RATE or good_rate(len(side.labels), START_FROM is None)

    def new_net(side: Side) -> CaptchaNet:
        """Return a network to train on a side."""
        net = CaptchaNet(charset, length, size, channels, HEAD, box)
        net.set_normalisation(side.images)
        if START_FROM is not None:
            shipped = utils.PRACTICE_MODEL  # trained by benchmarks/practice_model.py
            start = shipped if str(START_FROM) == "practice" else START_FROM
            model.take_over(net, model.load_checkpoint(Path(start))[0])
        return net.to(model.best_device(), memory_format=torch.channels_last)

    def learn(
        side: Side, held_out: Side, state_file: Path, resume: bool = False
    ) -> tuple[CaptchaNet, list[dict[str, float]]]:
        """Return a network that was trained on a side, with its best weights, and its history."""
        net = new_net(side)
        epochs = EPOCHS or enough_epochs(len(side.labels), BATCH_SIZE)
        settings = (epochs, BATCH_SIZE, learning_rate(side), PATIENCE)
        return net, train(net, side, held_out, *settings, state_file, resume)

    net = new_net(train_side)
    parameters = sum(parameter.numel() for parameter in net.parameters())
    print(
        f"{len(train_side.labels)} training images, {len(charset)} characters, "
        f"up to {length} in a label; network: {size[1]} x {size[0]} pixels, "
        f"{'colour' if channels == 3 else 'grey'}, {parameters / 1e6:.2f} million parameters, "
        f"on {net.mean.device.type}"
    )

    rate = learning_rate(train_side)
    others = [val_side, test_side]
    findings = checkup.before_training(net, train_side, others, rate, START_FROM is None)
    checkup.tell("before training", findings)

    net, history = learn(train_side, val_side, MODEL_FOLDER / "last.pt", RESUME)
    seconds = sum(row["seconds"] for row in history)
    second_file = MODEL_FOLDER / "second.pt"  # the state of further trainings
    if UNLABELLED_FOLDER is not None:
        labelled = [file for side in files.values() for file, _ in side]
        unlabelled = dataset.load_unlabelled(UNLABELLED_FOLDER, labelled, box, size, channels)
        for _ in range(2):  # what the second network reads, the third may learn from
            logits = model.average_logits(net, unlabelled)
            val_logits = model.average_logits(net, val_side.images)
            # careful: nobody checks these labels
            logits /= max(1, metrics.fit_temperature(val_logits, val_side, math.inf))
            guessed = metrics.confident_readings(logits, unlabelled, charset)
            print(
                f"{len(guessed.labels)} of {len(unlabelled)} images without labels are read with "
                "confidence; they join the training, which begins anew:"
            )
            both = dataset.join([train_side, guessed])
            rate = learning_rate(both)
            net, history = learn(both, val_side, second_file)
            seconds += sum(row["seconds"] for row in history)
            second_file.unlink()

    train_logits = model.compute_logits(net, train_side.images[:1000])
    late_findings = checkup.after_training(history, train_logits, train_side, rate)
    val_logits = model.average_logits(net, val_side.images)
    net.temperature.fill_(metrics.fit_temperature(val_logits, val_side))
    test_logits = model.average_logits(net, test_side.images)  # the only reading of the test folder
    val_logits, test_logits = (x / net.temperature.cpu() for x in (val_logits, test_logits))
    figures = {
        "test": metrics.describe(test_logits, test_side, charset),
        "val": metrics.describe(val_logits, val_side, charset),
        "temperature": net.temperature.item(),
        "coverage": metrics.coverage_table(val_logits, test_logits, test_side),
        "train_images": len(train_side.labels),
        "epochs": len(history),
        "seconds": round(seconds, 1),
        "parameters": parameters,
        "device": net.mean.device.type,
        "findings": findings + late_findings,
        "constants": utils.plain_constants(globals()),
    }
    runs.keep_model(net, MODEL_FOLDER, figures, history)
    metrics.draw_pictures(net, test_side, test_logits, history, MODEL_FOLDER)
    metrics.draw_augmented(train_side, MODEL_FOLDER)
    runs.list_run(MODEL_FOLDER, figures)
    metrics.print_figures(figures)
    checkup.tell("after training", late_findings)
    if AUDIT_FOLDS:
        everything = dataset.join([train_side, val_side, test_side])

        def learn_fold(side: Side, held_out: Side) -> CaptchaNet:
            """Return a network that was trained on a side."""
            net, _ = learn(side, held_out, second_file)
            second_file.unlink()
            return net

        logits = audit.read_out_of_fold(everything, AUDIT_FOLDS, learn_fold)
        names = [file for side in files.values() for file, _ in side]
        differ = audit.write_suspects(logits, everything, charset, names, MODEL_FOLDER)
        print(f"Audit: {differ} of {len(names)} labels were read differently; see suspects.csv")
    print(f"The model and its pictures are in {MODEL_FOLDER}")
    plots.show()


# ---- training ------------------------------------------------------------------------------------


def train(
    net: CaptchaNet,
    train_side: Side,
    val_side: Side,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    patience: int | None,
    last_file: Path,
    resume: bool,
) -> list[dict[str, float]]:
    """Train ``net`` and leave it with the weights of its best epoch; return a row an epoch.

    The state after every epoch goes to ``last_file``; with ``resume`` the training starts from
    there, and ends as if it had never been interrupted.
    """
    device = net.mean.device
    steps = len(epoch_batches(len(train_side.labels), batch_size)) * epochs
    optimizer = torch.optim.AdamW(net.parameters(), learning_rate, weight_decay=0.01)
    schedule = LambdaLR(optimizer, lambda step: one_cycle(step / steps))
    history: list[dict[str, float]] = []
    best = copy_weights(net)
    images_digest = runs.digest_of(train_side)
    if resume:
        history, best = runs.load_run(last_file, net, optimizer, schedule, images_digest)
        if len(history) >= epochs:
            utils.note(f"All {len(history)} epochs are done already; EPOCHS can be set higher.")
    elif last_file.exists():
        utils.note(f"Starting anew; {last_file} of the run before is replaced.")
    first = len(history) + 1
    curves = plots.LiveCurves() if plots.on_screen() else None

    print("epoch  train loss  chars %   val loss  chars %  images %   rate     s")
    for epoch in range(first, epochs + 1):
        started = time.perf_counter()
        net.train()
        loss_sum, right = 0.0, 0
        batches = epoch_batches(len(train_side.labels), batch_size)
        for batch in utils.progress(batches, f"epoch {epoch}"):
            # Gentle at first: where to look is found sooner on images that are still easy.
            strength = min(1, schedule.last_epoch / (0.4 * steps))
            images = augment(train_side.images[batch].to(device), strength)  # (B, C, H, W)
            targets = train_side.targets[batch].to(device)  # (B, L)
            with model.autocast(device):
                logits = net(images)  # (B, L, classes)
            loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            loss_sum += loss.item()
            right += (logits.argmax(dim=2) == targets).sum().item()
        if not math.isfinite(loss_sum):
            raise ValueError(
                f"the loss is no number any more in epoch {epoch}: LEARNING_RATE={learning_rate} "
                "is too high; try a tenth of it."
            )

        scores = metrics.score(model.compute_logits(net, val_side.images), val_side)
        row = {
            "epoch": epoch,
            "progress": epoch / epochs,
            "train_loss": loss_sum / len(batches),
            "train_characters": right / sum(train_side.targets[b].numel() for b in batches),
            "val_loss": scores.loss,
            "val_characters": scores.characters,
            "val_images": scores.images,
            "learning_rate": schedule.get_last_lr()[0],
            "seconds": time.perf_counter() - started,
        }
        history.append(row)
        best_row = runs.best_of(history)
        if best_row is row:
            best = copy_weights(net)
        runs.save_run(last_file, net, optimizer, schedule, history, best, images_digest)
        print(
            f"{epoch:5d}  {row['train_loss']:10.4f}  {100 * row['train_characters']:7.2f} "
            f"{row['val_loss']:10.4f}  {100 * row['val_characters']:7.2f}  "
            f"{100 * row['val_images']:8.2f}  {row['learning_rate']:.5f} {row['seconds']:5.1f}"
            f"{'  *' if best_row is row else ''}",
            flush=True,
        )
        if curves:
            curves.refresh(history)
        if patience and epoch - max(runs.last_progress(history), first) >= patience:
            print(f"No better validation for {patience} epochs: stopped.")
            break
    if curves:
        curves.close()
    net.load_state_dict(best)
    return history


def epoch_batches(count: int, batch_size: int) -> list[Tensor]:
    """Return the image numbers of an epoch's batches, in random order.

    A small set is gone through several times an epoch, each time augmented differently, so that
    an epoch is never shorter than about 16 batches. Images that do not fill a batch wait for the
    next epoch.
    """
    rounds = math.ceil(16 * batch_size / count)
    order = torch.cat([torch.randperm(count) for _ in range(rounds)])
    return [batch for batch in order.split(batch_size) if len(batch) == batch_size]


def enough_epochs(count: int, batch_size: int) -> int:
    """Return how many epochs train well: 1000 to 2000 batches, and every image at least 5 times.

    More images are worth more time: there is more in them that can be learnt.
    """
    batches = min(2000, max(1000, 2 * count))
    return max(5, round(batches / len(epoch_batches(count, batch_size))))


def good_rate(count: int, fresh: bool) -> float:
    """Return a learning rate for ``count`` images and fresh weights, or those of a trained model.

    With few labels there is more to keep of what a trained model knows than to learn.
    """
    return 0.003 if fresh or count > 500 else 0.001


def one_cycle(progress: float) -> float:
    """Return the learning rate's factor: it rises in the first tenth, then falls as a cosine.

    Large steps find the way, small ones settle; the gentle start keeps the first, random steps
    from doing harm. (Smith and Topin 2018, "Super-Convergence".)
    """
    if progress < 0.1:
        return 0.04 + 0.96 * progress / 0.1
    return 0.5 + 0.5 * math.cos(math.pi * min(1, (progress - 0.1) / 0.9))


def copy_weights(net: CaptchaNet) -> dict[str, Tensor]:
    """Return a copy of the network's weights that further training leaves alone."""
    return {name: value.clone() for name, value in net.state_dict().items()}


if __name__ == "__main__":
    utils.run(main)
