"""What is wrong inside a network: its gradients by layer, and units that never change."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from digitcli.diagnosis.findings import Finding, percent
from digitcli.interpretation.activations import hooks

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
    for name, layer, idle in _idle_shares(network, images):
        if isinstance(layer, RECTIFIERS):
            share = float((idle == 1).float().mean())
            if share >= DEAD_SHARE:
                evidence = f"{percent(share, 0)} of the units are zero for all of {len(images):,} digits"
                yield _inactive("dead_units", name, layer, evidence)
        else:
            share = float(idle.mean())
            if share >= SATURATED_SHARE:
                evidence = f"{percent(share, 0)} of the answers to {len(images):,} digits are near the limits"
                yield _inactive("saturated_units", name, layer, evidence)


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


def _inactive(rule: str, name: str, layer: nn.Module, evidence: str) -> Finding:
    remedy = "Lower the learning rate (digitcli doctor RUN --lr-range), or choose another initialization."
    return Finding(rule, "warning", f"In layer {name} ({type(layer).__name__}), {evidence}.", remedy)
