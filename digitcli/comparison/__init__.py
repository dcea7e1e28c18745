"""Compare architectures and models over several seeds, with statistics."""
