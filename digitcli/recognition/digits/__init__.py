"""Read digits that stand apart: connected components of ink, for classifiers of single digits."""
