"""Calibrations from R2* to liver iron concentration (LIC, mg iron per g dry weight)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Calibration:
    """LIC = intercept + slope · R2*^exponent (R2* in 1/s), valid between two field strengths."""

    name: str
    field_t: tuple[float, float]
    intercept: float
    slope: float
    exponent: float
    source: str

    @property
    def formula(self) -> str:
        """The line as a report prints it."""
        power = "" if self.exponent == 1.0 else f"^{self.exponent:g}"
        intercept = f"{self.intercept:g} + " if self.intercept else ""
        return f"LIC = {intercept}{self.slope:g} · R2*{power}"


_AT_1_5_T, _AT_2_89_T, _AT_3_0_T = (1.4, 1.6), (2.85, 2.945), (2.945, 3.1)

# R2* about doubles from 1.5 to 3 T: the line of another field is wrong by a factor of 2 to 3.5.
CALIBRATIONS = (
    Calibration("hernando-2023", _AT_1_5_T, -0.16, 0.02603, 1.0, "Radiology 306:e213256"),
    Calibration("hernando-2023", _AT_2_89_T, -0.03, 0.01400, 1.0, "Radiology 306:e213256"),
    Calibration("hernando-2023", _AT_3_0_T, -0.03, 0.01349, 1.0, "Radiology 306:e213256"),
    Calibration("wood-2005", _AT_1_5_T, 0.202, 0.0254, 1.0, "Blood 106:1460"),
    Calibration("hankins-2009", _AT_1_5_T, -0.455, 0.02802, 1.0, "Blood 113:4853"),
    Calibration("garbowski-2014", _AT_1_5_T, 0.0, 0.0290, 1.014, "JCMR 16:40"),
)
SMALLEST_MG_PER_G = 0.5  # under this a report says "< 0.5"


def calibration(name: str, field_t: float | None) -> Calibration | None:
    """The calibration of that name at that field; None when the field is unknown or none was made for it."""
    if field_t is None:
        return None
    fitting = (one for one in CALIBRATIONS if one.name == name and one.field_t[0] <= field_t < one.field_t[1])
    return next(fitting, None)


def lic_mg_per_g(r2star_per_s: float, line: Calibration) -> float | None:
    """LIC to one decimal; None where it is under what the calibration can tell from nothing."""
    value = line.intercept + line.slope * r2star_per_s**line.exponent
    return round(value, 1) if value >= SMALLEST_MG_PER_G else None
