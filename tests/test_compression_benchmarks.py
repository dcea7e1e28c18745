"""The scripts behind the figures of docs/compression.md: the chart, and the rounds that compare speeds."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import compression_chart
import int8_speed
import numpy as np
import numpy.typing as npt

from digitcli.compression.steps import TriedModel

ORIGINAL = TriedModel("original", "", 0.99, 0, 1, None, 4000, 5000, 1000, 1000)
SMALL = dataclasses.replace(ORIGINAL, steps="int8", accuracy=0.98, weights_bytes=1000)


def written(folder: str, model: str, *tried: TriedModel, unit: str = "digit") -> Path:
    record = {"model": model, "unit": unit, "n": 50, "tried": [dataclasses.asdict(each) for each in tried]}
    Path(folder).mkdir()
    (Path(folder) / "compression.json").write_text(json.dumps(record))
    return Path(folder)


def test_the_chart_has_each_model_once_and_leaves_out_readers_of_lines() -> None:
    folders = [
        written("a", "micro@11", ORIGINAL, SMALL),
        written("b", "micro@11", ORIGINAL),
        written("c", "reader@22", SMALL, unit="line"),
    ]
    chart = compression_chart.draw(folders)
    assert "error on 50 validation digits" in chart and "reader" not in chart
    assert chart.count("1 micro int8") == chart.count("2 micro original") == 1 and "3 micro" not in chart


def test_both_runtimes_are_timed_in_each_round() -> None:
    calls: list[tuple[str, int]] = []

    class Runtime:
        def __init__(self, name: str) -> None:
            self.name = name

        def run_batch(self, images: npt.NDArray[np.float32]) -> None:
            calls.append((self.name, len(images)))

    runtimes: list[Any] = [Runtime("float32"), Runtime("int8")]
    seconds = int8_speed.seconds_of_rounds(runtimes, 150)
    assert [len(rounds) for rounds in seconds] == [int8_speed.ROUNDS] * 2
    assert calls[:6] == [("float32", 150), ("int8", 150), *[("float32", 150)] * 2, *[("int8", 150)] * 2]
