"""Time to read 97 % of the validation images: train_script.py against Keras' example "captcha_ocr".

    python benchmarks/keras_ocr.py SPLIT_FOLDER=data/split

Needs Keras with TensorFlow, in an environment of their own if need be: pip install tensorflow keras
Then KERAS_PYTHON names its Python. The network and its settings are those of the example (keras.io,
"OCR model for reading Captchas", A_K_Nain 2020): two convolutions, two bidirectional LSTM, CTC,
Adam, batches of 16, at most 100 epochs. Both train on the same images, one after the other, on all
processors. Both clocks start with the first epoch.
"""

import csv
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import utils

# ---- edit these ----------------------------------------------------------------------------------
SPLIT_FOLDER = utils.DATA / "split"  # made by split_data.py; all labels of one length
WANTED = 0.97  # share of the validation images
KERAS_PYTHON: Path | None = None  # a Python that has Keras; None: this one
SETTINGS = "START_FROM=None"  # of train_script.py, separated by blanks
WORK_FOLDER = utils.DATA / "keras"  # for the model of train_script.py
# --------------------------------------------------------------------------------------------------

# argv: split folder, wanted share. Prints a line per epoch: seconds, share of the images.
KERAS = """
import os, sys, time
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
from pathlib import Path
from urllib.parse import unquote
import cv2, keras, numpy as np
from keras import layers

def load(split):
    images, labels = [], []
    for file in sorted((Path(sys.argv[1]) / split).iterdir()):
        image = cv2.imread(str(file), cv2.IMREAD_GRAYSCALE)
        images.append(cv2.resize(image, (200, 50)).T[:, :, None] / np.float32(255))
        labels.append(unquote(file.stem.rpartition("_")[0]))
    return np.stack(images), labels

images, labels = load("train")
val_images, val_labels = load("val")
charset = sorted(set("".join(labels + val_labels)))
encode = lambda texts: np.array([[charset.index(c) + 1 for c in text] for text in texts])
x = inputs = keras.Input((200, 50, 1))
for channels in (32, 64):
    x = layers.Conv2D(channels, 3, activation="relu", padding="same",
                      kernel_initializer="he_normal")(x)
    x = layers.MaxPooling2D(2)(x)
x = layers.Reshape((50, 12 * 64))(x)
x = layers.Dropout(0.2)(layers.Dense(64, activation="relu")(x))
for units in (128, 64):
    x = layers.Bidirectional(layers.LSTM(units, return_sequences=True, dropout=0.25))(x)
net = keras.Model(inputs, layers.Dense(len(charset) + 1)(x))
net.compile(keras.optimizers.Adam(), keras.losses.CTC())
seconds = 0.0
for epoch in range(100):
    start = time.perf_counter()
    net.fit(images, encode(labels), batch_size=16, epochs=1, verbose=0)
    best = net.predict(val_images, verbose=0).argmax(2)  # (N, 50)
    seconds += time.perf_counter() - start
    texts = ["".join(charset[c - 1] for i, c in enumerate(row) if c and (i == 0 or c != row[i - 1]))
             for row in best]
    share = sum(a == b for a, b in zip(texts, val_labels)) / len(texts)
    print(f"{seconds:.1f} {share:.4f}", flush=True)
    if share >= float(sys.argv[2]):
        break
"""


def main() -> None:
    """Measure as the constants say."""
    utils.settings(globals(), sys.argv[1:])
    subprocess.run(
        [sys.executable, str(utils.ROOT / "train_script.py"), f"SPLIT_FOLDER={SPLIT_FOLDER}",
         f"MODEL_FOLDER={WORK_FOLDER}", "SHOW_PLOTS=False", *SETTINGS.split()],
        check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    with open(WORK_FOLDER / "history.csv", encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    seconds = 0.0
    mine = []
    for row in rows:
        seconds += float(row["seconds"])
        mine.append((seconds, float(row["val_image_accuracy"])))
    report("train_script.py", mine, WANTED)
    python = str(KERAS_PYTHON or sys.executable)
    done = subprocess.run(
        [python, "-c", KERAS, str(SPLIT_FOLDER), str(WANTED)], stdout=subprocess.PIPE, text=True
    )
    theirs = [tuple(map(float, line.split())) for line in done.stdout.splitlines()]
    report("Keras' example", [(seconds, share) for seconds, share in theirs], WANTED)
    if done.returncode:
        raise ValueError(f"Keras' example ended with {done.returncode}.")


def report(name: str, curve: list[tuple[float, float]], wanted: float) -> None:
    """Print when a training reached the wanted share, and the best it reached."""
    reached = next((seconds for seconds, share in curve if share >= wanted), None)
    best = max(share for _, share in curve)
    when = f"after {reached:.0f} s" if reached is not None else f"never in {curve[-1][0]:.0f} s"
    print(f"{name}: {100 * wanted:g} % {when}; the best of {len(curve)} epochs: {100 * best:.1f} %")


if __name__ == "__main__":
    utils.run(main)
