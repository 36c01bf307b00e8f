"""Whether the values of a stack can be those of a decay at all, before anything is fitted to them.

Each check was tried on every real series at hand, where none may fire; ``docs/dialects.md`` says what each is for.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

from dicomnode.errors import Implausible

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    Signal = NDArray[np.float32]

SHORTEST_MS, LONGEST_MS = 0.5, 500.0  # that the last echo of a train may have
MOST_NEGATIVE = 0.01  # of the values, where they are magnitudes
CLEARLY = 0.005  # of the largest value, below zero
# Relative, between the echoes of half the slices, and of any: a decaying image does not keep its brightest voxel.
SAME_MAXIMUM, ANY_MAXIMUM = 0.002, 0.01
FEWEST_STRETCHED = 3  # echoes from which on that is no chance
FEW_AT_TOP = 8  # voxels of an image that reach the largest value: more of them are clipped
DARK = 25  # percentile: air, whose noise is the same in every echo unless each was scaled anew
GROWN, MUCH_GROWN = 1.05, 1.15  # times the mean of the air in the first echo, beside equal maxima and by itself
TISSUE = 0.2  # of the 99th percentile of the first echo
FEWEST_TISSUE, ENOUGH_TISSUE = 100, 20_000  # voxels; of more, every so-manieth is looked at
# Ratios that nine voxels of ten exceed: of an echo to the brighter of the two before, which knows read-outs that
# alternate and fat that beats; of the second to the first, which fat may pass by a quarter where most of a body is fat.
BRIGHTER, SECOND_BRIGHTER = 1.05, 1.15


def check(signal: Signal, echo_times_ms: tuple[float, ...]) -> None:
    """Raise Implausible, with code and figures, where ``signal`` (slices, K, L, M) cannot be a decay's magnitudes."""
    found = next((one for rule in _RULES for one in rule(signal, echo_times_ms)), None)
    if found is not None:
        code, sentence = found
        raise Implausible(sentence, code)


def _train(_signal: Signal, times: tuple[float, ...]) -> Iterator[tuple[str, str]]:
    if times[-1] > LONGEST_MS or times[-1] < SHORTEST_MS:
        yield "echo-times", f"echo times of {times[0]:g} to {times[-1]:g} ms are none of a gradient echo train"


def _negative(signal: Signal, _times: tuple[float, ...]) -> Iterator[tuple[str, str]]:
    largest = float(np.max(signal, initial=0.0))
    below = sum(int(np.count_nonzero(slice_ < -CLEARLY * largest)) for slice_ in signal)
    share = below / max(signal.size, 1)
    if share > MOST_NEGATIVE:
        yield "not-magnitude", f"{share:.0%} of the values lie below zero: no magnitudes, but a real part or a phase"


def _stretched(signal: Signal, _times: tuple[float, ...]) -> Iterator[tuple[str, str]]:
    if signal.shape[-1] < FEWEST_STRETCHED:
        return
    largest = signal.reshape(signal.shape[0], -1, signal.shape[-1]).max(axis=1)
    spread = np.ptp(largest, axis=1) / np.maximum(largest.max(axis=1), 1e-9)
    if np.median(spread) >= SAME_MAXIMUM or spread.max() >= ANY_MAXIMUM or largest.max() <= 0:
        return
    few = bool(np.median(np.count_nonzero(signal == largest[:, None, None], axis=(1, 2))) <= FEW_AT_TOP)
    if few or _air_grown(signal) > GROWN:
        yield (
            "stretched",
            f"the brightest voxel of every echo has the same value ({largest.max():g}): each image was scaled on its "
            "own, and intensities do not compare between echoes",
        )


def _air_grown(signal: Signal) -> float:
    """Noise of the last echo over that of the first: 1 in a sound scan, whatever is clipped in it."""
    mean = signal.mean(axis=-1)  # of all echoes: what is dark in one by chance is no darker in the next
    means = signal[mean <= np.percentile(mean, DARK)].mean(axis=0)
    return float(means[-1] / means[0]) if means[0] > 0 else 1.0


def _air(signal: Signal, _times: tuple[float, ...]) -> Iterator[tuple[str, str]]:
    grown = _air_grown(signal)
    if grown > MUCH_GROWN:
        yield (
            "stretched",
            f"the noise of air is {grown:.2f} times as large in the last echo as in the first: each image was scaled "
            "on its own, and intensities do not compare between echoes",
        )


def _copied(signal: Signal, times: tuple[float, ...]) -> Iterator[tuple[str, str]]:
    for k, slice_ in enumerate(signal):
        seen: dict[bytes, int] = {}
        for echo, image in enumerate(np.moveaxis(slice_, -1, 0)):
            same = seen.setdefault(hashlib.sha256(np.ascontiguousarray(image).tobytes()).digest(), echo)
            if same != echo and image.any():
                where = f" of slice {k + 1}" if len(signal) > 1 else ""
                yield (
                    "same-pixels",
                    f"echo {echo + 1}{where} ({times[echo]:g} ms) holds the same pixels as echo {same + 1}",
                )


def _blank(signal: Signal, times: tuple[float, ...]) -> Iterator[tuple[str, str]]:
    flat = np.ptp(signal.reshape(signal.shape[0], -1, signal.shape[-1]), axis=1) == 0
    for k, echo in np.argwhere(flat & ~flat.all(axis=1)[:, None]):
        yield "blank", f"echo {echo + 1} ({times[echo]:g} ms) of slice {k + 1} holds one value throughout: no image"
    if flat.all():
        yield "blank", "no image holds more than one value"


def _tissue(signal: Signal, bright: Signal) -> Signal | None:
    """Values (M, n) of voxels that are bright in an image (slices, K, L), of so many as tell; None of too few."""
    places = np.flatnonzero(bright > TISSUE * np.percentile(bright, 99))
    if places.size < FEWEST_TISSUE:
        return None
    some = places[:: max(1, places.size // ENOUGH_TISSUE)]
    return np.ascontiguousarray(signal.reshape(-1, signal.shape[-1])[some].T)


def _brighter(signal: Signal, times: tuple[float, ...]) -> Iterator[tuple[str, str]]:
    first = signal[..., 0]
    values = _tissue(signal, first)
    if values is None:
        return
    for echo in range(1, len(values)):
        before = np.maximum(values[max(echo - 2, 0)], values[echo - 1])
        least, ratio = np.percentile(values[echo] / np.maximum(before, 1e-9), [10, 50])
        if least > (BRIGHTER if echo > 1 else SECOND_BRIGHTER):
            yield (
                "brighter-echo",
                f"echo {echo + 1} ({times[echo]:g} ms) is {ratio:.1f} times as bright as those before: it is no echo "
                "but a combined or another scan's image",
            )


def _rising(signal: Signal, times: tuple[float, ...]) -> Iterator[tuple[str, str]]:
    first, last = signal[..., 0], signal[..., -1]
    bright = np.maximum(first, last)
    values = _tissue(signal, bright)
    if values is None:
        return
    medians = np.median(values, axis=1)
    if np.all(np.diff(medians) > 0) and medians[-1] > BRIGHTER * medians[0]:
        yield (
            "rising",
            f"tissue brightens from echo to echo, {medians[-1] / medians[0]:.1f} times from {times[0]:g} to "
            f"{times[-1]:g} ms: the echo times are not those of the images",
        )


_RULES: tuple[Callable[[Signal, tuple[float, ...]], Iterator[tuple[str, str]]], ...] = (
    _train,
    _negative,
    _blank,
    _stretched,
    _air,
    _copied,
    _brighter,
    _rising,
)
