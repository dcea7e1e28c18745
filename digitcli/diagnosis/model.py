"""Examine a trained model: its file, and units that pass no gradient on."""

from __future__ import annotations

import torch

from digitcli.data.mnist import load_mnist
from digitcli.diagnosis.findings import Diagnosis, Finding, percent
from digitcli.diagnosis.layers import inactive_units
from digitcli.inference.checkpoint import name_members
from digitcli.inference.model_resolution import ModelLike, resolve_model
from digitcli.inference.torch_runtime import as_input, device_of, load_model

# Training digits of MNIST that are shown to a model of single digits.
SHOWN = 1_000


def examine_model(model: ModelLike, device: str = "auto") -> Diagnosis:
    """Return facts about a model, and what is wrong with it; of models of lines and pages, only facts.

    Raises:
        ModelError: there is no such model, or its file is damaged or has weights that are no numbers.
    """
    resolved = resolve_model(model)
    header = resolved.header
    facts = {"architecture": header.architecture, "task": header.task, "identity": resolved.id}
    facts |= {"members": members} if (members := name_members(header)) else {}
    facts |= {
        name: _in_words(name, value)
        for name, value in header.metrics.items()
        if isinstance(value, int | float)
    }
    network = load_model(resolved, device=device)
    findings: tuple[Finding, ...] = ()
    if header.task == "digit":
        images = torch.from_numpy(load_mnist().train.images[:SHOWN].copy())
        findings = tuple(inactive_units(network, as_input(images.to(device_of(network)))))
    return Diagnosis(f"model {resolved.name}", facts, findings, has_verdict=header.task == "digit")


def _in_words(name: str, value: float) -> str:
    """Return a stored metric with its unit, which its name tells."""
    if "accuracy" in name or name.endswith("_ece"):
        return percent(value)
    if name.endswith("_seconds"):
        return f"{value:.1f} s"
    return f"{value:.4g} nats" if name.endswith("_nll") else f"{value:g}"
