"""Reading with and without PyTorch: predict.Reader, the ONNX file, and other programs.

    python benchmarks/onnx_speed.py FOLDER=/my/captchas/wilhelmy-1070

The file names of FOLDER are the labels. All readers know which characters occur, upper and lower
case count as one, and each has one thread and reads from files. The readers take turns, TURNS of
them, and the best counts, because other programs of the computer only make a turn slower. Needs
the packages of requirements-onnx.txt; the rivals are read where they are installed, see rivals.py.
Prints a table.
"""

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch

import utils
from benchmarks import unseen
from docs.onnx_reader import OnnxReader, decode
from files.framing import spread
from files.images import read_image
from reading import export
from reading.reader import Reader

# ---- edit these ----------------------------------------------------------------------------------
FOLDER = utils.DATA / "unseen" / "wilhelmy-1070"  # images
LABEL_PATTERN = "^([^_]+)"  # see split_data.py; group 1 is the label
IMAGES = 200  # of them, evenly spread over the file names
TURNS = 3
MODEL_FILE: Path | str = "practice"  # the model that reads; "practice" is the model that ships
RIVALS_PYTHON: Path | None = None  # a Python that has ddddocr and captcha-whisperer; None: this one
RIVALS = ["ddddocr", "captcha-whisperer"]  # [] for none
WORK_FOLDER = utils.DATA / "onnx_speed"  # for the ONNX files
# --------------------------------------------------------------------------------------------------

Read = Callable[[Sequence[Path]], Sequence[str]]


def main() -> None:
    """Export, read in turns, print."""
    utils.settings(globals(), sys.argv[1:])
    torch.set_num_threads(1)
    WORK_FOLDER.mkdir(parents=True, exist_ok=True)
    found = utils.labels_from_names(utils.image_files(FOLDER), LABEL_PATTERN)
    files = spread(list(found), IMAGES)
    wanted = [found[file].lower() for file in files]
    characters = "".join(sorted({c for label in found.values() for c in label.lower()}))

    ours = Reader(MODEL_FILE, characters, sample=files)
    readers: dict[str, Read] = {
        "predict.Reader, one image at a time": lambda some: [ours.read(f).text for f in some],
        "predict.Reader, all at once": lambda some: [r.text for r in ours.read_all(some)],
    }
    sizes = {name: utils.model_file(MODEL_FILE).stat().st_size for name in readers}
    for weights in export.TOLERANCE:
        path = WORK_FOLDER / f"{weights}.onnx"
        images = [read_image(file) for file in files]
        print(f"{weights}: {export.export(ours.net, images, path, weights, FOLDER.name)}")
        for name, read in onnx_readers(path).items():
            readers[f"ONNX, {weights}, {name}"] = read
            sizes[f"ONNX, {weights}, {name}"] = path.stat().st_size

    unseen.RIVALS_PYTHON = RIVALS_PYTHON
    rivals = [name for name in RIVALS if unseen.is_installed(name)]
    best, correct = dict.fromkeys([*readers, *rivals], 0.0), dict[str, int]()
    for _ in range(TURNS):
        for name, read in readers.items():
            read(files[:2])  # the first time takes longer
            started = time.perf_counter()
            texts = read(files)
            best[name] = max(best[name], len(files) / (time.perf_counter() - started))
            correct[name] = sum(a.lower() == b for a, b in zip(texts, wanted, strict=True))
        for name in rivals:
            reading = unseen.read_rival(name, files, wanted, characters)
            best[name] = max(best[name], len(files) / reading.seconds)
            correct[name] = sum(reading.correct)

    print(unseen.row(["reader", "file", "images a second", f"of {len(files)} read correctly"]))
    print(unseen.row(["---"] * 4))
    for name, speed in best.items():
        size = f"{sizes[name] / 1e6:.1f} MB" if name in sizes else ""
        print(unseen.row([name, size, f"{speed:.0f}", correct[name]]))


def onnx_readers(path: Path) -> dict[str, Read]:
    """Return the ways in which docs/onnx_reader.py reads files with an ONNX file.

    At once it reads images of one size.
    """
    reader = OnnxReader(str(path))

    def one(files: Sequence[Path]) -> list[str]:
        return [reader.read(decode(str(file))[None])[0][0] for file in files]

    def together(files: Sequence[Path]) -> list[str]:
        images = torch.stack([torch.from_numpy(decode(str(file))) for file in files]).numpy()
        return [text for text, _, _ in reader.read(images)]

    return {"one image at a time": one, "all at once": together}


if __name__ == "__main__":
    utils.run(main)
