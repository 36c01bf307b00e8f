"""What a drawn region is called and what it is said to be of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dicomnode.measure.organs import ORGANS
from dicomnode.model import Reason, Roi

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import numpy as np
    from numpy.typing import NDArray
    from pydicom import Dataset

# Code value to a key of report/codes; SNOMED CT and the retired codes that viewers still write.
NAMES: Mapping[str, str] = {
    **{code: organ.name for organ in ORGANS.values() for code in (organ.code, *organ.retired_codes)},
    "78961009": "spleen",
    "T-C3000": "spleen",
    "64033007": "kidney",
    "T-71000": "kidney",
    "80891009": "heart",
    "T-32000": "heart",
}
UNKNOWN = "tissue"
LONGEST_NAME = 64  # of a LO, where results write it


def finding(label: str, codes: Iterable[Dataset] = ()) -> str:
    """Return what the codes, or else the words of a label, say the region is of; nothing said is tissue."""
    coded = (NAMES.get(code_value(code)) for code in codes)
    named = (organ for organ in dict.fromkeys(NAMES.values()) if organ in label.lower())
    return next((organ for organ in (*coded, *named) if organ), UNKNOWN)


def code_value(code: Dataset) -> str:
    """Return a Code Value as it stands: viewers write longer ones than a SH may be, and pydicom would warn of each."""
    element = code.get_item("CodeValue")
    value = b"" if element is None or element.value is None else element.value
    return value.decode("ascii", "replace").strip() if isinstance(value, bytes) else str(value)


def drawn(label: str, number: int, organ: str, mask: NDArray[np.bool_]) -> Roi | Reason:
    """Return a region that a person drew, or why it has no voxel."""
    if not mask.any():
        return Reason("empty-region", f"region {number} covers no voxel of the map; draw it larger, on the map")
    return Roi(label.strip()[:LONGEST_NAME] or f"region {number}", mask, finding=organ, automatic=False)
