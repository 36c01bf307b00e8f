"""A synthetic multi-echo abdomen with known truth, as the DICOM objects a scanner would send."""

from dicomnode.simulate.dialects import DIALECTS
from dicomnode.simulate.plan import ORIENTATIONS, Region, SeriesPlan, Simulated, Truth
from dicomnode.simulate.series import make, write

__all__ = ["DIALECTS", "ORIENTATIONS", "Region", "SeriesPlan", "Simulated", "Truth", "make", "write"]
