"""What a map can hold: one row a quantity, from which its objects, series numbers, codes and displays follow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dicomnode.measure.quality import WIDEST_FRACTION
from dicomnode.model import HALF_95
from dicomnode.report import codes

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pydicom.sr.coding import Code

    from dicomnode.model import Maps

LARGEST = 65535


@dataclass(frozen=True, slots=True)
class Storage:
    """How a quantity is stored in the 16 bits of an MR image and first shown, there and as a float map."""

    per_unit: float  # stored values per unit
    beyond: int | None  # stored where the decay is too fast to be measured: the severe end, never 0; None: not told
    windows: tuple[int, int]  # upper ends in units, a viewer starts with the first; fixed, so that two exams compare


@dataclass(frozen=True, slots=True)
class Quantity:
    """One quantity of ``Maps.values``; without storage it stays in the node."""

    name: str  # in kinds and file names
    values: str  # key of Maps.values
    place: int  # 0 to 9, among the series of maps
    code: Code
    unit: Code
    symbol: str
    unit_symbol: str
    content_label: str  # of the float map: A-Z, 0-9, space, underscore
    explanation: str
    storage: Storage | None = None
    scale: float = 1.0  # units per unit of Maps.values
    least: float | None = None  # in units: less is shown as that, because 0 says that nothing is known
    spread: str = ""  # key of Maps.values: a deviation that must be under ``widest`` for a voxel to be shown
    widest: float = 0.0
    method: Code = codes.R2STAR_FIT
    flavour: str = "T2_STAR"  # of the image (PS3.3 C.8.16.1.3)

    @property
    def label(self) -> str:
        """Symbol and unit."""
        return f"{self.symbol} {self.unit_symbol}"

    @property
    def mr_kind(self) -> str:
        """Kind of its MR images."""
        return f"mr_map_{self.name}"

    @property
    def float_kind(self) -> str:
        """Kind of its Parametric Map."""
        return f"parametric_map_{self.name}"

    def is_in(self, maps: Maps) -> bool:
        """Whether the maps hold it: some quantities are looked for only where the echoes can tell them."""
        return self.values in maps.values

    def of(self, maps: Maps) -> NDArray[np.float32]:
        """Its values, (slices, K, L)."""
        values = maps.values[self.values]
        values = values if self.scale == 1 else values * np.float32(self.scale)
        return values if self.least is None else np.maximum(values, np.float32(self.least))

    def told(self, maps: Maps) -> NDArray[np.bool_]:
        """Where it is known, (slices, K, L)."""
        if not self.spread:
            return maps.valid
        return maps.valid & (np.nan_to_num(maps.values[self.spread], nan=np.inf) <= self.widest)


R2STAR = Quantity(
    name="r2star",
    values="r2star_per_s",
    place=0,
    code=codes.R2STAR,
    unit=codes.PER_SECOND,
    symbol="R2*",
    unit_symbol="1/s",
    content_label="R2STAR",
    explanation="R2* relaxation rate in 1/s",
    storage=Storage(per_unit=1.0, beyond=LARGEST, windows=(300, 1000)),
)
T2STAR = Quantity(
    name="t2star",
    values="t2star_ms",
    place=1,
    code=codes.T2STAR,
    unit=codes.MILLISECOND,
    symbol="T2*",
    unit_symbol="ms",
    content_label="T2STAR",
    explanation="T2* relaxation time in ms",
    storage=Storage(per_unit=1000.0, beyond=1, windows=(30, 60)),
)
S0 = Quantity(
    name="s0",
    values="s0",
    place=2,
    code=codes.S0,
    unit=codes.ARBITRARY,
    symbol="S0",
    unit_symbol="a.u.",
    content_label="S0",
    explanation="Signal at echo time 0, in the units of the images",
)
R2STAR_SD = Quantity(
    name="r2star_sd",
    values="r2star_sd_per_s",
    place=3,
    code=codes.R2STAR_SD,
    unit=codes.PER_SECOND,
    symbol="SD(R2*)",
    unit_symbol="1/s",
    content_label="R2STAR_SD",
    explanation="Standard deviation of R2* in 1/s",
)
FAT_FRACTION = Quantity(
    name="fat_fraction",
    values="fat_fraction",
    place=4,
    code=codes.FAT,
    unit=codes.PERCENT,
    symbol="Signal fat",
    unit_symbol="%",
    content_label="SIGNAL_FAT",
    explanation="Signal fat fraction in %, not PDFF",
    storage=Storage(per_unit=10.0, beyond=None, windows=(40, 100)),
    scale=100.0,
    least=0.1,
    spread="fat_fraction_sd",
    widest=WIDEST_FRACTION / HALF_95,
    method=codes.FAT_FIT,
    flavour="MULTIECHO",
)
FAT_FRACTION_SD = Quantity(
    name="fat_fraction_sd",
    values="fat_fraction_sd",
    place=5,
    code=codes.FAT_SD,
    unit=codes.PERCENT,
    symbol="SD(fat)",
    unit_symbol="%",
    content_label="SIGNAL_FAT_SD",
    explanation="Standard deviation of the signal fat fraction in %",
    scale=100.0,
)
R2STAR_PLAIN = Quantity(
    name="r2star_plain",
    values="plain_r2star_per_s",
    place=6,
    code=codes.R2STAR_PLAIN,
    unit=codes.PER_SECOND,
    symbol="R2* (one exponential)",
    unit_symbol="1/s",
    content_label="R2STAR_PLAIN",
    explanation="R2* relaxation rate in 1/s, fat not allowed for",
)
QUANTITIES = (R2STAR, T2STAR, S0, R2STAR_SD, FAT_FRACTION, FAT_FRACTION_SD, R2STAR_PLAIN)
WRITTEN = tuple(quantity for quantity in QUANTITIES if quantity.storage is not None)


def stored(
    quantity: Quantity, values: NDArray[np.float32], valid: NDArray[np.bool_], too_fast: NDArray[np.bool_] | None = None
) -> NDArray[np.uint16]:
    """Return the 16-bit values of a map: 0 where invalid, the quantity's own value where beyond the measurable range.

    Others lie from 1 to 65535, where the last means "or more". Raises ValueError for a quantity that is not stored.
    """
    if quantity.storage is None:
        raise ValueError(f"{quantity.name} is not stored as an image")
    scaled = np.rint(values.astype(np.float64) * quantity.storage.per_unit)
    pixels = np.where(valid, np.clip(scaled, 1, LARGEST), 0)
    if too_fast is not None and quantity.storage.beyond is not None:
        pixels = np.where(too_fast & ~valid, quantity.storage.beyond, pixels)
    return pixels.astype(np.uint16)
