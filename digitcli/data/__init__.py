"""Datasets of digits: loading, splitting and augmenting them."""

DEFAULT_DATASET = "mnist"
