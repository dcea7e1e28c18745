"""Read pages by networks that find lines of numbers and read strips of raw pixels."""
