"""A writer keeps the form of each digit all along a line."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from digitcli.synthesis.lines import LineSynthesizer
from digitcli.synthesis.writer_style import Form, Writer, sample_style

POINTS = np.array([[0, 0], [0.5, 0.5], [1, 1], [0, 1], [1, 0]], np.float32)


def test_the_plain_form_changes_nothing() -> None:
    np.testing.assert_allclose(Form(1, 0, 1).apply(POINTS, 0.5), POINTS)


def test_a_form_widens_the_top_and_lifts_the_waist() -> None:
    formed = Form(1, 0.2, 1.5).apply(POINTS, 0.5)
    assert formed[4, 0] - formed[0, 0] == pytest.approx(1.2)
    assert formed[2, 0] - formed[3, 0] == pytest.approx(0.8)
    assert formed[1].tolist() == pytest.approx([0.5, 0.5**1.5])
    assert formed[[0, 2], 1].tolist() == [0, 1]


def test_a_form_keeps_strokes_below_the_line() -> None:
    below = np.array([[0.5, 1.3]], np.float32)
    assert Form(1, 0.2, 1.5).apply(below, 0.5)[0].tolist() == pytest.approx([0.5, 1.3])


def test_the_same_digit_has_one_form_along_a_line(from_strokes: LineSynthesizer) -> None:
    random = np.random.default_rng(0)
    plain = dataclasses.replace(sample_style(random), jitter=0.0, wobble=0.0, repeats=True, forms=0.3)
    writer = {digit: samples[:1] for digit, samples in from_strokes._writers[0].items()}
    first, second = (Writer(plain, from_strokes._images, writer, np.random.default_rng(n)) for n in (1, 2))
    widths = {round(float(np.ptp(np.concatenate(first.write("2").strokes)[:, 0])), 2) for _ in range(4)}
    assert len(widths) == 1
    assert widths != {round(float(np.ptp(np.concatenate(second.write("2").strokes)[:, 0])), 2)}
