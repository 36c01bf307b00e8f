"""How the liver finder is made: samples, network, training, calibration, validation."""
