"""T2*/R2* estimation from multi-echo magnitude images: numbers in, numbers out."""

from solver.fit import T2StarFit, fit_t2star

__all__ = ["T2StarFit", "fit_t2star"]
