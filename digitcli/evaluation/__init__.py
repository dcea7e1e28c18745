"""Measure a trained model: accuracy, calibration, robustness, and its answers to other pictures."""
