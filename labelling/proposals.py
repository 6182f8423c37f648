"""What the computer proposes for each image, and how often it was right: for the label window.

Started as a program, it reads images for the window, which then never waits for the network:

    python -m labelling.proposals MODEL_FILE IMAGE_FOLDER
"""

import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import NamedTuple

import utils
from files import tables
from files.images import read_image
from labelling.labels import Labelling
from utils import Reading

orders = ("name", "least-sure", "most-sure", "cluster")
batch_size = 32  # images read at a time: about a tenth of a second


class Offer(NamedTuple):
    """What stands in the entry before anything is typed."""

    text: str
    doubtful: list[int]  # the places in the text that want a look
    marks: list[str]  # what stands beneath each character
    said: str  # a remark about the whole
    how: str  # what the labels file says if the text is confirmed as it stands


class Suspect(NamedTuple):
    """A label that is probably wrong, and what a network read that had never seen it."""

    label: str
    reading: str
    confidence: float


class Proposals:
    """What to offer for each image: a reading from wherever, or a label under review.

    ``readings`` may grow while it is used. Characters below the confidence ``doubtful`` are marked;
    ``unaided`` is the share of the images for which nothing is offered although there is a reading,
    so that what is typed for them says how good the readings are. ``fold`` is done to each text.
    """

    def __init__(
        self,
        readings: dict[str, Reading],
        order: str = "name",
        doubtful: float = 0.95,
        unaided: float = 0.0,
        fold: Callable[[str], str] = str,
        suspects: dict[str, Suspect] | None = None,
    ) -> None:
        self.readings, self.order, self.doubtful = readings, order, doubtful
        self.unaided, self.fold, self.suspects = unaided, fold, suspects or {}
        self.arranged_with = 0  # how many readings there were when the images were put in order
        self.reader: Reader | None = None  # who fills the readings, if anybody does
        self.groups: dict[str, int] = {}  # the form of captcha that each image seems to be

    def read(self, model_file: Path, folder: Path, images: Iterable[str]) -> None:
        """Have images read by a model, as soon as the reader is started."""
        self.reader = Reader(model_file, folder, images, self.readings)

    def group(self, files: Sequence[Path], names_file: Path | None) -> str:
        """Find out which images are of one form; with ``names_file`` have characters named, too.

        The names of clusters become readings. Returns why clusters do not help, or "".
        """
        from labelling.clusters import window  # here, because it takes seconds

        try:
            self.groups = window.image_groups(files)
            if names_file:
                self.readings.update(window.name_characters(files, names_file))
        except ValueError as error:
            return str(error)
        return ""

    def close(self) -> None:
        """Have nothing read any more."""
        if self.reader:
            self.reader.close()

    def offer(self, image: str) -> Offer | None:
        """Return what stands in the entry at first, or None if that is nothing."""
        if image in self.suspects:
            return offer_suspect(self.suspects[image])
        reading = self.readings.get(image)
        if reading is None or not reading.text or self.is_unaided(image):
            return None
        return offer_reading(reading._replace(text=self.fold(reading.text)), self.doubtful)

    def is_unaided(self, image: str) -> bool:
        """Tell whether an image is one of those that come without a proposal; always the same."""
        name = image.encode(errors="surrogateescape")
        return int(utils.content_hash(name)[:8], 16) / 16**8 < self.unaided

    def arrange(self, images: Sequence[str]) -> list[str]:
        """Return the images in the order that is set; those not read yet come last."""
        if self.order == "cluster":  # the forms one after the other
            return sorted(images, key=lambda image: (self.groups.get(image, len(images)), image))
        sign = {"least-sure": 1, "most-sure": -1}.get(self.order, 0)
        read = self.readings if sign else {}
        self.arranged_with = len(read)

        def place(image: str) -> tuple[bool, float, str]:
            """Return what to sort an image by; those that were not read come last."""
            reading = read.get(image)
            return (
                (True, 0, image) if reading is None else (False, sign * reading.confidence, image)
            )

        return sorted(images, key=place)

    def sort_ahead(self, labelling: Labelling) -> None:
        """Put the images still to come in order again, if more of them have been read."""
        if self.order in ("least-sure", "most-sure") and self.arranged_with < len(self.readings):
            images, here = labelling.images, labelling.position + 1
            labelling.arrange(images[:here] + self.arrange(images[here:]))

    def change_order(self, labelling: Labelling) -> str:
        """Set the next order and go to the first open image in it; say what was done."""
        if self.order not in orders:
            return f"The {self.order} have no other order."
        if not self.readings:
            return "Another order needs a model, and images that it has read."
        there = orders if self.groups else orders[:-1]
        self.order = there[(there.index(self.order) + 1) % len(there)]
        labelling.arrange(self.arrange(labelling.images))
        first = labelling.next_open(0)
        labelling.go(labelling.position if first is None else first)
        return f"Now {self.order_in_words()}."

    def order_in_words(self) -> str:
        """Say in which order the images come."""
        return f"by {self.order}" if self.order in ("name", "cluster") else f"{self.order} first"

    def unaided_right(self, labelling: Labelling) -> list[bool]:
        """Return whether the reading was right for each image that was just typed unaided."""
        return [
            self.fold(self.readings[row["image"]].text) == row["label"]
            for row in labelling.labelled_now()
            if row["image"] in self.readings and self.is_unaided(row["image"])
        ]


def offer_reading(reading: Reading, threshold: float) -> Offer:
    """Return the offer of a reading: the confidence in per cent stands beneath each character.

    Without a confidence for each character nothing stands there, and none is doubtful.
    """
    known = len(reading.characters) == len(reading.text)
    chances = reading.characters if known else []
    places = [place for place, chance in enumerate(chances) if chance < threshold]
    marks = [str(min(99, int(100 * chance))) for chance in chances] or [""] * len(reading.text)
    said = f"Read with a confidence of {100 * reading.confidence:.0f} %."
    return Offer(reading.text, places, marks, said, "accepted")


def offer_suspect(suspect: Suspect) -> Offer:
    """Return a label under review: beneath it stands what was read differently."""
    pairs = list(itertools.zip_longest(suspect.label, suspect.reading, fillvalue=""))
    differ = [place for place, (label, read) in enumerate(pairs) if label != read]
    if len(suspect.label) != len(suspect.reading):
        differ = []
    marks = [read if place in differ else "" for place, (_, read) in enumerate(pairs)]
    said = f"Read as {suspect.reading or 'nothing'} with {100 * suspect.confidence:.0f} %."
    return Offer(suspect.label, differ, marks[: len(suspect.label)], said, "checked")


def read_suspects(
    table: Path, files: Iterable[Path], here: dict[str, dict[str, str]]
) -> dict[str, Suspect]:
    """Return the labels of suspects.csv that were read differently, the most suspicious first.

    The images there are copies that split_data.py named; the originals among ``files`` are found
    by their content. ``here`` are the rows of labels.csv that count now, by image: their labels
    come before those of the table. Raises ValueError if there is no such table, or if it is about
    other images.
    """
    if not table.is_file():
        raise ValueError(f"there is no {table}; run train_script.py AUDIT_FOLDS=4 first.")
    original = {utils.content_hash(file.read_bytes())[:8]: file.name for file in files}
    suspects, missing = {}, 0
    rows = tables.read_table(table, utils.SUSPECT_COLUMNS)
    for row in rows:
        parsed = utils.parse_split_name(Path(row["image"]).name)
        image = original.get(parsed[1]) if parsed else None
        if image is None:
            missing += 1
            continue
        if row["label"] != row["reading"]:
            label = here.get(image, row)["label"] or row["label"]
            suspects[image] = Suspect(label, row["reading"], float(row["confidence"]))
    without = len(suspects.keys() - here.keys())
    if without:
        utils.note(
            f"{without} of the images have no row in the labels file yet. It will hold what you "
            "decide now; take in the other labels with IMPORT_FROM before you split by it."
        )
    if missing:
        utils.note(f"{missing} of the {len(rows)} images in {table} are not in the image folder.")
    if not suspects:
        raise ValueError(f"{table} names no image of the folder that was read differently.")
    return suspects


def written_at(file: Path) -> str:
    """Return the time at which a file was written, as it would stand in the tables."""
    moment = datetime.fromtimestamp(file.stat().st_mtime, timezone.utc)
    return moment.isoformat(timespec="seconds")


# ---------------------------------------------------------------- what comes of it


def report(labelling: Labelling, proposals: Proposals) -> list[str]:
    """Return what this run says about the model, in sentences for the person."""
    lines, right = [], proposals.unaided_right(labelling)
    if right:
        from training.metrics import (
            wilson_interval,  # brings torch, so not before the window is closed
        )

        share = sum(right) / len(right)
        low, high = wilson_interval(share, len(right))
        which = "" if proposals.order == "name" else f", of those that came {proposals.order} first"
        lines.append(
            f"Without seeing its proposal you agreed with the model on {sum(right)} of "
            f"{len(right)} images: {100 * share:.0f} % (95 % interval {100 * low:.0f} to "
            f"{100 * high:.0f} %){which}."
        )
    hows = [row["how"] for row in labelling.labelled_now()]
    offered = right + [how == "accepted" for how in hows if how in ("accepted", "corrected")]
    if offered:
        accepted, corrected = hows.count("accepted"), hows.count("corrected")
        lines.append(f"{accepted} proposals were right, {corrected} were corrected.")
    counts, reader = labelling.counts(), proposals.reader
    trained = reader.trained if reader else None  # stays None if the model was not loaded in time
    learnt = None if trained is None else labelling.confirmed_before(trained)
    wrong = 1 - sum(offered) / len(offered) if offered else None
    if counts["open"] and (reader is None or trained is not None):
        lines.append(advice(counts["confirmed"], learnt, wrong, counts["open"]))
    return [line + "\n" for line in lines]


def advice(labels: int, learnt: int | None, wrong: float | None, left: int) -> str:
    """Say when training would pay.

    ``learnt`` of the ``labels`` were there when the model was trained (None: there is no model);
    it reads the share ``wrong`` of the images wrong; ``left`` images are open. Twice the labels
    about halve the errors: 50, 100, 200, 400 labels of the benchmark wilhelmy-1070 left 36, 10, 5
    and 1.4 % of the images wrong.
    """
    enough = max(40, round(1.5 * (learnt or 0)))
    if learnt is None:
        if labels < enough:
            return f"From about {enough} labels on, train: then images come with a proposal."
        return f"{labels} labels are enough to train: then the images left come with a proposal."
    if labels < enough:
        return f"Training again will pay from about {enough} labels on; there are {labels}."
    corrections = (0.5 if wrong is None else wrong) * left
    if corrections < 10:
        return f"Training again would hardly save typing: {left} images are left."
    return (
        f"Training again would pay: the model learnt from {learnt} labels, now there are {labels}; "
        f"of the {left} images left it would read about {corrections:.0f} wrong."
    )


# ---------------------------------------------------------------- reading in another process


class Reader:
    """Has images read by a model, the ones needed next first, and notes each reading.

    In another process, because importing torch stops every thread of this one for a quarter of a
    second or more. It ends with this one, however this one ends.
    """

    def __init__(
        self, model_file: Path, folder: Path, images: Iterable[str], readings: dict[str, Reading]
    ) -> None:
        self.readings = readings
        self.needed: Sequence[str] = ()  # whose turn comes next; may be set at any time
        self.trained: str | None = None  # when the model was trained, once it is loaded
        self.trouble = ""  # why there are no more readings
        module = [sys.executable, "-m", "labelling.proposals"]
        self.command = [*module, str(model_file.resolve()), str(folder.resolve())]
        self.process: subprocess.Popen | None = None
        self.thread = threading.Thread(target=self.work, args=[dict.fromkeys(images)], daemon=True)

    def start(self) -> None:
        """Begin to read."""
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            self.command, stdin=pipe, stdout=pipe, encoding="utf-8", cwd=utils.DATA.parent
        )
        self.thread.start()

    def work(self, unread: dict[str, None]) -> None:
        """Ask for one batch after another until all images are read."""
        try:
            self.trained = self.hear()["trained"]
            while unread:
                wanted = [image for image in self.needed if image in unread]
                batch = dict.fromkeys([*wanted, *itertools.islice(unread, batch_size)])
                batch = list(batch)[:batch_size]
                for image in batch:
                    del unread[image]
                print(json.dumps(batch), file=self.process.stdin, flush=True)
                answer = self.hear()
                self.readings.update({image: Reading(*read) for image, read in answer.items()})
            self.process.stdin.close()
        except (OSError, ValueError) as error:
            self.trouble = self.trouble or f"the reading stopped ({error})"

    def hear(self) -> dict:
        """Return the next answer. Raises ValueError if there is none."""
        answer = json.loads(self.process.stdout.readline() or '{"error": "no answer came"}')
        if "error" in answer:
            raise ValueError(answer["error"])
        return answer

    def close(self) -> None:
        """End the other process."""
        if self.process is None:
            return
        self.process.kill()
        self.thread.join()
        with contextlib.suppress(OSError):  # something may still have been on its way
            self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()


def serve(model_file: Path, folder: Path) -> None:
    """Read the images named on standard input, a JSON list a line; answer each with a JSON line."""
    for name in ("SIGINT", "SIGPIPE"):  # Ctrl+C, or a window that was killed, ends this process ...
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_DFL)  # ... without a word
    if hasattr(os, "nice"):
        os.nice(19)  # the window comes first
    import torch

    import model

    try:
        net, about = model.load_checkpoint(model_file)
    except ValueError as error:
        print(json.dumps({"error": str(error)}), flush=True)
        return
    torch.set_num_threads(max(1, (os.cpu_count() or 2) // 2))
    net.to(model.best_device())
    print(json.dumps({"trained": about.get("time", "")}), flush=True)
    for line in sys.stdin:
        images = {}
        for name in json.loads(line):
            with contextlib.suppress(ValueError, OSError):  # the window says what is wrong with it
                images[name] = model.prepare(net, read_image(folder / name))
        readings = model.read_images(net, torch.stack(list(images.values()))) if images else []
        print(json.dumps(dict(zip(images, readings, strict=True))), flush=True)


if __name__ == "__main__":
    serve(Path(sys.argv[1]), Path(sys.argv[2]))
