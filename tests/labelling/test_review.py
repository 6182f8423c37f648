"""review.py: the labels of suspects.csv are found among the images, and each is open once more."""

import pytest
from helpers import practice_folder
from labelling_helpers import let_years_pass

import utils
from files.images import content_hash
from files.split_names import split_name
from files.tables import LABEL_COLUMNS, SUSPECT_COLUMNS, read_table, write_table
from labelling.labels import Labelling
from labelling.review import Suspect, read_suspects, suspects_table


def test_suspects_are_found_by_name_if_their_content_is_as_judged(tmp_path, capsys):
    files = utils.image_files(practice_folder(tmp_path / "images", 5))
    labels = ["a/b", "cd", "ef", "gh", "ij"]
    copies = [
        split_name(label, content_hash(file.read_bytes()), "png")
        for label, file in zip(labels, files, strict=True)
    ]
    rows = [
        [f"test/{copies[2]}", files[2].name, "ef", "eF", "0.9", "8"],
        [f"train/{copies[0]}", files[0].name, "a/b", "axb", "0.8", "7"],
        [f"train/{copies[4]}", files[3].name, "gh", "gx", "0.8", "6"],  # another content
        ["train/zz_00000000.png", "gone.png", "zz", "zy", "0.8", "6"],
        [f"train/{copies[1]}", files[1].name, "cd", "cd", "0.99", "0.1"],  # no disagreement
    ]
    table = tmp_path / "suspects.csv"
    write_table(table, SUSPECT_COLUMNS, rows)
    here = {files[2].name: {"label": "Ef", "state": "confirmed"}}
    suspects = read_suspects(table, files, here)
    assert list(suspects.items()) == [
        (files[2].name, Suspect("Ef", "eF", 0.9)),
        (files[0].name, Suspect("a/b", "axb", 0.8)),
    ]
    remarks = capsys.readouterr().err
    assert "1 of the images have no row" in remarks
    assert "2 of the 5 images" in remarks
    with pytest.raises(ValueError, match="AUDIT_FOLDS"):
        read_suspects(tmp_path / "none.csv", files, {})
    write_table(table, SUSPECT_COLUMNS, [])
    with pytest.raises(ValueError, match="names no image"):
        read_suspects(table, files, {})


def test_suspects_lie_beside_the_model_that_was_trained(tmp_path):
    usual = utils.DATA / "model" / "suspects.csv"
    assert suspects_table(None) == suspects_table("practice") == usual
    assert suspects_table(str(tmp_path / "net.safetensors")) == tmp_path / "suspects.csv"


def test_a_review_opens_each_image_once_also_across_restarts_and_undo(tmp_path):
    file = tmp_path / "labels.csv"
    first = Labelling(["a", "b", "c"], file)
    for label in "xyz":
        first.decide(label)
    first.close()
    let_years_pass(file)
    review = Labelling(["b", "c"], file, "2020-01-01T00:00:00+00:00")
    assert review.counts() == {"open": 2}
    assert review.image == "b"
    review.decide("y", how="checked")
    review.decide("Z", how="corrected")
    assert review.counts() == {"confirmed": 2}
    review.close()
    review = Labelling(["b", "c"], file, "2020-01-01T00:00:00+00:00")
    assert review.next_open(0) is None
    assert review.undo()["label"] == "Z"
    assert (review.image, review.decision("c")["label"]) == ("c", "z")
    assert review.counts() == {"confirmed": 1, "open": 1}
    review.close()
    review = Labelling(["b", "c"], file, "2020-01-01T00:00:00+00:00")
    assert review.counts() == {"confirmed": 1, "open": 1}
    rows = read_table(file, LABEL_COLUMNS)
    assert [row["how"] for row in rows[3:]] == ["checked", "corrected", "undo"]
