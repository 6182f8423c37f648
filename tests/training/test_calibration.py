import pytest
import torch

from training import calibration
from training.calibration import confidences_of, coverage_table, fit_temperature
from training.dataset import Split
from training.judge import print_figures
from training.metrics import describe


def noisy_split(count, strength, seed, scale=4):
    """Logits that are correct on average, but ``strength`` times as sure as they should be."""
    torch.manual_seed(seed)
    logits = torch.randn(count, 3, 5) * scale
    targets = torch.distributions.Categorical(logits=logits).sample()
    return strength * logits, Split([""] * count, None, targets)


@pytest.mark.parametrize("strength", [0.7, 1.0, 3.0])
def test_temperature_finds_how_much_too_sure_the_network_is(strength):
    logits, split = noisy_split(20_000, strength, 0)
    assert fit_temperature(logits, split) == pytest.approx(strength, rel=0.04)
    logits = logits / strength  # then confidence is what share is right
    right = (logits.argmax(2) == split.targets).all(1).float()
    sure = confidences_of(logits)
    for low in (0.2, 0.4, 0.6, 0.8):
        some = (sure > low) & (sure < low + 0.2)
        assert right[some].mean().item() == pytest.approx(sure[some].mean().item(), abs=0.03)


def test_of_very_many_images_an_even_sample_gives_the_temperature(monkeypatch):
    logits, split = noisy_split(4000, 3.0, 1)
    split.targets[1::4] = 0  # seen by nobody who looks at each fourth image
    some = split._replace(targets=split.targets[::4])
    expected = fit_temperature(logits[::4], some)
    assert fit_temperature(logits, split) != expected
    monkeypatch.setattr(calibration, "FITTED_TO", 1000)
    assert fit_temperature(logits, split) == expected


def test_few_validation_images_change_the_temperature_little():
    """Twenty read correctly do not make the network surer, nor does one sure mistake destroy it."""
    logits = torch.zeros(20, 3, 5)
    logits[:, :, 1] = 9.0
    right = Split([""] * 20, None, torch.ones(20, 3, dtype=torch.int64))
    assert 0.8 < fit_temperature(logits, right) <= 1
    one_wrong = right._replace(targets=right.targets.clone())
    one_wrong.targets[0, 0] = 2
    assert 1 < fit_temperature(logits, one_wrong) < 1.4
    assert fit_temperature(logits, one_wrong, torch.inf) > 1.5


def test_coverage_thresholds_come_from_validation_and_are_shown_on_the_test(capsys):
    val, test = noisy_split(3000, 1.0, 1, scale=12), noisy_split(3000, 1.0, 2, scale=12)
    rows = coverage_table(val[0], *test)
    assert [row["wanted_precision"] for row in rows][0] == 0.95
    shares = [row["answered"] for row in rows]
    assert shares == sorted(shares, reverse=True)
    for row in rows:
        slow = [sure for sure in confidences_of(val[0]) if sure >= row["min_confidence"]]
        assert sum(slow) / len(slow) == pytest.approx(row["wanted_precision"], abs=0.002)
        assert row["precision"] == pytest.approx(row["wanted_precision"], abs=0.02)
        assert row["min_confidence"] == round(row["min_confidence"], 4)  # predict.py shows four
    described = describe(*test, "abcd")
    figures = {"test": described, "val": described, "coverage": rows}
    print_figures(figures)
    assert f"MIN_CONFIDENCE={rows[2]['min_confidence']}, found on 3000" in capsys.readouterr().out
    unsure = coverage_table(val[0] / 100, test[0] / 100, test[1])
    print_figures({**figures, "coverage": unsure})
    assert "None of 3000 validation images" in capsys.readouterr().out
    unanswered = coverage_table(val[0], test[0] / 100, test[1])
    print_figures({**figures, "coverage": unanswered})
    assert capsys.readouterr().out.endswith(" 0.0 % answered\n")
    certain = torch.tensor([[[0.0, 99.0]]])  # with a confidence of 1
    rows = coverage_table(certain, certain, Split(["a"], None, torch.ones(1, 1)))
    assert [row["answered"] for row in rows] == [1, 1, 1, 1]
    assert max(row["min_confidence"] for row in rows) < 1
