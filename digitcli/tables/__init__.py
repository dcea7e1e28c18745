"""Tables and forms: their cells, the values in them, the checks that they satisfy, and spreadsheets."""
