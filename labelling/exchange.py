"""Labels that were made elsewhere, and labels for programs elsewhere."""

import csv
from pathlib import Path

import utils
from files import tables

image_headers = ("image", "file", "filename", "file_name", "image_name", "name", "path")
label_headers = ("label", "text", "words", "answer", "transcription", "captcha", "value")


def read_answers(index: Path) -> dict[str, str]:
    """Return the answers that stand in getData.py's index. Raises ValueError if there are none."""
    rows = tables.read_table(index, utils.INDEX_COLUMNS) if index.is_file() else []
    answers = {row["image"]: row["answer"].strip() for row in rows if row["answer"].strip()}
    if not answers:
        raise ValueError(f"there are no answers in {index}; label with LABELLER=person.")
    return answers


def find_labels(source: Path, files: list[Path], pattern: str) -> dict[str, str]:
    """Return the labels that ``source`` has for ``files``, by file name.

    ``source`` is a folder of images that are named by their labels (group 1 of ``pattern`` in the
    name), which are matched by their content, or a table with a column of image names and one of
    labels. Raises ValueError if it has none for any of the files.
    """
    by_content = {utils.content_hash(file.read_bytes()): file.name for file in files}
    by_name = {file.name: file.name for file in files}
    labels, strangers = {}, 0
    if source.is_dir():
        found = utils.labels_from_names(utils.image_files(source), pattern)
    elif source.is_file():
        found = {source.parent / name: label for name, label in read_pairs(source)}
    else:
        raise ValueError(f"there is no folder or file {source}.")
    for file, label in found.items():
        image = None if source.is_dir() else by_name.get(file.name)
        if image is None and file.is_file():
            digest = utils.content_hash(file.read_bytes())
            image, parsed = by_content.get(digest), utils.split_label(file)
            if source.is_dir() and parsed and digest.startswith(parsed[1]):
                label = parsed[0]  # a copy that split_data.py named
        if image is None:
            strangers += 1
        elif labels.setdefault(image, label) != label:
            raise ValueError(f"{source} has two labels for {image}, {labels[image]} and {label}.")
    if not labels:
        raise ValueError(f"{source} has no label for any of the {len(files)} images.")
    if strangers:
        utils.note(f"{strangers} labels in {source} are for none of the images here.")
    return labels


def read_pairs(table: Path) -> list[tuple[str, str]]:
    """Return (image, label) of a table made elsewhere; the last row of an image counts.

    The columns are found by their names in the first row; without such names they are the first
    two. A .txt or .tsv file has tabs between them, as PaddleOCR's rec_gt.txt. A column ``state``
    is heeded as in labels.csv.
    """
    delimiter = "\t" if table.suffix.lower() in (".txt", ".tsv") else ","
    try:
        with table.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            quoting = csv.QUOTE_NONE if delimiter == "\t" else csv.QUOTE_MINIMAL
            rows = [row for row in csv.reader(file, delimiter=delimiter, quoting=quoting) if row]
    except csv.Error as error:
        raise ValueError(f"{table} is not a table that can be read: {error}.") from error
    header = [name.strip().lower() for name in rows[0]] if rows else []
    image = next((i for i, name in enumerate(header) if name in image_headers), None)
    label = next((i for i, name in enumerate(header) if name in label_headers), None)
    if image is None or label is None:
        image, label, header = 0, 1, []
    state = header.index("state") if "state" in header else None
    pairs = {}
    for row in rows[1:] if header else rows:
        if len(row) <= max(image, label):
            raise ValueError(f"{table} should have an image and a label in each row, not {row}.")
        pairs.pop(row[image], None)
        if row[label].strip() and (state is None or row[state : state + 1] == ["confirmed"]):
            pairs[row[image]] = row[label].strip()
    return list(pairs.items())


def confirmed_labels(files: list[Path], labels_file: Path) -> dict[str, str]:
    """Return the label of each file that has a confirmed one, by file name."""
    rows = utils.read_labels(labels_file)
    rows = [rows[file.name] for file in files if file.name in rows]
    return {row["image"]: row["label"] for row in rows if row["state"] == "confirmed"}


def write_rec_gt(path: Path, folder: Path, labels: dict[str, str]) -> str:
    """Write labels as PaddleOCR reads them, image, tab, label; return in words what was done.

    Images below the file's own folder, PaddleOCR's data_dir, are named relative to it.
    """
    base, folder = path.parent.resolve(), folder.resolve()
    place = folder.relative_to(base) if folder.is_relative_to(base) else folder
    lines = [f"{(place / image).as_posix()}\t{label}\n" for image, label in labels.items()]
    whole = [line for line in lines if line.count("\t") == 1 and len(line.splitlines()) == 1]
    with (
        tables.replacing(path) as temporary,
        temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file,
    ):
        file.writelines(whole)
    if len(whole) < len(lines):
        utils.note(f"{len(lines) - len(whole)} labels with a tab or a line end were left out.")
    return f"{len(whole)} labels are in {path}."
