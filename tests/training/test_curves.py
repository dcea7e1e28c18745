"""The picture of the training curves."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import pytest

from digitcli.events import EpochDone
from digitcli.training.curves import draw_curves


@pytest.mark.parametrize("epochs", [1, 2, 40])
def test_curves_are_an_svg_of_every_epoch(epochs: int) -> None:
    rows = [
        EpochDone(epoch, 0.1, 1 / epoch, 1.1 / epoch, 1 - 0.1 / epoch, 1000.0, 1.0 * epoch)
        for epoch in range(1, epochs + 1)
    ]
    picture = ElementTree.fromstring(draw_curves("a <name> & more", rows))
    (lines, dots) = (
        [part for part in picture.iter() if part.tag.endswith(tag)] for tag in ("path", "circle")
    )
    curves = [line.get("d", "") for line in lines if line.get("class") == "line" and "L" in line.get("d", "")]
    assert len(dots) == (3 if epochs == 1 else 0)
    assert [curve.count("L") for curve in curves].count(epochs - 1) >= (0 if epochs == 1 else 3)


def test_curves_of_a_perfect_run_are_drawn_too() -> None:
    assert "svg" in draw_curves("perfect", [EpochDone(1, 0.1, 0.0, 0.0, 1.0, 1.0, 1.0)])
