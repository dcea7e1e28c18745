"""What is wrong, how one knows it, and what mends it."""
