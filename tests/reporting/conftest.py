"""Sources of reports, one of each kind, that take a second to make."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from digitcli.adaptation.results import AdaptedModel
from digitcli.adaptation.saving import save_adaptation
from digitcli.comparison.saved_comparison import (
    ComparedRun,
    ModelDefinition,
    SavedModel,
    accuracy_of,
    save_comparison,
)
from digitcli.evaluation.evaluate import evaluate
from digitcli.evaluation.result_files import save_result
from digitcli.inference.checkpoint import read_checkpoint
from digitcli.inference.model_resolution import resolve_model
from digitcli.training.trainer import train
from tests.support.adaptation import measured_adaptation
from tests.support.models import as_npz, pointing_digits, pointing_model
from tests.support.predictions import put
from tests.support.training import train_config

# A file name that would run a script if a page did not escape it.
HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="session")
def run_folder(few_digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two epochs."""
    folder = tmp_path_factory.mktemp("runs") / "softmax-1"
    train(train_config(few_digits, "softmax", recipe={"epochs": 2}), out=folder)
    return folder


@pytest.fixture(scope="session")
def evaluation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The figures of a model that misreads two of eight digits; model and digits lie beside the file."""
    folder = tmp_path_factory.mktemp("evaluation")
    digits = pointing_digits([3, 3, 3, 5, 5, 7, 7, 7], [3, 3, 5, 5, 5, 7, 7, 1])
    data = as_npz(folder / "digits.npz", digits)
    result = evaluate(str(pointing_model(folder / "pointing.safetensors")), data, device="cpu")
    save_result(folder / "evaluation.json", result)
    return folder / "evaluation.json"


@pytest.fixture(scope="session")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models with three runs each on a hundred images, of which no run reads the last."""
    models = [
        SavedModel(
            label,
            ModelDefinition("softmax", {}, {}),
            data="images.npz",
            digest="0" * 64,
            split="test",
            images=100,
            runs=tuple(
                ComparedRun(f"runs/{seed}", accuracy_of(misread, 100), misread, seed, 1.5)
                for seed, misread in enumerate(runs)
            ),
        )
        for label, runs in {
            "softmax": ((*range(30), 99), (*range(31), 99), (*range(29), 99)),
            "softmax:lr=0.1": ((0, 99), (0, 1, 99), (99,)),
        }.items()
    ]
    path = tmp_path_factory.mktemp("comparison") / "comparison.json"
    save_comparison(path, models)
    return path


def reading(file: str, status: str = "read", **fields: Any) -> dict[str, Any]:
    """A record of a page without numbers."""
    return {"schema": 1, "file": file, "page": None, "status": status, "reason": None, "text": None} | fields


def number(text: str, confidence: float, **fields: Any) -> dict[str, Any]:
    """A number of a record."""
    box = [20, 40, 160, 120]
    return {"text": text, "raw": text, "status": "read", "confidence": confidence, "box": box} | fields


@pytest.fixture(scope="session")
def readings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Readings of a picture that is at hand, and of lost ones: read in part, unreadable and blank."""
    folder = tmp_path_factory.mktemp("readings")
    put(folder / "five.png", "5")
    doubtful = number("71", 0.31, status="refused", reason="low_confidence", alternatives=[["77", 0.3]])
    records = [
        reading("five.png", text="5", confidence=0.99, numbers=[number("5", 0.99)]),
        reading("page.png", "partial", text="12 71", confidence=0.3, numbers=[number("12", 0.9), doubtful]),
        reading(HOSTILE, "error", reason="not_an_image"),
        reading("white.png", "blank", text="", confidence=0.95, reason="blank"),
    ]
    path = folder / "readings.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


@pytest.fixture(scope="session")
def adaptation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that `digitcli adapt` could have written."""
    folder = tmp_path_factory.mktemp("adaptations") / "my-reader"
    model = AdaptedModel("reader", *read_checkpoint(resolve_model("fast").path))
    save_adaptation(measured_adaptation([model]), folder)
    return folder
