"""The model that ships, and the recipe that makes it."""

import random
import types

import numpy as np
import pytest
import torch
from helpers import assert_one_sentence, run_script

import model
import utils
from files.images import FOUND
from practice import forms, parts
from practice.glyphs import CHARACTERS
from reading import limits
from training.parallel import Share


@pytest.mark.parametrize(
    ("form", "least"), [("simple", 55), ("ripple", 55), ("noise", 36), ("mixed", 30), ("wild", 20)]
)
def test_the_shipped_model_reads_the_practice_forms(form, least):
    net, _ = model.load_model(utils.PRACTICE_MODEL)
    drawn = [forms.draw(form, number, seed=99) for number in range(60)]
    images = [np.asarray(image) for image, _ in drawn]
    characters = "".join(sorted({c for _, answer in drawn for c in answer.lower()}))
    limits.suit(net, images, characters, None)
    read = model.read_images(net, torch.stack([model.prepare(net, image) for image in images]))
    correct = [p.text == answer.lower() for p, (_, answer) in zip(read, drawn, strict=True)]
    assert sum(correct) >= least


def test_the_shipped_model_reads_any_site_is_small_and_says_nothing_about_a_computer():
    assert utils.PRACTICE_MODEL.stat().st_size < 8_000_000
    net, about = model.load_model(utils.PRACTICE_MODEL)
    assert net.charset == CHARACTERS
    assert net.spec.cut == FOUND
    assert set(about) == {"images", "views", "val", "families"}
    assert not any("/" in family for family in about["families"])
    assert len(about["families"]) >= 300


def test_the_recipe_makes_such_a_model_and_goes_on_behind_what_is_done(tmp_path):
    """With few images and two short epochs: it need not read well."""
    arguments = [
        "practice/recipe.py", "PARTS=2", "PART_IMAGES=100", "VAL_IMAGES=20", "BATCH_SIZE=20",
        f"FONT_FOLDERS={[str(tmp_path / 'fonts')]}", f"WORK_FOLDER={tmp_path / 'work'}",
        "WIDTHS=(8, 8, 8)", f"MODEL_FILE={tmp_path / 'made.safetensors'}", "DRAWERS=2",
        "LAST_LAP=0",
    ]  # fmt: skip
    (tmp_path / "fonts").mkdir()
    for number, name in enumerate(["DejaVuSans", "DejaVuSansMono", "DejaVuSerif", "STIXGeneral"]):
        (tmp_path / "fonts" / f"{number}.ttf").symlink_to(forms.font_file(name))
    made = run_script(*arguments, cwd="/")
    assert "3 families to draw with, 1 held out" in made.stdout
    net, about = model.load_model(tmp_path / "made.safetensors")
    assert (net.charset, net.length, net.widths) == (CHARACTERS, parts.LENGTH, (8, 8, 8))
    assert about["images"] == 200
    assert set(about["val"]) == {"images", "fonts", "styles"}
    assert len(about["families"]) == 3
    again = run_script(*arguments, cwd="/")
    assert "\n    1 " not in again.stdout
    once_more, _ = model.load_model(tmp_path / "made.safetensors")
    for name, value in net.state_dict().items():
        assert torch.equal(value, once_more.state_dict()[name])

    # A last lap: what is kept is the mean of the weights before and after it.
    lap = [f"WORK_FOLDER={tmp_path / 'lap'}", f"MODEL_FILE={tmp_path / 'lap.safetensors'}"]
    run_script(*arguments, *lap, "LAST_LAP=0.5", "SEED=1", cwd="/")
    state = torch.load(tmp_path / "lap" / "last.pt", weights_only=True)
    mean, _ = model.load_model(tmp_path / "lap.safetensors")
    name = "trunk.3.conv2.weight"
    before, after = state["best"][name], state["weights"][name]
    assert (before - after).abs().mean() > 0.002
    half_way = (before + after) / 2
    assert torch.allclose(mean.state_dict()[name], half_way, atol=5e-4)  # files keep 16 bits
    wrong = run_script(*arguments, "LAST_LAP=1", cwd="/", check=False)
    assert_one_sentence(wrong, "LAST_LAP")

    # More images for the same network, at a rate that changes next to nothing.
    more = {"WORK_FOLDER": "more", "MODEL_FILE": "more.safetensors"}
    arguments += [f"{name}={tmp_path / file}" for name, file in more.items()]
    start = f"START_FROM={tmp_path / 'made.safetensors'}"
    run_script(*arguments, start, "PARTS=1", "LEARNING_RATE=1e-9", cwd="/")
    longer, about = model.load_model(tmp_path / "more.safetensors")
    assert (about["images"], about["views"]) == (300, 600)
    for name, value in longer.named_parameters():
        assert torch.allclose(value, net.get_parameter(name), atol=1e-4)


def test_a_part_has_each_image_in_a_shape_that_suits_it_with_its_text(tmp_path):
    parts.draw_part(tmp_path / "part00000", 60, forms.wild_faces(), "a seed", hardest=0)
    found = parts.open_part(tmp_path / "part00000")
    assert sum(len(part.targets) for part in found) == 60
    read = {
        tuple(row.tolist()): image.numpy().tobytes()
        for part in found
        for row, image in zip(part.targets, part.images, strict=True)
    }
    for number in range(60):
        _, text = parts.draw_image(f"a seed {number}", forms.wild_faces(), 0)
        classes = [CHARACTERS.index(c) + 1 for c in text] + [0] * (parts.LENGTH - len(text))
        assert tuple(classes) in read
    parts.draw_part(tmp_path / "again", 60, forms.wild_faces(), "a seed", hardest=0)
    for part, again in zip(found, parts.open_part(tmp_path / "again"), strict=True):
        assert (part.images == again.images).all()


def test_a_window_moves_on_and_has_each_image_with_its_text(tmp_path):
    for number in range(4):
        place = parts.part_folder(tmp_path, number)
        parts.draw_part(place, 20, forms.wild_faces(), f"{number}", hardest=0)
    window = parts.Window(tmp_path, 2, torch.device("cpu"))
    window.move_to(1, [])
    assert sorted(window.parts) == [0, 1]
    drawn = {
        image.numpy().tobytes(): row.tolist()
        for some in window.parts.values()
        for part in some
        for image, row in zip(part.images, part.targets, strict=True)
    }
    assert len(drawn) == 40
    whole = window.random_batch(Share(9))
    for image, row in zip(*whole, strict=True):
        assert drawn[image.byte().numpy().tobytes()] == row.tolist()
    window.move_to(3, [])
    assert sorted(window.parts) == sorted(parts.drawn(tmp_path)) == [2, 3]
    failed = types.SimpleNamespace(exitcode=1)
    with pytest.raises(ValueError, match="ended early"):
        window.move_to(4, [failed])


def test_long_images_get_long_shapes():
    rng = random.Random(0)
    for height, width in parts.SHAPES:
        image = np.zeros((height, width, 3), np.uint8)
        shapes = {parts.best_shape(image, rng) for _ in range(200)}
        assert (height, width) in shapes
        assert len(shapes) <= 3
