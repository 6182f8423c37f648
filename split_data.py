"""Copy the labelled images into train, val and test folders.

    python split_data.py

Reads the images and labels.csv, or any folder whose file names are the labels:

    python split_data.py IMAGE_FOLDER=/my/captchas LABELS_FILE=None
    python split_data.py IMAGE_FOLDER=/my/captchas LABELS_FILE=None "LABEL_PATTERN=^captcha_(.+)$"

and writes data/split/{train,val,test}/<label>_<hash>.<ext>; a label too long for a name stands in a
text file beside its image. The network learns from train; val picks the best epoch; test is read
once, at the end, so that its figure is honest.
Next: python train_script.py
"""

import os
import shutil
import sys
from collections import Counter
from pathlib import Path

import utils
from files.images import image_extension, read_image

# ---- edit these ----------------------------------------------------------------------------------
IMAGE_FOLDER = utils.DATA / "download"  # the images; they stay as they are
LABELS_FILE: Path | None = utils.DATA / "labels.csv"  # None: the file names are the labels
SPLIT_FOLDER = utils.DATA / "split"  # made anew by each run
LABEL_PATTERN = "(.+)"  # regular expression; its group is the label in a file's name (no extension)
ONLY_SOURCE: str | None = None  # take only what getData.py fetched from this SOURCE; None: all
VAL_FRACTION = 0.1  # share of the images that picks the best epoch
TEST_FRACTION = 0.2  # share of the images that judges the result
SEED = 0  # another number makes another split
# --------------------------------------------------------------------------------------------------

sides = ("train", "val", "test")


def main() -> None:
    """Split as the constants say."""
    utils.settings(globals(), sys.argv[1:])
    for name, value in (("VAL_FRACTION", VAL_FRACTION), ("TEST_FRACTION", TEST_FRACTION)):
        if not 0 < value < 1:
            raise ValueError(f"{name} is {value}; it must lie between 0 and 1.")
    if VAL_FRACTION + TEST_FRACTION >= 1:
        raise ValueError("VAL_FRACTION and TEST_FRACTION together leave nothing to train on.")

    files = utils.only_source(utils.image_files(IMAGE_FOLDER), ONLY_SOURCE)
    if LABELS_FILE is None:
        labels = utils.labels_from_names(files, LABEL_PATTERN)
    else:
        labels = labels_from_table(files, LABELS_FILE)
    counts = split(labels, SPLIT_FOLDER, VAL_FRACTION, TEST_FRACTION, SEED)
    print(", ".join(f"{side} {counts[side]}" for side in sides), "images in", SPLIT_FOLDER)


def labels_from_table(files: list[Path], labels_file: Path) -> dict[Path, str]:
    """Return the label of each image that labels.csv has confirmed."""
    rows = utils.read_labels(labels_file)
    labels = {
        file: rows[file.name]["label"]
        for file in files
        if file.name in rows and rows[file.name]["state"] == "confirmed"
    }
    if not labels:
        raise ValueError(
            f"{labels_file} has no label for an image in {files[0].parent}; run label_helper.py "
            "first."
        )
    return labels


def side_of(digest: str, val_fraction: float, test_fraction: float, seed: int) -> str:
    """Return the folder of an image, from its content's hash and the seed alone.

    An image keeps its side however many others are labelled later: were it to move from test to
    train, the network would be asked about images that it has learnt by heart.
    """
    mixed = utils.content_hash(f"{seed} {digest}".encode())
    place = int(mixed[:13], 16) / 16**13  # even between 0 and 1
    if place < test_fraction:
        return "test"
    return "val" if place < test_fraction + val_fraction else "train"


def split(
    labels: dict[Path, str],
    split_folder: Path,
    val_fraction: float,
    test_fraction: float,
    seed: int,
) -> Counter:
    """Copy the images into ``split_folder`` and return how many lie on each side.

    The folder is built beside the old one and swapped in when it is whole. Images that cannot be
    read, or that carry two different labels, are named and left out. Raises ValueError if a side
    stays empty, or if the old folder holds files that were not made here.
    """
    partial = split_folder.with_name(split_folder.name + ".partial")
    previous = split_folder.with_name(split_folder.name + ".previous")
    if previous.exists() and not split_folder.exists():
        previous.rename(split_folder)  # an earlier run was stopped between the two renames
    for folder in (split_folder, previous, partial):
        refuse_foreign_files(folder)

    images = read_labelled(labels)
    counts = Counter()
    targets = {}
    for digest, (file, label, extension) in images.items():
        side = side_of(digest, val_fraction, test_fraction, seed)
        targets[Path(side) / utils.split_name(label, digest, extension)] = file, label
        counts[side] += 1
    empty = [side for side in sides if not counts[side]]
    if empty:
        raise ValueError(
            f"with {len(images)} labels {' and '.join(empty)} would stay empty: label more."
        )

    if partial.exists():
        shutil.rmtree(partial)  # what a stopped run left
    for side in sides:
        (partial / side).mkdir(parents=True)
    for target, (file, label) in utils.progress(targets.items(), "copying"):
        utils.copy_labelled(file, label, partial / target)

    if previous.exists():
        shutil.rmtree(previous)
    if split_folder.exists():
        split_folder.rename(previous)
    partial.rename(split_folder)
    if previous.exists():
        shutil.rmtree(previous)
    return counts


def read_labelled(labels: dict[Path, str]) -> dict[str, tuple[Path, str, str]]:
    """Return {content hash: (file, label, extension)} of the images that can be read."""
    images: dict[str, tuple[Path, str, str]] = {}
    unreadable, twice, disputed = [], 0, set()
    for file, label in utils.progress(labels.items(), "reading"):
        try:
            read_image(file)
        except ValueError as error:
            unreadable.append(str(error))
            continue
        data = file.read_bytes()
        digest = utils.content_hash(data)
        if digest in images:
            twice += 1
            if images[digest][1] != label:
                utils.note(
                    f"{file.name} and {images[digest][0].name} are one image with two labels"
                )
                disputed.add(digest)
            continue
        images[digest] = (file, label, image_extension(data, str(file)))
    for message in unreadable:
        utils.note(f"left out: {message}")
    if twice:
        utils.note(f"{twice} images are there twice; each was taken once.")
    for digest in disputed:
        del images[digest]
    return images


def refuse_foreign_files(folder: Path) -> None:
    """Raise ValueError if ``folder`` holds anything that a run of this script did not make."""
    for place, folders, files in os.walk(folder):
        inside = Path(place)
        for name in folders:
            if inside != folder or name not in sides:
                raise ValueError(f"{inside / name} was not made by split_data.py; move it away.")
        for name in files:
            parsed = utils.parse_split_name(name)
            ours = inside != folder and parsed is not None
            # A stopped run can leave a half-copied file, so content is compared elsewhere only.
            if ours and not utils.holds_long_label(name) and not folder.name.endswith(".partial"):
                ours = utils.content_hash((inside / name).read_bytes()).startswith(parsed[1])
            if not ours and not utils.is_litter(name):
                raise ValueError(
                    f"{inside / name} was not made by split_data.py, which would replace the "
                    "folder; move that file away or set another SPLIT_FOLDER."
                )


if __name__ == "__main__":
    utils.run(main)
