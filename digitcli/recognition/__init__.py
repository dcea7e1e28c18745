"""Read the numbers in pictures, with their places and confidences."""
