"""From the plan of a synthetic series to its DICOM objects, files and truth."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from dicomnode.errors import InputError
from dicomnode.simulate import classic, enhanced
from dicomnode.simulate.dialects import DIALECTS, Layout
from dicomnode.simulate.frames import acquire
from dicomnode.simulate.modules import Exam
from dicomnode.simulate.plan import ORIENTATIONS, SeriesPlan, Simulated, Truth

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from pydicom import Dataset

    from dicomnode.simulate.frames import Frame

    Encoder = Callable[[Exam, Sequence[Frame]], Iterator[Dataset]]

TRUTH_FILE = "truth.json"
TRUTH_ARRAYS = "truth.npz"


def make(plan: SeriesPlan, created: datetime) -> Simulated:
    """Make the objects of a synthetic study; ``created`` is written into its dates and decides nothing else.

    Raises ValueError that names the option when the plan cannot be drawn.
    """
    _check(plan)
    dialect = DIALECTS[plan.dialect]
    encoders: Mapping[Layout, Encoder] = {
        Layout.CLASSIC: classic.encode,
        Layout.ENHANCED_PER_ECHO: enhanced.encode_per_echo,
        Layout.ENHANCED_WHOLE: enhanced.encode_whole,
    }
    frames, truth = acquire(plan, dialect)
    instances = encoders[dialect.layout](Exam(plan, dialect, created), frames)
    return Simulated(plan, tuple(instances), truth)


def _check(plan: SeriesPlan) -> None:
    """Say which option cannot be met; sizes and fractions are checked where the abdomen is drawn."""
    if plan.dialect not in DIALECTS:
        raise ValueError(f"dialect {plan.dialect!r} is not known; choose one of {', '.join(DIALECTS)}")
    if plan.orientation not in ORIENTATIONS:
        raise ValueError(f"orientation {plan.orientation!r} is not known; choose one of {', '.join(ORIENTATIONS)}")
    fields = tuple(DIALECTS[plan.dialect].frequency_mhz)
    if plan.field_strength_t not in fields:
        raise ValueError(f"field_strength_t is one of {fields}, not {plan.field_strength_t}")
    times = plan.echo_times_ms
    if not times or min(times) <= 0 or any(b <= a for a, b in pairwise(times)):
        raise ValueError(f"echo_times_ms must be positive and ascend, not {times}")
    if not plan.snr > 0:
        raise ValueError(f"snr must be positive, not {plan.snr}")
    if not plan.with_magnitude and not (plan.with_phase and DIALECTS[plan.dialect].companions):
        raise ValueError(f"{plan.dialect} has nothing to send without the magnitude; leave with_magnitude on")


def write(simulated: Simulated, folder: Path) -> tuple[Path, ...]:
    """Write each object under its SOP Instance UID, with truth.json and truth.npz; return the paths of the objects.

    Writing the same plan again replaces its files; raises InputError when the folder holds another series.
    """
    folder.mkdir(parents=True, exist_ok=True)
    truth = folder / TRUTH_FILE
    described = describe(simulated)
    if truth.exists() and json.loads(truth.read_text())["study_instance_uid"] != described["study_instance_uid"]:
        raise InputError(f"{folder} already holds another simulated series; choose an empty folder")
    paths = tuple(folder / f"{instance.SOPInstanceUID}.dcm" for instance in simulated.instances)
    for path, instance in zip(paths, simulated.instances, strict=True):
        instance.save_as(path, enforce_file_format=True)
    truth.write_text(json.dumps(described, indent=2) + "\n")
    np.savez_compressed(folder / TRUTH_ARRAYS, **_arrays(simulated.truth))
    return paths


def describe(simulated: Simulated) -> dict[str, Any]:
    """Return the truth without its maps as JSON values."""
    truth = simulated.truth
    return {
        "study_instance_uid": str(simulated.instances[0].StudyInstanceUID),
        "dialect": simulated.plan.dialect,
        "seed": simulated.plan.seed,
        "echo_times_ms": list(truth.echo_times_ms),
        "sigma": truth.sigma,
        "geometry": {
            "positions_mm": [list(position) for position in truth.positions],
            "orientation": list(truth.orientation),
            "spacing_mm": list(truth.spacing_mm),
            "shape": list(truth.s0.shape),
        },
        "regions": {
            name: {
                "n_voxels": int(region.mask.sum()),
                "t2star_ms": region.t2star_ms,
                "r2star_per_s": region.r2star_per_s,
                "s0": region.s0,
            }
            for name, region in truth.regions.items()
        },
    }


def _arrays(truth: Truth) -> dict[str, Any]:
    masks = {f"region_{name}": region.mask for name, region in truth.regions.items()}
    return {"r2star_per_s": truth.r2star_per_s, "s0": truth.s0, **masks}
