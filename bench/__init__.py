"""Measurements that people run and read: the paper's experiments, speed, accuracy, from files to numbers."""

import os

# Cases are run side by side; threads inside a product of matrices would only get in each other's way.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
