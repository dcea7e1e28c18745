"""Reports: one HTML file about a run, an evaluation, a comparison or readings."""
