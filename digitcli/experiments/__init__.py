"""Comparing models: how fast, how large, how accurate."""
