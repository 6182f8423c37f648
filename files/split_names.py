"""The split folder: how its files are named, and what is in it.

``data/split/{train,val,test}/<label>_<hash8>.<ext>``; the file name holds the label. A split of
more than MANY images is dealt into subfolders, named by the first two digits of the hash.
"""

import os
import re
from pathlib import Path
from urllib.parse import quote, unquote

from files.images import content_hash

SPLITS = ("train", "val", "test")
MAX_LABEL = 100  # bytes of an encoded label: a file name may have some 250 in all
MANY = 10_000  # files in a folder; of more, file managers and some disks are slow
CACHE = "images.cache"  # in the split folder: the pixels of many images, see training/cache.py
LITTER = ("thumbs.db", "desktop.ini")  # what file managers leave in folders, beside dot files


def split_name(label: str, digest: str, extension: str) -> str:
    """Return ``<label>_<hash8>.<ext>``, the label percent-encoded where a file system could balk.

    Only ASCII letters, digits, ``_``, ``-`` and ``~`` stand as they are: dots, slashes, control
    characters and letters that file systems normalise are encoded, so that any label works.
    Raises ValueError for a label that is too long for a file name.
    """
    encoded = quote(label, safe="", errors="surrogateescape").replace(".", "%2E")
    if len(encoded) > MAX_LABEL:
        raise ValueError(
            f"the label {label[:20]!r}... is too long for a file name: {len(encoded)} bytes when "
            f"percent-encoded, {MAX_LABEL} at most."
        )
    return f"{encoded}_{digest[:8]}.{extension}"


def parse_split_name(name: str) -> tuple[str, str] | None:
    """Return label and hash8 of a file name made by split_name, or None for any other name."""
    match = re.fullmatch(r"(.+)_([0-9a-f]{8})\.[a-z]+", name, re.DOTALL)
    return (unquote(match[1], errors="surrogateescape"), match[2]) if match else None


def place_in_split(split: str, name: str, count: int) -> str:
    """Return where a file stands in the split folder, if its split has ``count`` images."""
    parsed = parse_split_name(name)
    return f"{split}/{parsed[1][:2]}/{name}" if parsed and count > MANY else f"{split}/{name}"


def copy_name(file: Path) -> str:
    """Return how index.csv names a file of the split folder, as place_in_split() does."""
    return "/".join(file.parts[-2 if file.parent.name in SPLITS else -3 :])


def is_subfolder(name: str) -> bool:
    """Tell whether a folder is one of those into which a large split is dealt."""
    return re.fullmatch(r"[0-9a-f]{2}", name) is not None


def labelled_images(folder: Path) -> list[tuple[Path, str]]:
    """Return (file, label) for each image in a folder that split_data.py made, by name.

    Its subfolders make no difference to the order. Raises ValueError for a file that split_data.py
    did not name; litter is passed over.
    """
    if not folder.is_dir():
        raise ValueError(f"there is no folder {folder}; run split_data.py first.")
    found, places = [], [folder]
    for place in places:  # its subfolders are added on the way
        with os.scandir(place) as entries:
            names = [entry.name for entry in entries if not is_litter(entry.name)]
        for name in names:
            parsed = parse_split_name(name)
            if parsed:
                found.append((name, place, parsed[0]))
            elif place == folder and is_subfolder(name):
                places.append(place / name)
            else:
                raise ValueError(
                    f"{place / name} was not made by split_data.py; move it elsewhere."
                )
    return [(place / name, label) for name, place, label in sorted(found)]


def refuse_foreign_files(folder: Path) -> None:
    """Raise ValueError if ``folder`` holds anything that split_data.py did not make.

    A file that has another name elsewhere, too, as a hard link has, is not lost with this one.
    """
    for place, folders, files in os.walk(folder):
        inside = Path(place)
        for name in folders:
            ours = name in SPLITS if inside == folder else is_subfolder(name)
            if not ours or inside.parent.parent == folder:
                raise ValueError(f"{inside / name} was not made by split_data.py; move it away.")
        for name in files:
            parsed, file = parse_split_name(name), inside / name
            if inside == folder:
                ours = name in ("index.csv", CACHE)
            elif parsed is None or folder.name.endswith(".partial") or file.stat().st_nlink > 1:
                ours = parsed is not None  # a stopped run can leave a half-copied file
            else:
                ours = content_hash(file.read_bytes()).startswith(parsed[1])
            if not ours and not is_litter(name):
                raise ValueError(
                    f"{file} was not made by split_data.py, which would replace the folder; move "
                    "that file away or set another SPLIT_FOLDER."
                )


def is_litter(name: str) -> bool:
    """Tell whether a file is one that file managers leave behind, such as ``.DS_Store``."""
    return name.startswith(".") or name.lower() in LITTER
