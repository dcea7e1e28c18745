"""A page finder and a reader of strips, named together, read pages."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from digitcli.errors import UsageError
from digitcli.imaging.network_inputs import LineBox
from digitcli.inference.checkpoint import MODEL_FILE, read_checkpoint, write_checkpoint
from digitcli.inference.line_finding import Findings, FoundLine
from digitcli.inference.runtime import LineOutput
from digitcli.recognition.reader import Reader
from digitcli.strip_format import ALPHABET
from digitcli.training import composed_lines, line_sources, page_task
from digitcli.training.configuration import TrainConfig
from digitcli.training.trainer import train

SURE = 900.0  # a logit so large that the temperature of an untrained network does not matter


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Train both networks for one step."""
    folder = tmp_path_factory.mktemp("runs")
    sizes = {
        page_task: {
            "EPOCH_SQUARES": 2,
            "VALIDATION_SQUARES": 2,
            "TEST_SQUARES": 2,
            "POOL_BATCHES": 4,
            "SIDE_PX": 64,
        },
        line_sources: {
            "EPOCH_LINES": 2,
            "VALIDATION_LINES": 2,
            "TEST_LINES": 2,
            "POOL_BATCHES": 4,
        },
        composed_lines: {"SCENE_SIDE_PX": 128},
    }
    with pytest.MonkeyPatch.context() as patch:
        for module, values in sizes.items():
            for name, value in values.items():
                patch.setattr(module, name, value)
        patch.setattr("digitcli.training.line_task.POOL_BATCHES", 4)
        patch.setattr("digitcli.training.setup.WORKERS", 0)
        recipe = {"epochs": 1, "batch_size": 2, "dtype": "float32"}
        for name in ("finder", "strip_reader"):
            train(TrainConfig(arch=name, recipe=recipe, device="cpu"), out=folder / name)
    header, tensors = read_checkpoint(folder / "finder" / MODEL_FILE)
    write_checkpoint(folder / "other_finder.safetensors", dataclasses.replace(header, seed=1), tensors)
    return {
        **{name: folder / name for name in ("finder", "strip_reader")},
        "other_finder": folder / "other_finder.safetensors",
    }


def test_numbers_are_read_where_they_are_found(
    runs: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [FoundLine(LineBox(300, y, 120, 40, 0.0), 0.99, 0.0, 30) for y in (260, 60)]
    monkeypatch.setattr(
        "digitcli.recognition.pages.page_reader.find_lines", lambda grey, maps: Findings(tuple(lines), 0.0)
    )
    reader = Reader(runs["finder"], runs["strip_reader"], device="cpu")
    assert reader.models.page_reader is not None
    monkeypatch.setattr(
        reader.models.page_reader.line_models[0], "outputs", lambda crops: [_answer(crop) for crop in crops]
    )
    page = np.full((400, 600), 230, np.uint8)
    page[50:70, 280:320] = 20  # the upper line is dark, and the answer to it "17.5"
    reading = reader.read(page)
    assert reading.status == "read"
    assert [number.raw for number in reading.numbers] == ["17.5", "8"]
    upper, lower = (number.box for number in reading.numbers)
    assert 40 <= upper[1] + upper[3] / 2 <= 80
    assert 240 <= lower[1] + lower[3] / 2 <= 280
    assert [part.split("@")[0] for part in reading.model.split("+")] == ["finder", "strip_reader"]


def _answer(crop: np.ndarray) -> LineOutput:
    text = "17.5" if crop.min() < 60 else "8"
    logits = np.full((crop.shape[-1] // 4, len(ALPHABET) + 1), -SURE, np.float32)
    logits[:, -1] = SURE
    for place, character in enumerate(text):
        column = round((place + 1) * len(logits) / (len(text) + 1))
        logits[column, [ALPHABET.index(character), -1]] = SURE, -SURE
    return LineOutput(logits, np.tile(np.array([0.4, 0.4, 0.4, 1.6], np.float32), (len(logits), 1)))


def test_a_page_on_which_nothing_is_found_is_blank(
    runs: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "digitcli.recognition.pages.page_reader.find_lines", lambda grey, maps: Findings((), 0.0)
    )
    reader = Reader(runs["finder"], runs["strip_reader"], device="cpu")
    assert reader.read(np.full((40, 60), 200, np.uint8)).status == "blank"


def test_untrained_networks_answer_any_page(runs: dict[str, Path]) -> None:
    reader = Reader(runs["finder"], runs["strip_reader"], device="cpu", keep_pictures=True)
    random = np.random.default_rng(0)
    for shape in ((28, 28), (50, 400), (300, 200)):
        reading = reader.read(random.integers(0, 256, shape, np.uint8))
        assert reading.status in ("read", "partial", "refused", "blank")
        assert reading.picture is not None


@pytest.mark.parametrize(
    ("names", "message", "remedy"),
    [
        (["finder"], "finds numbers, but does not read them", "Add -m page_reader."),
        (["strip_reader"], "needs a page finder", "Add -m finder."),
        (["finder", "other_finder", "strip_reader"], "Several page finders", "Name one."),
    ],
)
def test_models_that_do_not_fit_together_are_refused(
    runs: dict[str, Path], names: list[str], message: str, remedy: str
) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        Reader(*(runs.get(name, name) for name in names), device="cpu")
    assert caught.value.remedy == remedy
