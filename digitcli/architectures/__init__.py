"""Architectures: one module for each family, the registry of all, and their recipes."""
