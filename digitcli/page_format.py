"""What page finders give: the maps of a page, in cells of a few pixels.

Every value is part of how the page finders were trained; another value needs a new training.
"""

from __future__ import annotations

STRIDE_PX = 4  # the side of a cell
REFERENCE_PX = 28.0  # the height of a line whose logarithm is 0
SHORTENED = 0.18  # heights by which the core of a line is shorter than the line at each end

# The maps: logits of the core of a number and of other writing; log2 of the height of the line over
# `REFERENCE_PX`; the distance to its axis, in heights; the sine of its angle; the logit of writing that is
# too small.
NUMBER, OTHER, HEIGHT, AXIS, SLOPE, SMALL = range(6)
