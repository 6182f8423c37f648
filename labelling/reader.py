"""Reading images in another process, so that the label window never waits for the network.

    python -m labelling.reader MODEL_FILE IMAGE_FOLDER

The first line on standard input says in JSON which characters and what length can occur (null:
any), and names a sample of the images. Then the process reads the images that each line names, a
JSON list, and answers with a line of JSON.
"""

import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import utils
from files.framing import SAMPLE, read_sample, spread
from files.images import read_image
from utils import Prediction

USUAL_MODEL = utils.DATA / "model" / "captcha.safetensors"  # what train_script.py writes
BATCH_SIZE = 32  # images read at a time: about a tenth of a second


def find_model(wanted: Path | str | None) -> Path | None:
    """Return the model that proposes, or None: any but the usual one must exist.

    While no model is trained, the usual one is that which ships.
    """
    file = utils.model_file(wanted) if wanted else None
    return utils.PRACTICE_MODEL if file == USUAL_MODEL and not file.exists() else file


class Reader:
    """Has images read by a model, those needed next first, and adds each prediction.

    In another process, because importing torch stops every thread of this one for a quarter of a
    second or more. It ends with this one, however this one ends. By a ``sample`` of the images
    (default: those to be read) a general model is suited to their site; ``characters`` and
    ``length`` are what can occur, see predict.py.
    """

    def __init__(
        self,
        model_file: Path,
        folder: Path,
        images: Sequence[str],
        predictions: dict[str, Prediction],
        sample: Sequence[str] | None = None,
        characters: str | None = None,
        length: int | None = None,
    ) -> None:
        self.predictions = predictions
        self.needed: Sequence[str] = ()  # the images needed next; may be set at any time
        # When the model learnt from labels of the site, once it is loaded; "" if it never did.
        self.trained: str | None = None
        self.trouble = ""  # why there are no more predictions
        arguments = [str(model_file.resolve()), str(folder.resolve())]
        self.command = [sys.executable, "-m", "labelling.reader", *arguments]
        sample = list(spread(images if sample is None else sample, SAMPLE))
        self.site = {"characters": characters, "length": length, "sample": sample}
        self.process: Any = None  # the Popen, once it is started
        self.thread = threading.Thread(target=self.work, args=[dict.fromkeys(images)], daemon=True)

    def start(self) -> None:
        """Begin to read."""
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            self.command, stdin=pipe, stdout=pipe, encoding="utf-8", cwd=utils.ROOT
        )
        self.thread.start()

    def work(self, unread: dict[str, None]) -> None:
        """Ask for one batch after another until all images are read."""
        try:
            self.send(self.site)
            self.trained = self.receive()["trained"]
            while unread:
                wanted = [image for image in self.needed if image in unread]
                batch = list(dict.fromkeys([*wanted, *itertools.islice(unread, BATCH_SIZE)]))
                batch = batch[:BATCH_SIZE]
                for image in batch:
                    del unread[image]
                self.send(batch)
                answer = self.receive()
                self.predictions.update({name: Prediction(*one) for name, one in answer.items()})
            self.process.stdin.close()  # it ends
        except (OSError, ValueError) as error:
            self.trouble = f"reading stopped ({error})"

    def send(self, line: object) -> None:
        """Tell the other process something."""
        print(json.dumps(line), file=self.process.stdin, flush=True)

    def receive(self) -> dict:
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
    """Load a model and answer until standard input ends."""
    for name in ("SIGINT", "SIGPIPE"):  # Ctrl+C, or a window that was killed, ends this process ...
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_DFL)  # ... without a word
    if hasattr(os, "nice"):
        os.nice(19)  # the window comes first
    import torch

    import model
    from reading import limits

    torch.set_num_threads(max(1, (os.cpu_count() or 2) // 2))
    try:
        site = json.loads(sys.stdin.readline())
        net, about = model.load_model(model_file)
        net.to(model.best_device())
        sample = read_sample([folder / name for name in site["sample"]])
        limits.suit(net, sample, site["characters"], site["length"])
    except (ValueError, OSError) as error:
        print(json.dumps({"error": str(error)}), flush=True)
        return
    checked = about.get("labelled_images") != 0  # else it taught itself
    print(json.dumps({"trained": about.get("time", "") if checked else ""}), flush=True)
    for line in sys.stdin:
        images = {}
        for name in json.loads(line):
            with contextlib.suppress(ValueError, OSError):  # the window says what is wrong with it
                images[name] = model.prepare(net, read_image(folder / name))
        predictions = model.read_images(net, torch.stack(list(images.values()))) if images else []
        print(json.dumps(dict(zip(images, predictions, strict=True))), flush=True)


if __name__ == "__main__":
    serve(Path(sys.argv[1]), Path(sys.argv[2]))
