"""How a stack is fitted and measured, and what is made of it."""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003  pydantic reads annotations
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from dicomnode import plugins
from dicomnode.config.values import OrganName, Section

PRODUCTS = (
    "mr_maps",
    "parametric_maps",
    "segmentation",
    "structured_report",
    "pictures",
    "pdf",
)
# measure.iron holds their lines, by organ; measure.organs the organs.
PUBLISHED: Mapping[str, tuple[str, ...]] = {
    "liver": ("hernando-2023", "wood-2005", "hankins-2009", "garbowski-2014"),
    "heart": ("carpenter-2011",),
}
PUBLISHED_CALIBRATIONS = tuple(name for names in PUBLISHED.values() for name in names)
Product = Literal["mr_maps", "parametric_maps", "segmentation", "structured_report", "pictures", "pdf"]


FIT_METHODS = ("admm", "admm-published", "bayesian", "learned", "lm-published", "nls")


def _known_method(name: str) -> str:
    known = (*FIT_METHODS, *plugins.names(plugins.METHODS))
    if name not in known:
        raise ValueError(f"should be {' or '.join(known)}")
    return name


FitMethod = Annotated[str, AfterValidator(_known_method)]


class FitSettings(Section):
    """How the decay is fitted: the arguments of solver.fit_t2star."""

    method: FitMethod = "admm"
    model: Literal["automatic", "mono-exponential"] = "automatic"
    noise: Literal["rician", "gaussian"] = "rician"
    weights: Literal["auto"] | tuple[float, float] = "auto"
    workers: Annotated[int, Field(ge=1, le=64)] = 1
    deaths_allowed: Annotated[int, Field(ge=1, le=20)] = 2
    step_seconds: Annotated[float, Field(gt=0)] = 1800.0
    step_memory_mb: Annotated[int, Field(ge=500)] = 3000


Share = Annotated[float, Field(ge=0, le=0.5)]


class CalibrationSettings(Section):
    """A site's own line from R2* to an organ's iron: intercept + slope · R2*^exponent, mg/g dry weight."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]{0,30}$")]
    organ: OrganName = "liver"
    field_t: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]]
    intercept: float
    slope: Annotated[float, Field(gt=0)]
    exponent: Annotated[float, Field(gt=0, le=2)] = 1.0
    most_mg_per_g: Annotated[float, Field(gt=0, le=100)]  # where the data end that the line was drawn through
    relative_sd: Share = 0.05  # standard error of the slope
    source: Annotated[str, Field(min_length=3, max_length=120)]

    @model_validator(mode="after")
    def _in_order(self) -> CalibrationSettings:
        if self.field_t[0] >= self.field_t[1]:
            raise ValueError("field_t names the lowest and the highest field in tesla, in that order")
        if self.name in PUBLISHED_CALIBRATIONS or self.name == "none":
            raise ValueError(f"'{self.name}' is the name of a published calibration; choose another")
        return self


class MeasureSettings(Section):
    """From R2* to an iron concentration."""

    calibration: str = "hernando-2023"
    organ_calibrations: dict[OrganName, str] = {}  # noqa: RUF012  of organs but the liver; pydantic copies it
    calibrations: tuple[CalibrationSettings, ...] = ()  # a site's own, beside the published ones

    @model_validator(mode="after")
    def _known(self) -> MeasureSettings:
        names = (*PUBLISHED_CALIBRATIONS, *dict.fromkeys(one.name for one in self.calibrations), "none")
        if self.calibration not in names:
            raise ValueError(f"calibration '{self.calibration}' is none of {', '.join(names)}")
        return self

    @model_validator(mode="after")
    def _each_of_its_organ(self) -> MeasureSettings:
        for organ, name in self.organ_calibrations.items():
            names = (*PUBLISHED.get(organ, ()), *(one.name for one in self.calibrations if one.organ == organ), "none")
            if organ in PUBLISHED and name not in names:
                raise ValueError(f"calibration '{name}' of the {organ} is none of {', '.join(dict.fromkeys(names))}")
        return self


class ReportSettings(Section):
    """What the result objects say of themselves."""

    manufacturer: str = ""  # nothing: the name of the node
    device_serial_number: str = "1"
    series_number_offset: Annotated[int, Field(ge=0, le=100000)] = 900
    drawing_replaces_result: bool = False
    identity_on_pages: bool = True
    judge_phase: bool = True
    products: tuple[Product, ...] = PRODUCTS  # type: ignore[assignment]
