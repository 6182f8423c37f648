"""Read new images with the trained model.

    python predict.py                       what IMAGES below names
    python predict.py a.png b.jpg folder    these files, and the images in this folder
    python predict.py -                     the files that lines of standard input name, at once

Prints a line per image: file, text, confidence. Writes data/predictions.csv and, of several images,
predictions.png, a sheet of them with what was read. Beside - and with SERVE, which write nothing,
images and folders are a sample of the site, to which a general model such as practice is suited.
From a program: predict.Reader. See docs/export.md.
"""

import io
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TextIO

import utils

if __name__ == "__main__":  # --help and mistyped settings are answered before torch is imported
    utils.check_early(__file__, plain="image files and folders, or -")

import numpy as np

from files.framing import read_sample
from files.images import read_image
from files.tables import write_table
from reading.reader import Reader, as_plain
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

JSON = False  # True: print each image as a line of JSON, and those that cannot be read, too
# 8000: read no files, but images that programs on this machine post to this port
SERVE: int | None = None
# captcha.onnx: read nothing, but write the model to this file, for programs without PyTorch
EXPORT_ONNX: Path | None = None
ONNX_WEIGHTS = "float32"  # of that file; "float16" halves its size
# --------------------------------------------------------------------------------------------------

BATCH_SIZE = 256  # images read at a time
NO_IMAGE = np.empty((0, 0, 3), np.uint8)
SHEET_IMAGES = 40  # at most so many are shown
COLUMNS = ["image", "answer", "confidence", "text", "character_confidences"]


def main() -> None:
    """Read what the arguments or the constants name, or have others read."""
    arguments = utils.settings(globals(), sys.argv[1:], plain="image files and folders, or -")
    if not 0 <= MIN_CONFIDENCE <= 1:
        raise ValueError(f"MIN_CONFIDENCE is {MIN_CONFIDENCE}; it must lie between 0 and 1.")
    by_line = "-" in arguments
    named = [Path(argument) for argument in arguments if argument != "-"]
    later = by_line or SERVE is not None  # which images, is not known yet
    files = find_images(named if named or later else [IMAGES])
    reader = Reader(MODEL_FILE, CHARACTERS, LENGTH, sample=files)
    if reader.found:
        characters = f"{reader.found} character{'s' if reader.found > 1 else ''}"
        utils.note(f"These captchas seem to have {characters}; LENGTH= changes that.")
    if EXPORT_ONNX is not None:
        write_onnx(reader, files, EXPORT_ONNX, ONNX_WEIGHTS)
    elif SERVE is not None:
        serve(reader, SERVE, MIN_CONFIDENCE)
    elif by_line:
        answer_lines(reader, sys.stdin, MIN_CONFIDENCE, JSON)
    else:
        read_all(reader, files)


def read_all(reader: Reader, files: Sequence[Path]) -> None:
    """Print a line per file, write the table and the picture, as the constants say."""
    rows: list[tuple[Path, Prediction, bool]] = []
    sheet: list[tuple[np.ndarray, Prediction, bool]] = []
    for file, image, read in read_files(reader, files):
        if JSON or isinstance(read, Prediction):
            print(line_of(str(file), read, MIN_CONFIDENCE, JSON), flush=True)
        if isinstance(read, str):
            utils.note(f"not read: {read}")
            continue
        answered = read.confidence >= MIN_CONFIDENCE
        rows.append((file, read, answered))
        if len(sheet) < SHEET_IMAGES:
            sheet.append((image, read, answered))
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
    reader: Reader, files: Sequence[Path]
) -> Iterator[tuple[Path, np.ndarray, Prediction | str]]:
    """Read files a batch at a time; yield each with its image (H, W, 3) and its prediction.

    A file that cannot be read has an empty image, and in place of a prediction what is wrong.
    """
    for start in utils.progress(range(0, len(files), BATCH_SIZE), "reading"):
        images: dict[Path, np.ndarray] = {}
        wrong: dict[Path, str] = {}
        batch = files[start : start + BATCH_SIZE]
        for file in batch:
            try:
                images[file] = read_image(file)
            except (ValueError, OSError) as error:
                wrong[file] = str(error)
        predictions = reader.read_all(list(images.values()))
        read: dict[Path, Prediction | str] = dict(zip(images, predictions, strict=True))
        for file in batch:
            yield file, images.get(file, NO_IMAGE), (read | wrong)[file]


def answer_lines(reader: Reader, lines: TextIO, min_confidence: float, as_json: bool) -> None:
    """Answer each line, the path of an image, with a line before the next one is looked at."""
    if isinstance(lines, io.TextIOWrapper):
        lines.reconfigure(errors="surrogateescape")  # a path may be any bytes
    for line in lines:
        path = line.rstrip("\r\n")
        read: Prediction | str
        try:
            read = reader.read(path)
        except (ValueError, OSError) as error:
            read = str(error)
            utils.note(f"not read: {error}")
        print(line_of(path, read, min_confidence, as_json), flush=True)


def line_of(name: str, read: Prediction | str, min_confidence: float, as_json: bool) -> str:
    """Return what is printed of an image: name, text, confidence, or the same and more in JSON."""
    if as_json:
        return json.dumps(as_plain(name, read, min_confidence))
    if isinstance(read, str):
        return f"{name}\t\t{0:.4f}"
    answer = read.text if read.confidence >= min_confidence else ""
    return f"{name}\t{answer}\t{read.confidence:.4f}"


def serve(reader: Reader, port: int, min_confidence: float) -> None:
    """Read what programs on this machine post, until Ctrl+C."""
    from reading.serve import open_server  # here: few need it

    with open_server(reader, port, min_confidence) as server:
        address = f"http://127.0.0.1:{server.server_port}"
        utils.note(f"Programs on this machine, and no others, may POST an image to {address}")
        server.serve_forever()


def write_onnx(reader: Reader, files: Sequence[Path], path: Path, weights: str) -> None:
    """Write the model as an ONNX file, which must read the images as the model does."""
    from reading import export  # here: its packages are extras

    images = list(read_sample(files))
    site = (
        f"a general model, suited to {len(images)} images"
        if reader.is_general
        else "of the training"
    )
    print(export.export(reader.net, images, path, weights, site))
    utils.note(f"The model is in {path}; docs/onnx_reader.py reads with it.")


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
    """Draw images with what was read; unsure ones with a ? and in red, unanswered ones in ( )."""
    from training import plots  # here: matplotlib takes a second, and one image needs none

    plots.use_screen(on_screen)
    titles, colours = [], []
    for _, prediction, answered in rows:
        text = plots.visible(prediction.text) or "nothing"
        percent = f"{100 * prediction.confidence:.0f} %"
        sure = answered and prediction.confidence >= 0.9
        titles.append((text if answered else f"({text})") + f"  {percent}" + ("" if sure else " ?"))
        colours.append("black" if sure else plots.WRONG)
    heading = "What was read, and how sure the network is"
    images = [image for image, *_ in rows]
    plots.save(plots.image_sheet(images, titles, colours, heading), path)
    plots.show()


if __name__ == "__main__":
    utils.run(main)
