"""What TensorBoard reads of a run."""

from __future__ import annotations

from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def read_events(folder: Path) -> EventAccumulator:
    """Read all event files in a folder, and keep every event."""
    kinds = ("scalars", "histograms", "compressedHistograms", "images", "tensors")
    events = EventAccumulator(str(folder), size_guidance=dict.fromkeys(kinds, 0))
    return events.Reload()


def curve(events: EventAccumulator, tag: str) -> dict[int, float]:
    """Return the values of a curve by their steps; a step that occurs twice is an error."""
    points = events.Scalars(tag)
    values = {point.step: point.value for point in points}
    assert len(values) == len(points)
    return values
