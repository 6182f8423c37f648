"""Labels under review: those that a network, which had never seen them, read differently."""

from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import NamedTuple

import utils
from files.images import content_hash
from files.split_names import parse_split_name
from files.tables import SUSPECT_COLUMNS, read_table
from labelling.reader import USUAL_MODEL


class Suspect(NamedTuple):
    """A label that is probably wrong, and the prediction of a network that had never seen it."""

    label: str
    prediction: str
    confidence: float


def suspects_table(model_file: Path | str | None) -> Path:
    """Return where train_script.py writes the suspects: beside the model that it trains."""
    trained = USUAL_MODEL if model_file in (None, "practice") else Path(model_file)
    return trained.parent / "suspects.csv"


def read_suspects(
    table: Path, files: Sequence[Path], rows: dict[str, dict[str, str]]
) -> dict[str, Suspect]:
    """Return the labels of suspects.csv that were read differently, the most suspicious first.

    The table names each image's original, which must be among ``files`` and still have the content
    that was judged. ``rows`` are those of labels.csv that count now, by image: their labels replace
    those of the table. Raises ValueError if there is no such table, or if it is about other images.
    """
    if not table.is_file():
        raise ValueError(f"there is no {table}; run train_script.py AUDIT_FOLDS=4 first.")
    by_name = {file.name: file for file in files}
    suspects, missing = {}, 0
    judged = read_table(table, SUSPECT_COLUMNS)
    for row in judged:
        file, parsed = by_name.get(row["original"]), parse_split_name(Path(row["image"]).name)
        if not file or not parsed or not content_hash(file.read_bytes()).startswith(parsed[1]):
            missing += 1
        elif row["label"] != row["prediction"]:
            label = rows.get(file.name, row)["label"] or row["label"]
            suspects[file.name] = Suspect(label, row["prediction"], float(row["confidence"]))
    unlabelled = len(suspects.keys() - rows.keys())
    if unlabelled:
        utils.note(
            f"{unlabelled} of the images have no row in the labels file yet. It will hold what you "
            "decide now; import the other labels with IMPORT_FROM before you split by it."
        )
    if missing:
        utils.note(f"{missing} of the {len(judged)} images in {table} are not in the image folder.")
    if not suspects:
        raise ValueError(f"{table} names no image of the folder that was read differently.")
    return suspects


def written_at(file: Path) -> str:
    """Return the time at which a file was written, in the format of the tables."""
    moment = datetime.fromtimestamp(file.stat().st_mtime, timezone.utc)
    return moment.isoformat(timespec="seconds")
