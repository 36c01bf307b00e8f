"""The ring of the left ventricle in one slice: blood, bright or dark, with muscle around it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.floating[Any]]

STEP_MM = 1.5  # along a ray
REACH_MM = 57.0
RAYS, COARSE_RAYS = 48, 2  # of a ring; every second one while it is looked for
COARSE_MM, FINE_MM = 5.0, 1.5  # between middles that are tried
POOLS_MM = (12.0, 34.5)  # radius of the blood
WALLS_MM = (6.0, 16.5)  # thickness of the muscle
EDGE_MM = 2.0  # to either side of an edge nothing is looked at
SMOOTH_MM = 1.2
TISSUE = 0.2  # of the body's usual signal: muscle gives more, lungs give less
CLEAR = 4.0  # times the noise
TRIED_AGAIN = 6  # of the coarse middles
ENDS_MM = 4.5  # how far the edge of the blood may lie off a circle


@dataclass(frozen=True, slots=True)
class Ring:
    """A left ventricle: its middle in rows and columns, both edges of its muscle along each ray, in mm.

    Ray 0 points along the columns, the others follow towards the rows. ``score`` is how clearly the muscle differs
    from the blood, in deviations; ``complete`` the share of rays on which it does.
    """

    middle: tuple[float, float]
    inner_mm: NDArray[np.float64]
    outer_mm: NDArray[np.float64]
    bright: bool  # the blood, against the muscle
    blood: float
    muscle: float
    score: float
    complete: float
    round: float  # 1 where the edge of the blood is a circle


def angles() -> NDArray[np.float64]:
    """Of the rays, in radians."""
    return np.arange(RAYS) * 2 * np.pi / RAYS


def rays(image: Array, middles: Array, step_mm: tuple[float, float], every: int = 1) -> NDArray[np.float64]:
    """The image along the rays from each middle (n, 2), or along every second one: (n, rays, samples)."""
    along = np.arange(0.0, REACH_MM, STEP_MM)
    down = np.sin(angles()[::every])[:, None] * along / step_mm[0]
    right = np.cos(angles()[::every])[:, None] * along / step_mm[1]
    rows = middles[:, 0, None, None] + down
    columns = middles[:, 1, None, None] + right
    return np.asarray(ndimage.map_coordinates(image, [rows, columns], order=1, mode="nearest"), np.float64)


def find(image: Array, sigma: float, step_mm: tuple[float, float]) -> Ring | None:
    """The clearest ring of a slice (K, L); None where there is none at all."""
    smooth = ndimage.gaussian_filter(np.asarray(image, np.float64), [SMOOTH_MM / step for step in step_mm])
    body = smooth > max(CLEAR * sigma, 0.0)
    if not body.any():
        return None
    usual = float(np.median(smooth[body]))
    tried = _grid(body, step_mm)
    if not len(tried):
        return None
    best: list[tuple[float, _Circle]] = []
    seen = rays(smooth, tried, step_mm, every=COARSE_RAYS)
    for bright in (True, False):
        scores, _ = _scored(seen, sigma, usual, bright=bright)
        for index in np.argsort(-scores)[:TRIED_AGAIN]:
            near = _around(tried[index], step_mm)
            fine, sizes = _scored(rays(smooth, near, step_mm, every=COARSE_RAYS), sigma, usual, bright=bright)
            top = int(np.argmax(fine))
            best.append((float(fine[top]), _Circle(near[top], int(sizes[top, 0]), int(sizes[top, 1]), bright)))
    score, circle = max(best, key=lambda one: one[0])
    return None if score <= 0 else _edged(smooth, circle, score, sigma, step_mm)


@dataclass(frozen=True, slots=True)
class _Circle:
    middle: NDArray[np.float64]
    pool: int  # samples
    wall: int
    bright: bool


def _grid(body: NDArray[np.bool_], step_mm: tuple[float, float]) -> NDArray[np.float64]:
    """Middles of rings that lie within the images with their blood; lungs and air beside hearts are dark, too."""
    strides = [max(1, round(COARSE_MM / step)) for step in step_mm]
    margins = [round(POOLS_MM[0] / step) for step in step_mm]
    wide = ndimage.binary_closing(np.pad(body, 20), iterations=15)[20:-20, 20:-20]
    rows, columns = (
        range(margin, n - margin, stride) for n, margin, stride in zip(body.shape, margins, strides, strict=True)
    )
    found = [(row, column) for row in rows for column in columns if wide[row, column]]
    middles: NDArray[np.float64] = np.array(found, np.float64).reshape(-1, 2)
    return middles


def _around(middle: NDArray[np.float64], step_mm: tuple[float, float]) -> NDArray[np.float64]:
    offsets = np.arange(-2, 3) * FINE_MM
    down, right = np.meshgrid(offsets / step_mm[0], offsets / step_mm[1], indexing="ij")
    return np.asarray(middle + np.stack([down.ravel(), right.ravel()], axis=1))


def _scored(
    seen: NDArray[np.float64], sigma: float, usual: float, *, bright: bool
) -> tuple[NDArray[np.float64], NDArray[np.int_]]:
    """For each middle the best score of a blood pool in a wall, with the samples of both radii."""
    sums = np.concatenate([np.zeros((*seen.shape[:2], 1)), np.cumsum(seen, axis=2)], axis=2)
    squares = np.concatenate([np.zeros((len(seen), 1)), np.cumsum((seen**2).mean(axis=1), axis=1)], axis=1)
    edge = round(EDGE_MM / STEP_MM)
    best = np.full(len(seen), -np.inf)
    sizes = np.zeros((len(seen), 2), int)
    pools, walls = (_samples(*ends) for ends in (POOLS_MM, WALLS_MM))
    for pool in pools:
        inside = sums[:, :, pool - edge].mean(axis=1) / (pool - edge)
        uneven = np.sqrt(np.maximum(squares[:, pool - edge] / (pool - edge) - inside**2, 0.0))
        for wall in walls:
            first, last = pool + edge // 2 + 1, pool + wall - edge // 2
            muscle = (sums[:, :, last] - sums[:, :, first]) / (last - first)
            beyond = (sums[:, :, pool + wall + 3] - sums[:, :, pool + wall + 1]) / 2
            level = np.median(muscle, axis=1)
            apart = (inside - level) * (1 if bright else -1)
            spread = 1.4826 * np.median(np.abs(muscle - level[:, None]), axis=1)
            ends = np.mean(np.abs(beyond - level[:, None]) > 0.35 * np.abs(apart)[:, None], axis=1)
            covers = np.mean((inside[:, None] - muscle) * (1 if bright else -1) > 0.4 * apart[:, None], axis=1)
            score = apart / (spread + 0.5 * uneven + sigma + 0.02 * usual) * ends * covers**2
            score = np.where((level > max(TISSUE * usual, CLEAR * sigma)) & (apart > 0), score, -np.inf)
            better = score > best
            best[better] = score[better]
            sizes[better] = (pool, wall)
    return best, sizes


def _samples(least_mm: float, most_mm: float) -> range:
    return range(round(least_mm / STEP_MM), round(most_mm / STEP_MM) + 1)


def _edged(
    smooth: NDArray[np.float64], circle: _Circle, score: float, sigma: float, step_mm: tuple[float, float]
) -> Ring:
    """Follow both edges of the muscle ray by ray."""
    (seen,) = rays(smooth, circle.middle[None], step_mm)
    sign = 1.0 if circle.bright else -1.0
    blood = float(np.median(seen[:, : circle.pool - 1]))
    muscle = float(np.median(seen[:, circle.pool + 1 : circle.pool + circle.wall - 1]))
    off = round(ENDS_MM / STEP_MM)
    fall = -sign * np.diff(seen, axis=1)
    inner = _edge(fall, circle.pool - off, circle.pool + off)
    change = np.abs(np.diff(seen, axis=1))
    outer = _edge(change, circle.pool + circle.wall - off, circle.pool + circle.wall + off)
    walls = [seen[k, int(inner[k]) + 1 : max(int(outer[k]), int(inner[k]) + 2)].mean() for k in range(RAYS)]
    clear = sign * (blood - np.array(walls)) > max(0.4 * abs(blood - muscle), 2.0 * sigma)
    return Ring(
        middle=(float(circle.middle[0]), float(circle.middle[1])),
        inner_mm=inner * STEP_MM,
        outer_mm=np.maximum(outer, inner + 2) * STEP_MM,
        bright=circle.bright,
        blood=blood,
        muscle=muscle,
        score=score,
        complete=float(clear.mean()),
        round=float(1.0 - np.std(inner) / max(float(np.mean(inner)), 1.0)),
    )


def _edge(change: NDArray[np.float64], first: int, last: int) -> NDArray[np.float64]:
    """Where each ray changes most between two samples, to a part of one, smooth around the ring."""
    first, last = max(first, 1), min(last, change.shape[1] - 1)
    part = np.maximum(change[:, first:last], 0.0)
    peak = np.argmax(part, axis=1)
    found = first + 0.5 + peak.astype(np.float64)
    return np.asarray(ndimage.gaussian_filter1d(ndimage.median_filter(found, 7, mode="wrap"), 1.0, mode="wrap"))
