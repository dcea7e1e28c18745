"""Models to export: networks with random weights and with statistics of batch normalization."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from digitcli.architectures.compression import pack
from digitcli.architectures.layers import LocalContrast
from digitcli.architectures.registry import create_model
from digitcli.compression.changes import fold, quantize_inputs, quantize_weights
from digitcli.data.mnist import load_mnist_test
from digitcli.inference.checkpoint import Header, write_checkpoint

# The architectures that are chains of plain layers.
CHAINS = [
    "softmax", "sigmoid_mlp", "mlp", "fast", "lenet1", "lenet5", "cnn", "allconv", "vgg", "mobilenet", "tiny",
    "micro", "robust",
]  # fmt: skip


def randomize(network: nn.Module) -> nn.Module:
    """Give batch normalization other values than those that change nothing."""
    for layer in network.modules():
        if isinstance(layer, _BatchNorm):
            assert layer.running_mean is not None and layer.running_var is not None
            nn.init.normal_(layer.running_mean, std=0.1)
            nn.init.uniform_(layer.running_var, 0.5, 2)
            if layer.affine:
                nn.init.uniform_(layer.weight, 0.5, 2)
                nn.init.normal_(layer.bias, std=0.1)
    return network


def model_of(architecture: str, **header: object) -> Path:
    """Write a checkpoint of an architecture with random weights to the current folder."""
    torch.manual_seed(0)
    path = Path(f"{architecture}.safetensors")
    network = randomize(create_model(architecture))
    write_checkpoint(path, Header(architecture=architecture, **header), network.state_dict())  # type: ignore[arg-type]
    return path


def quantized_model_of(architecture: str, bits: int = 8, *, inputs: bool = True) -> Path:
    """Write a checkpoint of an architecture with random weights, quantized as `digitcli compress` does it.

    inputs: whether the inputs of layers are quantized, too.
    """
    torch.manual_seed(0)
    network = randomize(create_model(architecture)).eval()
    images = torch.from_numpy(load_mnist_test().images[300:364, None]).float() / 255
    changes = fold(network)
    changes += quantize_inputs(network, lambda layer: layer(images)) if inputs else []
    changes += quantize_weights(network, bits)
    path = Path(f"{architecture}-int{bits}.safetensors")
    header = Header(architecture=architecture, arguments={"compression": changes})
    write_checkpoint(path, header, pack(changes, network.state_dict()))
    return path


def unusual() -> nn.Module:
    """Layers and settings that the networks of the registry seldom have."""
    return nn.Sequential(
        LocalContrast(),
        nn.BatchNorm2d(1),
        nn.Conv2d(1, 4, (3, 5), stride=(2, 1), padding=(1, 2), groups=1),
        nn.LeakyReLU(0.3),
        nn.BatchNorm2d(4),
        nn.MaxPool2d(3, stride=2, padding=1, ceil_mode=True),
        nn.Conv2d(4, 6, 3, padding=2, groups=2),
        nn.Tanh(),
        nn.AvgPool2d((2, 3), stride=(1, 2)),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 10),
        nn.Sigmoid(),
    )


def in_blocks() -> nn.Module:
    """Layers whose result depends on the order of the axes, and windows that reach beyond the map."""
    return nn.Sequential(
        nn.Conv2d(1, 2, 3, stride=2, padding=1),
        nn.PixelUnshuffle(2),
        nn.Conv2d(8, 16, (2, 3), stride=(1, 2), padding=(0, 1), groups=8),
        nn.MaxPool2d(3, stride=1, padding=1),
        nn.Conv2d(16, 16, 4, padding=2, groups=16),
        nn.Flatten(),
        nn.BatchNorm1d(16 * 7 * 5),
        nn.Linear(16 * 7 * 5, 10),
    )


def single() -> nn.Module:
    """One layer, which is in a chain of its own and has a name that is none in C."""
    return nn.Sequential(
        nn.Sequential(OrderedDict({"to-row": nn.Flatten(), "to-logits": nn.Linear(784, 10)}))
    )
