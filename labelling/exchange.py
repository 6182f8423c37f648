"""Labels that were made elsewhere, and labels for programs elsewhere."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import utils
from files.atomic import replacing
from files.images import content_hash
from files.split_names import parse_split_name
from files.tables import INDEX_COLUMNS, read_table

IMAGE_HEADERS = ("image", "file", "filename", "file_name", "image_name", "name", "path")
LABEL_HEADERS = ("label", "text", "words", "answer", "transcription", "captcha", "value")


def read_answers(index: Path) -> dict[str, str]:
    """Return the answers in getData.py's index, by file name. Raises ValueError for none."""
    rows = read_table(index, INDEX_COLUMNS) if index.is_file() else []
    answers = {row["image"]: row["answer"].strip() for row in rows if row["answer"].strip()}
    if not answers:
        raise ValueError(f"there are no answers in {index}; label with LABELLER=person.")
    return answers


def find_labels(source: Path, files: Sequence[Path], pattern: str) -> dict[str, str]:
    """Return the labels that ``source`` has for ``files``, by file name.

    ``source`` is a folder of images that are named by their labels (group 1 of ``pattern`` in the
    name), which are matched by their content, or a table with a column of image names and one of
    labels. Raises ValueError if it has none for any of the files.
    """
    by_content = {content_hash(file.read_bytes()): file.name for file in files}
    by_name = {file.name: file.name for file in files}
    labels: dict[str, str] = {}
    if source.is_dir():
        found = utils.labels_from_names(utils.image_files(source), pattern)
    elif source.is_file():
        found = {source.parent / name: label for name, label in read_pairs(source)}
    else:
        raise ValueError(f"there is no folder or file {source}.")
    unknown = 0
    for file, label in found.items():
        image = None if source.is_dir() else by_name.get(file.name)
        if image is None and file.is_file():
            digest = content_hash(file.read_bytes())
            image, parsed = by_content.get(digest), parse_split_name(file.name)
            if source.is_dir() and parsed and digest.startswith(parsed[1]):
                label = parsed[0]  # a copy that split_data.py named
        if image is None:
            unknown += 1
        elif labels.setdefault(image, label) != label:
            raise ValueError(f"{source} has two labels for {image}, {labels[image]} and {label}.")
    if not labels:
        raise ValueError(f"{source} has no label for any of the {len(files)} images.")
    if unknown:
        utils.note(f"{unknown} labels in {source} belong to none of the images here.")
    return labels


def read_pairs(table: Path) -> list[tuple[str, str]]:
    """Return (image, label) of a table made elsewhere; the last row of an image counts.

    The columns are found by their names in the first row; without such names they are the first
    two. In a .txt or .tsv file they are separated by tabs, as in PaddleOCR's rec_gt.txt. A column
    ``state`` is respected as in labels.csv.
    """
    tabs: dict[str, Any] = {"delimiter": "\t", "quoting": csv.QUOTE_NONE}
    options = tabs if table.suffix.lower() in (".txt", ".tsv") else {}
    try:
        with table.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            rows = [row for row in csv.reader(file, **options) if row]
    except csv.Error as error:
        raise ValueError(f"{table} is not a table that can be read: {error}.") from error
    header = [name.strip().lower() for name in rows[0]] if rows else []
    image = next((i for i, name in enumerate(header) if name in IMAGE_HEADERS), None)
    label = next((i for i, name in enumerate(header) if name in LABEL_HEADERS), None)
    if image is None or label is None:
        image, label, header = 0, 1, []
    state = header.index("state") if "state" in header else None
    pairs: dict[str, str] = {}
    for row in rows[1:] if header else rows:
        if len(row) <= max(image, label):
            raise ValueError(f"{table} should have an image and a label in each row, not {row}.")
        pairs.pop(row[image], None)
        if row[label].strip() and (state is None or row[state : state + 1] == ["confirmed"]):
            pairs[row[image]] = row[label].strip()
    return list(pairs.items())


def write_rec_gt(path: Path, labels: dict[Path, str]) -> str:
    """Write the labels of image files as PaddleOCR reads them; return in words what was done.

    One line per image: file, tab, label. Images below the folder of ``path``, PaddleOCR's
    data_dir, are named relative to it.
    """
    base, lines = path.parent.resolve(), []
    for image, label in labels.items():
        name = image.parent.resolve() / image.name
        name = name.relative_to(base) if name.is_relative_to(base) else name
        lines.append(f"{name.as_posix()}\t{label}\n")
    whole = [line for line in lines if line.count("\t") == 1 and len(line.splitlines()) == 1]
    with (
        replacing(path) as temporary,
        temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file,
    ):
        file.writelines(whole)
    if len(whole) < len(lines):
        utils.note(f"{len(lines) - len(whole)} labels with a tab or a line break were left out.")
    return f"{len(whole)} labels are in {path}."
