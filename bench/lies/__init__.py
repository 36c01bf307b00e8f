"""Fuzz by meaning: small valid series, the ways in which files lie, and what is right then: ``make fuzz``.

What comes out is a right number, a reason that names the cause, or a fault of this software.
"""

from bench.lies.kinds import KINDS
from bench.lies.outcome import RATES, Outcome, go_together, outcome
from bench.lies.threads import THREADS
from bench.lies.trials import TRIALS

__all__ = ["KINDS", "RATES", "THREADS", "TRIALS", "Outcome", "go_together", "outcome"]
