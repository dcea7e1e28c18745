"""Complete option values in the shell.

Every command imports this module, so that its functions import what they need when they are called.
"""

from __future__ import annotations


def complete_architecture(incomplete: str) -> list[tuple[str, str]]:
    """Return the architectures with their papers."""
    from digitcli.architectures.registry import architectures

    return [(row.name, row.paper) for row in architectures().values() if row.name.startswith(incomplete)]


def complete_model(incomplete: str) -> list[str]:
    """Return the architectures and the shipped models."""
    from digitcli.architectures.registry import architectures
    from digitcli.inference.model_resolution import shipped_models

    return [name for name in {**architectures(), **shipped_models()} if name.startswith(incomplete)]


def complete_shipped(incomplete: str) -> list[str]:
    """Return the shipped models."""
    from digitcli.inference.model_resolution import shipped_models

    return [name for name in shipped_models() if name.startswith(incomplete)]


def complete_dataset(incomplete: str) -> list[str]:
    """Return the datasets that have a name."""
    from digitcli.data.loading import DATASETS

    return [name for name in DATASETS if name.startswith(incomplete)]


def complete_device(incomplete: str) -> list[str]:
    """Return the kinds of devices."""
    from digitcli.inference.devices import DEVICE_NAMES

    return [name for name in DEVICE_NAMES if name.startswith(incomplete)]
