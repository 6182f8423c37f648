import json
import pickle

import numpy as np
import pytest
import safetensors.torch
import torch
from helpers import random_images, small_net
from torch.nn import functional as F  # noqa: N812

import model
from files.images import InputSpec
from files.tensors import save_tensors
from training.calibration import confidences_of


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
@pytest.mark.parametrize("context", [False, True])
def test_the_model_file_rebuilds_the_same_network(tmp_path, head, context):
    net = small_net(head, charset="ab\N{SNOWMAN}", channels=3, context=context)
    images = random_images(9, net)
    net.set_normalisation(images)
    net.train()(images)  # moves the batch norm away from its first values
    model.save_model(net, tmp_path / "c.safetensors", {"val": {"image_accuracy": 0.5}})
    loaded, about = model.load_model(tmp_path / "c.safetensors")
    assert loaded.architecture() == net.architecture()
    assert about == {"val": {"image_accuracy": 0.5}}
    assert torch.equal(model.compute_logits(loaded, images), model.compute_logits(net, images))


def test_self_attention_changes_nothing_at_first_then_is_a_mean_of_all_places():
    layer = model.SelfAttention(8, heads=2).eval()
    x = torch.randn(3, 8, 2, 5)
    assert torch.equal(layer(x), x)
    torch.nn.init.normal_(layer.out.weight)
    x = x.requires_grad_()
    y = layer(x)
    for b in range(3):
        tokens = layer.norm(x)[b].flatten(1).T  # (10, 8)
        query, key, value = (
            tokens @ one.weight[:, :, 0, 0].T for one in (layer.query, layer.key, layer.value)
        )
        seen = torch.zeros(10, 8)
        for head, half in enumerate((slice(0, 4), slice(4, 8))):
            for i in range(10):
                scores = torch.stack([
                    query[i, half] @ key[j, half] / 2 - layer.slope[head] * abs(i % 5 - j % 5)
                    for j in range(10)
                ])  # fmt: skip
                seen[i, half] = scores.softmax(0) @ value[:, half]
        expected = x[b] + (seen @ layer.out.weight[:, :, 0, 0].T).T.unflatten(1, (2, 5))
        assert torch.allclose(y[b], expected, atol=1e-5)
    (gradient,) = torch.autograd.grad(y[0, 0, 0, 0], x)
    assert (gradient[0].abs().sum(0) > 0).all()  # every place tells
    assert not gradient[1:].any()


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


def test_what_is_unsure_at_first_sight_gets_five_looks_by_their_confidence_and_the_rest_one():
    net = small_net(channels=3)
    net.head.classifier.weight.data *= 30  # it is surer of some looks than of others
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
    looks = [logits.log_softmax(2) for logits in views]
    shares = torch.stack([confidences_of(look) for look in looks])  # (5, N)
    shares /= shares.sum(0)
    five = sum(share[:, None, None] * look for share, look in zip(shares, looks, strict=True))
    confidences = confidences_of(one)
    limit = confidences.sort().values[3:5].mean().item()  # between two images
    expected = torch.where((confidences < limit)[:, None, None], five, one)
    assert not torch.allclose(one, five, atol=1e-3)
    assert shares.std() > 0.01  # they do not all count alike
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
        assert data.count(b"abc") == 2  # what it reads, what it knows
        path.write_bytes(data.replace(b"abc", b"abd", 1))
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
