"""Label captchas: look at an image, type what it says, press Enter.

    python label_helper.py
    python label_helper.py ORDER=least-sure
    python label_helper.py ORDER=suspects

Each label is on the disk before the next image comes up, so the window may be closed at any time;
the next start continues at the first open image. A prediction stands in the entry already, with the
doubtful characters marked: Enter accepts, typing corrects. It comes from your model, and from the
one that ships while there is none. LABELLER=answers needs no window: it accepts the answers that
the practice site gave.

Run split_data.py next.
"""

import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import utils
from labelling import exchange, gui
from labelling.labels import Labelling
from labelling.proposals import CASES, ORDERS, Proposals, report
from labelling.reader import find_model
from labelling.review import read_suspects, suspects_table, written_at
from labelling.window import LabelWindow

# ---- edit these ----------------------------------------------------------------------------------
IMAGE_FOLDER: Path | None = utils.DATA / "download"  # the images; None asks with a window
ONLY_SOURCE: str | None = None  # only the images from this SOURCE of getData.py; None: all
LABELS_FILE = utils.DATA / "labels.csv"  # one row per decision; the last row of an image counts
# "person" types in a window; "answers" accepts those of the practice site; "nobody" only imports
# and exports
LABELLER = "person"
# proposes labels; "practice" is the model that ships, which also stands in while this one does not
# exist; None proposes nothing
MODEL_FILE: Path | str | None = utils.DATA / "model" / "captcha.safetensors"
# "name", "least-sure" first (these teach most), "most-sure" first (these are accepted fastest),
# "cluster": one form of captcha after the other, where with MODEL_FILE=None groups of characters
# are named first, or "suspects": only the labels that train_script.py AUDIT_FOLDS=4 found probably
# wrong
ORDER = "name"

CHARACTERS: str | None = None  # "0123456789": a proposal has no others; None: any, see predict.py
LENGTH: int | None = None  # characters in each proposal; None: any number, see predict.py
NAMES_FILE = utils.DATA / "names.csv"  # the names of such groups; one row per decision
DOUBTFUL = 0.95  # characters with a lower confidence are marked
UNAIDED = 0.03  # share of the images shown without a proposal, to measure how well the model reads
CASE = "keep"  # or "lower", "upper": what every letter becomes
IMPORT_FROM: Path | None = None  # import labels from a folder of images named by them, or a table
LABEL_PATTERN = "(.+)"  # regular expression; its group is the label in such a file name
EXPORT_TO: Path | None = None  # also write the labels to this rec_gt.txt, for PaddleOCR
# --------------------------------------------------------------------------------------------------


def main() -> None:
    """Label the images of a folder."""
    utils.settings(globals(), sys.argv[1:])
    check_settings()
    files = gui.find_images(IMAGE_FOLDER, ask=LABELLER == "person")
    if not files:
        return
    files = utils.only_source(files, ONLY_SOURCE)
    if IMPORT_FROM:
        import_labels(files, LABELS_FILE, IMPORT_FROM, LABEL_PATTERN)
    proposals = Proposals({}, ORDER, DOUBTFUL, UNAIDED, CASES[CASE])
    if LABELLER == "answers":
        accept_answers(files, LABELS_FILE)
    elif LABELLER == "nobody":
        summarise(files, LABELS_FILE)
    elif ORDER == "suspects":
        review_suspects(files, LABELS_FILE, proposals, suspects_table(MODEL_FILE))
    else:
        site = CHARACTERS, LENGTH
        type_labels(files, LABELS_FILE, proposals, find_model(MODEL_FILE), NAMES_FILE, *site)
    if EXPORT_TO:
        print(exchange.write_rec_gt(EXPORT_TO, utils.confirmed_labels(files, LABELS_FILE)))
    print(f"Next: {next_command(files[0].parent, LABELS_FILE)}")


def check_settings() -> None:
    """Raise ValueError for a setting that has a value it cannot have."""
    for name, value, allowed in (
        ("LABELLER", LABELLER, ("person", "answers", "nobody")),
        ("ORDER", ORDER, (*ORDERS, "suspects")),
        ("CASE", CASE, tuple(CASES)),
    ):
        if value not in allowed:
            choices = f"{', '.join(allowed[:-1])} or {allowed[-1]}"
            raise ValueError(f"{name}={value}: it must be {choices}.")
    utils.at_least("LENGTH", LENGTH, 1)
    for name, share in (("DOUBTFUL", DOUBTFUL), ("UNAIDED", UNAIDED)):
        if not 0 <= share <= 1:
            raise ValueError(f"{name} is {share}; it must lie between 0 and 1.")


def type_labels(
    files: Sequence[Path],
    labels_file: Path,
    proposals: Proposals,
    model_file: Path | None,
    names_file: Path,
    characters: str | None = None,
    length: int | None = None,
) -> None:
    """Type labels in the window, with the proposals of a model or of named clusters."""
    images, folder, trouble = [file.name for file in files], files[0].parent, ""
    with closing(Labelling(images, labels_file)) as labelling, closing(proposals):
        if labelling.counts()["open"]:
            if proposals.order == "cluster":
                names_to = None if model_file else names_file
                trouble = name_clusters(files, proposals, names_to, characters, length)
                labelling.reorder(proposals.arrange(images))
                labelling.go(labelling.next_open(0) or 0)
            if model_file:
                open_images = labelling.upcoming(len(images))
                proposals.read(model_file, folder, open_images, images, characters, length)
        LabelWindow(gui.open_gui(), labelling, folder, proposals, trouble).run()
        print(labelling.summary())
        print("".join(report(labelling, proposals)), end="")


def name_clusters(
    files: Sequence[Path],
    proposals: Proposals,
    names_file: Path | None,
    characters: str | None,
    length: int | None,
) -> str:
    """Group the images by their form and, with ``names_file``, name clusters of characters.

    Returns why clusters do not help, or "".
    """
    from labelling.clusters.predictions import group_and_name  # here: torch takes seconds

    proposals.groups, predictions, trouble = group_and_name(files, names_file, characters, length)
    proposals.predictions.update(predictions)
    return trouble


def review_suspects(
    files: Sequence[Path], labels_file: Path, proposals: Proposals, table: Path
) -> None:
    """Check the labels that are probably wrong, the most suspicious first."""
    rows = utils.label_rows(labels_file) if labels_file.exists() else {}
    proposals.suspects = read_suspects(table, files, rows)
    images = list(proposals.suspects)
    with closing(Labelling(images, labels_file, not_before=written_at(table))) as labelling:
        LabelWindow(gui.open_gui(), labelling, files[0].parent, proposals).run()
        print(labelling.summary())


def accept_answers(files: Sequence[Path], labels_file: Path) -> None:
    """Label with the answers that the practice site gave."""
    answers = exchange.read_answers(files[0].parent / "index.csv")
    with closing(Labelling([file.name for file in files], labels_file)) as labelling:
        labelling.accept_answers(answers)
        print(labelling.summary())


def import_labels(files: Sequence[Path], labels_file: Path, source: Path, pattern: str) -> None:
    """Import labels that were made elsewhere, and say what became of them."""
    labels = exchange.find_labels(source, files, pattern)
    with closing(Labelling([file.name for file in files], labels_file)) as labelling:
        print(labelling.import_labels(labels))


def summarise(files: Sequence[Path], labels_file: Path) -> None:
    """Say how many images are labelled."""
    with closing(Labelling([file.name for file in files], labels_file)) as labelling:
        print(labelling.summary())


def next_command(folder: Path, labels_file: Path) -> str:
    """Return the command that comes next."""
    command = "python split_data.py"
    if folder != utils.DATA / "download":
        command += f' IMAGE_FOLDER="{folder}"'
    if labels_file != utils.DATA / "labels.csv":
        command += f' LABELS_FILE="{labels_file}"'
    return command


if __name__ == "__main__":
    utils.run(main)
