"""A stack -> its maps, regions and numbers, free of files and queues."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from dicomnode import fit as fitting
from dicomnode import pixels, plausible, plugins, protocol, region
from dicomnode.measure.organs import LIVER, ORGANS, PHANTOM
from dicomnode.model import DecayCurve, EchoStack, Flag, Grade, Maps, Roi, RoiMeasurement

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dicomnode.config import FitSettings, MeasureSettings
    from dicomnode.measure import regions
    from dicomnode.measure.organs import Organ

Measurement = tuple[tuple[Roi, ...], tuple[RoiMeasurement, ...], tuple[DecayCurve | None, ...]]


def fit_stack(stack: EchoStack, settings: FitSettings) -> tuple[NDArray[np.float32], Maps]:
    """Load the pixels of a stack and fit them."""
    signal = pixels.load(stack)
    return signal, fit_signal(stack, signal, settings)


def fit_signal(stack: EchoStack, signal: NDArray[np.float32], settings: FitSettings) -> Maps:
    """Fit the pixels of a stack, (slices, K, L, M); raises Implausible where they cannot be those of a decay."""
    plausible.check(signal, stack.echo_times_ms)
    spacing = stack.planes[0].pixel_spacing_mm
    return fitting.fit(signal, stack.echo_times_ms, spacing, settings, stack.field_strength_t)


def find_regions(stack: EchoStack, signal: NDArray[np.float32], maps: Maps, organ: Organ = LIVER) -> regions.Found:
    """Find the regions of an organ without a person's help, by the rates of one exponential as finders know them."""
    return organ.find(signal, stack.echo_times_ms, maps.plain, stack.planes, fitting.Noise.of(maps).n_coils)


def look(
    stack: EchoStack, signal: NDArray[np.float32], maps: Maps, organ: Organ, *, phantoms: bool
) -> tuple[Organ, regions.Found]:
    """Find the regions of an organ, or with ``phantoms`` of the phantom that the images turn out to show."""
    found = find_regions(stack, signal, maps, organ)
    vials = _phantom(stack, signal, maps, organ, found) if phantoms else None
    return (organ, found) if vials is None else (PHANTOM, vials)


def _phantom(
    stack: EchoStack, signal: NDArray[np.float32], maps: Maps, organ: Organ, found: regions.Found
) -> regions.Found | None:
    """The vials or the even body of a phantom; None where it is none. ``found`` is what was found of the organ."""
    if not protocol.may_be_phantom(stack, found, organ):
        return None
    vials = find_regions(stack, signal, maps, PHANTOM)
    if vials.seen and not protocol.tells_phantoms(found):
        found = find_regions(stack, signal, maps)  # the liver's finder does
    clipped = region.Images.of(stack, signal, maps).are_clipped_in(vials.organ)
    return vials if protocol.is_phantom(stack, found, vials, organ, clipped=clipped) else None


def measure_regions(
    rois: tuple[Roi, ...],
    stack: EchoStack,
    signal: NDArray[np.float32],
    maps: Maps,
    settings: MeasureSettings,
    *,
    organ: Organ = LIVER,
) -> Measurement:
    """Measure regions on maps that exist; ``organ`` is what the series is of: of a phantom all regions are its own.

    Of those that were found in a body without a person's help slices whose field bends the decay are left out first.
    """
    images = region.Images.of(stack, signal, maps, organ)
    if organ is PHANTOM:
        rois = tuple(dataclasses.replace(one, finding=PHANTOM.name) for one in rois)
    else:
        rois = tuple(region.without_field(roi, images) for roi in rois)
    measured = [region.measure(roi, images, settings) for roi in rois]
    return rois, tuple(one for one, _ in measured), tuple(decay for _, decay in measured)


def shown(maps: Maps, rois: tuple[Roi, ...], measurements: tuple[RoiMeasurement, ...], organ: Organ) -> Maps:
    """The maps of a result as they are reported: of a phantom those of one exponential."""
    return with_what_is_beyond(maps.one_exponential if organ is PHANTOM else maps, rois, measurements)


def with_what_is_beyond(maps: Maps, rois: tuple[Roi, ...], measurements: tuple[RoiMeasurement, ...]) -> Maps:
    """Mark as beyond the range what has no fit in a region that is: black from the first echo on, it never had one.

    A map that shows nothing there would read as no iron.
    """
    nothing = np.zeros(maps.valid.shape, bool)
    too_fast = [
        roi.mask
        for roi, one in zip(rois, measurements, strict=True)
        if any(flag.code == "beyond-range" for flag in one.flags)
    ]
    beyond = np.logical_or.reduce([nothing if maps.beyond is None else maps.beyond, *too_fast])
    return dataclasses.replace(maps, beyond=beyond & ~maps.valid)


def extensions() -> tuple[plugins.Plugin, ...]:
    """The organs and methods of other packages, loaded; raises ConfigError with the name of one that cannot be used."""
    list(ORGANS)
    fitting.methods()
    return tuple(one for group in plugins.GROUPS for one in plugins.offered(group))


def why_no_number(measurements: tuple[RoiMeasurement, ...]) -> Flag | None:
    """Why a result holds no number at all; None where it holds one."""
    if any(one.r2star_per_s is not None for one in measurements):
        return None
    forbidding = (flag for one in measurements for flag in one.flags if flag.grade is Grade.NOT_MEASURABLE)
    return next(forbidding, Flag("no-region", Grade.NOT_MEASURABLE, "no region was found or drawn"))
