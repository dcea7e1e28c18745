"""Generators of the pages on which `held_out_scenes.py` measures, and on which nothing is trained."""
