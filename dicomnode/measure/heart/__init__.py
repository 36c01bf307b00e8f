"""Where the septum of the heart lies in slices of its short axis."""

from dicomnode.measure.heart.finding import RING, SEPTUM, find

__all__ = ["RING", "SEPTUM", "find"]
