"""Copy the labelled images into train, val and test folders.

    python split_data.py

Reads the images and labels.csv, or any folder whose file names are the labels:

    python split_data.py IMAGE_FOLDER=/my/captchas LABELS_FILE=None
    python split_data.py IMAGE_FOLDER=/my/captchas LABELS_FILE=None "LABEL_PATTERN=^captcha_(.+)$"

and writes data/split/{train,val,test}/<label>_<hash>.<ext>, and index.csv with the original of each
copy. The network learns from train; val picks the best epoch; test is read once, at the end, so
that its figure is honest. Where the disk allows, a copy is a hard link: another name of the same
file, which takes no space; so change no image in place. Very many are dealt into subfolders.
Next: python train_script.py
"""

import os
import shutil
import sys
from collections import Counter
from pathlib import Path

import utils
from files.images import content_hash, decode_image, image_extension, read_encoded
from files.split_names import SPLITS, place_in_split, refuse_foreign_files, split_name
from files.tables import SPLIT_COLUMNS, write_table

# ---- edit these ----------------------------------------------------------------------------------
IMAGE_FOLDER = utils.DATA / "download"  # the images; they stay as they are
LABELS_FILE: Path | None = utils.DATA / "labels.csv"  # None: the file names are the labels
SPLIT_FOLDER = utils.DATA / "split"  # made anew by each run

LABEL_PATTERN = "(.+)"  # regular expression; its group is the label in a file's name (no extension)
ONLY_SOURCE: str | None = None  # only what getData.py fetched from this SOURCE; None: all
VAL_FRACTION = 0.1  # share of the images that picks the best epoch
TEST_FRACTION = 0.2  # share of the images that judges the result
SEED = 0  # another number makes another split
# --------------------------------------------------------------------------------------------------


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
        labels = utils.confirmed_labels(files, LABELS_FILE)
        if not labels:
            raise ValueError(
                f"{LABELS_FILE} has no label for an image in {IMAGE_FOLDER}; run label_helper.py "
                "first."
            )
    counts = split(labels, SPLIT_FOLDER, VAL_FRACTION, TEST_FRACTION, SEED)
    images = ", ".join(f"{name} {counts[name]}" for name in SPLITS)
    print(f"{images} images in {SPLIT_FOLDER}, {how_copied(counts)}")


def split_of(digest: str, val_fraction: float, test_fraction: float, seed: int) -> str:
    """Return the split of an image, from its content's hash and the seed alone.

    An image keeps its split however many others are labelled later: were it to move from test to
    train, the network would be asked about images that it has memorised.
    """
    mixed = content_hash(f"{seed} {digest}".encode())
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
) -> Counter[str]:
    """Copy the images into ``split_folder``; return how many each split has, and how many "linked".

    The folder is built beside the old one and swapped in when it is complete. Images that cannot
    be read, or that carry two different labels, are named and left out. Raises ValueError if a
    split stays empty, if a label is too long, or if the old folder holds files that were not made
    here.
    """
    partial = split_folder.with_name(split_folder.name + ".partial")
    previous = split_folder.with_name(split_folder.name + ".previous")
    if previous.exists() and not split_folder.exists():
        previous.rename(split_folder)  # an earlier run was stopped between the two renames
    for folder in (split_folder, previous, partial):
        refuse_foreign_files(folder)

    counts: Counter[str] = Counter()
    dealt: dict[str, tuple[str, Path, str]] = {}  # {name: (split, original, label)}
    for digest, (file, label, extension) in read_labelled(labels).items():
        side = split_of(digest, val_fraction, test_fraction, seed)
        try:
            name = split_name(label, digest, extension)
        except ValueError as error:
            raise ValueError(f"{file.name}: {error}") from error
        if name in dealt:  # among a million images two hashes begin alike
            utils.note(f"left out: {file.name} would have the name of {dealt[name][1].name}")
            continue
        dealt[name] = side, file, label
        counts[side] += 1
    empty = [name for name in SPLITS if not counts[name]]
    if empty:
        raise ValueError(
            f"with {len(dealt)} labels {' and '.join(empty)} would stay empty: label more."
        )

    if partial.exists():
        shutil.rmtree(partial)  # what a stopped run left
    rows = [
        (place_in_split(split, name, counts[split]), file, label, split)
        for name, (split, file, label) in dealt.items()
    ]
    for folder in {(partial / copy).parent for copy, *_ in rows}:
        folder.mkdir(parents=True)
    for copy, file, _, _ in utils.progress(rows, "copying"):
        counts["linked"] += link_or_copy(file, partial / copy)
    table = [(copy, file.name, label, split) for copy, file, label, split in rows]
    write_table(partial / "index.csv", SPLIT_COLUMNS, table)

    if previous.exists():
        shutil.rmtree(previous)
    if split_folder.exists():
        split_folder.rename(previous)
    partial.rename(split_folder)
    if previous.exists():
        shutil.rmtree(previous)
    return counts


def link_or_copy(file: Path, copy: Path) -> bool:
    """Give a file a second name, or copy it where the disk cannot; tell whether it was linked."""
    try:
        if os.name == "nt" and not os.access(file, os.W_OK):
            raise OSError("a read-only file could not be deleted under either name")
        os.link(os.path.realpath(file), copy)  # the file itself, where it is a symbolic link
        return True
    except FileExistsError:
        raise  # to write to it would change the original, if it is a link
    except (OSError, NotImplementedError):  # another disk, FAT, another's file, too many links
        shutil.copyfile(file, copy)
        return False


def how_copied(counts: Counter[str]) -> str:
    """Say how the images came into the split folder."""
    copied = sum(counts[name] for name in SPLITS) - counts["linked"]
    if not copied:
        return "as hard links, which take no space"
    return f"{copied} of them copied, the others as hard links" if counts["linked"] else "copied"


def read_labelled(labels: dict[Path, str]) -> dict[str, tuple[Path, str, str]]:
    """Return {content hash: (file, label, extension)} of the images that can be read."""
    images: dict[str, tuple[Path, str, str]] = {}
    unreadable, duplicates, disputed = [], 0, set()
    examined = utils.in_parallel(examine, list(labels), "reading")
    for (file, label), (digest, extension) in zip(labels.items(), examined, strict=True):
        if not extension:
            unreadable.append(digest)
            continue
        if digest in images:
            duplicates += 1
            if images[digest][1] != label:
                utils.note(
                    f"{file.name} and {images[digest][0].name} are one image with two labels"
                )
                disputed.add(digest)
            continue
        images[digest] = (file, label, extension)
    for message in unreadable:
        utils.note(f"left out: {message}")
    if duplicates:
        utils.note(f"{duplicates} images are duplicates; each was used once.")
    for digest in disputed:
        del images[digest]
    return images


def examine(file: Path) -> tuple[str, str]:
    """Return an image's content hash and extension, or why it cannot be read and ""."""
    try:
        data = read_encoded(file)
        decode_image(data, str(file))
        return content_hash(data), image_extension(data, str(file))
    except ValueError as error:
        return str(error), ""


if __name__ == "__main__":
    utils.run(main)
