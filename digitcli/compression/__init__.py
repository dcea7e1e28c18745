"""Make a trained model smaller: folding, pruning and integers."""
