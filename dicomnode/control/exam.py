"""What an exam says of its scanner: signal, noise, ghosts, how well its echoes agree; of a phantom every vial."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dicomnode.model import DecayCurve, Result

CLEAR = 3.0  # times the floor: fainter echoes say nothing of how well echoes agree
BODY = 0.15  # of the bright end of the first echo
AIR = 4  # rows and columns of air on each side, at least, to look for ghosts in


def of(result: Result) -> dict[str, Any]:
    """JSON values; None where something is not known.

    ``snr``: signal of the first echo in the first region over ``sigma``. ``ghosting``: of the signal, by how much the
    air above and below the body is brighter than that beside it, or the other way round (NEMA MS 9). ``echoes``: root
    mean square of what the decay of the first region leaves, of its signal.
    """
    image = result.stack.images[0][0]
    slices, rows, columns, echoes = result.stack.shape
    sigma = float(np.median(result.maps.sigma)) if result.maps.sigma else 0.0
    first = next((curve for curve in result.decays if curve is not None), None)
    return {
        "scanner": {
            "manufacturer": image.manufacturer,
            "model": image.model_name,
            "station": image.station_name,
            "field_t": result.stack.field_strength_t,
        },
        "acquired_s": image.acquired_s,
        "protocol": f"{slices} × {rows} × {columns}, {echoes} echoes from {result.stack.echo_times_ms[0]:g} ms",
        "sigma": sigma,
        "n_coils": result.maps.record.parameters.get("n_coils"),
        "snr": None if first is None or sigma <= 0 else first.signal[0] / sigma,
        "ghosting": None if result.anatomy is None else ghosting(result.anatomy),
        "echoes": None if first is None else consistency(first),
        "vials": [_vial(result, index) for index, one in enumerate(result.measurements) if one.vial is not None],
    }


def consistency(curve: DecayCurve) -> float | None:
    """How far single echoes lie from the decay, relative; None where fewer than three are clear of the floor."""
    if curve.s0 is None or curve.r2star_per_s is None:
        return None
    times_s, signal = np.array(curve.echo_times_ms) * 1e-3, np.array(curve.signal)
    expected = np.hypot(curve.s0 * np.exp(-curve.r2star_per_s * times_s), curve.noise_floor)
    clear = signal > CLEAR * curve.noise_floor
    if clear.sum() < 3:
        return None
    return float(np.sqrt(np.mean((signal[clear] / expected[clear] - 1.0) ** 2)))


def ghosting(first: NDArray[np.float32]) -> float | None:
    """Percent signal ghosting of the slice with most signal, 0 to 1; None where the body reaches an edge."""
    image = first[int(np.argmax(first.sum(axis=(1, 2))))].astype(float)
    body = image > BODY * float(np.percentile(image, 98))
    rows, columns = np.flatnonzero(body.any(axis=1)), np.flatnonzero(body.any(axis=0))
    if not rows.size:
        return None
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    bands = (
        (image[:top, left:right], image[bottom:, left:right]),
        (image[top:bottom, :left], image[top:bottom, right:]),
    )
    if min(top, image.shape[0] - bottom, left, image.shape[1] - right) < AIR:
        return None
    across, along = (float(np.mean([one.mean() for one in pair])) for pair in bands)
    return abs(across - along) / (2.0 * float(image[body].mean()))


def _vial(result: Result, index: int) -> dict[str, Any]:
    numbers = result.measurements[index]
    vial, rate, time = numbers.vial, numbers.r2star_per_s, numbers.t2star_ms
    known = rate is not None and math.isfinite(rate.median)
    return {
        "name": numbers.name,
        "centre_mm": [round(one, 2) for one in vial.centre_mm] if vial is not None else None,
        "s0": None if vial is None else vial.s0,
        "r2star_per_s": rate.median if rate is not None and known else None,
        "sd_per_s": rate.sd if rate is not None and known else None,
        "t2star_ms": None if time is None else time.median,
        "voxels": numbers.n_voxels,
    }
