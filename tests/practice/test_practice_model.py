import numpy as np
import pytest
import torch
from helpers import run_script

import model
import utils
from practice import forms, recipe


@pytest.mark.parametrize(
    ("form", "least"), [("simple", 55), ("ripple", 55), ("noise", 48), ("mixed", 42)]
)
def test_the_shipped_model_reads_the_practice_forms(form, least):
    net, about = model.load_model(utils.PRACTICE_MODEL)
    assert form in about["images"]
    drawn = [forms.draw(form, number, seed=99) for number in range(60)]
    images = torch.stack([model.prepare(net, np.asarray(image)) for image, _ in drawn])
    predictions = model.read_images(net, images)
    correct = [p.text == answer for p, (_, answer) in zip(predictions, drawn, strict=True)]
    assert sum(correct) >= least


def test_the_shipped_model_is_small_and_says_nothing_about_the_computer_that_trained_it():
    assert utils.PRACTICE_MODEL.stat().st_size < 4_000_000
    _, about = model.load_model(utils.PRACTICE_MODEL)
    assert set(about) == {"images", "val"}
    assert list(about["val"]) == list(recipe.FIGURES)


def test_the_recipe_makes_such_a_model(tmp_path):
    """With few images and two short epochs: it need not read well."""
    arguments = [
        "practice/recipe.py", "COUNTS={'digit': 120}", "TRAININGS=['EPOCHS=1', 'EPOCHS=1']",
        f"WORK_FOLDER={tmp_path}", f"MODEL_FILE={tmp_path / 'made.safetensors'}",
    ]  # fmt: skip
    run_script(*arguments, cwd="/")
    _, about = model.load_model(tmp_path / "made.safetensors")
    assert set(about) == {"images", "val"}
    assert about["images"] == {"digit": 120}
    assert list(about["val"]) == list(recipe.FIGURES)
    _, first = model.load_model(tmp_path / "model1" / model.MODEL_NAME)
    _, second = model.load_model(tmp_path / "model2" / model.MODEL_NAME)
    assert first["constants"]["START_FROM"] is None
    assert "model1" in second["constants"]["START_FROM"]
    trained = (tmp_path / "model2" / model.MODEL_NAME).stat().st_mtime_ns
    done = run_script(*arguments, cwd="/")  # goes on behind what is done
    assert "epoch" not in done.stdout
    assert (tmp_path / "model2" / model.MODEL_NAME).stat().st_mtime_ns == trained
