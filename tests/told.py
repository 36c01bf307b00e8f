"""Findings as the report step writes them down, for tests of what is made of them."""

from dataclasses import replace

from dicomnode.report import codes
from dicomnode.report.findings import Bound, Concept, Finding, Findings, Issuer, Patient, Region, Study

LIC, R2STAR, T2STAR = map(Concept.of, (codes.LIC, codes.R2STAR, codes.T2STAR))
MG, PER_SECOND, MS = map(Concept.of, (codes.MILLIGRAM_PER_GRAM, codes.PER_SECOND, codes.MILLISECOND))
ENDS = (Bound(Concept.of(codes.IRONS["LIC"].low), "10.9"), Bound(Concept.of(codes.IRONS["LIC"].high), "12.5"))
CALIBRATION = Concept("HERNANDO-2023", codes.SCHEME, "hernando-2023: LIC = -0.16 + 0.02603 · R2* at 1.5 T")
LIVER = Concept.of(codes.finding("liver"))
WHY = "1 of 4 echoes above the noise: the decay is too fast"

MEASURED = (
    Finding("lic", LIC, MG, "11.7", interval=ENDS, method=CALIBRATION),
    Finding("r2star", R2STAR, PER_SECOND, "456", method=Concept.of(codes.R2STAR_FIT)),
    Finding("t2star", T2STAR, MS, "2.19", method=Concept.of(codes.R2STAR_FIT)),
)
BEYOND = (
    Finding("lic", LIC, MG, "21.0", ">", method=CALIBRATION),
    Finding("r2star", R2STAR, PER_SECOND, "812", ">", method=Concept.of(codes.R2STAR_FIT)),
    Finding("t2star", T2STAR, MS, absent=WHY),
)
WITHHELD = tuple(Finding(one.name, one.concept, one.unit, absent=WHY) for one in MEASURED)


def findings(measured=MEASURED, *, notes=(), patient=None, **changes):
    whole = Findings(
        key="0123456789abcdef0123456789abcdef01234567",
        first_key="0123456789abcdef0123456789abcdef01234567",
        corrects=False,
        created="2026-03-04T05:06:07+00:00",
        device="Liver Iron Node",
        software_version="0.1.0",
        patient=Patient("4711", Issuer("HOSP", "1.2.3", "ISO"), "Müller^Ida^M^Dr.^jun.", "19700102", "F"),
        study=Study("1.2.840.99", "A-77", Issuer("RIS"), "20260304", "040506"),
        answer="Liver iron 11.7 mg/g dry weight: moderate",
        regions=(Region("liver", LIVER, measured, tuple(notes)),),
        notes=("For research and clinical evaluation.",),
    )
    person = replace(whole.patient, **patient) if patient else whole.patient
    return replace(whole, **{"patient": person, **changes})
