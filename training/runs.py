"""What a training leaves on the disk: its state to resume from, its model, figures and history."""

import io
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.optim import Optimizer

import model
from files.atomic import replacing
from files.framing import spread
from files.images import content_hash
from files.tables import Journal, now, write_table
from model import MODEL_NAME, CaptchaNet
from training import parallel
from training.dataset import Split

DIGESTED = 10_000  # images whose content a run is known by
STATE_FORMAT = "captcha-recognizer run 6"  # stands in last.pt
RUN_COLUMNS = [
    "time", "train_images", "epochs", "seconds", "parameters",
    "val_image_accuracy", "val_character_accuracy", "val_loss", "constants",
]  # fmt: skip

History = list[dict[str, float]]  # a row per epoch


class Hyperparameters(NamedTuple):
    """What a training is told besides its data; None: what suits the number of images."""

    head: str
    start: CaptchaNet | None  # the trained network that it starts from
    epochs: int | None
    batch_size: int
    learning_rate: float | None
    patience: int | None


class Training(NamedTuple):
    """A training that ended."""

    net: CaptchaNet  # with the weights of its last epoch
    best: dict[str, Tensor]  # the weights of its best epoch
    history: History
    train_images: int
    rate: float  # the highest learning rate

    def best_net(self) -> CaptchaNet:
        """Return the network with the weights of its best epoch."""
        self.net.load_state_dict(self.best)
        return self.net


def copy_weights(net: CaptchaNet) -> dict[str, Tensor]:
    """Return a copy of the network's weights that further training leaves alone."""
    return {name: value.clone() for name, value in net.state_dict().items()}


def describe(net: CaptchaNet, train_images: int) -> str:
    """Return the first line of a training: its data, its network, and what computes it."""
    spec, parameters = net.spec, sum(parameter.numel() for parameter in net.parameters())
    stretched = "" if spec.stretch == 1 else f", stretched by {spec.stretch:.2f}"
    return (
        f"{train_images} training images, {len(net.charset)} characters, up to {net.length} in a "
        f"label; network: {spec.width} x {spec.height} pixels{stretched}, "
        f"{'colour' if spec.channels == 3 else 'grey'}, {parameters / 1e6:.2f} million parameters; "
        f"{describe_device(net.mean.device)}"
    )


def describe_device(device: torch.device) -> str:
    """Return where and how a training is computed: device, precision, processes and threads."""
    precision = "bfloat16 (autocast)" if model.has_bfloat16(device) else "float32"
    threads = f"{torch.get_num_threads()} thread{'s' if torch.get_num_threads() > 1 else ''}"
    if parallel.world() > 1:
        threads = f"{parallel.world()} processes, each with {threads}"
    return f"on {device.type} in {precision}, {threads}"


def epoch_line(row: dict[str, float], is_best: bool) -> str:
    """Return the line of an epoch; a star marks the best so far."""
    return (
        f"{row['epoch']:5.0f}  {row['train_loss']:10.4f}  "
        f"{100 * row['train_character_accuracy']:7.2f} "
        f"{row['val_loss']:10.4f}  {100 * row['val_character_accuracy']:7.2f}  "
        f"{100 * row['val_image_accuracy']:8.2f}  {row['learning_rate']:.5f} {row['seconds']:5.1f}"
        f"{'  *' if is_best else ''}"
    )


def best_of(history: Sequence[dict[str, float]]) -> dict[str, float]:
    """Return the row of the best epoch: highest validation accuracy in the last quarter.

    Only there, where the learning rate is small, has the network settled. Of dozens of epochs
    before, one will read a few dozen validation images well by luck. Of equals the last one is
    taken; of a run that was stopped before its last quarter, the best of all.
    """
    settled = [row for row in history if row["progress"] > 0.75] or history
    return max(settled, key=lambda row: (row["val_image_accuracy"], row["epoch"]))


def last_progress(history: Sequence[dict[str, float]]) -> float:
    """Return the last epoch with a better validation accuracy or loss than all before."""
    accuracy = max(history, key=lambda row: row["val_image_accuracy"])["epoch"]
    loss = min(history, key=lambda row: row["val_loss"])["epoch"]
    return max(accuracy, loss)


# ---------------------------------------------------------------- the state to resume from


def save_state(
    path: Path,
    net: CaptchaNet,
    optimizers: Sequence[Optimizer],
    progress: dict[str, Any],
) -> None:
    """Write all that a run needs to resume, the states of the random generators included.

    ``progress`` has the history, the best weights and the digest of the training images.
    """
    state = {
        "format": STATE_FORMAT,
        "architecture": net.architecture(),
        "weights": net.state_dict(),
        "optimizers": [optimizer.state_dict() for optimizer in optimizers],
        "random": random_states(net.mean.device),
        **progress,
    }
    data = io.BytesIO()  # on a full disk torch itself raises no OSError
    torch.save(state, data)
    with replacing(path) as temporary:
        temporary.write_bytes(data.getvalue())


def load_state(
    path: Path, net: CaptchaNet, optimizers: Sequence[Optimizer], images: str
) -> tuple[History, dict[str, Tensor]]:
    """Restore a run that save_state() wrote; return its history and its best weights.

    Several processes may go on with what one began, and the other way round; the first one reads.
    Raises ValueError if the file is missing or damaged, or belongs to other images or another
    network.
    """
    read = read_state(path, net, images) if parallel.rank() == 0 else {}
    state = parallel.of_first(read)
    net.load_state_dict(state["weights"])
    for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
        optimizer.load_state_dict(saved)
    restore_random_states(net.mean.device, state["random"])
    return state["history"], state["best"]


def read_state(path: Path, net: CaptchaNet, images: str) -> dict[str, Any]:
    """Return the state of a run, if it is one of this network and these images."""
    if not path.is_file():
        raise ValueError(f"there is no run to resume: {path} is missing.")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for damaged files
        raise ValueError(f"{path} is damaged; start again without RESUME.") from error
    if not isinstance(state, dict) or state.get("format") != STATE_FORMAT:
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
    return state


def random_states(device: torch.device) -> list[Tensor]:
    """Return the states of the random generators: the processor's, then the device's if it has one.

    The order of the images is drawn on the processor, augmentation and dropout on the device.
    """
    states = [torch.get_rng_state()]
    if device.type != "cpu":
        states.append(torch.get_device_module(device).get_rng_state())
    return states


def restore_random_states(device: torch.device, states: list[Tensor]) -> None:
    """Set the random generators to what random_states() returned, as far as they are there."""
    torch.set_rng_state(states[0])
    if device.type != "cpu" and len(states) > 1:
        torch.get_device_module(device).set_rng_state(states[1])


def digest_of(split: Split) -> str:
    """Return a short name of a split's images and labels, the same for the same ones only.

    Of more than DIGESTED images so many are looked at, evenly spread, and the labels of all.
    """
    images, chosen = split.images.numpy(), spread(range(len(split.labels)), DIGESTED)
    digests = [content_hash(images[i].tobytes()) for i in chosen]
    return content_hash(repr((split.labels, digests)).encode())


# ---------------------------------------------------------------- the result


def keep_model(
    net: CaptchaNet, folder: Path, figures: dict[str, Any], history: Sequence[dict[str, float]]
) -> None:
    """Write the model, metrics.json and history.csv; the model before stays as previous."""
    file = folder / MODEL_NAME
    if file.exists():
        with replacing(folder / f"previous{file.suffix}") as temporary:
            shutil.copyfile(file, temporary)
    about = {"constants": figures["constants"], "time": now()}
    about |= {name: figures[name] for name in ("val", "labelled_images") if name in figures}
    model.save_model(net, file, about)
    with replacing(folder / "metrics.json") as temporary:
        temporary.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    write_table(folder / "history.csv", list(history[0]), [list(row.values()) for row in history])


def list_run(folder: Path, figures: dict[str, Any]) -> None:
    """Append a row to runs.csv, which compares runs by their validation only.

    Whoever picks a setting by its test figure has made the test part of the training.
    """
    val, path = figures["val"], folder / "runs.csv"
    journal = Journal(path, RUN_COLUMNS, f"{path} is open in another training; try again.")
    journal.append([[
        now(), figures["train_images"], figures["epochs"], figures["seconds"],
        figures["parameters"], val["image_accuracy"], val["character_accuracy"], val["loss"],
        json.dumps(figures["constants"]),
    ]])  # fmt: skip
    journal.close()
