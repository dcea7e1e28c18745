"""What the network that groups digits takes: each gap between two digits of a page as a row of bytes.

A row holds values, each from the low to the high end of its range; the place of the gap on the page, x and y,
two bytes each; and what surrounds it, the darkest and the lightest pixels. Every value is part of how the
network was trained; another value needs a new training.
"""

from __future__ import annotations

# In mean heights of the two digits, where nothing else is said.
VALUES: dict[str, tuple[float, float]] = {
    "gap": (-1.0, 8.0),  # between their boxes
    "distance": (0.0, 8.0),  # of their middles
    "drop": (-1.0, 1.0),  # of the second below the first
    "ratio": (-1.0, 1.0),  # logarithm of the height of the second over that of the first
    "before": (0.0, 2.0),  # width of the first
    "behind": (0.0, 2.0),
    "size": (-2.0, 2.0),  # logarithm of the mean height over the typical height of a digit on the page
    "separator": (
        -12.0,
        12.0,
    ),  # log-odds of a space or an operator there, by the line networks
    "operator": (-12.0, 12.0),  # log-odds of an operator
    "inside": (0.0, 1.0),  # whether both digits are in one line of the finder
    "point": (0.0, 1.0),  # whether a point or a comma is read between them
    "dash": (0.0, 1.0),  # -, / or :
    "sign": (0.0, 1.0),  # an operator
    "other": (0.0, 1.0),  # another character
    "space": (0.0, 1.0),
    "score_before": (-12.0, 12.0),  # log-odds of a number, by the finder, of the line of the first digit
    "score_behind": (-12.0, 12.0),
    "other_before": (-12.0, 12.0),  # log-odds of other writing
    "other_behind": (-12.0, 12.0),
    "length_before": (-2.5, 5.0),  # logarithm of the length of the line, in heights of the line
    "length_behind": (-2.5, 5.0),
}
PLACE_STEPS = 64  # for each typical height of a digit on the page
# What surrounds the middle of a gap, in pixels; 24 pixels are `PATCH_HEIGHTS` heights of its digits.
PATCH_PX, PATCH_HEIGHTS = (24, 48), 3.0
PATCH_PAPER = 128
COLUMNS = len(VALUES) + 4 + 2 * PATCH_PX[0] * PATCH_PX[1]
