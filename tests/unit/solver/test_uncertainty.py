import numpy as np
import pytest

from solver import fit_t2star
from solver.phantom import PAPER_ECHO_TIMES_MS, Abdomen, Receiver, abdomen, acquire
from solver.uncertainty import cramer_rao, information

T = np.array(PAPER_ECHO_TIMES_MS) / PAPER_ECHO_TIMES_MS[-1]


def test_information_without_a_floor_is_that_of_least_squares():
    a, r = np.array([40.0]), np.array([3.0])
    e = np.exp(-3.0 * T)
    jacobian = np.stack([e, -40 * T * e])
    np.testing.assert_allclose(information(a, r, T, 0)[:, 0], (jacobian @ jacobian.T)[[0, 0, 1], [0, 1, 1]])


def test_a_floor_takes_information_away():
    a, r = np.full(3, 30.0), np.array([1.0, 4.0, 9.0])
    gaussian, rician, eight = (cramer_rao(a, r, T, n)[1] for n in (0, 1, 8))
    assert np.all(gaussian < rician)
    assert np.all(rician < eight)


def coverage(fit, truth, region):
    use = region & fit.valid
    error = np.abs(fit.r2star_per_s - truth.r2star_per_s)[use]
    return np.mean(error < 1.96 * fit.r2star_sd_per_s[use])


@pytest.mark.parametrize(("t2star", "sigma"), [(3.0, 10.0), (6.0, 8.0), (12.0, 5.0), (20.0, 10.0)])
@pytest.mark.parametrize("method", ["admm", "nls", "learned"])
def test_95_percent_intervals_cover_the_truth(method, t2star, sigma):
    found = []
    for seed in (0, 1):
        rng = np.random.default_rng(seed)
        truth = abdomen(Abdomen(shape=(96, 128), liver_t2star_ms=t2star), rng)
        image = acquire(truth, PAPER_ECHO_TIMES_MS, Receiver(sigma), rng).astype(np.float32)
        fit = fit_t2star(image, PAPER_ECHO_TIMES_MS, method=method, noise="rician")
        found.append(coverage(fit, truth, truth.regions["liver"]))
    assert 0.92 < np.mean(found) < 0.98
