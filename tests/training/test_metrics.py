import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from training.dataset import Split, encode_labels
from training.metrics import describe, score


def test_scores_agree_with_counting_by_hand():
    targets = torch.tensor([[1, 2, 0], [2, 0, 0], [1, 1, 1]])
    read = torch.tensor([[1, 2, 0], [2, 1, 0], [1, 2, 1]])
    logits = F.one_hot(read, 3).float() * 20
    split = Split(["ab", "b", "aaa"], None, targets)
    scores = score(logits, split)
    # Positions that the label or the reading has: 2 + 2 + 3; wrong: the extra a, and one b.
    assert scores.character_accuracy == pytest.approx(5 / 7)
    assert scores.image_accuracy == pytest.approx(1 / 3)


def test_figures_by_position_and_character_agree_with_counting_by_hand():
    torch.manual_seed(0)
    labels = ["ab", "b", "aab", "bb", "abb"] * 8
    targets = torch.from_numpy(encode_labels(labels, "ab", 3))
    split = Split(labels, None, targets)
    logits = F.one_hot(targets, 3) + torch.randn(40, 3, 3)
    figures = describe(logits, split, "ab")
    read = [["", "a", "b"][c] for c in logits.argmax(2).flatten()]
    true = [["", "a", "b"][c] for c in targets.flatten()]
    pairs = list(zip(true, read, strict=True))
    for place in range(3):
        there = [pair for pair in pairs[place::3] if pair[0]]
        share = sum(a == b for a, b in there) / len(there)
        assert figures["position_accuracy"][place] == pytest.approx(share)
    for character, found in figures["characters"].items():
        assert found["count"] == true.count(character)
        correct = pairs.count((character, character)) / true.count(character)
        assert found["character_accuracy"] == pytest.approx(correct)
    counts = [found["count"] for found in figures["confusions"]]
    assert counts == sorted(counts, reverse=True)
    assert sum(counts) == sum(a != b for a, b in pairs)
    for found in figures["confusions"]:
        assert pairs.count((found["label"], found["prediction"])) == found["count"]
