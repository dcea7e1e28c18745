"""Training: the loop, its losses and optimizers, and the folder of a run."""
