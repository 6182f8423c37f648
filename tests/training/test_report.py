"""report.html: one file with all that a training left; shown by a browser as it is."""

import json
import os
import re
import shutil
import subprocess

import matplotlib.pyplot as plt
import pytest
from helpers import project

from files.tables import write_table
from training import plots, report
from training.runs import RUN_COLUMNS

HOSTILE = "<script>alert(1)</script>"
CHROMIUM = next(filter(shutil.which, ("chromium", "chromium-browser", "google-chrome")), None)


def labelled_figures():
    shares = {"image_accuracy": 0.875, "image_accuracy_95": [0.8, 0.93], "character_accuracy": 0.97}
    confusions = [
        {"label": "e", "prediction": "c", "count": 4},
        {"label": "e", "prediction": "", "count": 1},
        {"label": "<", "prediction": "e", "count": 1},
    ]
    characters = {
        "a": {"count": 40, "character_accuracy": 1.0},
        "e": {"count": 9, "character_accuracy": 4 / 9},
        "<": {"count": 100, "character_accuracy": 0.99},
    }
    return {
        "test": {"images": 200, "confusions": confusions, "characters": characters, **shares},
        "val": {"images": 100, **shares},
        "coverage": [
            {"wanted_precision": 0.99, "min_confidence": 0.9, "answered": 0.5, "precision": 1.0},
            {"wanted_precision": 0.999, "min_confidence": 0.99, "answered": 0.0, "precision": None},
        ],
        "findings": [f"Few labels have {HOSTILE!r}."],
        "labelled_images": 800, "train_images": 800, "epochs": 20, "seconds": 61.5,
        "parameters": 298000, "device": "cpu",
        "constants": {"EPOCHS": None, "MODEL_FOLDER": f"/my/{HOSTILE}"},
    }  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    """A model folder with two pictures and three runs."""
    for name in ("curves", "mistakes"):
        plots.save(plt.figure(figsize=(2, 1)), tmp_path / f"{name}.png")
    rows = []
    for number, (epochs, accuracy) in enumerate([(9, 0.5), (20, 0.7), (20, 0.875)]):
        constants = {"EPOCHS": epochs, "SEED": number // 2}
        rows.append([
            f"2026-01-0{number + 1}T10:00:00+00:00", 800, epochs, 60, 298000, accuracy, 0.9, 0.1,
            json.dumps(constants),
        ])  # fmt: skip
    write_table(tmp_path / "runs.csv", RUN_COLUMNS, rows)
    return tmp_path


def test_the_report_says_what_the_figures_say_and_escapes_what_labels_hold(folder):
    report.write_report(folder, labelled_figures())
    page = (folder / "report.html").read_text(encoding="utf-8")
    for said in ("87.5 % of the test images", "80.0 %", "93.0 %", "97.0 %", "298,000 weights"):
        assert said in page
    assert HOSTILE not in page
    assert page.count("data:image/png;base64,") == 3  # the two, and runs.png
    assert (folder / "runs.png").exists()
    rows = [
        re.findall(r"<td[^>]*>(.*?)</td>", row) for row in re.findall(r"<tr>(.*?)</tr>", page, re.S)
    ]
    characters = [
        row
        for row in rows
        if row and row[0] in ("<code>e</code>", "<code>a</code>", "<code>&lt;</code>")
    ]
    assert characters == [
        ["<code>e</code>", "9", "44.4", "c (4), nothing (1)"],
        ["<code>&lt;</code>", "100", "99.0", "e (1)"],
        ["<code>a</code>", "40", "100.0", ""],
    ]
    assert ["99.9 %", "0.99", "0.0 %", "none"] in rows
    runs = [row for row in rows if row and row[0].startswith("2026-01")]
    assert [row[0] for row in runs] == ["2026-01-03 10:00", "2026-01-02 10:00", "2026-01-01 10:00"]
    assert [row[-1] for row in runs] == ["SEED=1", "EPOCHS=20", ""]


def test_nothing_in_it_comes_from_elsewhere_and_its_links_lead_into_the_docs(folder):
    report.write_report(folder, labelled_figures())
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "http" not in page.replace('http-equiv="Content-Security-Policy"', "")
    links = set(re.findall(r'(?:src|href)="([^"]*)"', page))
    pages = {link for link in links if not link.startswith("data:")}
    assert pages
    for link in pages:
        target = (folder / link).resolve()
        assert target.is_relative_to(project / "docs")
        assert target.is_file()
        assert (folder / link).is_file()


def test_without_labels_it_says_what_the_model_expects(folder):
    figures = labelled_figures()
    for name in ("test", "val", "coverage", "findings"):
        del figures[name]
    figures |= {"expected_image_accuracy": 0.9, "expected_image_accuracy_95": [0.81, 0.99]}
    report.write_report(folder, figures)
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "90.0 % of such images are probably read correctly" in page
    assert "Nobody checked" in page
    assert "sorts" not in page.split("<script>")[0].split("</style>")[1]
    assert not (folder / "runs.png").exists()  # it compares by validation


@pytest.mark.skipif(not CHROMIUM and not os.environ.get("CI"), reason="there is no Chromium")
@pytest.mark.parametrize("width", [400, 1200])
def test_a_browser_shows_it_without_a_complaint_and_sorts_the_table(folder, width):
    report.write_report(folder, labelled_figures())
    assert CHROMIUM, "CI installs Chromium"
    page = folder / "report.html"
    # As if somebody had clicked on "occurs".
    click = "<script>document.querySelectorAll('.sorts button')[1].click();</script></body>"
    page.write_text(page.read_text(encoding="utf-8").replace("</body>", click), encoding="utf-8")
    done = subprocess.run(
        [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
         "--enable-logging=stderr", f"--user-data-dir={folder / 'profile'}",
         f"--window-size={width},1000", f"--screenshot={folder / 'page.png'}", "--dump-dom",
         page.as_uri()],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "CONSOLE" not in done.stderr, done.stderr
    table = done.stdout[done.stdout.index('<table class="sorts">') :]
    counts = re.findall(r'<td class="number">(\d+)</td>', table)[:3]
    assert counts == ["9", "40", "100"]
    assert (folder / "page.png").stat().st_size > 10_000


def test_each_picture_is_explained_by_a_page_that_is_there():
    for heading, _, page in report.PICTURES.values():
        assert (project / "docs" / page).is_file(), heading
