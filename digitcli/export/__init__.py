"""Export a model to another program or language, with proof that it answers there as it does in PyTorch."""
