"""Read new images with the trained model.

    python predict.py                       what IMAGES below names
    python predict.py a.png b.jpg folder    these files, and the images in this folder

Prints a line per image: file, text, confidence. Writes data/predictions.csv and, of several images,
predictions.png, a sheet of them with what was read.
"""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import utils

if __name__ == "__main__":  # --help and mistyped settings are answered before torch is imported
    utils.check_early(__file__, plain="image files and folders")

import numpy as np
import torch

import model
from files.framing import read_sample
from files.images import read_image
from files.tables import write_table
from model import CaptchaNet
from reading import limits
from utils import Prediction

# ---- edit these ----------------------------------------------------------------------------------
# made by train_script.py; "practice" is the model that ships
MODEL_FILE: Path | str = utils.DATA / "model" / "captcha.safetensors"
IMAGES = utils.DATA / "new"  # a folder, or one image; plain arguments replace it

# "0123456789": those that can occur, where you know them; None: all that the model knows. A letter
# is also read from its other case, unless that is among them
CHARACTERS: str | None = None
# characters in each image; None: any number, or what a general model such as practice finds
LENGTH: int | None = None
OUTPUT = utils.DATA / "predictions.csv"  # the picture gets the same name, .png
MIN_CONFIDENCE = 0.0  # below this an image is left unanswered, with the text kept for you to see
SHOW_PLOTS = True  # False: never open a window
# --------------------------------------------------------------------------------------------------

BATCH_SIZE = 256  # images read at a time
SHEET_IMAGES = 40  # at most so many are shown
COLUMNS = ["image", "answer", "confidence", "text", "character_confidences"]


def main() -> None:
    """Read what the arguments or the constants name."""
    arguments = utils.settings(globals(), sys.argv[1:], plain="image files and folders")
    if not 0 <= MIN_CONFIDENCE <= 1:
        raise ValueError(f"MIN_CONFIDENCE is {MIN_CONFIDENCE}; it must lie between 0 and 1.")
    files = find_images([Path(argument) for argument in arguments] or [IMAGES])
    net, _ = model.load_model(utils.model_file(MODEL_FILE))
    net.to(model.best_device())
    found = limits.suit(net, read_sample(files), CHARACTERS, LENGTH)
    if found:
        characters = f"{found} character{'s' if found > 1 else ''}"
        utils.note(f"These captchas seem to have {characters}; LENGTH= changes that.")

    rows: list[tuple[Path, Prediction, bool]] = []
    sheet: list[tuple[np.ndarray, Prediction, bool]] = []
    for file, image, prediction in read_files(net, files):
        answered = prediction.confidence >= MIN_CONFIDENCE
        answer = prediction.text if answered else ""
        print(f"{file}\t{answer}\t{prediction.confidence:.4f}", flush=True)
        rows.append((file, prediction, answered))
        if len(sheet) < SHEET_IMAGES:
            sheet.append((image, prediction, answered))
    if not rows:
        raise ValueError("none of the files could be read.")
    write_predictions(rows, OUTPUT)
    picture = OUTPUT.with_suffix(".png")
    picture.unlink(missing_ok=True)  # it would show other images than the table names
    unanswered, failed = sum(not answered for *_, answered in rows), len(files) - len(rows)
    utils.note(
        f"{len(rows)} images read"
        + (f", {unanswered} of them left unanswered" if unanswered else "")
        + (f", {failed} files could not be read" if failed else "")
        + f"; see {OUTPUT}"
        + (f" and {picture}" if len(rows) > 1 else "")
    )
    if len(rows) > 1:
        draw_sheet(sheet, picture, SHOW_PLOTS)


def find_images(paths: Sequence[Path]) -> list[Path]:
    """Return the files among ``paths`` and the images in the folders among them."""
    files = []
    for path in paths:
        if path.is_dir():
            files += utils.image_files(path)
        elif path.exists():
            files.append(path)
        else:
            raise ValueError(f"there is no file or folder {path}.")
    return files


def read_files(
    net: CaptchaNet, files: Sequence[Path]
) -> Iterator[tuple[Path, np.ndarray, Prediction]]:
    """Read files a batch at a time; yield each with its image (H, W, 3) and its prediction.

    A file that cannot be read is named in a remark and left out.
    """
    for start in utils.progress(range(0, len(files), BATCH_SIZE), "reading"):
        images: list[tuple[Path, np.ndarray]] = []
        for file in files[start : start + BATCH_SIZE]:
            try:
                images.append((file, read_image(file)))
            except (ValueError, OSError) as error:
                utils.note(f"not read: {error}")
        if images:
            batch = torch.stack([model.prepare(net, image) for _, image in images])
            for (file, image), read in zip(images, model.read_images(net, batch), strict=True):
                yield file, image, read


def write_predictions(rows: Sequence[tuple[Path, Prediction, bool]], path: Path) -> None:
    """Write a row per image: file, answer, confidence, text, and each character's confidence."""
    table = []
    for file, prediction, answered in rows:
        characters = " ".join(f"{chance:.4f}" for chance in prediction.character_confidences)
        answer, confidence = prediction.text if answered else "", f"{prediction.confidence:.4f}"
        table.append([file, answer, confidence, prediction.text, characters])
    write_table(path, COLUMNS, table)


def draw_sheet(
    rows: Sequence[tuple[np.ndarray, Prediction, bool]], path: Path, on_screen: bool
) -> None:
    """Draw images with what was read; the unsure ones in red, the unanswered ones in ( )."""
    from training import plots  # here: matplotlib takes a second, and one image needs none

    plots.use_screen(on_screen)
    titles, colours = [], []
    for _, prediction, answered in rows:
        text = plots.visible(prediction.text) or "nothing"
        percent = f"{100 * prediction.confidence:.0f} %"
        titles.append(f"{text}  {percent}" if answered else f"({text})  {percent}")
        colours.append("black" if answered and prediction.confidence >= 0.9 else "firebrick")
    plots.save(plots.image_sheet([image for image, *_ in rows], titles, colours), path)
    plots.show()


if __name__ == "__main__":
    utils.run(main)
