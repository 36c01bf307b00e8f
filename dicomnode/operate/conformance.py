"""The DICOM conformance statement of a configuration (PS3.2), as Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydicom.uid import (
    UID,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
    SecondaryCaptureImageStorage,
)

import dicomnode
from dicomnode.commitment import PUSH_MODEL
from dicomnode.delivery.archive import GET
from dicomnode.delivery.find import FIND
from dicomnode.intake.offered import STORED
from dicomnode.operate.statement import after, before
from dicomnode.report.instance import KINDS
from dicomnode.report.rejection_note import SOP_CLASS_UID as NOTE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from dicomnode.config import DestinationSettings, Settings
    from dicomnode.operate.statement import Part

_SAME = "on the association of the request, at once"
_VERIFICATION = "1.2.840.10008.1.1"
_PACKED = {"rle": RLELossless, "jpeg-ls": JPEGLSLossless, "jpeg-2000": JPEG2000Lossless}
_SPOKEN = {
    "dicomweb": "Studies Store Transaction (STOW-RS, PS3.18 10.5) as user agent",
    "hl7": "HL7 v2.5.1 ORU^R01 over MLLP, what is measured",
    "fhir": "HL7 FHIR R4 transactions, what is measured",
}
# Younger than pydicom's dictionary, or private.
_NAMES = {
    "1.2.840.10008.5.1.4.1.1.66.7": "Label Map Segmentation Storage",
    "1.3.12.2.1107.5.9.1": "Siemens CSA Non-Image Storage",
}


def statement(settings: Settings) -> str:
    """The whole statement."""
    return "\n".join(_lines(settings)) + "\n"


def _lines(settings: Settings) -> Iterator[str]:
    node, receive, tls = settings.node, settings.receive, settings.tls
    yield f"# DICOM conformance statement: Liver Iron Node {dicomnode.__version__}"
    yield ""
    yield f"Application Entity `{node.ae_title}`, port {node.port}. What the objects hold: docs/conformance.md."
    yield ""
    yield from _overview(settings)
    yield from _parts(before(settings))
    yield "## Storage and Verification as SCP"
    yield ""
    yield f"- Up to {receive.maximum_associations} associations at once, and two for each scanner below all the same."
    yield f"- Maximum PDU length unlimited; objects up to {receive.maximum_object_mb} MB; no asynchronous operations."
    yield f"- Called AE title: {f'`{node.ae_title}` only' if receive.require_called_ae_title else 'any'}."
    yield f"- A peer is disconnected that asks for no association within {receive.setup_seconds:g} s, TLS included, is"
    yield f"  silent for {receive.network_timeout_seconds:g} s within a request, takes"
    yield f"  {receive.request_seconds:g} s for one, or asks for nothing for {receive.idle_seconds:g} s."
    yield f"- Associations from: {_callers(settings)}."
    yield f"- {'TLS 1.2 or later only' if tls.receive else 'Unencrypted'}."
    yield "- Success (0000) is answered when the object is durable on disk. Refused: A700 the disk is low; A900 the SOP"
    yield "  Instance UID differs from the request's; C000 the data set cannot be read."
    yield "- Objects are kept as they were sent, byte for byte; MR images are processed, all others kept and named."
    yield ""
    yield from _table(("SOP class", "UID", "transfer syntaxes"), _accepted())
    yield ""
    yield from _commitment_as_provider(settings)
    yield "## Storage and Verification as SCU"
    yield ""
    called = [one for one in settings.destination if one.kind == "dicom"]
    if not called:
        yield "No destination of this kind is configured."
    for destination in called:
        yield from _destination(destination)
    for destination in (one for one in settings.destination if one.kind != "dicom"):
        yield from _other(destination)
    yield from _earlier_reports(settings)
    yield from _parts(after(settings))


def _overview(settings: Settings) -> Iterator[str]:
    products = {product for one in settings.destination if one.kind == "dicom" for product in one.products}
    used = {str(kind.sop_class_uid) for kind in KINDS.values() if kind.product in products} | {_VERIFICATION}
    provided = {_VERIFICATION, *map(str, STORED)}
    yield "## Overview (A.1)"
    yield ""
    yield "Measures liver iron from multi-echo MR images that are stored to it, and stores maps and a report."
    yield ""
    rows = [(_named(uid), _yes(uid in used), _yes(uid in provided)) for uid in sorted(used | provided, key=_named)]
    asked = [one for one in settings.destination if one.name in settings.trend.ask]
    if any(one.kind == "dicom" for one in asked):
        rows += [(_named(uid), "yes", "no") for uid in (FIND, GET)]
    if any(one.kind == "dicomweb" for one in asked):
        rows.append(("Studies Query and Retrieve (QIDO-RS, WADO-RS, PS3.18 10.6, 10.4) as user agent", "yes", "no"))
    if any(one.kind == "dicomweb" for one in settings.destination):
        rows.append((_SPOKEN["dicomweb"], "yes", "no"))
    yield from _table(("network service", "user (SCU)", "provider (SCP)"), rows)
    yield ""


def _yes(is_so: bool) -> str:
    return "yes" if is_so else "no"


def _parts(parts: Iterable[Part]) -> Iterator[str]:
    for part in parts:
        yield f"## {part.title}"
        yield ""
        for sentence in part.sentences:
            yield sentence
            yield ""
        if part.rows:
            yield from _table(part.head, part.rows)
            yield ""


def _commitment_as_provider(settings: Settings) -> Iterator[str]:
    yield "## Storage Commitment Push Model as SCP"
    yield ""
    yield f"{_named(PUSH_MODEL)} ({PUSH_MODEL}) is accepted from every peer that may store;"
    yield "SCP/SCU role selection as proposed."
    yield ""
    yield "- N-ACTION is answered before any object is looked for. Refused: 0112, 0118, 0123 another instance, class or"
    yield "  action; 0115 no Transaction UID or no object; 0110 the disk refused; 0124 the peer is no scanner."
    yield "- Committed is what lies in the data folder when the report is made. Failed: 0112 what does not, also where"
    yield "  it was removed after its result was delivered; 0119 its SOP class is another."
    for scanner in settings.scanner:
        own = f"to {scanner.address}:{scanner.port} on an association of its own, tried for 24 h"
        yield f"- N-EVENT-REPORT for `{scanner.ae_title}`: {own if scanner.port else _SAME}."
    if settings.receive.accept_any_scanner:
        yield f"- N-EVENT-REPORT for any other: {_SAME}."
    yield ""


def _callers(settings: Settings) -> str:
    if settings.receive.accept_any_scanner:
        return "any AE title"
    scanners = (f"`{one.ae_title}`" + (f" at {one.address}" if one.address else "") for one in settings.scanner)
    return ", ".join(scanners) or "nobody (no [[scanner]] is configured)"


def _accepted() -> Iterator[tuple[str, ...]]:
    yield _named(_VERIFICATION), _VERIFICATION, "; ".join(map(_named, (ImplicitVRLittleEndian, ExplicitVRLittleEndian)))
    for sop_class, syntaxes in STORED.items():
        yield _named(sop_class), sop_class, "; ".join(_named(syntax) for syntax in syntaxes)


def _destination(destination: DestinationSettings) -> Iterator[str]:
    yield f"### {destination.name}"
    yield ""
    security = "TLS" if destination.tls else "unencrypted"
    yield f"`{destination.ae_title}` at {destination.host}:{destination.port}, {security}."
    yield _attempts(destination)
    yield "One association carries all objects of a result."
    yield from _asked_beside(destination)
    yield ""
    kinds = [kind for kind in KINDS.values() if kind.product in destination.products]
    rows = [
        (kind.title(), _named(kind.sop_class_uid), kind.sop_class_uid, _offered(kind.sop_class_uid, destination))
        for kind in kinds
    ]
    if destination.rejection_notes:
        rows.append(("Rejection of a replaced result", _named(NOTE), NOTE, _offered(NOTE, destination)))
    verification = ("none", _named(_VERIFICATION), _VERIFICATION, _named(ImplicitVRLittleEndian))
    yield from _table(("object", "SOP class", "UID", "transfer syntaxes"), [*rows, verification])
    yield ""


def _offered(sop_class: str, destination: DestinationSettings) -> str:
    """The transfer syntaxes an object is offered in; pages may be compressed for a destination."""
    packed = _PACKED.get(destination.compress_pages) if sop_class == SecondaryCaptureImageStorage else None
    syntaxes = [ExplicitVRLittleEndian, ImplicitVRLittleEndian, *([packed] if packed else [])]
    return "; ".join(map(_named, syntaxes))


def _other(destination: DestinationSettings) -> Iterator[str]:
    """A destination that is not called by DIMSE."""
    yield f"## {destination.name}: {_SPOKEN[destination.kind]}"
    yield ""
    security = "TLS" if destination.is_encrypted else "unencrypted"
    yield f"At {destination.url or f'{destination.host}:{destination.port}'}, {security}. {_attempts(destination)}"
    if destination.gets_objects:
        wanted = (kind for kind in KINDS.values() if kind.product in destination.products)
        yield f"Requests of about {destination.request_mb} MB, in Explicit VR Little Endian; answers in DICOM JSON."
        yield ""
        yield from _table(
            ("object", "SOP class", "UID"), ((k.title(), _named(k.sop_class_uid), k.sop_class_uid) for k in wanted)
        )
    yield ""


def _attempts(destination: DestinationSettings) -> str:
    first, longest = destination.retry_first_seconds, destination.retry_longest_seconds
    return f"Attempts after {first:g} s, doubling up to {longest:g} s, for {destination.give_up_after_hours:g} h."


def _asked_beside(destination: DestinationSettings) -> Iterator[str]:
    """What is asked of a destination that has every object."""
    if destination.storage_commitment != "off":
        same = "on the association of the request and " if destination.storage_commitment == "same" else ""
        again = f"{destination.commitment_seconds:g} s"
        yield ""
        yield f"{_named(PUSH_MODEL)} ({PUSH_MODEL}) as SCU:"
        yield ""
        yield f"- N-ACTION for all objects of a result, on its own association; without a report again after {again}."
        yield f"- N-EVENT-REPORT is heard {same}on any to this node, with role selection or without."
        yield "  Success (0000) is answered when it is durable. Refused: 0112, 0113, 0118 another instance, event or"
        yield "  class; 0115 no transaction of the last 14 days; 0110 the disk refused."
        yield "- Whatever its Failure Reason, an object is sent again, with the pauses above."
    if destination.read_back:
        yield ""
        yield f"{_named(FIND)} ({FIND}) as SCU:"
        yield "level IMAGE in each series; where nothing is listed, level SERIES, Number of Series Related Instances."
        yield "What is missing is sent again."


def _earlier_reports(settings: Settings) -> Iterator[str]:
    """What is asked of an archive before a report is made."""
    trend = settings.trend
    if not trend.ask:
        return
    yield "## Query and retrieval as SCU"
    yield ""
    yield f"Before a report is made, of: {', '.join(trend.ask)}; within {trend.ask_seconds:g} s for all of them."
    yield "Wanted are reports of this software on earlier studies of the patient; what does not come is left out."
    yield ""
    yield f"- {_named(FIND)} ({FIND}): level STUDY by Patient ID, which is never sent with wildcards; level SERIES by"
    yield "  Modality SR; level IMAGE in each series."
    yield f"- {_named(GET)} ({GET}): level IMAGE, one report a request, on the same association, with role selection"
    yield "  for Comprehensive SR Storage as SCP."
    yield "- DICOMweb: QIDO-RS and WADO-RS (PS3.18 10.6, 10.4) of the same levels, as user agent."
    yield ""


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    for row in (head, ["---"] * len(head), *rows):
        yield "| " + " | ".join(row) + " |"


def _named(uid: str) -> str:
    return _NAMES.get(uid) or UID(uid).name
