"""Read new images with the trained model.

    python predict.py                       what IMAGES below names
    python predict.py a.png b.jpg folder    these files, and the images in this folder

Prints a line an image: file, text, confidence. Writes data/predictions.csv, and predictions.png, a
sheet of the images with what was read.
"""

import csv
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

import model
import utils
from files import tables
from files.images import read_image
from model import CaptchaNet, Reading
from training import plots

# ---- edit these ----------------------------------------------------------------------------------
MODEL_FILE = utils.DATA / "model" / "captcha.pt"  # made by train_script.py
IMAGES = utils.DATA / "new"  # a folder, or one image; plain arguments come instead of it
OUTPUT = utils.DATA / "predictions.csv"  # the picture gets the same name, .png
MIN_CONFIDENCE = 0.0  # below this an image is left unanswered, with the text kept for you to see
SHOW_PLOTS = True  # False: never open a window
# --------------------------------------------------------------------------------------------------

batch_size = 256  # images read at a time
sheet_images = 40  # at most so many are drawn


def main() -> None:
    """Read what the arguments or the constants name."""
    arguments = utils.settings(globals(), sys.argv[1:], plain="image files and folders")
    if not 0 <= MIN_CONFIDENCE <= 1:
        raise ValueError(f"MIN_CONFIDENCE is {MIN_CONFIDENCE}; it must lie between 0 and 1.")
    plots.use_screen(SHOW_PLOTS)
    files = find_images([Path(argument) for argument in arguments] or [IMAGES])
    net, _ = model.load_checkpoint(MODEL_FILE)
    net.to(model.best_device())

    failed, rows, sheet = 0, [], []
    for file, image, reading in read_files(net, files):
        if image is None:
            failed += 1
            continue
        answered = reading.confidence >= MIN_CONFIDENCE
        print(f"{file}\t{reading.text if answered else ''}\t{reading.confidence:.4f}", flush=True)
        rows.append((file, reading, answered))
        if len(sheet) < sheet_images:
            sheet.append((image, reading, answered))
    if not rows:
        raise ValueError("none of the files could be read.")
    write_table(rows, OUTPUT)
    draw_sheet(sheet, OUTPUT.with_suffix(".png"))
    left = sum(not answered for _, _, answered in rows)
    utils.note(
        f"{len(rows)} images read"
        + (f", {left} of them left unanswered" if left else "")
        + (f", {failed} files could not be read" if failed else "")
        + f"; see {OUTPUT} and {OUTPUT.with_suffix('.png')}"
    )
    plots.show()


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
) -> Iterator[tuple[Path, np.ndarray | None, Reading | None]]:
    """Read files a batch at a time; give each with its image (H, W, 3) and its reading.

    A file that is no image is named in a remark, given with None and None, and the rest go on.
    """
    for start in utils.progress(range(0, len(files), batch_size), "reading"):
        batch = files[start : start + batch_size]
        images: dict[Path, np.ndarray] = {}
        for file in batch:
            try:
                images[file] = read_image(file)
            except (ValueError, OSError) as error:
                utils.note(f"not read: {error}")
        readings: dict[Path, Reading] = {}
        if images:
            tensor = torch.stack([model.prepare(net, image) for image in images.values()])
            readings = dict(zip(images, model.read_images(net, tensor), strict=True))
        for file in batch:
            yield file, images.get(file), readings.get(file)


def write_table(rows: Sequence[tuple[Path, Reading, bool]], path: Path) -> None:
    """Write a row an image: file, answer, confidence, text, and each character's confidence."""
    with (
        tables.replacing(path) as temporary,
        open(temporary, "w", encoding="utf-8-sig", errors="surrogateescape", newline="") as table,
    ):
        writer = csv.writer(table)
        writer.writerow(["image", "answer", "confidence", "text", "character_confidences"])
        for file, reading, answered in rows:
            characters = " ".join(f"{chance:.4f}" for chance in reading.characters)
            answer = reading.text if answered else ""
            writer.writerow([file, answer, f"{reading.confidence:.4f}", reading.text, characters])


def draw_sheet(rows: Sequence[tuple[np.ndarray, Reading, bool]], path: Path) -> None:
    """Draw the images with what was read; the unsure ones in red, the unanswered ones in ( )."""
    titles, colours = [], []
    for _, reading, answered in rows:
        text = plots.visible(reading.text) or "nothing"
        percent = f"{100 * reading.confidence:.0f} %"
        titles.append(f"{text}  {percent}" if answered else f"({text})  {percent}")
        colours.append("black" if answered and reading.confidence >= 0.9 else "firebrick")
    plots.save(plots.image_sheet([image for image, *_ in rows], titles, colours), path)


if __name__ == "__main__":
    utils.run(main)
