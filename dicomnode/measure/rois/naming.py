"""What a drawn region is called and what it is said to be of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dicomnode.measure.organs import ORGANS
from dicomnode.model import Reason, Roi

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    import numpy as np
    from numpy.typing import NDArray
    from pydicom import Dataset

# Of what no organ of ours is: code value, of SNOMED CT or a retired one that viewers still write, to a key of
# report/codes.
OTHERS: Mapping[str, str] = {
    "78961009": "spleen",
    "T-C3000": "spleen",
    "64033007": "kidney",
    "T-71000": "kidney",
}
UNKNOWN = "tissue"
LONGEST_NAME = 64  # of a LO, where results write it


def finding(label: str, codes: Iterable[Dataset] = ()) -> str:
    """Return what the codes, or else the words of a label, say the region is of; nothing said is tissue."""
    known, words = names(), label.lower()
    coded = (known.get(code_value(code)) for code in codes)
    named = (organ for word, organ in _words() if word in words)
    return next((organ for organ in (*coded, *named) if organ), UNKNOWN)


def names() -> dict[str, str]:
    """Keys of report/codes by code value: of our organs, of their parts, and of others."""
    found = dict(OTHERS)
    for organ in ORGANS.values():
        sites = (organ.site(organ.name), *organ.sites.values())
        found |= {code: organ.name for site in sites for code in (site.code, *site.retired)}
    return found


def _words() -> Iterator[tuple[str, str]]:
    """What a label may hold, with what it says."""
    for organ in ORGANS.values():
        yield from ((word, organ.name) for word in (organ.name, *organ.sites))
    yield from ((name, name) for name in dict.fromkeys(OTHERS.values()))


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
