"""Series whose truth is known but which the generator did not draw: stored cases, a warped CT, the solver's phantom."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.anatomy import LABEL, Exam, ct, exam
from solver import phantom

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    Array = NDArray[Any]

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
CORONAL = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)
ORIGIN = (-200.0, -150.0, 0.0)
PHANTOM_T2STAR_MS = (0.8, 1.5, 3.0, 6.0, 12.0, 25.0)
PHANTOM_S0_OVER_SIGMA = (15.0, 40.0, 150.0)
PHANTOM_TRAINS_MS = {
    1.5: tuple(1.1 + 1.2 * k for k in range(12)),
    3.0: phantom.PAPER_ECHO_TIMES_MS,
}


def cases(folder: Path) -> Iterator[Exam]:
    """Single slices that went wrong once: npz with sig (K, L, M), te, pix, packed masks, true R2*, meta."""
    for path in sorted(folder.glob("*.npz")):
        stored = np.load(path)
        meta = json.loads(str(stored["meta"]))
        signal = stored["sig"][None]
        liver, whole = (_unpacked(stored[name], signal.shape[1:3]) for name in ("liver", "whole"))
        meta |= {"scene": "case", "seed": int(path.stem), "t2star_ms": meta["t2s"], "fault": "none"}
        meta["plane"] = "coronal" if meta["group"] == "coronal" else "axial"
        labels = np.where(liver, LABEL["liver"], LABEL["fat"]).astype(np.uint8)
        pixel = float(stored["pix"])
        yield _exam(
            signal,
            labels,
            np.where(liver, float(stored["true"]), 0.0),
            whole,
            echo_times_ms=tuple(float(t) for t in stored["te"]),
            spacing_mm=(pixel, pixel, 5.0),
            orientation=CORONAL if meta["plane"] == "coronal" else AXIAL,
            field_t=float(meta["b0"]),
            sigma=float(meta["sigma_true"]),
            n_coils=int(meta["coils"]),
            meta=meta,
        )


def _unpacked(bits: Array, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    values: NDArray[np.bool_] = np.unpackbits(bits)[: shape[0] * shape[1]].reshape(1, *shape).astype(bool)
    return values


def _exam(signal: Array, labels: Array, rates: Array, whole: Array, **rest: Any) -> Exam:
    return Exam(
        signal=signal,
        labels=labels,
        r2star_per_s=rates.astype(np.float32),
        liver=labels == LABEL["liver"],
        whole=whole,
        positions_mm=tuple((ORIGIN[0], ORIGIN[1], 8.0 * k) for k in range(len(signal))),
        noise_map=np.ones(labels.shape, np.float32),
        **rest,
    )


def warped_ct(folder: Path, count: int) -> Iterator[Exam]:
    """The real CT, warped, mostly axial."""
    volume = ct.load(folder)
    for seed in range(count):
        yield warped(volume, seed)


def warped(volume: ct.Ct, seed: int) -> Exam:
    """One to three slices of it, of another physics each time."""
    rng = np.random.default_rng([seed, 90])
    fixed: dict[str, Any] = {"scene": "ct", "volume": volume, "fault": "none", "slices": int(rng.integers(1, 4))}
    if rng.uniform() < 0.25:
        fixed |= {"plane": "coronal", "middle": (0.0, float(rng.uniform(-40, 30)), 0.0)}
    else:
        fixed["plane"] = "axial"
    return exam(seed, "check", **fixed)


def simulated() -> Iterator[Exam]:
    """The solver's abdomen over T2*, field and noise: what people see who try the simulator."""
    for field_t, train in PHANTOM_TRAINS_MS.items():
        for t2star_ms in PHANTOM_T2STAR_MS:
            for ratio in PHANTOM_S0_OVER_SIGMA:
                yield _phantom(field_t, train, t2star_ms, ratio)


def _phantom(field_t: float, train: tuple[float, ...], t2star_ms: float, ratio: float) -> Exam:
    rng = np.random.default_rng([int(10 * field_t), int(10 * t2star_ms), int(ratio)])
    anatomy = phantom.Abdomen(slices=2, liver_t2star_ms=t2star_ms, field_strength_t=field_t)
    drawn = phantom.abdomen(anatomy, rng)
    sigma = anatomy.liver_s0 / ratio
    signal = phantom.acquire(drawn, train, phantom.Receiver(sigma), rng)
    labels = np.where(drawn.regions["liver"], LABEL["liver"], LABEL["fat"]).astype(np.uint8)
    row, column = anatomy.spacing_mm
    return _exam(
        np.rint(signal).astype(np.uint16),
        labels,
        drawn.r2star_per_s,
        drawn.regions["liver"] | drawn.regions["vessels"] | drawn.regions["lesion"],
        echo_times_ms=train,
        spacing_mm=(row, column, 8.0),
        orientation=AXIAL,
        field_t=field_t,
        sigma=sigma,
        n_coils=1,
        meta={"scene": "simulated", "seed": 0, "t2star_ms": t2star_ms, "plane": "axial", "fault": "none", "snr": ratio},
    )
