import numpy as np
import pytest
from skimage.restoration import denoise_tv_chambolle

from solver import total_variation as total_variation_module
from solver.total_variation import prox, solve_coupled, total_variation, weighted_variation

RNG = np.random.default_rng(0)
IMAGE = np.kron(np.array([[1.0, 3.0], [2.0, 0.0]]), np.ones((12, 10))) + 0.3 * RNG.standard_normal((24, 20))


def objective(x, u, weight):
    return 0.5 * np.sum((x - u) ** 2) + weight * total_variation(x)


def divergence_adjoint(p):
    """D' p, written down pixel by pixel."""
    out = np.zeros(p.shape[1:])
    for i in range(p.shape[1]):
        for j in range(p.shape[2]):
            out[i, j] = (p[0, i - 1, j] if i else 0) - (p[0, i, j] if i < p.shape[1] - 1 else 0)
            out[i, j] += (p[1, i, j - 1] if j else 0) - (p[1, i, j] if j < p.shape[2] - 1 else 0)
    return out


def test_value_of_a_step_is_its_height_times_its_length():
    step = np.zeros((6, 5))
    step[3:] = 2.0
    assert total_variation(step) == pytest.approx(10.0)


@pytest.mark.parametrize("weight", [0.05, 0.5, 3.0])
def test_prox_is_the_high_precision_minimum(weight):
    quick, exact = prox(IMAGE, weight, relative_gap=1e-5), prox(IMAGE, weight, relative_gap=1e-11, most=100_000)
    best = objective(exact.x, IMAGE, weight)
    assert best <= objective(quick.x, IMAGE, weight) <= best * (1 + 1.01e-5)


def test_prox_reaches_a_lower_objective_than_scikit_image():
    other = denoise_tv_chambolle(IMAGE, weight=0.5, eps=1e-9, max_num_iter=2000)
    mine = prox(IMAGE, 0.5, relative_gap=1e-8, most=100_000).x
    assert objective(mine, IMAGE, 0.5) <= objective(other, IMAGE, 0.5)
    np.testing.assert_allclose(mine, other, atol=2e-2)


def test_optimality_the_dual_variable_explains_the_step():
    found = prox(IMAGE, 0.5, relative_gap=1e-11, most=100_000)
    np.testing.assert_allclose(IMAGE - found.x, divergence_adjoint(found.p), atol=1e-4)
    assert np.hypot(*found.p).max() <= 0.5 + 1e-12


def test_moreau_the_prox_and_its_conjugate_add_up():
    found = prox(IMAGE, 0.5, relative_gap=1e-11, most=100_000)
    projected = divergence_adjoint(found.p)
    np.testing.assert_allclose(found.x + projected, IMAGE, atol=1e-4)
    assert np.sum(found.x * projected) == pytest.approx(0.5 * total_variation(found.x), rel=1e-4)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("most", [10, 50, 200])
def test_the_gap_is_never_negative_and_bounds_the_error(dtype, most):
    found = prox(IMAGE.astype(dtype), 0.5, relative_gap=0.0, most=most)
    best = objective(prox(IMAGE, 0.5, relative_gap=1e-11, most=100_000).x, IMAGE, 0.5)
    assert found.gap >= 0
    assert objective(found.x.astype(np.float64), IMAGE, 0.5) - best <= found.gap + 1e-4


def test_prox_is_non_expansive():
    other = IMAGE + 0.2 * RNG.standard_normal(IMAGE.shape)
    a, b = (prox(u, 0.4, relative_gap=1e-9, most=100_000).x for u in (IMAGE, other))
    assert np.linalg.norm(a - b) <= np.linalg.norm(IMAGE - other)


def test_a_huge_weight_leaves_the_mean_and_none_leaves_the_image():
    np.testing.assert_allclose(prox(IMAGE, 1e3, relative_gap=1e-9, most=100_000).x, IMAGE.mean(), atol=1e-2)
    np.testing.assert_array_equal(prox(IMAGE, 0.0).x, IMAGE)


def test_a_warm_start_needs_fewer_iterations():
    cold = prox(IMAGE, 0.5, relative_gap=1e-6)
    warm = prox(IMAGE + 1e-3, 0.5, relative_gap=1e-6, start=cold.p)
    assert warm.iterations < cold.iterations


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1), (2, 2)])
def test_degenerate_shapes_are_solved(shape):
    u = RNG.standard_normal(shape)
    found = prox(u, 0.1, relative_gap=1e-9)
    assert found.gap <= 1e-9 * max(objective(found.x, u, 0.1), 1e-30)


def test_wide_pixels_count_less():
    ramp = np.tile(np.arange(8.0), (5, 1))[None]
    square, wide = (weighted_variation(ramp, np.ones_like(ramp), s) for s in ((1.0, 1.0), (0.5, 2.0)))
    assert wide == pytest.approx(square / 2)


def coupled_problem():
    u = np.stack([IMAGE, 2 * IMAGE[::-1]])
    c = np.empty((3, *IMAGE.shape))
    c[0], c[1], c[2] = 1.0, 0.7, 2.0
    return u, c, np.full_like(u, 0.3)


def coupled_value(x, u, c, w):
    d = x - u
    determinant = c[0] * c[2] - c[1] ** 2
    inside = (c[2] * d[0] ** 2 - 2 * c[1] * d[0] * d[1] + c[0] * d[1] ** 2) / determinant
    return 0.5 * inside.sum() + weighted_variation(x, w)


def test_coupled_maps_reach_their_common_minimum():
    u, c, w = coupled_problem()
    exact = solve_coupled(u, c, w, np.zeros((4, *IMAGE.shape)), 1e-9, 100_000)
    quick = solve_coupled(u, c, w, np.zeros((4, *IMAGE.shape)), 1e-2, 100_000)
    assert coupled_value(quick.x, u, c, w) - coupled_value(exact.x, u, c, w) <= 1e-2
    for _ in range(20):
        other = exact.x + 1e-2 * RNG.standard_normal(exact.x.shape)
        assert coupled_value(other, u, c, w) > coupled_value(exact.x, u, c, w)


def test_coupled_maps_stay_within_bounds_and_at_held_voxels():
    u, c, w = coupled_problem()
    c[:, 3, 4] = 0
    w[:, 3, 4] = 0
    found = solve_coupled(u, c, w, np.zeros((4, *IMAGE.shape)), 1e-6, 100_000, bounds=(1.0, 4.0))
    np.testing.assert_allclose(found.x[:, 3, 4], u[:, 3, 4], rtol=1e-12)
    elsewhere = np.delete(found.x[1].ravel(), 3 * 20 + 4)
    assert elsewhere.min() >= 1.0
    assert elsewhere.max() <= 4.0
    assert found.gap <= 1e-6


def test_a_start_with_values_across_the_ends_leads_to_the_same_answer():
    """There is no difference across the last row and column, so that their dual variables have no say."""
    u, c, w = coupled_problem()
    cold = solve_coupled(u, c, w, np.zeros((4, *IMAGE.shape)), 1e-9, 100_000)
    warm = solve_coupled(u, c, w, np.full((4, *IMAGE.shape), 0.05), 1e-9, 100_000)
    np.testing.assert_allclose(warm.x, cold.x, atol=1e-4)


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_single_precision_bears_weights_and_images_of_any_size(scale):
    u = (scale * IMAGE).astype(np.float32)
    found = prox(u, 0.5 * scale, relative_gap=1e-3)
    np.testing.assert_allclose(found.x / scale, prox(IMAGE, 0.5).x, atol=0.05)


def test_a_weight_beyond_the_square_of_single_precision_leaves_the_mean():
    np.testing.assert_allclose(prox(IMAGE.astype(np.float32), 3e19).x, IMAGE.mean(), rtol=1e-3)


def test_staggered_passes_are_those_of_the_whole_image():
    u, c, w = coupled_problem()
    at_once, in_turn = (np.zeros((4, *IMAGE.shape)) for _ in range(2))
    one = solve_coupled(u, c, w, at_once, 0.0, 10)
    x, tau = None, 1.0
    metric = np.concatenate([c, c[1:2] / c[2:3]])
    size = np.empty_like(w)
    steps, bounds, scratch = np.ones(2), np.array([-np.inf, np.inf]), np.empty((2, u.shape[2]))
    total_variation_module._dual_sizes(metric, steps, size)
    x = u.copy()
    ahead = np.concatenate([x, x[:, :, -1:]], axis=2)
    for _ in range(10):
        pace = np.empty((1, 2))
        tau = total_variation_module._set_pace(pace, tau)
        total_variation_module._passes_two(u, metric, w, size, in_turn, x, ahead, pace, steps, bounds, scratch)
    np.testing.assert_allclose(one.x, x, atol=1e-12)
    np.testing.assert_allclose(at_once, in_turn, atol=1e-12)
