import numpy as np

from solver.smoothness import laplacian, roughness, solve_smooth

RNG = np.random.default_rng(0)
SHAPE = (7, 6)
FREE = RNG.random(SHAPE) > 0.2


def test_laplacian_is_symmetric_and_blind_to_constants():
    x, y = RNG.standard_normal((2, *SHAPE))
    assert np.isclose(np.vdot(laplacian(x, FREE), y), np.vdot(x, laplacian(y, FREE)))
    np.testing.assert_allclose(laplacian(np.full(SHAPE, 3.0), FREE), 0)


def test_the_smooth_maps_satisfy_their_normal_equations():
    u, w = RNG.standard_normal((2, *SHAPE)), RNG.uniform(0.5, 2, (2, *SHAPE)) * FREE
    c = np.stack([np.full(SHAPE, 1.0), np.full(SHAPE, 0.6), np.full(SHAPE, 2.0)]) * FREE
    x, left = solve_smooth(u, c, w, FREE, FREE, u, 1e-12, 500)
    assert left < 1e-12
    pull = laplacian(w * w * laplacian(x, FREE), FREE)
    moved = np.stack([c[0] * pull[0] + c[1] * pull[1], c[1] * pull[0] + c[2] * pull[1]])
    np.testing.assert_allclose(x, u - moved, atol=1e-2)
    assert roughness(x, w, FREE) < roughness(u, w, FREE)
