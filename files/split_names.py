"""The split folder: how its files are named, and what is in it.

``data/split/{train,val,test}/<label>_<hash8>.<ext>``; the file name holds the label.
"""

import os
import re
from pathlib import Path
from urllib.parse import quote, unquote

from files.images import content_hash

SPLITS = ("train", "val", "test")
MAX_LABEL = 100  # bytes of an encoded label: a file name may have some 250 in all
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


def labelled_images(folder: Path) -> list[tuple[Path, str]]:
    """Return (file, label) for each image in a folder that split_data.py made, by name.

    Raises ValueError for a file that split_data.py did not name; litter is passed over.
    """
    if not folder.is_dir():
        raise ValueError(f"there is no folder {folder}; run split_data.py first.")
    found = []
    for file in sorted(folder.iterdir()):
        if is_litter(file.name):
            continue
        parsed = parse_split_name(file.name)
        if parsed is None:
            raise ValueError(f"{file} was not made by split_data.py; move it elsewhere.")
        found.append((file, parsed[0]))
    return found


def refuse_foreign_files(folder: Path) -> None:
    """Raise ValueError if ``folder`` holds anything that split_data.py did not make."""
    for place, folders, files in os.walk(folder):
        inside = Path(place)
        for name in folders:
            if inside != folder or name not in SPLITS:
                raise ValueError(f"{inside / name} was not made by split_data.py; move it away.")
        for name in files:
            parsed = parse_split_name(name)
            if inside == folder:
                ours = name == "index.csv"
            elif parsed is None or folder.name.endswith(".partial"):
                ours = parsed is not None  # a stopped run can leave a half-copied file
            else:
                ours = content_hash((inside / name).read_bytes()).startswith(parsed[1])
            if not ours and not is_litter(name):
                raise ValueError(
                    f"{inside / name} was not made by split_data.py, which would replace the "
                    "folder; move that file away or set another SPLIT_FOLDER."
                )


def is_litter(name: str) -> bool:
    """Tell whether a file is one that file managers leave behind, such as ``.DS_Store``."""
    return name.startswith(".") or name.lower() in LITTER
