"""How well the audit finds wrong labels: change some on purpose and see where they are listed.

    python benchmarks/find_wrong_labels.py
    python benchmarks/find_wrong_labels.py IMAGE_FOLDER=/my/captchas LABELS_FILE=None

Gives a share of the images another label, of characters that occur, runs train_script.py with
AUDIT_FOLDS, and prints how many of the changed labels are in the first part of its list.
"""

import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import utils
from benchmarks.folds import call
from benchmarks.without_labels import labels_of
from files.tables import LABEL_COLUMNS, SUSPECT_COLUMNS, now, read_table, write_table

# ---- edit these ----------------------------------------------------------------------------------
IMAGE_FOLDER = utils.DATA / "download"  # the images
LABELS_FILE: Path | None = utils.DATA / "labels.csv"  # None: the file names are the labels
LABEL_PATTERN = "(.+)"  # see split_data.py
CHANGED = 0.03  # share of the labels to change, one character each
FIRST = 0.05  # share of the list that a person would check
AUDIT_FOLDS = 4  # see train_script.py
SETTINGS = ""  # further NAME=value settings of train_script.py, separated by blanks
SEED = 0  # of the change, the split and the training
WORK_FOLDER = utils.DATA / "audit"  # for labels, split and model
# --------------------------------------------------------------------------------------------------


def main() -> None:
    """Measure as the constants say."""
    utils.settings(globals(), sys.argv[1:])
    labelled = labels_of(IMAGE_FOLDER, LABELS_FILE, LABEL_PATTERN)
    labels = {file.name: label for file, label in labelled.items()}
    changed = change_some(labels, CHANGED, SEED)
    labels_file, split = WORK_FOLDER / "labels.csv", WORK_FOLDER / "split"
    rows = [(n, label, "confirmed", "typed", 0, now()) for n, label in (labels | changed).items()]
    write_table(labels_file, LABEL_COLUMNS, rows)
    call(
        "split_data.py", f"IMAGE_FOLDER={IMAGE_FOLDER}", f"LABELS_FILE={labels_file}",
        f"SPLIT_FOLDER={split}", f"SEED={SEED}",
    )  # fmt: skip
    call(
        "train_script.py", f"SPLIT_FOLDER={split}", f"MODEL_FOLDER={WORK_FOLDER / 'model'}",
        f"AUDIT_FOLDS={AUDIT_FOLDS}", f"SEED={SEED}", "SHOW_PLOTS=False", *SETTINGS.split(),
    )  # fmt: skip
    suspects = read_table(WORK_FOLDER / "model" / "suspects.csv", SUSPECT_COLUMNS)
    listed = [row["original"] for row in suspects]
    first = listed[: round(FIRST * len(listed))]
    print(
        f"{len(changed.keys() & set(first))} of {len(changed)} changed labels are among the first "
        f"{len(first)} of {len(listed)}; the first {len(changed)} hold "
        f"{len(changed.keys() & set(listed[: len(changed)]))}"
    )


def change_some(labels: dict[str, str], share: float, seed: int) -> dict[str, str]:
    """Return a wrong label for a share of the images: one character replaced by another."""
    rng = random.Random(seed)
    charset = sorted(set("".join(labels.values())))
    changed = {}
    for name in rng.sample(sorted(labels), round(share * len(labels))):
        label = labels[name]
        place = rng.randrange(len(label))
        other = rng.choice([c for c in charset if c != label[place]])
        changed[name] = label[:place] + other + label[place + 1 :]
    return changed


if __name__ == "__main__":
    utils.run(main)
