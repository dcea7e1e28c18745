"""Comparisons that take a second."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from digitcli.comparison.compare import ComparedModel, Comparison, compare
from digitcli.comparison.specification import ComparedRun, ModelDefinition, parse_specifications


def compare_quickly(
    data: Path, out: Path, *specifications: str, seeds: int = 2, **options: Any
) -> Comparison:
    """Compare on the CPU, by default one epoch of softmax with eight."""
    parsed = parse_specifications(
        specifications or ("softmax:epochs=1", "softmax:epochs=8"), str(data), "cpu"
    )
    return compare(parsed, seeds=seeds, data=str(data), device="cpu", out=out, **options)


def model_with(label: str, *accuracies: float, **fields: Any) -> ComparedModel:
    """A model whose runs have these accuracies."""
    settings: dict[str, Any] = {
        "label": label,
        "parameters": 1,
        "macs": 1,
        "accuracy": float(np.mean(accuracies)),
        "deviation": float(np.std(accuracies, ddof=1)) if len(accuracies) > 1 else None,
        "low": 0.0,
        "high": 1.0,
        "train_seconds": None,
        "latency_ms": 1.0,
        "runs": tuple(ComparedRun("", accuracy, ()) for accuracy in accuracies),
        "definition": ModelDefinition("fast", {}, {}),
    }
    return ComparedModel(**{**settings, **fields})
