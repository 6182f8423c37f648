import numpy as np
import pytest
import torch

import model
import utils
from practice import forms

shipped = utils.PRACTICE_MODEL


@pytest.mark.parametrize(
    ("form", "least"), [("simple", 55), ("ripple", 55), ("noise", 48), ("mixed", 42)]
)
def test_the_shipped_model_reads_the_practice_forms(form, least):
    net, about = model.load_checkpoint(shipped)
    assert form in about["images"]
    drawn = [forms.draw(form, number, seed=99) for number in range(60)]
    images = torch.stack([model.prepare(net, np.asarray(image)) for image, _ in drawn])
    readings = model.read_images(net, images)
    right = sum(r.text == answer for r, (_, answer) in zip(readings, drawn, strict=True))
    assert right >= least


def test_the_shipped_model_is_small():
    assert shipped.stat().st_size < 4_000_000
