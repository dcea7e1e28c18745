"""Find, open and run trained models."""
