"""What a training leaves on the disk: its state to resume from, its model, figures and history."""

import csv
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

import model
import utils
from files import tables
from model import CaptchaNet
from training.dataset import Side

last_format = "captcha-recognizer run 3"  # stands in last.pt
run_columns = ["time", "train_images", "epochs", "seconds", "parameters"]  # of runs.csv
run_columns += ["val_image_accuracy", "val_character_accuracy", "val_loss", "constants"]


def best_of(history: Sequence[dict[str, float]]) -> dict[str, float]:
    """Return the row of the best epoch: most validation images right in the last quarter.

    Only there, where the learning rate is small, has the network settled. Of dozens of epochs
    before, one will read a few dozen validation images well by luck. Of equals the last one is
    taken; of a run that was stopped before its last quarter, the best of all.
    """
    settled = [row for row in history if row["progress"] > 0.75] or history
    return max(settled, key=lambda row: (row["val_images"], row["epoch"]))


def last_progress(history: Sequence[dict[str, float]]) -> float:
    """Return the last epoch whose validation was better than all before, in images or in loss."""
    images = max(history, key=lambda row: row["val_images"])["epoch"]
    loss = min(history, key=lambda row: row["val_loss"])["epoch"]
    return max(images, loss)


def save_run(
    path: Path,
    net: CaptchaNet,
    optimizer: torch.optim.Optimizer,
    schedule: LambdaLR,
    history: list[dict[str, float]],
    best: dict[str, Tensor],
    images: str,
) -> None:
    """Write all that a run needs to go on, the random generator included.

    ``images`` names the images and labels that it trains on, see digest_of.
    """
    state = {
        "format": last_format,
        "architecture": net.architecture(),
        "weights": net.state_dict(),
        "best": best,
        "optimizer": optimizer.state_dict(),
        "schedule": {"last_epoch": schedule.last_epoch},
        "history": history,
        "images": images,
        "random": torch.get_rng_state(),
    }
    model.save_tensors(state, path)


def digest_of(side: Side) -> str:
    """Return a short name of a side's images and labels, the same for the same ones only."""
    digests = [utils.content_hash(image.tobytes()) for image in side.images.numpy()]
    return utils.content_hash(repr((side.labels, digests)).encode())


def load_run(
    path: Path, net: CaptchaNet, optimizer: torch.optim.Optimizer, schedule: LambdaLR, images: str
) -> tuple[list[dict[str, float]], dict[str, Tensor]]:
    """Put a run back where save_run left it; return its history and its best weights."""
    state = model.load_tensors(path)
    if state.get("format") != last_format:
        raise ValueError(f"{path} is not the state of a run.")
    if state["architecture"] != net.architecture():
        raise ValueError(
            f"{path} belongs to other labels, images or another HEAD; start anew without RESUME, "
            "with START_FROM to keep what was learnt."
        )
    if state["images"] != images:
        raise ValueError(
            f"{path} belongs to other training images; start anew without RESUME, with START_FROM "
            "to keep what was learnt."
        )
    net.load_state_dict(state["weights"])
    optimizer.load_state_dict(state["optimizer"])
    schedule.last_epoch = state["schedule"]["last_epoch"]
    torch.set_rng_state(state["random"])
    return state["history"], state["best"]


def keep_model(
    net: CaptchaNet, folder: Path, figures: dict, history: Sequence[dict[str, float]]
) -> None:
    """Write captcha.pt, metrics.json and history.csv; the model before stays as previous.pt."""
    file = folder / "captcha.pt"
    if file.exists() and not holds(file, net):  # it does if a killed run came so far already
        with tables.replacing(folder / "previous.pt") as temporary:
            shutil.copyfile(file, temporary)
    about = {"constants": figures["constants"], "val": figures["val"], "time": utils.now()}
    model.save_checkpoint(net, file, about)
    with tables.replacing(folder / "metrics.json") as temporary:
        temporary.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    with (
        tables.replacing(folder / "history.csv") as temporary,
        open(temporary, "w", encoding="utf-8", newline="") as table,
    ):
        writer = csv.DictWriter(table, history[0])
        writer.writeheader()
        writer.writerows(history)


def holds(file: Path, net: CaptchaNet) -> bool:
    """Tell whether a checkpoint has just the weights of a network."""
    try:
        other = model.load_checkpoint(file)[0].state_dict()
    except ValueError:
        return False
    own = net.state_dict()
    return own.keys() == other.keys() and all(
        torch.equal(value.cpu(), other[name]) for name, value in own.items()
    )


def list_run(folder: Path, figures: dict) -> None:
    """Append a row to runs.csv, which compares runs by their validation only.

    Whoever picks a setting by its test figure has made the test part of the training.
    """
    val = figures["val"]
    with tables.open_table(folder / "runs.csv", run_columns) as table:
        tables.append_row(table, [
            utils.now(), figures["train_images"], figures["epochs"], figures["seconds"],
            figures["parameters"], val["image_accuracy"], val["character_accuracy"], val["loss"],
            json.dumps(figures["constants"]),
        ])  # fmt: skip
