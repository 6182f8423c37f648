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
    """With few images and one short epoch: it need not read well."""
    run_script(
        "practice/recipe.py", "COUNTS={'digit': 120}", "EPOCHS=1", f"WORK_FOLDER={tmp_path}",
        f"MODEL_FILE={tmp_path / 'made.safetensors'}", cwd="/",
    )  # fmt: skip
    _, about = model.load_model(tmp_path / "made.safetensors")
    assert set(about) == {"images", "val"}
    assert about["images"] == {"digit": 120}
    assert list(about["val"]) == list(recipe.FIGURES)
