"""Where the liver lies in a series of images."""

from dicomnode.measure.liver.finding import Doubt, LiverFinding
from dicomnode.measure.liver.series import find

__all__ = ["Doubt", "LiverFinding", "find"]
