"""A synthetic multi-echo abdomen or heart with known truth, as the DICOM objects a scanner would send."""

from dicomnode.simulate.dialects import DIALECTS
from dicomnode.simulate.plan import HEART_ECHO_TIMES_MS, ORIENTATIONS, HeartPlan, Region, SeriesPlan, Simulated, Truth
from dicomnode.simulate.series import make, write

__all__ = [
    "DIALECTS",
    "HEART_ECHO_TIMES_MS",
    "ORIENTATIONS",
    "HeartPlan",
    "Region",
    "SeriesPlan",
    "Simulated",
    "Truth",
    "make",
    "write",
]
