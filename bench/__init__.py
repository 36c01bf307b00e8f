"""Measurements of the solver that people run and read: the paper's experiments, speed, accuracy."""
