"""Faults for a whole node, injected for real: ``make faults``, and a part of it in the tests."""
