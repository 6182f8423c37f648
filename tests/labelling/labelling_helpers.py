"""What the tests of labelling share: images, what stands in a labels file, keys to press."""

import re
import time

from PIL import Image

from files.tables import LABEL_COLUMNS, read_table
from utils import Prediction

IMAGES = ["a.png", "b.png", "c.png", "d.png"]


def rows_of(labels_file):
    """Return what stands in a labels file, without the times."""
    table = read_table(labels_file, LABEL_COLUMNS)
    return [(row["image"], row["label"], row["state"], row["how"]) for row in table]


def make_images(folder, names=IMAGES):
    """Fill a folder with different images and return it."""
    folder.mkdir()
    for number, name in enumerate(names):
        Image.new("RGB", (60, 20), (40 * number, 90, 200)).save(folder / name)
    return folder


def prediction(text, doubtful=(), confidence=0.9):
    """Return a prediction that is unsure of some places in the text."""
    return Prediction(text, confidence, [0.5 if i in doubtful else 0.99 for i in range(len(text))])


def let_years_pass(labels_file):
    """Make the decisions in a labels file old ones."""
    text = labels_file.read_text(encoding="utf-8")
    labels_file.write_text(re.sub(r"20\d\d-", "2001-", text), encoding="utf-8")


def wait_for(condition, seconds=20):
    """Wait until a condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)
