"""Reports: one HTML file that shows what a command has written as JSON."""
