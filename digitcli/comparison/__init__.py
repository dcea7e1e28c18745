"""Comparing architectures over seeds, with statistics."""
