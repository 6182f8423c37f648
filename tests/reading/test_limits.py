import copy

import numpy as np
import pytest
import torch
from helpers import random_images, small_net
from hypothesis import given
from hypothesis import strategies as st

import model
from files.images import FOUND, InputSpec
from reading import limits
from utils import Prediction


@pytest.mark.parametrize("head", model.HEADS)
def test_a_wanted_character_gets_the_probability_of_both_cases_and_all_else_none(head):
    free, net = (small_net(head, charset="aAbBc1", channels=3).eval() for _ in range(2))
    for one in (free, net):
        one.temperature.fill_(1.7)
    images = random_images(5, net)
    before = (model.compute_logits(free, images) / 1.7).softmax(2)  # (5, 3, 7)
    limits.limit(net, "1CbaA1", None)
    assert (net.charset, net.length) == ("1CbaA", 3)
    after = (model.compute_logits(net, images) / 1.7).softmax(2)
    # blank, 1, C from c alone, b with B, then a and A, which are wanted both
    expected = before[:, :, [0, 6, 5, 3, 1, 2]]
    expected[:, :, 3] += before[:, :, 4]
    assert torch.allclose(after, expected / expected.sum(2, keepdim=True), atol=1e-3)
    limits.limit(net, "A", None)  # again, of all that the classifier knows
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
    limits.limit(net, "ab", 2)
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
        limits.limit(net, characters, length)
    limits.limit(net, None, None)
    assert (net.charset, net.length, net.rows) == ("abS", 3, None)


@pytest.mark.parametrize("head", model.HEADS)
def test_a_network_that_is_limited_and_evened_is_kept_so(tmp_path, head):
    net = small_net(head, charset="aAbBc1", length=5)
    limits.limit(net, "ab1", 2)
    net.odds = torch.tensor([0, 1, -1.0, 0.5])
    net.temperature.fill_(1.7)
    images = random_images(5, net)

    def assert_alike(one, other):
        read, expected = (model.compute_logits(each, images) for each in (one, other))
        assert torch.allclose(read, expected, atol=1e-5)

    model.save_model(net, tmp_path / "net.safetensors", {})
    loaded, _ = model.load_model(tmp_path / "net.safetensors")
    assert (loaded.charset, loaded.length) == ("ab1", 2)
    assert_alike(loaded, net)
    limits.limit(net, "Ac", 1)  # and all that the classifier knows is there
    limits.limit(loaded, "Ac", 1)
    assert_alike(loaded, net)


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
    limits.suit(net, site_images(12), None, None)
    assert net.spec == InputSpec(40, 64, 3, (0, 0, 1, 45 / 90))  # small images are enlarged
    assert model.prepare(net, site_images(1)[0]).shape == (3, 40, 64)
    limits.suit(general_net(), [], None, None)
    own = small_net()

    def never():
        raise AssertionError("an image was read")
        yield

    limits.suit(own, never(), "ab", 2)
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
    monkeypatch.setattr(model, "as_predictions", lambda logits, charset: unsure + sure)
    net = general_net(length=5, charset="abcd")
    assert limits.suit(net, site_images(count), "abc", length) == found
    assert (net.charset, net.length) == ("abc", found or length or 5)


def test_short_texts_do_not_count_as_surer_than_long_ones(monkeypatch):
    """Each character is read with the same confidence: half of the texts have three, half five."""
    read = [Prediction(text, 0.9 ** len(text), [0.9] * len(text)) for text in ["abc", "abcab"] * 20]
    monkeypatch.setattr(model, "as_predictions", lambda logits, charset: list(read))
    assert limits.suit(general_net(length=5, charset="abc"), site_images(40), None, None) is None


def test_a_character_that_is_hardly_read_takes_from_one_that_is_read_too_often():
    """The site's u looks like a v to the network; a and b are read surely, and stay so."""
    kinds = {"a": [0.97, 0.01, 0.01, 0.01], "b": [0.01, 0.97, 0.01, 0.01]}
    kinds |= {"v": [0.01, 0.01, 0.88, 0.1], "u": [0.01, 0.01, 0.58, 0.4]}
    texts = "abvu" * 20
    logits = torch.tensor([[[1e-9, *kinds[text]]] for text in texts]).log()  # (80, 1, 5)
    assert [read.text for read in model.as_predictions(logits, "abvu")] == [*"abvv"] * 20
    evened = model.as_predictions(logits + limits.even_odds(logits, "abvu", "abvu"), "abvu")
    assert [read.text for read in evened] == list(texts)
    assert all(read.confidence > 0.95 for read in evened if read.text in "ab")


def test_digits_may_be_rarer_than_letters_and_what_is_hardly_ever_read_keeps_its_odds():
    """Of a label in small letters for both cases, a letter stands there twice as often, say.

    And who names all letters need not know that a site has no z.
    """
    often = {"a": 40, "b": 40, "1": 5, "2": 5, "z": 3}
    classes = [i for i, count in enumerate(often.values(), start=1) for _ in range(count)]
    logits = torch.full((len(classes), 1, 6), -50.0)
    logits[range(len(classes)), 0, classes] = 0
    assert limits.occurring(logits, "ab12z", "ab12z") == "ab12"
    assert limits.occurring(logits, "ab12z", "a2z") == "a2"
    assert limits.even_odds(logits, "ab12z", "ab12").abs().max() < 1e-6
    assert limits.even_odds(logits, "ab12z", "ab12z").abs().max() == 1


@given(st.integers(0, 2**32 - 1), st.text("ab12\xb2", max_size=5), st.integers(1, 3))
def test_odds_are_the_share_that_is_even_by_the_share_that_is_read(seed, used, turns):
    """In turns, and never more than a factor of e, so that what is read surely stays."""
    charset, occurs = "a1b2\xb2", ""
    torch.manual_seed(seed)
    logits = torch.randn(7, 3, 6) * 4
    logits[:, :, 0] = -torch.inf if seed % 2 else 0  # a blank may never occur
    expected = [0.0] * 6
    for turn in range(turns):
        chances = (logits.double() + torch.tensor(expected)).softmax(2).tolist()
        counts = [1 + sum(row[c] for image in chances for row in image) for c in range(6)]
        for number, character in enumerate(charset, start=1):
            alike = [
                counts[other]
                for other, second in enumerate(charset, start=1)
                if second in used and second.isdigit() == character.isdigit()
            ]
            if character in used:
                odds = expected[number] + np.log(np.mean(alike) / counts[number])
                expected[number] = min(1, max(-1, odds))
                if turn == 0 and counts[number] >= limits.OCCURS * np.mean(alike):
                    occurs += character
    odds = limits.even_odds(logits, charset, used, turns)
    assert odds.tolist() == pytest.approx(expected, abs=1e-4)
    assert limits.occurring(logits, charset, used) == occurs


@pytest.mark.parametrize(("characters", "length"), [("abd", None), (None, None), ("ab", 3)])
def test_a_general_model_is_evened_by_a_sample_of_twenty_images(characters, length):
    net, sample = general_net(charset="abcd"), site_images(20)
    net.temperature.fill_(1.3)
    torch.nn.init.normal_(net.head.classifier.bias)  # it prefers some characters
    net.head.classifier.bias.data[1] -= 20  # and never reads an a
    few, plain = copy.deepcopy(net), copy.deepcopy(net)
    limits.suit(few, sample[:19], characters, length)
    assert few.odds is None
    found = limits.suit(net, sample, characters, length)
    limits.limit(plain, characters, length or found)
    plain.spec = net.spec
    images = torch.stack([model.prepare(net, image) for image in sample])
    before = model.read_logits(plain, images) / 1.3
    used = plain.charset
    if characters is None:
        used = limits.find_characters(model.as_predictions(before, used))
    used = limits.occurring(before, plain.charset, used)
    odds = limits.even_odds(before, plain.charset, used)
    assert torch.allclose(net.odds, odds, atol=1e-3)
    wanted = (before + odds).softmax(2)
    assert torch.allclose((model.read_logits(net, images) / 1.3).softmax(2), wanted, atol=1e-3)
    limits.limit(net, "a", None)  # the odds were those of other classes
    assert net.odds is None


@pytest.mark.parametrize("characters", ["ab1", None])
@pytest.mark.parametrize("length", [2, None])
def test_a_site_that_draws_capitals_is_read_in_capitals_whatever_its_labels_say(
    monkeypatch, characters, length
):
    """A capital B looks like a small a; behind it stands a sure A, and then nothing."""
    net = general_net(charset="abAB1", length=3)
    chances = torch.tensor(
        [[0, 0.54, 0, 0, 0.45, 0], [0, 0.01, 0.01, 0.97, 0, 0.01], [1, *[0] * 5]]
    )
    logits = (chances + 1e-6).log().expand(20, 3, 6)
    monkeypatch.setattr(model, "read_logits", lambda net, images: logits)
    assert limits.suit(net, site_images(20), characters, length) == (None if length else 2)
    assert net.case is str.upper
    assert net.charset == (characters or "AB1")
    read = model.as_predictions(model.limited(logits, net.rows, net.length), net.charset)[0]
    assert read.text == ("ba" if characters else "BA")
    assert read.confidence > 0.95
    limits.limit(net, "b", None)  # the site stays as it is
    assert net.rows[1].tolist() == [4, 6]
    limits.limit(net, "bB", None)  # but the person knows better
    assert net.rows[1:].tolist() == [[2, 6], [4, 6]]
    limits.suit(net, [], "b", None)  # of which nobody knows yet what it draws
    assert net.rows[1].tolist() == [2, 4]


def read_as(texts, confidence=0.9):
    return [Prediction(text, confidence ** len(text), [confidence] * len(text)) for text in texts]


@pytest.mark.parametrize(
    ("read", "found"),
    [
        (read_as(["abD", "ABd"] * 10), "ABDabd"),
        (read_as(["12", "21"] * 10 + ["17"]), "12"),  # one 7 among 42 was misread
        (read_as(["12"] * 10) + read_as(["345"] * 10, 0.7), "12"),  # those are not sure
        ([], ""),
    ],
)
def test_characters_that_are_read_surely_and_often_occur(read, found):
    assert limits.find_characters(read) == found
