"""How other programs read images: run by unseen.py with a Python in which they are installed.

    pip install ddddocr captcha-whisperer

Standard input is JSON: the reader's name, the images' paths and the characters that can occur. The
answer is JSON: the texts in small letters, and the seconds from file to text, on one thread.
"""

import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any


def ddddocr_reader(characters: str) -> Callable[[bytes], str]:
    """Return a reader with ddddocr's default model; only these characters compete."""
    import ddddocr
    from ddddocr.utils.image_io import load_image_from_input

    engine = ddddocr.DdddOcr(show_ad=False).ocr_engine
    file = Path(ddddocr.__file__).parent / "common_old.onnx"
    session = one_thread(file)
    charset = engine.get_charset()
    both = {*characters.lower(), *characters.upper()}
    kept = [i for i, character in enumerate(charset) if i == 0 or character in both]
    letters = ["", *(charset[i].lower() for i in kept[1:])]  # class 0 is the blank of CTC

    def read(data: bytes) -> str:
        image = engine._preprocess_image(load_image_from_input(data), False)
        scores = session.run(None, {session.get_inputs()[0].name: image})[0]
        scores = scores[:, 0] if scores.shape[1] == 1 else scores[0]  # (steps, classes)
        return collapsed([letters[i] for i in scores[:, kept].argmax(1)])

    return read


def whisperer_reader(characters: str) -> Callable[[bytes], str]:
    """Return a reader with captcha-whisperer; only these characters compete.

    Its own decoder never answers 0, which its network knows: this one may.
    """
    import captcha_whisperer
    from captcha_whisperer.preprocess import preprocess_bytes

    session = captcha_whisperer.CaptchaRecognizer(threads=1)._session
    labels, blank = captcha_whisperer.LABELS, captcha_whisperer.BLANK_INDEX
    allowed = characters.upper()
    kept = [i for i, label in enumerate(labels) if i == blank or label in allowed]
    letters = ["" if i == blank else labels[i].lower() for i in kept]

    def read(data: bytes) -> str:
        scores = session.run(None, {"image": preprocess_bytes(data)})[0]  # (steps, 1, classes)
        return collapsed([letters[i] for i in scores[:, 0, kept].argmax(1)])

    return read


def one_thread(file: Path) -> Any:
    """Return an ONNX model that runs on one thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])


def collapsed(steps: Sequence[str]) -> str:
    """Return the text of CTC's steps: repeated characters count once, blanks ("") not at all."""
    before = ["", *steps[:-1]]
    return "".join(text for text, last in zip(steps, before, strict=False) if text != last)


READERS = {"ddddocr": ddddocr_reader, "captcha-whisperer": whisperer_reader}


def main() -> None:
    """Read what standard input names."""
    name, files, characters = json.load(sys.stdin)
    read = READERS[name](characters)
    read(Path(files[0]).read_bytes())  # the first time takes longer
    started = time.perf_counter()
    texts = [read(Path(file).read_bytes()) for file in files]
    print(json.dumps([texts, time.perf_counter() - started]))


if __name__ == "__main__":
    main()
