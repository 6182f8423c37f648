"""Give the readers thousands of broken files: they must read or refuse each of them.

    python benchmarks/fuzz_files.py
    python benchmarks/fuzz_files.py KIND=models
    python benchmarks/fuzz_files.py KIND=index
    python benchmarks/fuzz_files.py KIND=labels COUNT=1000000 SEED=1

Small images of each kind, a model, a labels.csv or the index.csv of a crawl are cut, flipped,
stretched, mixed and patched, and what reads such files gets them. A program of its own reads them,
so that a crash, a hang or too much memory is noticed: it is named with its number, and COUNT=1
FIRST=<number> repeats it.
"""

import contextlib
import faulthandler
import io
import json
import math
import random
import resource
import shutil
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import safetensors.torch
import torch
from PIL import Image
from torch import Tensor

import model
import utils
from crawling.folder import ImageFolder
from files import images, tables
from files.images import InputSpec, content_hash
from files.tables import INDEX_COLUMNS, LABEL_COLUMNS
from files.tensors import checksum
from labelling.labels import Labelling

# ---- edit these ----------------------------------------------------------------------------------
KIND = "images"  # which files: images, models, labels or index
COUNT = 10_000  # how many broken files
FIRST = 0  # the number of the first
SEED = 0  # another number breaks them in other ways
SECONDS = 5.0  # no file may take longer
MEMORY = 512  # MiB that reading may take, beyond what the program takes before
# --------------------------------------------------------------------------------------------------

EXTREMES = [0, 1, 2, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]
LABELLED = [f"{number}.png" for number in range(9)]  # the images of the labels file
# in place of what stands in a model's JSON
ODD_VALUES: list[Any] = [
    0, -1, 1, 2, 7, 2000, 10**9, 2**63, 10**400, 2.5, 48.0, 1e308, math.nan, math.inf, True, None,
    "", "aa", "written", "flatten", "x" * 100_000, "\u0000\udcff", [], [0, 0, 1, 1], [0, 0, 0, 0],
    [1, 1, 0, 0], [-9, 0.5, 1e9, 2], ["a", "b", "c"], [[]], {}, {"a": 1, "b": 2, "c": 3},
]  # fmt: skip
CRAWLED = [b"image %d" % number for number in range(6)]  # the images of the crawl


def main() -> None:
    """Read the broken files in a program of their own, and print what came of it."""
    utils.settings(globals(), sys.argv[1:])
    utils.at_least("COUNT", COUNT, 1)
    if KIND not in KINDS:
        raise ValueError(f"KIND is {KIND!r}; it must be one of {', '.join(KINDS)}.")
    program = (
        f"import sys; sys.path.insert(0, {str(utils.ROOT)!r}); from benchmarks import fuzz_files; "
        f"fuzz_files.read_all({KIND!r}, {FIRST}, {COUNT}, {SEED}, {SECONDS}, {MEMORY})"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    lines = done.stdout.splitlines()
    if done.returncode or not lines or not lines[-1].startswith("read"):
        last = lines[-1] if lines else "none"
        raise ValueError(f"file {last} ended the reader: {done.stderr.strip()[-600:]}")
    print(lines[-1])


def read_all(kind: str, first: int, count: int, seed: int, seconds: float, memory: int) -> None:
    """Read broken files; print the number of each, and at last a line of figures.

    Ends with an error for one that is neither read nor refused with ValueError, and with a
    traceback if one takes too long.
    """
    samples, break_one, read = KINDS[kind]
    originals = samples()
    came: Counter[str] = Counter()
    slowest = 0.0
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "file"
        file.write_bytes(originals[0])
        read(file)  # so that all is imported
        before = largest()
        for number in range(first, first + count):
            print(number, flush=True)
            file.write_bytes(break_one(originals, random.Random(f"{seed} {number}")))
            faulthandler.dump_traceback_later(seconds, exit=True)
            start = time.monotonic()
            try:
                read(file)
                came["read"] += 1
            except ValueError:
                came["refused"] += 1
            slowest = max(slowest, time.monotonic() - start)
            faulthandler.cancel_dump_traceback_later()
            if largest() - before > memory:
                raise MemoryError(f"{largest() - before:.0f} MiB")
    print(
        f"read {came['read']}, refused {came['refused']} of {count}; the slowest took "
        f"{slowest:.2f} s; reading took up to {largest() - before:.0f} MiB"
    )


def read_image(file: Path) -> None:
    """Read an image; what comes of it must be one."""
    image = images.read_image(file)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise TypeError(f"an image of shape {image.shape}")


def read_model(file: Path) -> None:
    """Load a model and read an image with it, as predict.py does."""
    net, _ = model.load_model(file)
    image = np.zeros((20, 60, 3), np.uint8)
    model.read_images(net, model.prepare(net, image)[None])


def read_labels(file: Path) -> None:
    """Open a labels file as the label window does and add a label; no other row may change."""
    before = file.read_bytes()
    try:
        labelling = Labelling(LABELLED, file)
    except ValueError:
        if file.read_bytes() != before:
            raise TypeError("a labels file that is refused was changed") from None
        raise
    rows = tables.read_table(file, LABEL_COLUMNS)
    labelling.decide("new")
    labelling.close()
    now = tables.read_table(file, LABEL_COLUMNS)
    if (
        now[:-1] != rows
        or now[-1]["label"] != "new"
        or not file.read_bytes().startswith(before[: max(0, len(before) - tables.MAX_TORN)])
    ):
        raise TypeError("a row of the labels file was lost")
    utils.confirmed_labels([Path(image) for image in LABELLED], file)


def read_index(file: Path) -> None:
    """Go on with a crawl whose index.csv this is; every image must be there, with a row, after."""
    folder = file.with_name("download")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    before = file.read_bytes()
    (folder / "index.csv").write_bytes(before)
    for data in CRAWLED[:4]:
        (folder / f"{content_hash(data)[:16]}.png").write_bytes(data)
    try:
        keep_crawled(folder, CRAWLED)
    except ValueError:
        if (folder / "index.csv").read_bytes() != before:
            raise TypeError("an index that is refused was changed") from None
        raise
    finally:
        kept = {file.read_bytes() for file in folder.glob("*.png")}
        if not kept >= set(CRAWLED[:4]):
            raise TypeError("an image was lost")
    named = {row["image"] for row in tables.read_table(folder / "index.csv", INDEX_COLUMNS)}
    if kept != set(CRAWLED) or not named >= {file.name for file in folder.glob("*.png")}:
        raise TypeError("an image is missing, or has no row")


def keep_crawled(folder: Path, crawled: list[bytes]) -> None:
    """Keep some images as getData.py does."""
    with ImageFolder(folder) as image_folder:
        written = [image_folder.write(data, "png") for data in crawled]
        rest = ["practice:simple", "http://x/simple.png?n=1", tables.now(), 'a,"b']
        image_folder.enter([[name, *rest] for name, new in written if new])


def largest() -> float:
    """Return the most memory that this program has held so far, in MiB."""
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def sample_images() -> list[bytes]:
    """Return small images of each kind and of many modes, encoded."""
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.integers(0, 256, (15, 40, 4), dtype=np.uint8), "RGBA")
    plain = Image.new("RGBA", (160, 60), (250, 250, 250, 255))
    plain.paste((10, 20, 30, 90), (20, 10, 90, 50))
    other = noise.resize(plain.size)
    ways: list[tuple[str, str, dict[str, Any]]] = [
        *[("PNG", mode, {}) for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")],
        ("PNG", "RGB", {"optimize": True, "dpi": (300, 300)}),
        *[("JPEG", mode, {}) for mode in ("L", "RGB", "CMYK")],
        ("JPEG", "RGB", {"progressive": True, "quality": 30}),
        *[("GIF", mode, {}) for mode in ("L", "P")],
        ("GIF", "P", {"save_all": True, "append_images": [other.convert("P")], "transparency": 3}),
        *[("WEBP", mode, {}) for mode in ("RGB", "RGBA")],
        ("WEBP", "RGBA", {"lossless": True}),
        ("WEBP", "RGBA", {"save_all": True, "append_images": [other]}),
        *[("BMP", mode, {}) for mode in ("1", "L", "P", "RGB", "RGBA")],
    ]
    found = []
    for kind, mode, options in ways:
        for image in (other, plain):
            file = io.BytesIO()
            in_mode = image.convert("L").convert("I;16") if mode == "I;16" else image.convert(mode)
            in_mode.save(file, kind, **options)
            found.append(file.getvalue())
    return found


def sample_models() -> list[bytes]:
    """Return a small model of each head, encoded."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for head in model.HEADS:
            net = model.CaptchaNet("abc", 3, InputSpec(16, 48, 1), head)
            model.save_model(net, Path(folder) / "model", {"val": {"images": 9}})
            found.append((Path(folder) / "model").read_bytes())
    return found


def sample_labels() -> list[bytes]:
    """Return a labels file, encoded."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "labels.csv"
        labelling = Labelling(LABELLED, file)
        for label in ("ab", 'a,"b', "a\nb", "\u202e😀", "z" * 300, "../x"):
            labelling.decide(label)
        labelling.decide("", state="skipped")
        labelling.undo()
        labelling.close()
        return [file.read_bytes()]


def sample_index() -> list[bytes]:
    """Return the index.csv of a crawl, encoded."""
    with tempfile.TemporaryDirectory() as folder:
        keep_crawled(Path(folder), CRAWLED[:4])
        return [(Path(folder) / "index.csv").read_bytes()]


def broken(originals: list[bytes], rng: random.Random) -> bytes:
    """Return one of the files, broken in one to four ways."""
    data = bytearray(rng.choice(originals))
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        rng.choice([cut, flip, patch, repeat, remove, mix])(data, rng, originals)
    if data.startswith(b"\x89PNG") and rng.random() < 0.7:
        mend_checksums(data)  # else hardly a broken PNG gets beyond them
    return bytes(data)


def broken_model(originals: list[bytes], rng: random.Random) -> bytes:
    """Return a broken model; mostly its texts or weights are, in a file that is in order."""
    if rng.random() < 0.3:
        return broken(originals, rng)
    data = rng.choice(originals)
    weights = safetensors.torch.load(data)
    header_end = 8 + int.from_bytes(data[:8], "little")
    texts = json.loads(data[8:header_end])["__metadata__"]
    for _ in range(rng.choice([1, 1, 1, 2])):
        if rng.random() < 0.6:
            break_text(texts, rng)
        else:
            break_weight(weights, rng)
    del texts["sha256"]  # else hardly a broken model gets beyond it
    return safetensors.torch.save(weights, {**texts, "sha256": checksum(weights, texts)})


def break_text(texts: dict[str, str], rng: random.Random) -> None:
    """Break the JSON of a model, or replace a value in it."""
    name = rng.choice(["architecture", "architecture", "about"])
    if rng.random() < 0.3:
        texts[name] = broken([texts[name].encode()], rng).decode(errors="replace")
        return
    with contextlib.suppress(ValueError, TypeError, AttributeError):  # broken already
        values = json.loads(texts[name])
        place = values.get("input", values) if rng.random() < 0.5 else values
        key = rng.choice([*place, "more"])
        place[key] = rng.choice(ODD_VALUES)
        if rng.random() < 0.1:
            del place[key]
        texts[name] = json.dumps(values)


def break_weight(weights: dict[str, Tensor], rng: random.Random) -> None:
    """Replace some weights by others, of other shapes, kinds or values."""
    name = rng.choice([*weights, "more"])
    value = weights.get(name, torch.zeros(3))
    weights[name] = rng.choice([
        torch.full(value.shape, math.nan), torch.full(value.shape, math.inf),
        torch.full(value.shape, 1e38), value.flatten(), value[None].clone(), torch.zeros(0),
        torch.zeros(()), value.double(), value.half(), value.bfloat16(), value.to(torch.int64),
        value.to(torch.bool),
    ])  # fmt: skip
    if rng.random() < 0.1:
        del weights[name]


def cut(data: bytearray, rng: random.Random, _: list[bytes]) -> None:
    """Cut the end off."""
    del data[rng.randrange(len(data) + 1) :]


def flip(data: bytearray, rng: random.Random, _: list[bytes]) -> None:
    """Turn over some bits."""
    for _bit in range(rng.choice([1, 2, 8, 64]) if data else 0):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def patch(data: bytearray, rng: random.Random, _: list[bytes]) -> None:
    """Write extreme numbers, mostly where sizes and lengths stand."""
    for _number in range(rng.choice([1, 2, 4])):
        size, order = rng.choice([1, 2, 4]), rng.choice("<>")
        place = rng.randrange(min(len(data), rng.choice([32, 64, 10_000])) + 1)
        value = rng.choice([*EXTREMES, rng.getrandbits(32)]) % 256**size
        data[place : place + size] = struct.pack(order + {1: "B", 2: "H", 4: "I"}[size], value)


def repeat(data: bytearray, rng: random.Random, _: list[bytes]) -> None:
    """Repeat a part, also very often."""
    start = rng.randrange(len(data) + 1)
    part = data[start : start + rng.choice([1, 4, 40, 400])]
    data[start:start] = part * rng.choice([1, 2, 50, 2000])


def remove(data: bytearray, rng: random.Random, _: list[bytes]) -> None:
    """Remove a part."""
    start = rng.randrange(len(data) + 1)
    del data[start : start + rng.choice([1, 2, 16, 200])]


def mix(data: bytearray, rng: random.Random, originals: list[bytes]) -> None:
    """Go on with another file."""
    other = rng.choice(originals)
    data[rng.randrange(len(data) + 1) :] = other[rng.randrange(len(other)) :]


def mend_checksums(data: bytearray) -> None:
    """Correct the checksums of a PNG's chunks, as far as their lengths allow."""
    place = 8
    while place + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, place)
        end = place + 8 + length
        if end + 4 > len(data):
            break
        struct.pack_into(">I", data, end, zlib.crc32(data[place + 4 : end]))
        place = end + 4


Kind = tuple[
    Callable[[], list[bytes]], Callable[[list[bytes], random.Random], bytes], Callable[[Path], None]
]
KINDS: dict[str, Kind] = {  # what to break, how to break it, and what reads it
    "images": (sample_images, broken, read_image),
    "models": (sample_models, broken_model, read_model),
    "labels": (sample_labels, broken, read_labels),
    "index": (sample_index, broken, read_index),
}

if __name__ == "__main__":
    utils.run(main)
