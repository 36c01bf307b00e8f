"""Audit messages of DICOM PS3.15 A.5: who sent, got, removed or asked for what, and whom the node turned away."""

from dicomnode.audit.trail import Trail

__all__ = ["Trail"]
