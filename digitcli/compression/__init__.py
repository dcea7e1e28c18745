"""Make a trained model smaller: folding, pruning, integers, and a search for the smallest."""
