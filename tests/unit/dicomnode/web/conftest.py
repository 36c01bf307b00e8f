"""A result to show."""

from tests.unit.dicomnode.report.conftest import bench

__all__ = ["bench"]
