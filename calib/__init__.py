"""Calibration: images, preprocessing, observers, ranges and INT8 arithmetic in NumPy, usable without torch."""
