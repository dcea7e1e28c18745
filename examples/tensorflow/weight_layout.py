"""Convert weights between the layout of PyTorch and that of TensorFlow.

A matrix of PyTorch maps inputs to outputs as (outputs, inputs), that of TensorFlow as (inputs, outputs). A
kernel of PyTorch is (outputs, inputs, height, width), that of TensorFlow is (height, width, inputs, outputs).
Behind the convolutions lies a trap: PyTorch flattens its feature maps channel by channel, TensorFlow pixel by
pixel, so that the inputs of the next matrix stand in another order.

    python examples/tensorflow/weight_layout.py
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from digitcli import create_model

Array = npt.NDArray[np.float32]


def to_tensorflow(tensors: Mapping[str, Tensor]) -> list[Array]:
    """Return the weights of a PyTorch network in the layout and the order of `keras.Model.get_weights`."""
    arrays: list[Array] = []
    channels = 1  # of the feature maps that reach the next layer
    for tensor in tensors.values():
        array = tensor.numpy()
        if array.ndim == 4:  # outputs, inputs, height, width
            channels = len(array)
            array = array.transpose(2, 3, 1, 0)
        elif array.ndim == 2:
            outputs, inputs = array.shape
            by_channel = array.reshape(outputs, channels, inputs // channels)
            array = by_channel.transpose(2, 1, 0).reshape(inputs, outputs)
            channels = 1
        arrays.append(np.ascontiguousarray(array))
    return arrays


def to_torch(arrays: Sequence[Array], names: Sequence[str]) -> dict[str, Tensor]:
    """Return weights of Keras as the tensors of a PyTorch network, whose `state_dict` has these names."""
    tensors: dict[str, Tensor] = {}
    channels = 1
    for name, array in zip(names, arrays, strict=True):
        if array.ndim == 4:  # height, width, inputs, outputs
            channels = array.shape[-1]
            array = array.transpose(3, 2, 0, 1)
        elif array.ndim == 2:
            inputs, outputs = array.shape
            by_pixel = array.reshape(inputs // channels, channels, outputs)
            array = by_pixel.transpose(2, 1, 0).reshape(outputs, inputs)
            channels = 1
        tensors[name] = torch.from_numpy(np.ascontiguousarray(array))
    return tensors


if __name__ == "__main__":
    tensors = create_model("cnn").state_dict()
    for (name, tensor), array in zip(tensors.items(), to_tensorflow(tensors), strict=True):
        print(f"{name:10} PyTorch {tuple(tensor.shape)!s:18} TensorFlow {array.shape}")
