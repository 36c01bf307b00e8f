"""Calibrations from R2* to an iron concentration (mg iron per g dry weight), each of an organ: an allow-list."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dicomnode.model import HALF_95, Estimate, Limit

if TYPE_CHECKING:
    from collections.abc import Iterable

SMALLEST_MG_PER_G = 0.5  # under this a report says "< 0.5"
UMOL_PER_MG = 17.9  # of iron: 1 mg/g is 17.9 µmol/g


@dataclass(frozen=True, slots=True)
class Calibration:
    """Iron = intercept + slope · R2*^exponent (R2* in 1/s) for some organs, between two fields, up to some iron.

    ``most_mg_per_g`` is where the data end that the line was drawn through; ``relative_sd`` is the standard error of
    its slope, sqrt((1 - r²) / r² / (n - 2)) of n patients.
    """

    name: str
    organs: tuple[str, ...]
    field_t: tuple[float, float]
    intercept: float
    slope: float
    exponent: float
    most_mg_per_g: float
    relative_sd: float
    source: str
    symbol: str = "LIC"  # of the concentration
    written: str = ""  # the line as its paper writes it, where that is not in R2*

    @property
    def formula(self) -> str:
        """The line as a report prints it."""
        if self.written:
            return f"{self.symbol} = {self.written}"
        power = "" if self.exponent == 1.0 else f"^{self.exponent:g}"
        intercept = f"{self.intercept:g} + " if self.intercept else ""
        return f"{self.symbol} = {intercept}{self.slope:g} · R2*{power}"

    def lic_mg_per_g(self, r2star_per_s: float) -> float:
        """The concentration of a rate, whatever the range."""
        return float(self.intercept + self.slope * max(r2star_per_s, 0.0) ** self.exponent)


_LIVER, _HEART = ("liver",), ("heart",)
_AT_1_5_T, _AT_2_89_T, _AT_3_0_T = (1.4, 1.6), (2.85, 2.945), (2.945, 3.1)
_RADIOLOGY = "Radiology 306:e213256"
# 207 patients; r² is not told: 0.9 is supposed. Its reference, R2-MRI, was made for 0.3 to 42.7 mg/g (Blood 105:855).
_HERNANDO = (42.7, 0.023, _RADIOLOGY)

# R2* about doubles from 1.5 to 3 T: the line of another field is wrong by a factor of 2 to 3.5.
CALIBRATIONS = (
    Calibration("hernando-2023", _LIVER, _AT_1_5_T, -0.16, 0.02603, 1.0, *_HERNANDO),
    Calibration("hernando-2023", _LIVER, _AT_2_89_T, -0.03, 0.01400, 1.0, *_HERNANDO),
    Calibration("hernando-2023", _LIVER, _AT_3_0_T, -0.03, 0.01349, 1.0, *_HERNANDO),
    # 22 biopsies of 1.3 to 32.9 mg/g, r² above 0.95.
    Calibration("wood-2005", _LIVER, _AT_1_5_T, 0.202, 0.0254, 1.0, 32.9, 0.051, "Blood 106:1460"),
    # 43 biopsies, r 0.96 at the least; its range is not told here, that of the former is supposed.
    Calibration("hankins-2009", _LIVER, _AT_1_5_T, -0.455, 0.02802, 1.0, 32.9, 0.046, "Blood 113:4853"),
    # 50 biopsies, up to 42 mg/g; r² is not told here: 0.9 is supposed.
    Calibration("garbowski-2014", _LIVER, _AT_1_5_T, 0.0, 0.0290, 1.014, 42.0, 0.048, "JCMR 16:40"),
    # 12 hearts, up to 9.5 mg/g, r² 0.91 of the logarithms: 45.0 · (1000 / R2*)^-1.22.
    Calibration(
        "carpenter-2011",
        _HEART,
        _AT_1_5_T,
        *(0.0, 45.0 / 1000.0**1.22, 1.22, 9.5, 0.1),
        source="Circulation 123:1519",
        symbol="MIC",
        written="45.0 · T2*^-1.22",
    ),
)
NAMES = tuple(dict.fromkeys(one.name for one in CALIBRATIONS))


def of(organ: str) -> tuple[Calibration, ...]:
    """The published lines of an organ."""
    return tuple(one for one in CALIBRATIONS if organ in one.organs)


def calibration(name: str, organ: str, field_t: float | None, own: Iterable[Calibration] = ()) -> Calibration | None:
    """The calibration of that name for that organ at that field; None where none was made for it.

    ``own`` are a site's. An organ or a field that no calibration names gets none: there is no nearest one.
    """
    if field_t is None:
        return None
    known = (one for one in (*CALIBRATIONS, *own) if one.name == name and organ in one.organs)
    return next((one for one in known if one.field_t[0] <= field_t < one.field_t[1]), None)


def others(line: Calibration, r2star_per_s: float, field_t: float) -> tuple[float, float] | None:
    """What its organ's other published lines of that field make of a rate, least and most; None without any."""
    found = [
        one.lic_mg_per_g(r2star_per_s)
        for one in CALIBRATIONS
        if one.name != line.name and one.organs == line.organs and one.field_t[0] <= field_t < one.field_t[1]
    ]
    return (min(found), max(found)) if found else None


def estimate(rate: Estimate, line: Calibration) -> Estimate:
    """The concentration of an estimated rate: its interval through the line, widened by what the line is not known."""
    value = line.lic_mg_per_g(rate.value)
    own = line.relative_sd * value
    low, high = (line.lic_mg_per_g(bound) for bound in rate.ci95)
    slope = (high - low) / max(rate.ci95[1] - rate.ci95[0], 1e-9)
    below, above = (math.hypot(value - low, HALF_95 * own), math.hypot(high - value, HALF_95 * own))
    parts = {name: slope * sd for name, sd in rate.parts.items()} | {"calibration": own}
    return Estimate(value, (max(value - below, 0.0), value + above), parts)


def limit(r2star_per_s: float, line: Calibration | None) -> Limit:
    """A rate with the iron it stands for, no more than the line was drawn for."""
    if line is None:
        return Limit(r2star_per_s, None)
    return Limit(r2star_per_s, round(min(max(line.lic_mg_per_g(r2star_per_s), 0.0), line.most_mg_per_g), 1))


def printed(lic_mg_per_g: float) -> float | None:
    """To one decimal; None where it is under what a calibration can tell from nothing."""
    return round(lic_mg_per_g, 1) if lic_mg_per_g >= SMALLEST_MG_PER_G else None
