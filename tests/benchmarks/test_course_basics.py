import pytest
import torch

from benchmarks import course_basics


@pytest.mark.parametrize("name", course_basics.TRIALS)
def test_each_change_that_an_exercise_asks_for_fits_the_program_and_trains(name):
    names = course_basics.smallest(*course_basics.TRIALS[name])
    names["EPOCHS"] = 1
    torch.manual_seed(0)
    images, digits = torch.rand(32, 1, 28, 28), torch.arange(32) % 10
    net, printed = course_basics.train(names, 0, images, digits)
    assert printed.startswith("epoch  1: loss ")
    assert 0 <= course_basics.share_read(names, net, images, digits) <= 100


def test_a_change_that_does_not_fit_the_program_is_refused():
    with pytest.raises(ValueError, match="has no 'EPOCHS = 11'"):
        course_basics.smallest(("EPOCHS = 11", "EPOCHS = 12"))
