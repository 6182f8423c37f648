"""report.html: all that a training left, in one file that needs no server and no network."""

import base64
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2  # comes with torch

import utils
from files.atomic import replacing
from files.tables import now, read_table
from training import plots
from training.runs import RUN_COLUMNS

REPORT_NAME = "report.html"  # in a model folder
MOST_RUNS = 30  # of earlier runs, that are compared
# What a picture shows: its heading, a sentence, and the page of docs/ that explains it.
PICTURES = {
    "curves": (
        "Loss and accuracy, epoch by epoch",
        "Validation well below training: it learns by heart, so label more. Both low: train on.",
        "course/curves.md",
    ),
    "runs": (
        "Validation, run by run",
        "What the changes brought; the table of runs below says what was changed.",
        "training.md",
    ),
    "readings": (
        "What each round read",
        "Images that no round learnt from. From the left: the first teacher, then each pupil.",
        "course/few.md",
    ),
    "mistakes": (
        "Mistakes",
        "Those of the test images, the surest first. Is the label wrong, or could you read it?",
        "course/curves.md",
    ),
    "attention": (
        "Where it looked",
        "Each position of some test images. A place that is off explains a mistake.",
        "course/seeing.md",
    ),
    "augmented": (
        "What the training saw",
        "Training images as they are, beside what augmentation makes of them. Can you read it?",
        "course/preprocess.md",
    ),
    "confidence": (
        "What its confidence is worth",
        "Of the test images. Below the dotted line it is surer than it is good.",
        "course/trust.md",
    ),
    "confusion": (
        "Which character is taken for which",
        "Of the test images. A row is a character of the labels, a column what was read.",
        "training.md",
    ),
}


def write_report(folder: Path, figures: Mapping[str, Any]) -> None:
    """Write report.html beside the other results of a training, and runs.png.

    ``figures`` are those of metrics.json; the pictures are those in ``folder``.
    """
    runs = earlier_runs(folder / "runs.csv") if "test" in figures else []
    (folder / "runs.png").unlink(missing_ok=True)
    if len(runs) > 1:
        oldest_first = runs[::-1]
        accuracies, changes = (
            [run[name] for run in oldest_first] for name in ("accuracy", "changed")
        )
        plots.save(plots.runs_plot(accuracies, changes), folder / "runs.png")
    pictures = [
        {"heading": heading, "text": text, "page": page, "data": encoded(folder / f"{name}.png")}
        for name, (heading, text, page) in PICTURES.items()
        if (folder / f"{name}.png").exists()
    ]
    test = figures.get("test")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True,
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    page = environment.get_template("report.html").render(
        title=f"Training of {now()[:16].replace('T', ' ')} UTC, {folder.name}",
        figures=figures,
        test=test,
        val=figures.get("val"),
        expected=figures.get("expected_image_accuracy"),
        expected_95=figures.get("expected_image_accuracy_95"),
        findings=figures.get("findings", []),
        mistaken=", ".join(pairs(test["confusions"][:6])) if test else "",
        pictures=pictures,
        coverage=figures.get("coverage", []),
        characters=character_rows(test) if test else [],
        runs=runs,
        constants=figures["constants"],
        docs=Path(os.path.relpath(utils.ROOT / "docs", folder)).as_posix(),
        percent=lambda share: f"{100 * share:.1f} %",
    )
    with replacing(folder / REPORT_NAME) as temporary:
        temporary.write_text(page, encoding="utf-8")


def encoded(picture: Path) -> str:
    """Return a picture's bytes in base64."""
    return base64.b64encode(picture.read_bytes()).decode()


def pairs(confusions: list[dict[str, Any]]) -> list[str]:
    """Return confusions in words: "e as c (4)"."""
    return [
        f"{plots.visible(pair['label']) or 'nothing'} as "
        f"{plots.visible(pair['prediction']) or 'nothing'} ({pair['count']})"
        for pair in confusions
    ]


def character_rows(test: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return a row per character of the test labels, the worst first."""
    rows = [
        {
            "character": plots.visible(character),
            "count": one["count"],
            "accuracy": one["character_accuracy"],
            "taken_for": ", ".join(
                f"{plots.visible(pair['prediction']) or 'nothing'} ({pair['count']})"
                for pair in test["confusions"]
                if pair["label"] == character
            ),
        }
        for character, one in test["characters"].items()
    ]
    return sorted(rows, key=lambda row: (row["accuracy"], -row["count"]))


def earlier_runs(path: Path) -> list[dict[str, Any]]:
    """Return the runs of runs.csv, the newest first, each with what it changed."""
    rows, runs = read_table(path, RUN_COLUMNS), []
    before: dict[str, Any] = {}
    for row in rows:
        constants = json.loads(row["constants"])
        changed = [
            f"{name}={value}" for name, value in constants.items() if before.get(name) != value
        ]
        runs.append({
            "time": row["time"][:16].replace("T", " "),
            "train_images": row["train_images"],
            "epochs": row["epochs"],
            "accuracy": float(row["val_image_accuracy"]),
            "changed": ", ".join(changed) if before else "",
        })  # fmt: skip
        before = constants
    return runs[::-1][:MOST_RUNS]
