import torch

from training.dataset import encode_labels
from training.pseudo_labels import confident_predictions


def test_only_confident_predictions_become_labels():
    torch.manual_seed(0)
    logits, images = torch.randn(300, 2, 3) * 5, torch.arange(300)
    split = confident_predictions(logits, images, "ab")
    expected = []
    for i, image in enumerate(logits.double().softmax(2)):
        (first, a), (second, b) = [max((p.item(), c) for c, p in enumerate(row)) for row in image]
        if first * second >= 0.9:
            expected.append((i, "".join(" ab"[c] for c in (a, b) if c)))
    assert list(zip(split.images.tolist(), split.labels, strict=True)) == expected
    assert 10 < len(expected) < 290
    assert split.targets.tolist() == encode_labels(split.labels, "ab", 2).tolist()
