"""Draw the progress and the results of the commands in the terminal."""
