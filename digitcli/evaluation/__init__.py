"""Measure a trained model: accuracy, calibration, robustness, and its answers to other pictures."""

MISTAKES = 6  # mistakes that a result lists
# The files that hold a result: of lines, of digits, and the models that were selected, as one ensemble.
LINE_SUFFIXES = (".json", ".csv")
DIGIT_SUFFIXES = (*LINE_SUFFIXES, ".svg")
MODEL_SUFFIX = ".safetensors"
