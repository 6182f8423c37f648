"""Train the model that ships, practice.safetensors, which reads captchas that it has never seen.

    python practice/recipe.py
    torchrun --nproc-per-node 2 practice/recipe.py

It is trained on nothing but drawings of our own (styles.py, and a tenth of the older forms), never
on the same image more than a few times: while one process trains, others draw the next parts of the
images. It needs fonts in FONT_FOLDERS, the more the better; docs/fonts.txt lists the packages
that the model that ships was made with. A second run goes on where the first was stopped; delete
WORK_FOLDER to begin anew. Of several processes one per machine draws; all need the same fonts.
"""

import hashlib
import math
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # else torch's threads spin beside the drawing

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812
from torch.optim import Optimizer

import model
import utils
from files.images import FOUND, InputSpec
from model import CaptchaNet
from practice import glyphs, parts, styles
from practice.glyphs import CHARACTERS, Face
from practice.parts import Part
from practice.steps import grounds, transforms
from training import augment, parallel, runs, schedule
from training.calibration import fit_temperature
from training.dataset import Split
from training.muon import optimizers_for
from training.widening import widen

# ---- edit these ----------------------------------------------------------------------------------
FONT_FOLDERS = ["/usr/share/fonts", "/usr/share/texmf/fonts"]  # and what they hold, folders too
FAMILIES: int | None = None  # of fonts to draw with; None: all that can be read
PARTS = 100  # of the images, an epoch for each
PART_IMAGES = 10_000
VIEWS = 2  # how often each image is seen, on average
BATCH_SIZE = 128
LEARNING_RATE = 0.003
WIDTHS = (16, 48, 96, 192, 320)  # channels of the network, see model.py
START_FROM: Path | None = None  # a model, as wide or narrower, that it begins with; None: scratch
LAST_LAP = 0.3  # share of the training in which the learning rate rises once more, to a half, and
# falls; kept is the mean of the weights before and after it; 0: those of a single lap
WITHOUT: list[str] = []  # steps or effects of styles.py that are not used, to see what they bring
WINDOW = 8  # parts that an epoch takes its images from, each 200 MB on disk, or of a GPU's memory
DRAWERS = max(1, (os.cpu_count() or 2) - 1)  # processes that draw while one trains
VAL_IMAGES = 1000  # of each kind: other images, other fonts, other styles
SEED = 123456789  # the practice source of getData.py never uses it
WORK_FOLDER = utils.DATA / "practice_work"
MODEL_FILE = utils.PRACTICE_MODEL  # what is made
# --------------------------------------------------------------------------------------------------

HELD_OUT_FAMILIES = 0.1
HELD_OUT_STYLES = (glyphs.double_edged, transforms.bulge, grounds.stripes)
AUGMENTATION = 0.4  # how strongly, see augment.py
RAMP = 0.15  # share of the training in which the images become as hard as they get
VAL_EVERY = 5  # epochs


@parallel.processes()
def main() -> None:
    """Find fonts, draw and train side by side, judge, keep."""
    utils.settings(globals(), sys.argv[1:])
    if not 0 <= LAST_LAP < 1:
        raise ValueError(f"LAST_LAP is {LAST_LAP}; it is a share, from 0 to less than 1.")
    utils.at_least("DRAWERS", DRAWERS, 1)
    WORK_FOLDER.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(SEED)
    faces, others = find_faces([Path(folder) for folder in FONT_FOLDERS], FAMILIES)
    print(f"{count_families(faces)} families to draw with, {count_families(others)} held out")
    kinds = draw_validation(faces, others)

    spec = InputSpec(40, 160, 3, FOUND)
    net = CaptchaNet(CHARACTERS, parts.LENGTH, spec, widths=WIDTHS, context=True)
    images, views = PARTS * PART_IMAGES, PARTS * PART_IMAGES * VIEWS
    if START_FROM is not None:
        start, about_start = model.load_model(START_FROM)
        images, views = images + about_start["images"], views + about_start["views"]
        widen(net, start)
        net.temperature.fill_(1)
    for layer in net.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.momentum = 0.01  # batches differ in shape: average over many
        if isinstance(layer, torch.nn.Dropout):
            layer.p = 0  # no image comes often enough to be learnt by heart
    net.to(model.best_device()).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    print(runs.describe_device(net.mean.device))
    without: list[Callable] = [*HELD_OUT_STYLES, *steps_named(WITHOUT)]
    before = train(net, faces, without, kinds, WORK_FOLDER / "last.pt")

    if not parallel.part():
        return  # one process judges and keeps
    # Izmailov et al. 2018, "Averaging Weights Leads to Wider Optima and Better Generalization"
    for name, value in before.items():
        if value.is_floating_point():
            net.state_dict()[name].lerp_(value.to(net.mean.device), 0.5)
    figures = {name: judge(net, part) for name, part in kinds.items()}
    unseen = [part for name in ("fonts", "styles") for part in kinds[name]]
    logits, targets = read_parts(net, unseen)
    net.temperature.fill_(fit_temperature(logits, Split([], Tensor(), targets), math.inf))
    families = sorted({face.family for face in faces})
    about = {"images": images, "views": views, "val": figures}
    model.save_model(net.cpu().half(), MODEL_FILE, {**about, "families": families})
    print(f"The model is in {MODEL_FILE}")


# ---- fonts and images ----------------------------------------------------------------------------


def find_faces(folders: Sequence[Path], families: int | None) -> tuple[list[Face], list[Face]]:
    """Return the faces to draw with, and those of the families that are held out."""
    found = glyphs.legible(glyphs.find_faces(folders))
    order = sorted({face.family for face in found}, key=lambda name: digest_of(name))
    if len(order) < 2:
        raise ValueError(f"there are only {len(order)} families of fonts below FONT_FOLDERS.")
    held_out = set(order[: math.ceil(HELD_OUT_FAMILIES * len(order))])
    used = [name for name in order if name not in held_out][:families]
    faces = [face for face in found if face.family in used]
    return faces, [face for face in found if face.family in held_out]


def steps_named(names: Sequence[str]) -> list[Callable]:
    """Return the steps and effects with these names. Raises ValueError for another name."""
    steps = (*glyphs.EFFECTS, *styles.GROUNDS, *styles.DISTURBANCES, *styles.BENDS, *styles.CAMERA)
    found = {step.__name__: step for step in steps}
    for name in set(names) - set(found):
        raise ValueError(f"WITHOUT has {name!r}, which is not one of {', '.join(found)}.")
    return [found[name] for name in names]


def digest_of(text: str) -> str:
    """Return a number that is always the same for a text, in hex."""
    return hashlib.sha256(text.encode()).hexdigest()


def count_families(faces: Sequence[Face]) -> int:
    """Return how many families some faces belong to."""
    return len({face.family for face in faces})


def draw_validation(faces: Sequence[Face], others: Sequence[Face]) -> dict[str, list[Part]]:
    """Draw images to judge by: like those of the training, in other fonts, in other styles."""
    none: Sequence[Callable] = ()
    kinds = {
        "images": (faces, HELD_OUT_STYLES, none),
        "fonts": (others, HELD_OUT_STYLES, none),
        "styles": (faces, none, HELD_OUT_STYLES),
    }
    for name, (theirs, without, surely) in kinds.items():
        folder = WORK_FOLDER / f"val-{name}"
        if parallel.is_first_here() and not folder.exists():
            seed = f"{SEED} val {name}"
            parts.draw_part(folder, VAL_IMAGES, theirs, seed, without=without, surely=surely)
    parallel.wait()
    return {name: parts.open_part(WORK_FOLDER / f"val-{name}") for name in kinds}


# ---- training ------------------------------------------------------------------------------------


def train(
    net: CaptchaNet,
    faces: Sequence[Face],
    without: Sequence[Callable],
    kinds: dict[str, list[Part]],
    state_file: Path,
) -> dict[str, Tensor]:
    """Train ``net``, part by part, while others draw; print a line per epoch.

    Return the weights that it had before the last lap, none if there is a single one.
    """
    device = net.mean.device
    optimizers = optimizers_for(net, LEARNING_RATE)
    drawn = f"{faces} {PARTS} {PART_IMAGES} {VIEWS} {WITHOUT} {SEED}"
    digest = digest_of(f"{drawn} {START_FROM} {LAST_LAP}")
    history: runs.History = []
    before: dict[str, Tensor] = {}
    share = parallel.own_share(BATCH_SIZE)  # of each batch: all of it, without torchrun
    whole = parallel.join(net, share, [digest, BATCH_SIZE, LEARNING_RATE])
    if parallel.of_first(state_file.exists()):
        history, before = runs.load_state(state_file, net, optimizers, digest)
    window = parts.Window(WORK_FOLDER / "parts", WINDOW, device)
    first = max(0, len(history) - WINDOW + 1)
    drawing = start_drawing(window.folder, first, faces, without)
    print("epoch  train loss  chars %   images %: new, fonts, styles   rate     s")
    steps = PART_IMAGES * VIEWS // BATCH_SIZE
    for epoch in range(len(history), PARTS):
        window.move_to(epoch, drawing)
        parallel.wait()
        started = time.perf_counter()
        net.train()
        sums = torch.zeros(3, device=device)  # of the losses, of what was right, of all
        for step in utils.progress(range(steps), f"epoch {epoch + 1}"):
            set_rates(optimizers, epoch + step / steps)
            images, targets = window.random_batch(share)  # (B, 3, H, W), (B, L)
            images = augment.augment(images, AUGMENTATION, share)
            with model.autocast(device):
                logits = whole(images)  # (B, L, classes)
            loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten()) * share.weight
            net.zero_grad()
            loss.backward()
            for optimizer in optimizers:
                optimizer.step()
            right = (logits.argmax(dim=2) == targets).sum()
            sums += torch.stack([loss.detach(), right, right.new_tensor(targets.numel())])
        loss_sum, correct, known = parallel.mean(*sums.tolist())
        if not math.isfinite(loss_sum):
            raise ValueError(f"the loss became infinite or NaN in epoch {epoch + 1}.")
        row = {
            "epoch": epoch + 1,
            "train_loss": loss_sum / steps,
            "train_character_accuracy": correct / known,
            "seconds": time.perf_counter() - started,
        }
        if (epoch + 1) % VAL_EVERY == 0 or epoch + 1 == PARTS:
            row |= {name: judge(net, part) for name, part in kinds.items()}
        history.append(row)
        if epoch + 1 == first_of_last_lap() < PARTS:
            before = {name: value.cpu().clone() for name, value in net.state_dict().items()}
        if parallel.rank() == 0:
            kept = {"history": history, "best": before, "images": digest}
            runs.save_state(state_file, net, optimizers, kept)
        print(epoch_line(row, optimizers[-1].param_groups[0]["lr"]), flush=True)
    for process in drawing:
        process.kill()
    return before


def start_drawing(
    folder: Path, first: int, faces: Sequence[Face], without: Sequence[Callable]
) -> list[BaseProcess]:
    """Start those that draw the parts from number ``first`` on; once on each machine."""
    if not parallel.is_first_here():
        return []
    ramp = round(RAMP * PARTS) if START_FROM is None else 0
    context = multiprocessing.get_context("spawn")
    drawing: list[BaseProcess] = []
    for number in range(first, first + DRAWERS):
        mine, most = range(number, PARTS, DRAWERS), WINDOW + 3 * DRAWERS
        what = (folder, mine, most, PART_IMAGES, faces, f"{SEED}", ramp, without)
        drawing.append(context.Process(target=parts.keep_drawing, args=what, daemon=True))
        drawing[-1].start()
    return drawing


def first_of_last_lap() -> int:
    """Return the number of the last lap's first epoch; PARTS if there is a single lap."""
    return PARTS - round(LAST_LAP * PARTS)


def set_rates(optimizers: Sequence[Optimizer], done: float) -> None:
    """Set the learning rates after so many epochs."""
    turn = first_of_last_lap()
    if done < turn:
        schedule.set_rates(optimizers, done / turn)
    else:
        schedule.set_rates(optimizers, (done - turn) / (PARTS - turn), 0.5)


def epoch_line(row: dict[str, float], rate: float) -> str:
    """Return the line of an epoch; the last three shares are there after some epochs only."""
    shares = [f"{100 * row[name]:6.1f}" for name in ("images", "fonts", "styles") if name in row]
    characters = f"{100 * row['train_character_accuracy']:7.2f}"
    return (
        f"{row['epoch']:5d}  {row['train_loss']:10.4f}  {characters}   {'  '.join(shares):24s}  "
        f"{rate:.5f}  {row['seconds']:5.1f}"
    )


def read_parts(net: CaptchaNet, some: Sequence[Part]) -> tuple[Tensor, Tensor]:
    """Return the logits (N, L, classes) and the targets (N, L) of all images of some parts."""
    logits = [parallel.compute_logits(net, part.images) for part in some]
    return torch.cat(logits), torch.cat([part.targets.long() for part in some])


def judge(net: CaptchaNet, some: Sequence[Part]) -> float:
    """Return the share of images read correctly, as the same text but for upper and lower case."""
    logits, targets = read_parts(net, some)
    read, wanted = (
        model.decode_labels(classes.numpy(), CHARACTERS)
        for classes in (logits.argmax(dim=2), targets)
    )
    return sum(a.lower() == b.lower() for a, b in zip(read, wanted, strict=True)) / len(wanted)


if __name__ == "__main__":
    utils.run(main)
