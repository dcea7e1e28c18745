"""Training: the loop, its losses and optimisers, and the folder of a run."""
