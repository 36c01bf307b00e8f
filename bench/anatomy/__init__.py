"""Digital exams of parametric bodies whose every value is known."""

from bench.anatomy.exam import FAMILIES, SCENES, WITH_LIVER, Exam, exam, has_liver
from bench.anatomy.physics import SATURATED
from bench.anatomy.tissues import LABEL, NAMES, WHOLE_LIVER

__all__ = [
    "FAMILIES",
    "LABEL",
    "NAMES",
    "SATURATED",
    "SCENES",
    "WHOLE_LIVER",
    "WITH_LIVER",
    "Exam",
    "exam",
    "has_liver",
]
