"""A slice fitted again beside the fat that was found in it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from solver.fat import FatMap, Floor, beat, factors, fat_map, rate_by_fraction
from solver.likelihood import MonoExponential
from solver.proximal_newton import Problem, Schedule, Solution, minimise
from solver.tuning import automatic_weights
from solver.voxelwise import variable_projection

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from solver.arguments import Settings
    from solver.likelihood import Likelihood

FADED = 1.0  # sigma: a voxel with less amplitude has lost its own decay to its neighbours
LOCAL = 0.06  # of sigma: how far it may be another at a place than what is known of the image
HALF_COIL = 0.5  # samples of one channel are magnitudes of that


def look_for_fat(stack: NDArray[Any], x: NDArray[Any], free: NDArray[np.bool_], settings: Settings) -> FatMap | None:
    """Ask each voxel of ``stack`` (M, K, L), and those like it by the maps ``x``; None where nothing can be told."""
    if settings.fat_untold:
        return None
    lost = free & (x[0] < FADED)
    if lost.any():
        x = x.copy()
        x[:, lost] = variable_projection(np.ascontiguousarray(stack[:, lost]), settings.t, *settings.bounds)[:2]
    train = np.stack([settings.t.astype(np.float64), *_beating(settings)])
    return fat_map(stack, train, x, free, _floor(settings))


def _floor(settings: Settings) -> Floor:
    """The floor as far as it is known at a place."""
    n = settings.floor_coils
    if not n:
        return Floor(HALF_COIL)
    local = 0.0 if settings.noise_confidence == "given" else LOCAL
    of_sigma = 2 * n * 2 * max(settings.sigma_rel_sd, local)
    return Floor(n, float(np.hypot(of_sigma, 2 * (settings.other_coils - n))))


def _beating(settings: Settings) -> NDArray[np.float64]:
    return beat(settings.t_ms, settings.field_strength_t or 0.0)


def known_beside(
    fat: FatMap | None, likelihood: Likelihood, settings: Settings
) -> tuple[MonoExponential, NDArray[Any]] | None:
    """The likelihood beside the fat of each voxel, and a start (2, K, L); None where there is none."""
    if fat is None or not fat.fraction.any() or not isinstance(likelihood, MonoExponential):
        return None
    factor = factors(fat.fraction, _beating(settings)).astype(settings.dtype)
    start = np.stack([fat.start[0], np.clip(fat.start[1], *settings.bounds)]).astype(settings.dtype)
    return replace(likelihood, factor=factor.reshape(len(factor), -1)), start


def fit_beside(
    fat: FatMap | None, problem: Problem, found: Solution, settings: Settings, schedule: Schedule
) -> tuple[Problem, Solution]:
    """Fit again with the fat of each voxel known; where there is none, what was found stands."""
    beside = known_beside(fat, problem.likelihood, settings)
    if beside is None:
        return problem, found
    likelihood, start = beside
    problem = replace(problem, likelihood=likelihood)
    if settings.weights is None and settings.regularised:
        problem = replace(problem, weights=_weights(problem, found.x, start, likelihood.factor, settings))
    again = minimise(problem, start, found.p.copy(), schedule)
    return problem, replace(again, iterations=found.iterations + again.iterations)


def _weights(
    problem: Problem, x: NDArray[Any], start: NDArray[Any], factor: NDArray[Any] | None, settings: Settings
) -> NDArray[Any]:
    """The weights of one exponential ``x``, as fat changes what data tell: where there is none, nothing moves."""
    known = settings.t, settings.floor_coils, problem.free
    before = automatic_weights(x, *known, edges=False)
    beside = automatic_weights(start, *known, edges=False, factor=factor)
    ratio = np.divide(beside, before, out=np.ones_like(beside), where=before > 0)
    weights: NDArray[Any] = problem.weights * ratio
    return weights


def with_doubt_of(fat: FatMap | None, sd: NDArray[Any], x: NDArray[Any], settings: Settings) -> NDArray[Any]:
    """Deviation ``sd`` of the rate with what is not known of the fraction."""
    if fat is None:
        return sd
    moves = rate_by_fraction(x, fat.fraction, settings.t, _beating(settings), settings.floor_coils)
    doubted: NDArray[Any] = np.hypot(sd, np.nan_to_num(fat.sd * moves)).astype(sd.dtype)
    return doubted
