"""What the shell completes. Loads no torch."""

from __future__ import annotations

from digitcli.checkpoint import shipped_models
from digitcli.devices import DEVICE_NAMES
from digitcli.registry import architectures


def complete_architecture(incomplete: str) -> list[tuple[str, str]]:
    """Architectures, with their papers."""
    return [(row.name, row.paper) for row in architectures().values() if row.name.startswith(incomplete)]


def complete_model(incomplete: str) -> list[str]:
    """Architectures and shipped models."""
    return [name for name in {**architectures(), **shipped_models()} if name.startswith(incomplete)]


def complete_shipped(incomplete: str) -> list[str]:
    """Shipped models."""
    return [name for name in shipped_models() if name.startswith(incomplete)]


def complete_dataset(incomplete: str) -> list[str]:
    """Datasets that have a name."""
    from digitcli.data.sources import DATASETS

    return [name for name in DATASETS if name.startswith(incomplete)]


def complete_device(incomplete: str) -> list[str]:
    """Kinds of devices."""
    return [name for name in DEVICE_NAMES if name.startswith(incomplete)]
