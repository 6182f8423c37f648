"""grouping.py: groups hold one character each, names become predictions, and doubts are said."""

from collections import Counter

import cv2
import numpy as np
import pytest

import model
import utils
from files.images import WHOLE, WRITTEN, InputSpec, fit_image
from labelling.clusters import by_form, finding, grouping
from labelling.clusters.finding import Crop
from labelling.clusters.grouping import Found
from practice import forms


def practice_images(form, count, seed=5):
    """Return practice images, (H, W, 3) each, and their answers."""
    pairs = [forms.draw(form, number, seed) for number in range(count)]
    return [np.asarray(image) for image, _ in pairs], [answer for _, answer in pairs]


@pytest.fixture(scope="module")
def net():
    """Return the practice network."""
    return model.load_model(utils.PRACTICE_MODEL)[0]


@pytest.fixture(scope="module")
def simple(net):
    """Return practice images, their answers, and what is found by cutting alone."""
    images, answers = practice_images("simple", 200)
    return images, answers, grouping.find(images, net, ["cut"])


# ---------------------------------------------------------------- finding


def test_practice_letters_are_cut_as_many_as_there_are(simple):
    images, answers, found = simple
    counts = Counter(crop.image for crop in found.crops)
    assert sum(counts[i] == len(answer) for i, answer in enumerate(answers)) >= 0.97 * len(images)


def test_a_network_attends_to_the_letters_themselves(simple, net):
    images = simple[0][:60]
    (way, crops, features), read = finding.attend_all(images, net)
    assert way == "attention"
    assert features.shape == (len(crops), net.widths[-1])
    assert sum(len(one.text) for one in read) == len(crops)
    cut = {(crop.image, crop.place): crop.box for crop in simple[2].crops}
    off = [
        abs(crop.box[0] + crop.box[2] - sum(cut[crop.image, crop.place][::2])) / 2
        for crop in crops
        if (crop.image, crop.place) in cut
    ]
    assert len(off) >= 290
    assert np.median(off) < 8  # pixels; the letters are 25 to 32 apart, columns of features 10


@pytest.mark.parametrize("cut", [WHOLE, (0.1, 0.2, 0.9, 0.7), WRITTEN])
@pytest.mark.parametrize("stretch", [0.694, 1, 1.728])
def test_a_place_in_what_the_network_sees_is_found_in_the_image(stretch, cut):
    """Of a thin letter in an image of 200 x 50 pixels, wherever it stands in the cut."""
    spec = InputSpec(40, 152, 1, cut, stretch)
    for column in (45, 70, 120, 138):
        image = np.full((50, 200, 3), 255, np.uint8)
        image[15:35, column - 2 : column + 3] = 0
        image[20:30, 44:47] = image[20:30, 136:139] = 200  # something paler at both ends
        dark = 255.0 - fit_image(image, spec)[0]
        dark[dark < 100] = 0
        seen = np.array([(dark.sum(axis=0) * (np.arange(152) + 0.5)).sum() / dark.sum()])
        assert finding.columns_of(seen, image, spec) == pytest.approx(column + 0.5, abs=1.5)


def test_too_few_characters_are_refused(simple, net):
    with pytest.raises(ValueError, match=r"fewer than .* in 10 images.*Fetch more"):
        grouping.find(simple[0][:10], net)


# ---------------------------------------------------------------- grouping and judging


def blobs(kinds, each, seed=0):
    random = np.random.default_rng(seed)
    centres = random.normal(0, 10, (kinds, 8))
    kind = np.repeat(np.arange(kinds), each)
    return (centres[kind] + random.normal(0, 0.5, (len(kind), 8))).astype(np.float32), kind


def test_a_group_has_one_kind_in_it_and_the_largest_comes_first():
    features, kind = blobs(12, 50)
    cluster = grouping.group(features)
    assert all(len(set(kind[cluster == number])) == 1 for number in set(cluster))
    sizes = np.bincount(cluster)
    assert list(sizes) == sorted(sizes, reverse=True)
    assert sizes.min() > 0


def test_crops_beyond_what_ward_can_compare_join_the_nearest_group(monkeypatch):
    features, kind = blobs(6, 100)
    monkeypatch.setattr(grouping, "MOST_CROPS", 200)
    cluster = grouping.group(features, 6)
    assert all(len(set(kind[cluster == number])) == 1 for number in range(6))


def played(found, answers):
    """Return which share of the keys is saved if a person sees the answers, and types if wrong."""
    names, outliers, keys, _ = grouping.name_as_a_person(found, answers)
    proposals = grouping.propose(found, names, outliers)
    for image, answer in enumerate(answers):
        right = image in proposals and proposals[image].text == answer
        keys += 1 if right else len(answer) + 1
    return 1 - keys / sum(len(answer) + 1 for answer in answers)


def test_what_it_promises_is_what_a_person_saves(simple, net, monkeypatch):
    _, answers, found = simple
    assert played(found, answers) > 0.5
    assert found.saves == pytest.approx(played(found, answers), abs=0.1)
    hard, answers = practice_images("noise", 60)
    monkeypatch.setattr(grouping, "LEAST_CROPS", 100)
    found = grouping.find(hard, net, ["cut"])
    assert not found.helps()
    assert found.saves == pytest.approx(played(found, answers), abs=0.1)


def test_the_way_that_saves_more_is_used(net, monkeypatch):
    monkeypatch.setattr(grouping, "LEAST_CROPS", 100)  # so that cutting is judged, too
    touching = practice_images("ripple", 60)[0]
    best = grouping.find(touching, net)
    assert best.helps()
    assert best.way == "attention"


def test_it_is_seen_at_the_scale_of_the_site_and_where_the_length_is_not_sure_the_cut_tells(net):
    """A general network takes one digit for two characters, as no captcha has one."""
    images, answers = practice_images("digit", 220)
    found = grouping.find(images, net)
    counts = Counter(crop.image for crop in found.crops)
    assert np.mean([counts[i] == 1 for i in range(len(images))]) > 0.9
    assert found.saves == pytest.approx(played(found, answers), abs=0.1)
    narrow = [np.asarray(cv2.resize(image, (70, 50))) for image in practice_images("simple", 60)[0]]
    unknown = "\N{GREEK SMALL LETTER PSI}"
    read = finding.find_characters(narrow, net, characters=unknown, length=99)[1]
    answers = practice_images("simple", 60)[1]
    assert np.mean([one.text == answer for one, answer in zip(read, answers, strict=True)]) > 0.8


# ---------------------------------------------------------------- predictions


def made_up(count=40, kinds="abcd"):
    """Images of three characters each, in groups of one kind each but for one stranger."""
    features, kind = blobs(len(kinds), 3 * count // len(kinds) + 1)
    order = np.random.default_rng(3).permutation(len(kind))[: 3 * count]
    crops = [Crop(i // 3, i % 3, (0, 0, 9, 9)) for i in range(3 * count)]
    return Found("cut", crops, features[order], kind[order])


def test_named_groups_become_texts_with_confidences_and_groups_without_characters_are_left_out():
    found = made_up()
    names = {0: "a", 1: "b", 2: "", 3: "d"}
    predictions = grouping.propose(found, names, set())
    for image in range(40):
        expected = "".join(names[number] for number in found.cluster[3 * image : 3 * image + 3])
        assert predictions[image].text == expected if expected else image not in predictions
        if expected:
            confidences = predictions[image].character_confidences
            assert len(confidences) == len(expected)
            assert min(confidences) > 0.9
            assert predictions[image].confidence == pytest.approx(np.prod(confidences))
    assert grouping.propose(found, {}, set()) == {}
    one = grouping.propose(found, {1: "b"}, set())
    assert {prediction.text for prediction in one.values()} == {"bbb"}  # all that it can say, ...
    for image, prediction in one.items():  # ... and it says so
        for place, sure in enumerate(prediction.character_confidences):
            assert (sure > 0.9) == (found.cluster[3 * image + place] == 1)


def test_a_stranger_in_a_group_is_read_as_what_it_resembles_and_an_outlier_never_as_its_group():
    found = made_up()
    stranger = int(np.flatnonzero(found.cluster == 0)[0])
    found.cluster[stranger] = 1  # looks like group 0, stands in group 1
    names = {0: "a", 1: "b", 2: "c", 3: "d"}
    crop = found.crops[stranger]
    assert grouping.propose(found, names, set())[crop.image].text[crop.place] == "a"
    typical = int(np.flatnonzero(found.cluster == 2)[0])
    crop = found.crops[typical]
    prediction = grouping.propose(found, names, {typical})[crop.image]
    assert prediction.text[crop.place] != "c"
    assert prediction.character_confidences[crop.place] < 0.5


# ---------------------------------------------------------------- whole images


def test_images_of_several_forms_are_separated_into_them():
    kinds = ["simple"] * 40 + ["noise"] * 30 + ["ripple"] * 20 + ["digit"] * 12
    images = [np.asarray(forms.draw(kind, i, 6)[0]) for i, kind in enumerate(kinds)]
    order = np.random.default_rng(0).permutation(len(kinds))
    number = by_form.group_images([images[i] for i in order])
    pairs = {(kinds[i], int(n)) for i, n in zip(order, number, strict=True)}
    assert pairs == {("simple", 0), ("noise", 1), ("ripple", 2), ("digit", 3)}
    assert by_form.group_images(images[:3]).tolist() == [0, 0, 0]
