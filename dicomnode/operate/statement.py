"""What a conformance statement says around the services (PS3.2 annex A)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydicom.sr.coding import Code

from dicomnode.intake import places
from dicomnode.intake.commands import Status
from dicomnode.measure.organs import ORGANS
from dicomnode.model import Flag, Grade
from dicomnode.report import codes
from dicomnode.report.instance import KINDS
from dicomnode.trend.rules import Obstacle, Outcome

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from dicomnode.config import Section, Settings

# The upper layer and its name are pynetdicom's, in both roles.
IMPLEMENTATION = "`1.2.826.0.1.3680043.9.3811.3.0.4`", "`PYNETDICOM_304`"

Rows = tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Part:
    """One section: sentences, then a table."""

    title: str
    sentences: tuple[str, ...]
    head: tuple[str, ...] = ()
    rows: Rows = ()


def before(settings: Settings) -> Iterator[Part]:
    """What stands before the services."""
    yield Part(
        "Introduction (A.3)",
        (
            "For who connects this node with a scanner or a PACS, and knows DICOM. A statement compares what two sides "
            "can do; it replaces no test of both together. The order is that of the template in PS3.2 annex A; "
            "what does not depend on the configuration is in docs/conformance.md, attribute by attribute.",
            "IHE: no integration statement is made, and nothing was shown at a Connectathon. In IHE Radiology's words "
            "the node plays a part of the Evidence Creator: it makes evidence objects and stores them to an Image "
            "Manager/Image Archive (RAD-18). To the scanner it is where images are stored (RAD-8), as an Image "
            "Manager/Image Archive is, of which it plays no other part. Of either actor it does what the services "
            "below say, and nothing else. The profile AI Results has not been examined.",
        ),
    )
    yield Part(
        "Implementation model (A.4.1)",
        (
            f"One application entity, `{settings.node.ae_title}`. Data flow: a scanner stores images; the node keeps "
            "them, groups them into series with a full grid of echoes and slices, fits, measures, makes objects and "
            "stores those to every destination. A viewer or PACS may store a region that a reader drew on a map; the "
            "node measures it and stores a report of it.",
            "Sequence: nothing is sent before a series is complete; no order of arrival is needed, neither of images "
            "nor of associations. Objects of one result go in one association, in any order.",
        ),
    )


def after(settings: Settings) -> Iterator[Part]:
    """What stands behind the services."""
    yield from _associations(settings)
    yield from _statuses()
    yield Part(
        "Network interfaces (A.4.3)",
        ("TCP/IP; IPv4 where it listens. Host names are looked up for each association.",),
    )
    yield Part(
        "Configuration (A.4.4)",
        ("AE titles, addresses and ports are in the configuration file; docs/configuration.md has every key.",),
        ("parameter", "value"),
        tuple(_parameters(settings)),
    )
    yield Part("Media interchange (A.5)", ("None.",))
    yield Part(
        "Character sets (A.6)",
        (
            "Received: whatever Specific Character Set names and pydicom decodes, code extensions included. Created: "
            "`ISO_IR 192` only.",
        ),
    )
    yield _security(settings)
    yield from _annexes()


def _associations(settings: Settings) -> Iterator[Part]:
    uid, version = IMPLEMENTATION
    yield Part(
        "Association policies (A.4.2)",
        (
            "An association is opened when a result has objects that a destination has not confirmed, after each pause "
            "that a failed attempt is followed by, and by `dicomnode check`. It is released when all were offered.",
            "For each kind of object and transfer syntax there is one presentation context; uncompressed objects "
            "are offered in both little endian syntaxes and encoded as the peer accepts. Verification is always "
            "offered.",
        ),
        ("policy", "as acceptor", "as initiator"),
        (
            ("associations at once", str(settings.receive.maximum_associations), "2 to each destination"),
            ("maximum PDU length", "0 (any)", "0 (any)"),
            ("outstanding asynchronous operations", "1", "1"),
            ("SCP/SCU role selection", "not asked for", "for reports by C-GET, where `[trend] ask` names an archive"),
            ("extended negotiation, user identity", "not asked for", "not asked for"),
            ("implementation class UID", uid, uid),
            ("implementation version name", version, version),
        ),
    )
    yield Part(
        "Rejected associations (A.4.2)",
        (),
        ("result", "source", "reason", "why"),
        (
            (*_said(places.UNKNOWN_CALLING), "calling AE title, or its address, is not in `[[scanner]]`"),
            (*_said(places.UNKNOWN_CALLED), "called AE title is not this node's"),
            (*_said(places.NO_PLACE), "all associations are taken; a known scanner gets two all the same"),
        ),
    )


def _said(refusal: tuple[int, int, int]) -> Sequence[str]:
    return [str(number) for number in refusal]


def _statuses() -> Iterator[Part]:
    yield Part(
        "Status codes answered (A.4.2)",
        (),
        ("status", "when"),
        tuple(
            (f"{status:04X}", when)
            for status, when in (
                (Status.SUCCESS, "C-STORE: the object is durable on disk; C-ECHO"),
                (Status.OUT_OF_RESOURCES, "C-STORE: the disk is low, full or refuses; send it again later"),
                (Status.DATA_SET_DOES_NOT_MATCH, "C-STORE: SOP Instance UID of the data set is not the request's"),
                (
                    Status.CANNOT_UNDERSTAND,
                    "C-STORE: the data set cannot be read, is cut short or too large, or the node failed",
                ),
                (Status.UNRECOGNIZED_OPERATION, "any other request"),
            )
        ),
    )
    yield Part(
        "Status codes acted upon (A.4.2)",
        ("Of a C-STORE response:",),
        ("status", "meaning", "what the node does"),
        (
            ("0000", "Success", "the object is delivered"),
            (
                "B000 to BFFF, 0001, 0107, 0111, 0116",
                "Warning",
                "the object is delivered; the warning is kept and shown",
            ),
            ("any other", "Failure", "the object is offered again with growing pauses, then by an operator's request"),
            ("none", "no answer", "unknown: the object is offered again under the same UID"),
        ),
    )


def _parameters(settings: Settings) -> Iterator[tuple[str, str]]:
    for name, section in (("node", settings.node), ("receive", settings.receive), ("grouping", settings.grouping)):
        yield from _keys(f"[{name}]", section)
    for destination in settings.destination:
        yield from _keys(
            f"[[destination]] {destination.name}", destination, leave_out={"name", *destination.keys_of_others()}
        )


def _keys(table: str, section: Section, leave_out: Collection[str] = ()) -> Iterator[tuple[str, str]]:
    values: Mapping[str, object] = section.model_dump(mode="json", exclude=set(leave_out))
    for key, value in values.items():
        shown = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
        yield f"`{table} {key}`", (shown.lower() if isinstance(value, bool) else shown).replace("|", "\\|")


def _security(settings: Settings) -> Part:
    tls, destinations = settings.tls, settings.destination
    asked = "asked for and verified" if tls.authority else "not asked for"
    heard = f"TLS only; a certificate of the peer is {asked}" if tls.receive else "unencrypted"
    known = "TLS, certificate and host name verified"
    spoken = [f"{one.name}: {known if one.is_encrypted else 'unencrypted'}" for one in destinations]
    return Part(
        "Security (A.7)",
        (
            "TLS follows BCP 195: 1.2 or later, of 1.2 only ECDHE with AES-GCM or ChaCha20-Poly1305. No audit trail "
            "(PS3.15 A.5), no digital signatures, no de-identification profile. SECURITY.md has the rest.",
            f"This configuration: as acceptor {heard}; as initiator "
            f"{', '.join(spoken) or 'to nobody'}. Association level: calling and called AE title and the peer's "
            "address are compared with the configuration.",
        ),
    )


def _annexes() -> Iterator[Part]:
    yield Part(
        "Created objects (A.8)",
        (
            "Attribute by attribute in docs/conformance.md; what is used of received images is in docs/dialects.md. "
            "No private attributes, SOP classes or transfer syntaxes are written. MR maps are of a Standard Extended "
            "SOP class: they carry Rescale and Real World Value Mapping. Templates: TID 1500, 1410, 1411; 1501, 1502 "
            "for earlier results. Received objects are never changed, and no attribute is coerced.",
        ),
        ("object", "SOP class UID", "modality", "last digits of the series number"),
        tuple((kind.title(), kind.sop_class_uid, kind.modality, f"{kind.place:02d}") for kind in KINDS.values()),
    )
    yield Part(
        "Private codes (A.8)",
        (
            f"Scheme `{codes.SCHEME}`, declared in every object. A flag's code and a calibration's name, in capitals "
            "and up to 16 characters, are codes of it as well.",
        ),
        ("code", "meaning"),
        tuple(sorted({(code.value, code.meaning) for code in _private_codes()})),
    )


def _private_codes() -> Iterator[Code]:
    yield from (one for one in vars(codes).values() if isinstance(one, Code) and one.scheme_designator == codes.SCHEME)
    yield from (getattr(iron, name) for iron in codes.IRONS.values() for name in iron.__slots__)
    yield from (codes.grade(Flag("", grade, "")) for grade in Grade)
    yield from (codes.outcome(one) for one in Outcome if one is not Outcome.NOT_JUDGED)
    yield from map(codes.obstacle, Obstacle)
    for organ in ORGANS.values():
        if organ.ranges is not None and not organ.ranges.of_rate:  # of those in T2* no probability is told
            yield from (codes.in_range(name, organ.symbol, organ.ranges.scheme) for *_, name in organ.ranges.limits)
