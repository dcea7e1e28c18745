"""Line crops of all widths go through a runtime in padded batches; probabilities of models are averaged."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from digitcli.inference.runtime import (
    average_probabilities,
    count_columns,
    pad_lines,
    padded_width,
    run_lines,
)

COLUMN_PX = 4


class RecordingRuntime:
    """A runtime whose logits at a column are the mean ink of its pixels; it keeps the shapes of batches."""

    name, device = "recording", "cpu"

    def __init__(self, predicts_distances: bool = False) -> None:
        self.shapes: list[tuple[int, ...]] = []
        self.predicts_distances = predicts_distances

    def run(self, images: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.float32], ...]:
        self.shapes.append(images.shape)
        count, height, width = images.shape
        columns = images.reshape(count, height, width // COLUMN_PX, COLUMN_PX).mean(axis=(1, 3))
        logits = np.repeat(columns[:, :, None], 3, axis=2).astype(np.float32)  # N, T, 3
        return (logits, logits[:, :, :1] - 1) if self.predicts_distances else (logits,)


def crops(*widths: int) -> list[npt.NDArray[np.uint8]]:
    """Return line crops of these widths, each with ink of its own darkness."""
    return [np.full((40, width), 10 + index, np.uint8) for index, width in enumerate(widths)]


def test_each_crop_gets_its_own_columns_in_the_order_of_the_crops() -> None:
    widths = (64, 8, 200, 40, 60, 9)
    outputs = run_lines(RecordingRuntime(), crops(*widths))
    assert [len(output.logits) for output in outputs] == [16, 2, 50, 10, 15, 3]
    assert [float(output.logits[0, 0]) for output in outputs] == [10, 11, 12, 13, 14, 15]
    assert all(output.distances is None for output in outputs)


def test_crops_of_similar_width_are_computed_together_in_batches() -> None:
    runtime = RecordingRuntime()
    run_lines(runtime, crops(33, 64, 32, 50, 60), batch_size=3)
    assert sorted(runtime.shapes) == [(1, 40, 32), (1, 40, 64), (3, 40, 64)]


def test_the_output_of_a_crop_does_not_depend_on_the_other_crops() -> None:
    images = crops(50, 64, 40, 500)
    together = run_lines(RecordingRuntime(predicts_distances=True), images)
    for image, output in zip(images, together, strict=True):
        (alone,) = run_lines(RecordingRuntime(), [image])
        assert np.array_equal(alone.logits, output.logits) and output.distances is not None
        assert np.array_equal(output.distances, output.logits[:, :1] - 1)
    assert run_lines(RecordingRuntime(), []) == []


def test_probabilities_of_several_models_are_averaged() -> None:
    random = np.random.default_rng(0)
    for count in (1, 2, 3):
        probabilities = random.dirichlet(np.ones(10), (count, 5)).astype(np.float32)  # models, N, 10
        averaged = average_probabilities(list(np.log(probabilities)))
        assert averaged.dtype == np.float32
        np.testing.assert_allclose(averaged, np.log(probabilities.mean(axis=0)), rtol=1e-5)


def test_lines_are_padded_by_paper_on_their_right() -> None:
    ink, strip = np.full((40, 33), 255, np.uint8), np.full((3, 40, 33), 9, np.uint8)
    assert padded_width(ink) == 64 and padded_width(ink, 16) == 48
    assert pad_lines([ink], 64)[0, :, 33:].max() == 0
    padded = pad_lines([strip, strip], 64)
    assert (
        padded.shape == (2, 3, 40, 64) and (padded[..., 33:] == 128).all() and (padded[..., :33] == 9).all()
    )
    assert count_columns(33, 64, 16) == 9
