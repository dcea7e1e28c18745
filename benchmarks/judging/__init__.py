"""Generators of the pages on which `judged_scenes.py` measures, and on which nothing is trained."""
