import numpy as np
import pytest
import torch
from helpers import random_images, small_net
from torch.nn import functional as F  # noqa: N812

from training import judge, plots
from training.dataset import Dataset, Split
from training.pseudo_labels import Round
from training.runs import Training


def test_the_picture_of_mistakes_begins_with_the_surest(tmp_path, monkeypatch):
    shown = []
    sheet = plots.mistakes_sheet
    monkeypatch.setattr(plots, "mistakes_sheet", lambda *a: shown.append(a) or sheet(*a))
    net = small_net("flatten")
    read = torch.tensor([[1, 1, 1], [2, 2, 2], [3, 3, 3], [1, 2, 3]])
    logits = F.one_hot(read, 4) * torch.tensor([3.0, 9.0, 6.0, 4.0])[:, None, None]
    targets = torch.tensor([[1, 1, 2], [2, 2, 1], [3, 3, 3], [1, 1, 3]])  # the third is correct
    split = Split(["aab", "bba", "ccc", "aac"], random_images(4, net), targets)
    row = {"epoch": 1, "progress": 1, "train_loss": 1.0, "val_loss": 1.0, "val_image_accuracy": 0.5}
    row |= {"train_character_accuracy": 0.5, "val_character_accuracy": 0.5}
    data = Dataset(net.charset, net.length, net.spec, split, split, split, [])
    judge.save_pictures(net, data, logits, [row], tmp_path)
    ((mistakes, total),) = shown
    assert [(label, text) for _, label, text, _ in mistakes] == [
        ("bba", "bbb"), ("aac", "abc"), ("aab", "aaa")
    ]  # fmt: skip
    assert total == 4


def test_the_picture_of_attention_shows_each_position_where_it_attended():
    maps = np.zeros((2, 3, 5, 30), np.float32)
    for position, column in enumerate((3, 14, 25)):
        maps[1, position, 2, column] = 1
    images = np.full((2, 1, 40, 120), 200, np.uint8)
    figure = plots.attention_sheet(images, maps, ["", "abc"], np.ones((2, 3)))
    places = np.array(figure.axes).reshape(2, 4)[1, 1:]  # the second image's, behind itself
    for place, column in zip(places, (3, 14, 25), strict=True):
        grey, light = place.images
        assert list(light.get_extent()) == list(grey.get_extent())
        y, x = np.unravel_index(light.get_alpha().argmax(), (40, 120))
        assert abs(x - 4 * (column + 0.5)) <= 4
        assert abs(y - 8 * 2.5) <= 8
    plots.plt.close(figure)


@pytest.mark.parametrize("sharper", [0.98, 1.02, 1.5])
def test_who_expects_less_than_its_first_teacher_is_not_kept(monkeypatch, capsys, sharper):
    """A pupil whose mean confidence is so many times that of the first teacher."""
    teacher, pupil = small_net(), small_net()
    images = random_images(40, teacher)

    def logits_of(confidence: float) -> torch.Tensor:
        """Return logits of the 4 images that are held out, (4, 1, 2), read with a confidence."""
        return torch.tensor([1 - confidence, confidence]).log().expand(4, 1, 2)

    monkeypatch.setattr(judge.pseudo_labels, "read", lambda *_: logits_of(0.6 * sharper))
    history = [{"epoch": 1, "seconds": 1.0}]
    training = Training(pupil, history, {}, 0.001, 36)
    rounds = [Round(36, logits_of(0.6), training)]
    kept, figures = judge.judge_without_labels(teacher, rounds, images)
    judge.print_expected(figures)
    said = capsys.readouterr().out
    unlearnt = sharper < 1
    assert kept is (teacher if unlearnt else pupil)
    assert figures["unlearnt"] == unlearnt == ("Before it taught itself it expected 60 %" in said)
    expected = 0.6 if unlearnt else 0.6 * sharper
    assert figures["expected_image_accuracy"] == pytest.approx(expected, abs=1e-5)


def test_labels_without_glyphs_can_be_shown():
    assert plots.visible("a\x07b") == "a<7>b"
    image = np.zeros((1, 8, 20), np.uint8)
    figure = plots.image_sheet([image], [plots.visible("$\x00_{\N{SNOWMAN}")], ["black"], "$")
    figure.canvas.draw()


def test_the_confusion_matrix_names_the_pairs_most_often_mistaken_and_has_a_scale():
    counts = np.zeros((4, 4), int)
    counts[1, 1], counts[1, 2], counts[3, 1], counts[2, 0] = 9, 2, 5, 1
    figure = plots.confusion_matrix(counts, "ab$")
    matrix, scale = figure.axes
    assert matrix.get_title().endswith("$ as a (5), a as b (2), b as end (1)")
    assert "%" in scale.get_ylabel()
    assert matrix.images[0].get_array()[1, 2] == 100 * 2 / 11
    figure = plots.confusion_matrix(np.diag([3, 4, 5, 6]), "ab$")
    assert "no character is taken for another" in figure.axes[0].get_title()
    plots.plt.close("all")


def test_the_picture_of_confidence_shows_how_often_it_is_right():
    confidences = np.array([0.2, 0.3, 0.55, 0.85, 0.99, 0.99, 0.99, 0.99])
    correct = np.array([False, True, False, True, True, True, True, False])
    left, right = plots.confidence_plot(confidences, correct).axes
    markers = [line for line in left.lines if line.get_marker() == "o" and len(line.get_xdata())]
    points = [line.get_xydata()[0].tolist() for line in markers]
    assert np.allclose(points, [[25, 50], [55, 0], [85, 100], [99, 75]])
    assert [text.get_text().strip() for text in left.texts] == ["2", "1", "1", "4"]
    (curve,) = right.lines
    shares = [100, 100, 100, 75, 80, 400 / 6, 500 / 7, 62.5]
    assert np.allclose(curve.get_ydata(), shares)
    assert np.allclose(curve.get_xdata(), np.arange(1, 9) * 12.5)
    plots.plt.close("all")
