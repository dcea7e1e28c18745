"""Examine a trained model, and what is wrong inside a network: its gradients, and units that never change."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from digitcli.data.mnist import load_mnist
from digitcli.diagnosis.findings import Diagnosis, Finding, percent
from digitcli.inference.checkpoint import name_members
from digitcli.inference.model_resolution import ModelLike, resolve_model
from digitcli.inference.torch_runtime import as_input, device_of, load_model
from digitcli.interpretation.activations import hooks

# Training digits of MNIST that are shown to a model of single digits.
SHOWN = 1_000
# The gradient of the first layer may be this much smaller than that of the last; in the shipped recipes it is
# 45 times smaller at most (`sigmoid_mlp`).
VANISHED = 1000.0
# A gradient may be this many times as large as its weights; in the shipped recipes it is 3 times at most.
EXPLODED = 1000.0
# The share of a layer's ReLUs that may be dead; in the shipped recipes it is a sixth at most (`cnn`).
DEAD_SHARE = 0.5
# The share of a layer's sigmoids or tanhs that may be saturated; in the shipped recipes it is 0.55 at most.
SATURATED_SHARE = 0.9
# A sigmoid or tanh is saturated if it is this close to one of its limits, as a share of its range: then it
# passes on at most a twenty-fifth of the gradient that it passes on in the middle.
NEAR_LIMIT = 0.01
RECTIFIERS, SQUASHERS = (nn.ReLU, nn.ReLU6), (nn.Sigmoid, nn.Tanh)
# Images that a network sees together: a deep one enlarges them to 224 pixels, where each takes 100 MB.
BATCH_SIZE = 50


def examine_model(model: ModelLike, device: str = "auto") -> Diagnosis:
    """Return facts about a model, and what is wrong with it; of models of lines and pages, only facts.

    Raises:
        ModelError: there is no such model, or its file is damaged or has weights that are no numbers.
    """
    resolved = resolve_model(model)
    header = resolved.header
    facts = {"architecture": header.architecture, "task": header.task, "identity": resolved.id}
    facts |= {"members": members} if (members := name_members(header)) else {}
    metrics = {name: value for name, value in header.metrics.items() if isinstance(value, int | float)}
    facts |= {name: _in_words(name, value) for name, value in metrics.items()}
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


def gradient_faults(network: nn.Module, loss: Tensor) -> Iterator[Finding]:
    """Yield gradients that vanish or explode on their way from the last layer to the first.

    loss: the loss of a batch before the first step. Its gradients replace those of the network.

    Hochreiter, "Untersuchungen zu dynamischen neuronalen Netzen", 1991; Glorot & Bengio, "Understanding the
    difficulty of training deep feedforward neural networks", 2010.
    """
    network.zero_grad()
    loss.backward()
    sizes = {
        name.removesuffix(".weight"): (_size(weights.grad), _size(weights))
        for name, weights in network.named_parameters()
        if weights.ndim > 1 and weights.grad is not None
    }
    network.zero_grad()
    if len(sizes) < 2:
        return
    remedy = "Use ReLU, normalization or residual connections, or another initialization of the weights."
    (first, (of_first, _)), *_, (last, (of_last, _)) = sizes.items()
    if of_first * VANISHED < of_last:
        evidence = (
            f"Before the first step, the gradient of layer {first} is {of_first:.1e} in the root mean "
            f"square, and that of layer {last} is {of_last:.1e}."
        )
        yield Finding("vanishing_gradients", "error", evidence, remedy)
    name, (gradient, weight) = max(sizes.items(), key=lambda item: item[1][0] / max(item[1][1], 1e-12))
    if gradient > EXPLODED * weight:
        evidence = (
            f"Before the first step, the gradient of layer {name} is {gradient:.1e} in the root mean square, "
            f"and its weights are {weight:.1e}."
        )
        yield Finding("exploding_gradients", "error", evidence, remedy)


def _size(tensor: Tensor) -> float:
    """Return the root mean square."""
    return float(tensor.detach().square().mean().sqrt())


def inactive_units(network: nn.Module, images: Tensor) -> Iterator[Finding]:
    """Yield layers whose units pass hardly any gradient on for images (N, C, H, W).

    They are ReLUs that are zero for all images (a unit of a convolution is a channel), and sigmoids and tanhs
    near their limits. A layer that is used several times, as in torchvision's residual blocks, counts each
    time.
    """
    remedy = "Lower the learning rate (digitcli doctor RUN --lr-range), or choose another initialization."
    for name, layer, idle in _idle_shares(network, images):
        if isinstance(layer, RECTIFIERS):
            rule, share, least = "dead_units", float((idle == 1).float().mean()), DEAD_SHARE
            evidence = f"{percent(share, 0)} of the units are zero for all of {len(images):,} digits"
        else:
            rule, share, least = "saturated_units", float(idle.mean()), SATURATED_SHARE
            evidence = f"{percent(share, 0)} of the answers to {len(images):,} digits are near the limits"
        if share >= least:
            where = f"In layer {name} ({type(layer).__name__})"
            yield Finding(rule, "warning", f"{where}, {evidence}.", remedy)


@torch.no_grad()
def _idle_shares(network: nn.Module, images: Tensor) -> Iterator[tuple[str, nn.Module, Tensor]]:
    """Yield the share (U,) of its answers in which each unit is idle, for each use of a ReLU and the like."""
    active: dict[tuple[nn.Module, int], Tensor] = {}  # U, the share of the answers to all images
    uses: Counter[nn.Module] = Counter()

    def count(layer: nn.Module, inputs: object, output: Tensor) -> None:
        of_unit = (~_is_idle(layer, output)).transpose(0, 1).flatten(1)  # U, answers
        use, share = uses[layer], of_unit.double().mean(dim=1) * len(output) / len(images)
        active[layer, use] = active.get((layer, use), torch.zeros_like(share)) + share
        uses[layer] += 1

    watched = {
        name: each for name, each in network.named_modules() if isinstance(each, RECTIFIERS + SQUASHERS)
    }
    with hooks(*(layer.register_forward_hook(count) for layer in watched.values())):
        for batch in images.split(BATCH_SIZE):
            uses.clear()
            network(batch)
    for name, layer in watched.items():
        for use in range(uses[layer]):
            yield name, layer, 1 - active[layer, use]


def _is_idle(layer: nn.Module, output: Tensor) -> Tensor:
    """Return where a ReLU is zero, or a sigmoid or tanh is near its limits."""
    if isinstance(layer, RECTIFIERS):
        return output <= 0
    low = -1.0 if isinstance(layer, nn.Tanh) else 0.0
    margin = NEAR_LIMIT * (1 - low)
    return (output < low + margin) | (output > 1 - margin)
