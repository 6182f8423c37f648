"""How well the audit finds wrong labels: change some on purpose and see where they stand.

    python benchmarks/find_wrong_labels.py
    python benchmarks/find_wrong_labels.py IMAGE_FOLDER=/my/captchas LABELS_FILE=None

Gives a share of the images another label, of characters that occur, runs train_script.py with
AUDIT_FOLDS, and prints how many of the changed labels stand in the first part of its list.
"""

import csv
import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from folds import call, labels_of  # noqa: E402

import utils  # noqa: E402
from files import tables  # noqa: E402

# ---- edit these ----------------------------------------------------------------------------------
IMAGE_FOLDER = utils.DATA / "download"  # the images
LABELS_FILE: Path | None = utils.DATA / "labels.csv"  # None: the file names are the labels
LABEL_PATTERN = "(.+)"  # see split_data.py
CHANGED = 0.03  # share of the labels to change, one character each
FIRST = 0.05  # share of the list that a person would look at
AUDIT_FOLDS = 4  # see train_script.py
SEED = 0  # of the change, the split and the training
WORK_FOLDER = utils.DATA / "audit"  # for labels, split and model
# --------------------------------------------------------------------------------------------------


def main() -> None:
    """Measure as the constants say."""
    utils.settings(globals(), sys.argv[1:])
    found = labels_of(IMAGE_FOLDER, LABELS_FILE, LABEL_PATTERN)
    labels = {file.name: label for file, label in found.items()}
    changed = change_some(labels, CHANGED, SEED)
    table_file, split = WORK_FOLDER / "labels.csv", WORK_FOLDER / "split"
    table_file.unlink(missing_ok=True)
    with tables.open_table(table_file, utils.LABEL_COLUMNS) as table:
        for name, label in labels.items():
            row = [name, changed.get(name, label), "confirmed", "typed", 0, utils.now()]
            tables.append_row(table, row)
    call(
        "split_data.py", f"IMAGE_FOLDER={IMAGE_FOLDER}", f"LABELS_FILE={table_file}",
        f"SPLIT_FOLDER={split}", f"SEED={SEED}",
    )  # fmt: skip
    call(
        "train_script.py", f"SPLIT_FOLDER={split}", f"MODEL_FOLDER={WORK_FOLDER / 'model'}",
        f"AUDIT_FOLDS={AUDIT_FOLDS}", f"SEED={SEED}", "SHOW_PLOTS=False",
    )  # fmt: skip
    suspects = WORK_FOLDER / "model" / "suspects.csv"
    with open(suspects, encoding="utf-8-sig", newline="") as file:
        listed = [Path(row["image"]).stem[-8:] for row in csv.DictReader(file)]
    hashes = {utils.content_hash((IMAGE_FOLDER / name).read_bytes())[:8] for name in changed}
    first = listed[: round(FIRST * len(listed))]
    found = len(hashes & set(first))
    print(
        f"{found} of {len(hashes)} changed labels stand among the first {len(first)} of "
        f"{len(listed)}; the first {len(hashes)} hold {len(hashes & set(listed[: len(hashes)]))}"
    )


def change_some(labels: dict[str, str], share: float, seed: int) -> dict[str, str]:
    """Return a wrong label for a share of the images: one character replaced by another."""
    rng = random.Random(seed)
    charset = utils.make_charset(list(labels.values()))
    changed = {}
    for name in rng.sample(sorted(labels), round(share * len(labels))):
        label = labels[name]
        place = rng.randrange(len(label))
        other = rng.choice([c for c in charset if c != label[place]])
        changed[name] = label[:place] + other + label[place + 1 :]
    return changed


if __name__ == "__main__":
    utils.run(main)
