"""Everything that is needed to make the same numbers again, in words."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from dicomnode import phase
from dicomnode.report import point

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from dicomnode.model import FitRecord, Result, RoiMeasurement
    from dicomnode.report.instance import Draft


def algorithm(draft: Draft) -> str:
    """Return the name of what made the numbers."""
    return f"{draft.device} R2* fit"


def parameters(draft: Draft) -> tuple[str, ...]:
    """Return every parameter of a result as ``name=value``, values as JSON."""
    result = draft.result
    facts: dict[str, Any] = {
        "result": draft.key,
        "software_version": draft.software_version,
        "source_series": list(result.stack.series_instance_uids),
        "echo_times_ms": list(result.stack.echo_times_ms),
        "field_strength_t": result.stack.field_strength_t,
        "magnitude_from": result.stack.magnitude_from.value,
        "noise_sigma_per_slice": [float(sigma) for sigma in result.maps.sigma],
        "fit": _fit(result),
        "finder": dict(result.finder),
        "settings": result.settings,
        "conditions": asdict(point.conditions(result, draft.source)),
    }
    if result.identity.supersedes:
        facts["supersedes"] = result.identity.supersedes
    return tuple(f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in _flat(facts))


def _fit(result: Result) -> dict[str, Any]:
    record = result.maps.record
    return {
        "method": record.method,
        "model": record.model,
        "noise": record.noise,
        "converged": record.converged,
        "iterations": record.iterations,
        "verdict": record.verdict,
        "parameters": record.parameters,
        **({} if record.phase is None else {"phase": record.phase}),
        "software_version": record.software_version,
    }


def _flat(facts: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in facts.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def derivation(draft: Draft, what: str, more: str = "") -> str:
    """Return a Derivation Description: what was done, how to ask for it again; at most 1024 characters."""
    record = draft.result.maps.record
    echoes = ", ".join(f"{t:g}" for t in draft.result.stack.echo_times_ms)
    sentences = [
        f"{what} {record.method}, model {record.model}, noise {record.noise}, echoes {echoes} ms,",
        f"software {draft.software_version}, result {draft.key}.",
        "0 = no valid fit.",
        *([f"{more}."] if more else []),
    ]
    if not record.converged:
        sentences.append(f"The fit did not converge: {record.verdict}.")
    if draft.result.identity.supersedes:
        sentences.append(f"Supersedes result {draft.result.identity.supersedes}.")
    return " ".join(sentences)[:1024]


def _how_well(numbers: RoiMeasurement) -> str:
    """What an interval of the concentration knows of its calibration, and what it does not."""
    if numbers.lic is None or not numbers.lic.value:
        return ""
    own = 100 * numbers.lic.parts.get("calibration", 0.0) / numbers.lic.value
    known = f"its slope is known to {own:.1f} % (standard error), which the interval holds"
    return f"; {known}; how far single patients lie beside the line it does not"


def in_words(draft: Draft) -> tuple[str, ...]:
    """Return in sentences how the numbers came about, for people; ``parameters`` has every value."""
    result = draft.result
    record, stack = result.maps.record, result.stack
    slices, rows, columns, _ = stack.shape
    field = "unknown" if stack.field_strength_t is None else f"{stack.field_strength_t:.2f} T"
    echoes = ", ".join(f"{t:g}" for t in stack.echo_times_ms)
    sigma = result.maps.sigma
    n_coils, origin = record.parameters.get("n_coils"), record.parameters.get("n_coils_source")
    coils = f", {n_coils:.3g} coil{'' if n_coils == 1 else 's'} ({origin})" if n_coils and origin else ""
    spread = " to ".join(dict.fromkeys((f"{min(sigma):.3g}", f"{max(sigma):.3g}"))) if sigma else ""
    noise = f"σ {spread} in units of the signal{coils}" if sigma else "not known"
    calibrations = dict.fromkeys(
        f"{one.calibration}{_how_well(one)}" for one in result.measurements if one.calibration is not None
    )
    found = [
        f"Scan: {slices} slices of {rows} × {columns}, field {field}, echoes used: {echoes} ms.",
        *([f"Missing of the scan: {stack.incomplete}."] if stack.incomplete else []),
        *(f"Left out of the scan: {what}." for what in stack.left_out),
        f"Fit: {record.method}, model {record.model}, noise {record.noise}: {record.verdict}.",
        f"Noise: {noise}.",
        *_of_phase(record),
        *(f"Calibration: {words}." for words in calibrations),
        *_packages(result.settings.get("packages", {})),
    ]
    if result.finder:
        found.append("Region finder: " + ", ".join(f"{name} {value}" for name, value in _named(result.finder)) + ".")
    if result.identity.supersedes:
        found.append(f"Replaces result {result.identity.supersedes}.")
    found.append(f"Software: {draft.software_version}, result {draft.key}.")
    return tuple(found)


def _packages(origins: Mapping[str, str]) -> Iterator[str]:
    """Say which of the organ and the method came from another package."""
    for origin in dict.fromkeys(origins.values()):
        what = [f"the {one}" for one, other in origins.items() if other == origin]
        yield f"{' and '.join(what).capitalize()} {'are' if len(what) > 1 else 'is'} of {origin}."


def _of_phase(record: FitRecord) -> Iterator[str]:
    """What became of the complex signal, where it was there."""
    if record.phase is not None:
        came = "Phase was there" if record.phase["code"] == phase.PASSED else "Phase was there and was not used"
        yield f"{came}: {record.phase['reason']}."


def _named(finder: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Return what names a finder; its training record stands among the parameters."""
    return [(name, value) for name, value in finder.items() if isinstance(value, str | int) and name != "training"]
