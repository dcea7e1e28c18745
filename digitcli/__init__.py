"""digitcli reads handwritten digits, and shows how every kind of neural network does it.

    from digitcli import Reader

    Reader().read("image.png").text

Importing the package loads no torch; using what it offers does.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from digitcli.config import TrainConfig
    from digitcli.data.sources import load_dataset
    from digitcli.evaluation.report import evaluate
    from digitcli.experiments.benchmark_config import BenchmarkConfig
    from digitcli.experiments.benchmarking import benchmark
    from digitcli.networks import infer, load_model
    from digitcli.reading.reader import Reader
    from digitcli.reading.results import Reading
    from digitcli.registry import create_model
    from digitcli.training.loop import resume, train

__version__ = "0.1.0"
__all__ = [
    "BenchmarkConfig",
    "Reader",
    "Reading",
    "TrainConfig",
    "benchmark",
    "create_model",
    "evaluate",
    "infer",
    "load_dataset",
    "load_model",
    "resume",
    "train",
]

_HOMES = {
    "BenchmarkConfig": "digitcli.experiments.benchmark_config",
    "Reader": "digitcli.reading.reader",
    "Reading": "digitcli.reading.results",
    "TrainConfig": "digitcli.config",
    "benchmark": "digitcli.experiments.benchmarking",
    "create_model": "digitcli.registry",
    "evaluate": "digitcli.evaluation.report",
    "infer": "digitcli.networks",
    "load_dataset": "digitcli.data.sources",
    "load_model": "digitcli.networks",
    "resume": "digitcli.training.loop",
    "train": "digitcli.training.loop",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'digitcli' has no attribute '{name}'")
