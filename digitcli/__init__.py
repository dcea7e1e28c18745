"""Read handwritten numbers, and train and evaluate networks that recognize handwritten digits.

    from digitcli import Reader

    Reader().read("image.png").text

Importing the package loads no torch. Its names are loaded when they are used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from digitcli.adaptation.adapt import adapt
    from digitcli.adaptation.saving import save_adaptation
    from digitcli.adaptation.self_training import adapt_unlabelled
    from digitcli.architectures.registry import create_model
    from digitcli.benchmarking.benchmark import benchmark
    from digitcli.benchmarking.configuration import BenchmarkConfig
    from digitcli.data.loading import load_dataset
    from digitcli.evaluation.evaluate import evaluate
    from digitcli.inference.predictor import load_classifier
    from digitcli.inference.torch_runtime import infer, load_model
    from digitcli.recognition.calibrate import calibrate
    from digitcli.recognition.constraints import parse_constraints
    from digitcli.recognition.reader import Reader
    from digitcli.recognition.results import Reading
    from digitcli.training.configuration import TrainConfig, fine_tuning
    from digitcli.training.trainer import resume, train

__version__ = "0.2.0"
__all__ = [
    "BenchmarkConfig",
    "Reader",
    "Reading",
    "TrainConfig",
    "adapt",
    "adapt_unlabelled",
    "benchmark",
    "calibrate",
    "create_model",
    "evaluate",
    "fine_tuning",
    "infer",
    "load_classifier",
    "load_dataset",
    "load_model",
    "parse_constraints",
    "resume",
    "save_adaptation",
    "train",
]

_MODULES = {
    "BenchmarkConfig": "digitcli.benchmarking.configuration",
    "Reader": "digitcli.recognition.reader",
    "Reading": "digitcli.recognition.results",
    "TrainConfig": "digitcli.training.configuration",
    "adapt": "digitcli.adaptation.adapt",
    "adapt_unlabelled": "digitcli.adaptation.self_training",
    "benchmark": "digitcli.benchmarking.benchmark",
    "calibrate": "digitcli.recognition.calibrate",
    "create_model": "digitcli.architectures.registry",
    "evaluate": "digitcli.evaluation.evaluate",
    "fine_tuning": "digitcli.training.configuration",
    "infer": "digitcli.inference.torch_runtime",
    "load_classifier": "digitcli.inference.predictor",
    "load_dataset": "digitcli.data.loading",
    "load_model": "digitcli.inference.torch_runtime",
    "parse_constraints": "digitcli.recognition.constraints",
    "resume": "digitcli.training.trainer",
    "save_adaptation": "digitcli.adaptation.saving",
    "train": "digitcli.training.trainer",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(importlib.import_module(_MODULES[name]), name)
    raise AttributeError(f"module 'digitcli' has no attribute '{name}'")


def __dir__() -> list[str]:
    """Return the names of the package, also those that are not loaded yet, for the completion of a shell."""
    return sorted({*globals(), *__all__})
