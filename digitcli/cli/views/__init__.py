"""What the commands draw in the terminal."""
