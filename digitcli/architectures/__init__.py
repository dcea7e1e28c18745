"""Building networks: one file a family, each with its recipes."""
