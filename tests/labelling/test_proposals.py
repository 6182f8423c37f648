"""proposals.py: what is offered, in which order, and what a run says about the model."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelling.labels import Labelling
from labelling.proposals import Proposals, advice, offer_suspect, report
from labelling.reader import Reader
from labelling.review import Suspect
from utils import Prediction, wilson_interval

# ---------------------------------------------------------------- what is offered, in which order


def test_an_offer_marks_what_is_below_the_threshold():
    proposals = Proposals({"a": Prediction("x7f", 0.4, [0.999, 0.5, 0.95])}, doubtful=0.95)
    offer = proposals.offer("a")
    assert (offer.text, offer.doubtful, offer.marks) == ("x7f", [1], ["99", "50", "95"])
    assert offer.how == "accepted"
    assert "40 %" in offer.remark
    assert proposals.offer("b") is None
    longer = Proposals({"a": Prediction("ß7", 0.4, [0.5, 0.5])}, case=str.upper).offer("a")
    assert (longer.text, longer.doubtful, longer.marks) == ("SS7", [], ["", "", ""])
    assert Proposals({"a": Prediction("", 0.9, [])}).offer("a") is None


@pytest.mark.parametrize(("trained", "said"), [("", True), ("2026-01-01", False), (None, False)])
def test_a_proposal_of_a_model_that_nobody_checked_says_so(tmp_path, trained, said):
    proposals = Proposals({"a": Prediction("x7f", 0.4, [0.999, 0.5, 0.95])})
    reader = proposals.read(tmp_path / "model", tmp_path, ["a"])
    reader.trained = trained
    offer = proposals.offer("a")
    assert ("Nobody has checked this model yet." in offer.remark) == said
    assert "40 %" in offer.remark


def test_the_share_without_a_proposal_is_about_that_share_and_always_the_same_images():
    names = [f"{number}.png" for number in range(4000)]
    predictions = {name: Prediction("x", 1.0, [1.0]) for name in names}
    without = [name for name in names if Proposals(predictions, unaided=0.03).offer(name) is None]
    assert 80 < len(without) < 160
    more = Proposals(predictions, unaided=0.1)
    assert all(more.offer(name) is None for name in without)
    assert all(Proposals(predictions).offer(name) for name in names)
    assert not any(Proposals(predictions, unaided=1.0).offer(name) for name in names)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.sampled_from("abcdefgh"), st.floats(0, 1)), st.randoms())
def test_orders_put_the_unread_last_and_the_rest_by_confidence(confidences, rng):
    images = list("abcdefgh")
    rng.shuffle(images)
    predictions = {name: Prediction("x", value, [value]) for name, value in confidences.items()}
    for order, sign in (("least-sure", 1), ("most-sure", -1)):
        arranged = Proposals(predictions, order).arrange(images)
        read = [sign * confidences[name] for name in arranged if name in confidences]
        assert sorted(arranged) == sorted(images)
        assert read == sorted(read)
        assert all(name in confidences for name in arranged[: len(read)])
    assert Proposals(predictions, "name").arrange(images) == sorted(images)


def test_later_predictions_sort_what_is_still_to_come_and_nothing_else(tmp_path):
    names = list("abcdef")
    labelling = Labelling(names, tmp_path / "labels.csv")
    proposals = Proposals({}, "most-sure")
    labelling.decide("1")
    for name, confidence in zip("bcdf", [0.1, 0.2, 0.9, 0.5], strict=True):
        proposals.predictions[name] = Prediction("x", confidence, [confidence])
    proposals.sort_ahead(labelling)
    assert labelling.images == ["a", "b", "d", "f", "c", "e"]
    assert labelling.image == "b"
    labelling.decide("2")
    assert labelling.image == "d"
    labelling.undo()
    assert labelling.image == "b"


def test_one_key_cycles_through_the_orders(tmp_path):
    labelling = Labelling(list("abc"), tmp_path / "labels.csv")
    proposals = Proposals({})
    assert "needs a model" in proposals.change_order(labelling)
    proposals.predictions |= {"a": Prediction("x", 0.5, [0.5]), "b": Prediction("x", 0.9, [0.9])}
    proposals.predictions["c"] = Prediction("x", 0.1, [0.1])
    seen = []
    for _ in range(3):
        proposals.change_order(labelling)
        seen.append((proposals.order, "".join(labelling.images), labelling.image))
    assert seen == [("least-sure", "cab", "c"), ("most-sure", "bac", "b"), ("name", "abc", "a")]


def test_what_differs_from_the_prediction_is_doubtful_in_a_label_under_review():
    offer = offer_suspect(Suspect("ab1d", "ab7c", 0.9))
    assert (offer.text, offer.doubtful, offer.marks) == ("ab1d", [2, 3], ["", "", "7", "c"])
    assert offer.how == "checked"
    offer = offer_suspect(Suspect("abc", "abcd", 0.9))
    assert (offer.doubtful, len(offer.marks)) == ([], 3)
    assert "abcd" in offer.remark


def test_the_order_by_cluster_shows_one_form_after_the_other_and_the_ungrouped_last(tmp_path):
    proposals = Proposals({}, "cluster")
    proposals.groups = {"a": 1, "b": 0, "d": 1, "e": 0}
    assert proposals.arrange(list("edcba")) == list("beadc")
    labelling = Labelling(list("abcde"), tmp_path / "labels.csv")
    proposals.predictions["a"] = Prediction("x", 0.5, [0.5])
    seen = []
    for _ in range(4):
        proposals.change_order(labelling)
        seen.append(proposals.order)
    assert seen == ["name", "least-sure", "most-sure", "cluster"]


# ---------------------------------------------------------------- what a run says


def test_the_models_accuracy_is_that_on_images_typed_without_seeing_its_proposal(tmp_path):
    names = [f"{number}.png" for number in range(400)]
    rng = random.Random(0)
    predictions = {name: Prediction(rng.choice(["ab", "ac"]), 0.9, [0.9, 0.9]) for name in names}
    proposals = Proposals(predictions, unaided=0.1)
    labelling = Labelling(names, tmp_path / "labels.csv")
    labelling.import_labels(dict.fromkeys(names[300:], "ab"))  # not typed here: says nothing
    right = wrong = 0
    for name in names[:300]:  # all say "ab"; all other proposals are accepted blindly
        if offer := proposals.offer(name):
            labelling.decide(offer.text, how=offer.how)
        else:
            labelling.decide("ab")
            right += predictions[name].text == "ab"
            wrong += predictions[name].text != "ab"
    low, high = wilson_interval(right / (right + wrong), right + wrong)
    text = "".join(report(labelling, proposals))
    assert f"on {right} of {right + wrong} images" in text
    assert f"{100 * low:.0f} to {100 * high:.0f} %" in text
    assert f"{300 - right - wrong} proposals were accepted, 0 were corrected" in text
    labelling.undo()
    assert sum(proposals.unaided_correct(labelling)) in (right, right - 1)


@pytest.mark.parametrize(
    ("labels", "learnt", "wrong", "left", "words"),
    [
        (10, None, None, 90, "From about 40 labels on, train"),
        (60, None, None, 90, "60 labels are enough to train"),
        (30, 0, 0.3, 900, "Training will pay from about 40 labels on; there are 30"),
        (60, 0, 0.3, 900, "Training would pay: the model learnt from none of your 60 labels"),
        (60, 50, 0.3, 900, "Training again will pay from about 75 labels on"),
        (
            100,
            50,
            0.3,
            900,
            "from 50 of your 100 labels; of the 900 images left it would get about",
        ),
        (100, 50, None, 900, "would pay"),
        (100, 50, 0.01, 900, "would hardly save"),
        (100, 50, 0.3, 20, "would hardly save"),
    ],
)
def test_retraining_is_advised_when_it_saves_typing(labels, learnt, wrong, left, words):
    assert words in advice(labels, learnt, wrong, left)


def test_a_run_says_nothing_of_a_model_that_it_could_not_ask(tmp_path):
    labelling = Labelling(["a", "b"], tmp_path / "labels.csv")
    proposals = Proposals({})
    assert "From about 40 labels" in "".join(report(labelling, proposals))
    proposals.reader = Reader(tmp_path / "net.safetensors", tmp_path, [], {})
    assert report(labelling, proposals) == []
    proposals.reader.close()
    labelling.decide("x")
    labelling.decide("y")
    proposals.reader = None
    assert report(labelling, proposals) == []
