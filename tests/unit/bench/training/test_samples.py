import numpy as np

from bench.training import samples
from bench.training.calibrate import logistic
from dicomnode.measure.liver.features import CHANNELS, SHAPE
from dicomnode.measure.liver.network import CLASSES, INSIDE, LIVER, MISPLACED


def some(count=30):
    return [samples.draw(seed) for seed in range(count)]


def test_a_sample_is_made_again_from_its_seed():
    first, again = samples.draw(7), samples.draw(7)
    assert np.array_equal(first.channels, again.channels)
    assert np.array_equal(first.classes, again.classes)


def test_samples_are_finite_and_of_the_networks_size():
    for sample in some(6):
        assert sample.channels.shape == (len(CHANNELS), *SHAPE)
        assert np.isfinite(sample.channels).all()
        assert sample.classes.max() < len(CLASSES)


def test_a_liver_that_lies_wrong_is_never_called_a_liver():
    drawn = some()
    wrong = [s for s in drawn if (s.classes == MISPLACED).any()]
    assert wrong
    assert not any(np.isin(s.classes, (LIVER, INSIDE)).any() for s in wrong)


def test_some_samples_hold_a_liver_and_some_do_not():
    there = [bool((s.classes == LIVER).any()) for s in some()]
    assert 0.3 < np.mean(there) < 0.95


def test_the_logistic_rule_finds_known_odds():
    rng = np.random.default_rng(2)
    x = rng.normal(size=(4000, 2))
    p = 1 / (1 + np.exp(-(1.5 * x[:, 0] - 0.5)))
    rule = logistic(x, (rng.uniform(size=4000) < p).astype(float))
    assert np.allclose(rule["weights"], [1.5, 0.0, -0.5], atol=0.15)
