"""The images of a synthetic study as numbers: what the scanner saw, quantised as it stores it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from dicomnode.model import Component
from dicomnode.simulate.plan import ORIENTATIONS, Region, Truth
from solver import heart
from solver.model import GYROMAGNETIC_RATIO_MHZ_PER_T
from solver.phantom import Abdomen, Phantom, abdomen, complex_signal

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from dicomnode.model import Vector3
    from dicomnode.simulate.dialects import Dialect, Kind
    from dicomnode.simulate.plan import SeriesPlan

    Array = NDArray[np.floating[Any]]

ISOCENTRE_TO_BODY_MM = (4.0, -12.5, 35.0)  # the body never lies quite where the magnet's centre is
FULL_SCALE = 4095  # 12 bits
HEADROOM_SIGMA = 5.0  # above the brightest voxel, so that noise is not clipped


@dataclass(frozen=True, slots=True)
class Placement:
    """Where an image lies: PS3.3 C.7.6.2, C.7.6.16.2.1."""

    position: Vector3
    orientation: tuple[float, float, float, float, float, float]
    spacing_mm: tuple[float, float, float]  # between rows, columns, slices


@dataclass(frozen=True, slots=True)
class Frame:
    """One image of one kind with what its header needs to know; ``stored`` is (K, L) integers."""

    plan: SeriesPlan
    kind: Kind
    kind_index: int  # order of the kinds within a series
    slice_index: int
    echo_index: int
    echo_time_ms: float
    n_echoes: int  # of the series this image belongs to
    placement: Placement
    stored: NDArray[np.integer[Any]]


def acquire(plan: SeriesPlan, dialect: Dialect) -> tuple[tuple[Frame, ...], Truth]:
    """Draw the object, take its images, and quantise them; the truth is in the units of the rescaled images."""
    rng = np.random.default_rng(plan.seed)
    phantom, clean = _drawn(plan, _field_t(plan, dialect), rng)
    full_scale = FULL_SCALE * (dialect.magnitude.rescale.slope if dialect.magnitude.rescale else 1.0)
    noise = float(np.median(phantom.s0[phantom.regions["liver" if plan.heart is None else "septum"]])) / plan.snr
    gain = full_scale / (float(np.abs(clean).max()) + HEADROOM_SIGMA * noise)
    white = rng.standard_normal(clean.shape) + 1j * rng.standard_normal(clean.shape)
    seen = gain * (clean + noise * white)
    if plan.zeroed_air:
        seen[phantom.regions["air"]] = 0.0
    truth = _truth(plan, phantom, gain, gain * noise)
    return tuple(_frames(plan, dialect, seen, phantom)), truth


def _field_t(plan: SeriesPlan, dialect: Dialect) -> float:
    """The field that this vendor's scanners of that class have, where the frequency in their headers tells it."""
    frequency = dialect.frequency_mhz[plan.field_strength_t]
    return plan.field_strength_t if frequency is None else frequency / GYROMAGNETIC_RATIO_MHZ_PER_T


def _drawn(plan: SeriesPlan, field_t: float, rng: np.random.Generator) -> tuple[Phantom, NDArray[np.complex128]]:
    """The object and its complex signal without noise."""
    if plan.heart is None:
        phantom = abdomen(_anatomy(plan, field_t), rng)
        return phantom, complex_signal(phantom, plan.echo_times_ms)
    anatomy = heart.Heart(
        shape=(plan.rows, plan.columns),
        slices=plan.slices,
        spacing_mm=plan.spacing_mm[:2],
        liver_t2star_ms=plan.liver_t2star_ms,
        texture=plan.texture,
        field_strength_t=field_t,
        **asdict(plan.heart),
    )
    phantom = heart.heart(anatomy, rng)
    return phantom, heart.complex_signal(anatomy, phantom, plan.echo_times_ms)


def _anatomy(plan: SeriesPlan, field_t: float) -> Abdomen:
    return Abdomen(
        shape=(plan.rows, plan.columns),
        slices=plan.slices,
        spacing_mm=plan.spacing_mm[:2],
        liver_t2star_ms=plan.liver_t2star_ms,
        texture=plan.texture,
        lesion_diameter_mm=plan.lesion_diameter_mm,
        liver_fat=plan.liver_fat,
        field_strength_t=field_t,
    )


def _truth(plan: SeriesPlan, phantom: Phantom, gain: float, sigma: float) -> Truth:
    s0 = gain * np.asarray(phantom.s0, dtype=np.float64)
    rate = np.where(phantom.regions["air"], 0.0, phantom.r2star_per_s)
    names = (name for name, mask in phantom.regions.items() if name not in ("air", "body") and mask.any())
    return Truth(
        regions={name: _region(phantom.regions[name], rate, s0) for name in names},
        r2star_per_s=rate,
        s0=s0,
        sigma=sigma,
        echo_times_ms=plan.echo_times_ms,
        positions=tuple(_position(plan, index) for index in range(plan.slices)),
        orientation=ORIENTATIONS[plan.orientation],
        spacing_mm=plan.spacing_mm,
    )


def _region(mask: NDArray[np.bool_], rate: Array, s0: Array) -> Region:
    median = float(np.median(rate[mask]))
    return Region(mask=mask, t2star_ms=1000.0 / median, r2star_per_s=median, s0=float(np.median(s0[mask])))


def _position(plan: SeriesPlan, slice_index: int) -> Vector3:
    """Centre of the first pixel, mm; slices ascend along the normal about the centre of the body."""
    row, column = np.array(ORIENTATIONS[plan.orientation][:3]), np.array(ORIENTATIONS[plan.orientation][3:])
    between_rows, between_columns, between_slices = plan.spacing_mm
    corner = (
        np.array(ISOCENTRE_TO_BODY_MM)
        - row * between_columns * (plan.columns - 1) / 2
        - column * between_rows * (plan.rows - 1) / 2
        + np.cross(row, column) * between_slices * (slice_index - (plan.slices - 1) / 2)
    )
    x, y, z = (round(float(value), 5) for value in corner)
    return x, y, z


def _frames(plan: SeriesPlan, dialect: Dialect, seen: NDArray[np.complex128], phantom: Phantom) -> Iterator[Frame]:
    complex_kinds = (dialect.magnitude,) * plan.with_magnitude + dialect.companions * plan.with_phase
    for kind_index, kind in enumerate(complex_kinds):
        yield from _echoes(plan, dialect, kind, kind_index, _part(seen, kind.component))
    if plan.with_traps:
        yield from _traps(plan, dialect, seen, phantom, first_index=len(complex_kinds))


def _part(seen: NDArray[np.complex128], component: Component) -> Array:
    parts: Mapping[Component, Array] = {
        Component.MAGNITUDE: np.abs(seen),
        Component.PHASE: np.angle(seen),
        Component.REAL: seen.real,
        Component.IMAGINARY: seen.imag,
    }
    return parts[component]


def _echoes(plan: SeriesPlan, dialect: Dialect, kind: Kind, kind_index: int, values: Array) -> Iterator[Frame]:
    """Every slice and echo of one kind; ``values`` is (slices, K, L, M) in natural units."""
    n_echoes = values.shape[-1] if kind.series else len(plan.echo_times_ms)
    for slice_index in range(values.shape[0]):
        placement = Placement(_position(plan, slice_index), ORIENTATIONS[plan.orientation], plan.spacing_mm)
        for echo_index in range(values.shape[-1]):
            echo_time = plan.echo_times_ms[echo_index] if kind.echo_time_ms is None else kind.echo_time_ms
            stored = _quantise(values[slice_index, ..., echo_index], kind, signed=dialect.signed)
            yield Frame(plan, kind, kind_index, slice_index, echo_index, echo_time, n_echoes, placement, stored)


def _traps(
    plan: SeriesPlan, dialect: Dialect, seen: NDArray[np.complex128], phantom: Phantom, first_index: int
) -> Iterator[Frame]:
    """Return what a real study holds beside the echoes: the scanner's own maps, and the localiser."""
    if dialect.r2star_map:
        rate = np.where(phantom.regions["air"], 0.0, phantom.r2star_per_s)[..., None]
        yield from _echoes(plan, dialect, dialect.r2star_map, first_index, rate)
    if dialect.field_map:
        if dialect.field_map.series:  # GE's B0 series repeats a magnitude under the same keys
            twin = replace(
                dialect.magnitude,
                series=dialect.field_map.series,
                series_description=dialect.field_map.series_description,
            )
            yield from _echoes(plan, dialect, twin, first_index + 1, np.abs(seen[..., :1]))
        yield from _echoes(plan, dialect, dialect.field_map, first_index + 2, phantom.off_resonance_hz[..., None])
    if dialect.localiser:
        yield from _localisers(plan, dialect, dialect.localiser, np.abs(seen[plan.slices // 2, ..., 0]))


def _localisers(plan: SeriesPlan, dialect: Dialect, kind: Kind, picture: Array) -> Iterator[Frame]:
    """One image in each of the three planes at half the resolution."""
    small = replace(plan, rows=len(picture[::2]), columns=len(picture[0, ::2]), slices=1)
    for index, orientation in enumerate(("axial", "coronal", "sagittal")):
        between_rows, between_columns, between_slices = plan.spacing_mm
        spacing_mm = (2 * between_rows, 2 * between_columns, between_slices)
        there = replace(small, orientation=orientation, spacing_mm=spacing_mm)
        placement = Placement(_position(there, 0), ORIENTATIONS[orientation], there.spacing_mm)
        stored = _quantise(picture[::2, ::2], kind, signed=dialect.signed)
        echo_time = kind.echo_time_ms or plan.echo_times_ms[0]
        yield Frame(plan, kind, 0, index, 0, echo_time, 1, placement, stored)


def _quantise(values: Array, kind: Kind, *, signed: bool) -> NDArray[np.integer[Any]]:
    """Natural units to stored integers; what does not fit is clipped, as scanners do."""
    slope, intercept = (kind.rescale.slope, kind.rescale.intercept) if kind.rescale else (1.0, 0.0)
    stored: Array = np.rint((values * kind.scale - intercept) / slope)
    lowest, highest = (-32768, 32767) if signed else (0, FULL_SCALE)
    kept: NDArray[np.integer[Any]] = np.clip(stored, lowest, highest).astype(np.int16 if signed else np.uint16)
    return kept
