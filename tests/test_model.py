import json
import pickle

import numpy as np
import pytest
import safetensors.torch
import torch
from helpers import random_images, small_net
from torch.nn import functional as F  # noqa: N812

import model
from files.images import FOUND, InputSpec
from files.tensors import save_tensors
from training.calibration import confidences_of
from utils import Prediction


@pytest.mark.parametrize("head", model.HEADS)
def test_a_tiny_set_is_memorised(head):
    net = small_net(head)
    images = random_images(12, net)
    targets = torch.randint(0, 4, (12, 3))
    net.set_normalisation(images)
    optimizer = torch.optim.AdamW(net.parameters(), 0.003)
    net.train()
    for _ in range(120):
        loss = F.cross_entropy(net(images).flatten(0, 1), targets.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert (model.compute_logits(net, images).argmax(2) == targets).all()


@pytest.mark.parametrize("head", model.HEADS)
def test_the_model_file_rebuilds_the_same_network(tmp_path, head):
    net = small_net(head, charset="ab\N{SNOWMAN}", channels=3)
    images = random_images(9, net)
    net.set_normalisation(images)
    net.train()(images)  # moves the batch norm away from its first values
    model.save_model(net, tmp_path / "c.safetensors", {"val": {"image_accuracy": 0.5}})
    loaded, about = model.load_model(tmp_path / "c.safetensors")
    assert loaded.architecture() == net.architecture()
    assert about == {"val": {"image_accuracy": 0.5}}
    assert torch.equal(model.compute_logits(loaded, images), model.compute_logits(net, images))


def test_attention_maps_are_shares_of_the_image():
    net = small_net()
    logits, maps, features = net.eval().attend(random_images(5, net))
    assert features.shape == (5, 128, 2, 6)
    assert logits.shape == (5, 3, 4)
    assert maps.shape == (5, 3, 2, 6)
    shares = maps.sum(dim=(2, 3))  # the rest went to "no character"
    assert (maps >= 0).all()
    assert (shares > 0.1).all()
    assert (shares <= 1 + 1e-5).all()
    assert torch.equal(logits, net(random_images(5, net)))


def test_positions_attend_from_left_to_right():
    net = small_net(length=4, size=(16, 96))
    _, maps, _ = net.eval().attend(random_images(3, net))
    columns = torch.arange(12) + 0.5
    middles = (maps.sum(dim=2) * columns).sum(dim=2) / maps.sum(dim=(2, 3))  # (3, 4)
    assert torch.allclose(middles, torch.tensor([1.5, 4.5, 7.5, 10.5]), atol=0.75)


def test_logits_do_not_depend_on_the_batch_and_the_mode_is_restored():
    net = small_net()
    images = random_images(7, net)
    whole = model.compute_logits(net.train(), images)
    assert net.training
    parts = model.compute_logits(net.eval(), images, batch_size=2)
    assert not net.training
    assert torch.allclose(whole, parts, atol=0.02)  # bfloat16 where the processor has it


def test_what_is_unsure_at_first_sight_gets_five_looks_and_the_rest_one():
    net = small_net(channels=3)
    images = random_images(8, net)
    wide = np.pad(images.numpy(), ((0, 0), (0, 0), (2, 2), (2, 2)), mode="edge")
    height, width = net.spec.height, net.spec.width
    views = [
        model.compute_logits(
            net, torch.from_numpy(wide[:, :, y : y + height, x : x + width].copy())
        )
        for y, x in ((2, 2), (0, 2), (4, 2), (2, 0), (2, 4))
    ]
    one = views[0].log_softmax(2)
    five = torch.stack([logits.log_softmax(2) for logits in views]).mean(0)
    confidences = confidences_of(one)
    limit = confidences.sort().values[3:5].mean().item()  # between two images
    expected = torch.where((confidences < limit)[:, None, None], five, one)
    assert not torch.allclose(one, five, atol=1e-3)
    assert torch.allclose(model.read_logits(net, images, limit), expected, atol=1e-5)


def test_confidence_is_the_product_over_positions_and_blanks_are_left_out():
    net = small_net()
    images = random_images(6, net)
    probabilities = model.read_logits(net, images).softmax(2)
    for prediction, chances in zip(model.read_images(net, images), probabilities, strict=True):
        best = [max(range(4), key=lambda c, row=row: row[c]) for row in chances]
        assert prediction.text == "".join(" abc"[c] for c in best if c)
        assert prediction.confidence == pytest.approx(np.prod([max(row) for row in chances]))
        assert len(prediction.character_confidences) == len(prediction.text)


# ---------------------------------------------------------------- limits, and sites never seen


@pytest.mark.parametrize("head", model.HEADS)
def test_a_wanted_character_gets_the_probability_of_both_cases_and_all_else_none(head):
    free, net = (small_net(head, charset="aAbBc1", channels=3).eval() for _ in range(2))
    for one in (free, net):
        one.temperature.fill_(1.7)
    images = random_images(5, net)
    before = (model.compute_logits(free, images) / 1.7).softmax(2)  # (5, 3, 7)
    model.limit(net, "1CbaA1", None)
    assert (net.charset, net.length) == ("1CbaA", 3)
    after = (model.compute_logits(net, images) / 1.7).softmax(2)
    # blank, 1, C from c alone, b with B, then a and A, which are wanted both
    expected = before[:, :, [0, 6, 5, 3, 1, 2]]
    expected[:, :, 3] += before[:, :, 4]
    assert torch.allclose(after, expected / expected.sum(2, keepdim=True), atol=1e-3)
    model.limit(net, "A", None)  # again, of all that the classifier knows
    alone = before[:, :, [0, 1]]
    alone[:, :, 1] += before[:, :, 2]
    after = (model.compute_logits(net, images) / 1.7).softmax(2)
    assert torch.allclose(after, alone / alone.sum(2, keepdim=True), atol=1e-3)


@pytest.mark.parametrize("head", model.HEADS)
@pytest.mark.parametrize("blank", [-3, 3])
def test_with_a_length_that_many_characters_are_read_with_a_probability(head, blank):
    net = small_net(head, charset="abc", length=5)
    for name, parameter in net.head.named_parameters():
        if name.endswith("bias") and len(parameter) == 4:
            parameter.data[0] += blank  # else nearly every position, or nearly none
    images = random_images(9, net)
    free = {len(prediction.text) for prediction in model.read_images(net, images)}
    assert free != {2}
    model.limit(net, "ab", 2)
    logits, maps, _ = net.eval().attend(images)
    assert logits.shape == (9, 2, 3)
    assert maps is None or maps.shape[:2] == (9, 2)
    for prediction in model.read_images(net, images):
        assert len(prediction.text) == 2
        assert set(prediction.text) <= set("ab")
        assert prediction.confidence == pytest.approx(np.prod(prediction.character_confidences))
        assert 0.25 <= prediction.confidence <= 1


@pytest.mark.parametrize(
    ("characters", "length", "words"),
    [
        ("abé", None, "CHARACTERS has 'é', which the model cannot read"),
        ("ß", None, "CHARACTERS has 'ß'"),
        ("", None, "CHARACTERS is empty"),
        (None, 0, "LENGTH is 0; the model reads 1 to 3 characters"),
        ("ab", 4, "LENGTH is 4"),
    ],
)
def test_what_the_model_cannot_read_is_refused(characters, length, words):
    net = small_net(charset="abS")
    with pytest.raises(ValueError, match=words):
        model.limit(net, characters, length)
    model.limit(net, None, None)
    assert (net.charset, net.length, net.rows) == ("abS", 3, None)


def test_a_limited_network_is_not_saved(tmp_path):
    net = small_net()
    model.limit(net, None, 2)
    with pytest.raises(ValueError, match="for reading only"):
        model.save_model(net, tmp_path / "net.safetensors", {})
    assert not list(tmp_path.iterdir())


def general_net(**changes):
    """Return a network with random weights that reads any site."""
    net = small_net(size=(40, 160), channels=3, **changes)
    net.spec = net.spec._replace(cut=FOUND)
    return net.eval()


def site_images(count, height=30, width=90):
    """Return images of one size that differ on their left half alone."""
    images = np.full((count, height, width, 3), 255, np.uint8)
    images[:, 5:-5, 5:30] = np.random.default_rng(0).integers(0, 256, (count, height - 10, 25, 3))
    return list(images)


def test_a_general_model_finds_its_frame_and_another_reads_no_sample(tmp_path):
    model.save_model(general_net(), tmp_path / "general.safetensors", {})
    net, _ = model.load_model(tmp_path / "general.safetensors")
    assert net.spec.cut == FOUND
    model.suit(net, site_images(12), None, None)
    assert net.spec == (40, 64, 3, (0, 0, 1, 45 / 90))  # small images are enlarged
    assert model.prepare(net, site_images(1)[0]).shape == (3, 40, 64)
    model.suit(general_net(), [], None, None)
    own = small_net()

    def never():
        raise AssertionError("an image was read")
        yield

    model.suit(own, never(), "ab", 2)
    assert (own.spec, own.charset, own.length) == (small_net().spec, "ab", 2)


def test_a_general_model_with_layers_of_one_size_is_refused():
    with pytest.raises(ValueError, match="HEAD=flatten"):
        model.CaptchaNet("ab", 2, InputSpec(40, 160, 3, FOUND), "flatten")


@pytest.mark.parametrize(
    ("surest", "count", "length", "found"),
    [
        (["abcd"] * 8 + ["abc"] * 2, 20, None, 4),
        (["abcd"] * 7 + ["abc"] * 3, 20, None, None),  # fewer than eight in ten
        (["abcd"] * 9, 19, None, None),  # too few images
        (["abcd"] * 10, 20, 2, None),  # the person says it
        ([""] * 10, 20, None, None),
    ],
)
def test_the_length_is_that_of_eight_in_ten_of_the_surer_half(
    monkeypatch, surest, count, length, found
):
    unsure = [Prediction("a", 0.1, [0.1])] * (count - len(surest))
    sure = [Prediction(text, 0.9, [0.9] * len(text)) for text in surest]
    monkeypatch.setattr(model, "read_images", lambda net, images: unsure + sure)
    net = general_net(length=5, charset="abcd")
    assert model.suit(net, site_images(count), "abc", length) == found
    assert (net.charset, net.length) == ("abc", found or length or 5)


def test_short_texts_do_not_count_as_surer_than_long_ones(monkeypatch):
    """Each character is read with the same confidence: half of the texts have three, half five."""
    read = [Prediction(text, 0.9 ** len(text), [0.9] * len(text)) for text in ["abc", "abcab"] * 20]
    monkeypatch.setattr(model, "read_images", lambda net, images: read)
    assert model.suit(general_net(length=5, charset="abc"), site_images(40), None, None) is None


# ---------------------------------------------------------------- the model file


def damage(path, how):
    data = path.read_bytes()
    if how == "empty":
        path.write_bytes(b"")
    elif how == "cut":
        path.write_bytes(data[: len(data) // 2])
    elif how == "text":
        path.write_text("a poem")
    elif how == "tensors of another program":
        safetensors.torch.save_file({"weights": torch.zeros(3)}, path)
    elif how == "pickle":
        path.write_bytes(pickle.dumps({"format": model.FORMAT}))
    elif how == "huge header":
        path.write_bytes((2**60).to_bytes(8, "little") + data[8:])
    elif how == "one bit of a weight":
        path.write_bytes(data[:-20_000] + bytes([data[-20_000] ^ 1]) + data[-19_999:])
    elif how == "one letter of the charset":
        assert data.count(b"abc") == 1
        path.write_bytes(data.replace(b"abc", b"abd"))
    else:
        forge(path, how)


def forge(path, how):
    """Write a model file that is wrong although its checksum is right."""
    net = small_net()
    weights, architecture = net.state_dict(), net.architecture()
    if how == "fewer weights":
        weights.popitem()
    elif how == "wrong charset":
        architecture["charset"] = "abcdef"
    elif how == "very long":
        architecture["length"] = 10**9
    elif how == "very wide":
        architecture["input"] |= {"height": 10**6, "width": 10**6}
    elif how == "very much":
        architecture["input"] |= {"height": 2000, "width": 2000}
        architecture |= {"length": 1000, "head": "flatten"}
    elif how == "no architecture":
        architecture = {}
    texts = {"format": model.FORMAT, "architecture": json.dumps(architecture), "about": "{}"}
    save_tensors(path, weights, texts)


@pytest.mark.parametrize(
    "how",
    ["empty", "cut", "text", "tensors of another program", "pickle", "huge header",
     "one bit of a weight", "one letter of the charset", "fewer weights", "wrong charset",
     "no architecture", "very long", "very wide", "very much"],
)  # fmt: skip
def test_damaged_or_foreign_model_files_are_refused_by_name(tmp_path, how):
    path = tmp_path / "captcha.safetensors"
    model.save_model(small_net(), path, {})
    model.load_model(path)
    damage(path, how)
    with pytest.raises(ValueError, match=r"captcha\.safetensors"):
        model.load_model(path)


def test_prepared_images_fit_the_network():
    net = small_net()
    image = np.zeros((30, 300, 3), np.uint8)
    assert model.prepare(net, image).shape == (1, 16, 48)


def test_the_part_that_the_network_sees_is_kept_in_the_model_file(tmp_path):
    net = model.CaptchaNet("ab", 2, InputSpec(16, 48, 1, (0, 0.5, 1, 1)))
    model.save_model(net, tmp_path / "a.safetensors", {})
    net = model.load_model(tmp_path / "a.safetensors")[0]
    image = np.zeros((32, 192, 3), np.uint8)
    image[:, 96:] = 200
    assert model.prepare(net, image).min() == 200
