"""Make a trained model smaller: folding, pruning, low rank, integers, and a search for the smallest."""
