"""Models whose answers are known beforehand, and digits for them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from digitcli.architectures.registry import create_model
from digitcli.data.dataset import Digits
from digitcli.inference.checkpoint import Header, write_checkpoint


def pointing_model(path: Path, **header: Any) -> Path:
    """A softmax that answers with the brightest of the first ten pixels, the surer the brighter it is."""
    state = create_model("softmax").state_dict()
    tensors = {name: torch.zeros_like(tensor) for name, tensor in state.items()}
    weight = next(tensor for tensor in tensors.values() if tensor.shape == (10, 784))
    weight[range(10), range(10)] = 1.0
    write_checkpoint(path, Header(architecture="softmax", **header), tensors)
    return path


def pointing_digits(
    labels: Sequence[int], answers: Sequence[int], brightness: Sequence[int] | int = 255
) -> Digits:
    """Digits that `pointing_model` answers so; each differs from all others in pixels it does not see."""
    images = np.zeros((len(labels), 28, 28), np.uint8)
    indices = np.arange(len(labels))
    images[indices, 0, np.asarray(answers)] = brightness
    images[indices, 10, 0], images[indices, 10, 1] = indices % 250, indices // 250
    return Digits(images, np.array(labels, np.int64))


def as_npz(path: Path, train: Digits, test: Digits | None = None) -> str:
    """The digits as a file that `--data` takes."""
    parts = {"images": train.images, "labels": train.labels}
    if test is not None:
        parts |= {"test_images": test.images, "test_labels": test.labels}
    np.savez(path, **parts)
    return str(path)


def saved(path: Path, name: str = "softmax", seed: int = 0, **header: object) -> Path:
    torch.manual_seed(seed)
    write_checkpoint(path, Header(architecture=name, **header), create_model(name).state_dict())
    return path


EVALUATION_KEYS = [
    "model", "data", "digest", "split", "n", "accuracy", "accuracy_low", "accuracy_high", "nll", "ece",
    "per_class", "confusion", "device", "overlap", "unreadable", "mistakes", "reliability", "coverage",
    "accuracy_without_label_errors", "robustness", "ood", "selection", "groups",
]  # fmt: skip
