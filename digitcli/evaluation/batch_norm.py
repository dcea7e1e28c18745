"""Adapt batch normalization to the images that are evaluated, without their labels.

The result is transductive: the answer to an image depends on the other images that are evaluated with it.
Importing this module loads no torch; only adapting a network does.

Li, Wang, Shi, Liu & Hou, "Revisiting batch normalization for practical domain adaptation", 2016 (AdaBN).
Nado, Padhy, Sculley, D'Amour, Lakshminarayanan & Snoek, "Evaluating prediction-time batch normalization for
robustness under covariate shift", 2020.
Schneider, Rusak, Eck, Bringmann, Brendel & Bethge, "Improving robustness against common corruptions by
covariate shift adaptation", 2020. They also mix in the statistics of training, which few images need.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from digitcli.errors import InputError, UsageError
from digitcli.inference.checkpoint import read_tensor_names
from digitcli.inference.devices import is_out_of_memory
from digitcli.inference.model_resolution import ResolvedModel
from digitcli.inference.predictor import DigitClassifier
from digitcli.inference.runtime import Runtime, RuntimeName

if TYPE_CHECKING:
    from torch import nn
    from torch.nn.modules.batchnorm import _BatchNorm

BATCH_SIZE = 500  # images whose mean and variance are computed together; a batch holds all kinds of digits
MIN_DIGITS = 2  # of a group; one value has no variance
SHUFFLE_SEED = 2026  # of the order of the images, so that no batch holds one digit only


@dataclass(frozen=True)
class BatchNormAdaptation:
    """How networks were adapted to the digits on which they were evaluated, and how good they were before.

    accuracy_as_trained: the accuracy on the same digits without adaptation.
    transductive: whether the answer to a digit depends on the other digits; their labels are never used.
    """

    accuracy_as_trained: float
    method: Literal["batch_norm"] = "batch_norm"
    transductive: bool = True


def check_adaptation(
    models: Sequence[ResolvedModel],
    runtime: RuntimeName = "auto",
    *,
    select: int | None = None,
    robustness: bool = False,
    ood: bool = False,
) -> Literal["torch"]:
    """Return the runtime of adapted networks, after checking that the models can be adapted. Loads no torch.

    Raises:
        UsageError: a model has no batch normalization, the runtime is another, or the models are also chosen
            or measured as they were trained.
    """
    if runtime not in ("auto", "torch"):
        cause = f"--adapt-batch-norm changes the network, which {runtime} cannot do."
        raise UsageError(cause, "Give --runtime torch, or leave --runtime out.")
    for name, is_given in {"select": select, "robustness": robustness, "ood": ood}.items():
        if is_given:
            cause = f"--{name} judges the models as trained, and --adapt-batch-norm changes them."
            raise UsageError(cause, f"Leave --{name} out, or give it in a command of its own.")
    for model in models:
        if not any(name.endswith(".running_mean") for name in read_tensor_names(model.path)):
            raise _not_adaptable(model)
    return "torch"


def _not_adaptable(model: ResolvedModel) -> UsageError:
    if any(change["change"] == "fold" for change in model.header.compression):
        cause = (
            f"Compression folded the batch normalization of {model.name} into the layers before it, so "
            "--adapt-batch-norm cannot adapt it."
        )
        start = model.header.start.get("model", "the original")
        return UsageError(cause, f"Name the model that was compressed ({start}), or leave the option out.")
    cause = f"{model.name} has no batch normalization, so --adapt-batch-norm cannot adapt it."
    return UsageError(cause, "Name a model that has it, e.g. robust or fast, or leave the option out.")


def adapted_logits(
    classifier: DigitClassifier,
    images: npt.NDArray[np.uint8],
    groups: Sequence[str] = (),
    on_progress: Callable[[int], None] = lambda done: None,
) -> npt.NDArray[np.float32]:
    """Return the logits (N, 10) of images (N, 28, 28) by copies of the networks that are adapted to them.

    In the copies, the running statistics of every batch normalization are those of the images that are
    evaluated. Each group is adapted to by itself; without groups, all images are one group. Of an ensemble,
    each member is adapted; a member without batch normalization answers as trained. The networks of the
    classifier, which PyTorch computes, stay as they are. `on_progress` receives the number of images done.

    Raises:
        InputError: a group has one image only.
    """
    names = np.array(groups or [""] * len(images))
    members = {name: np.flatnonzero(names == name) for name in dict.fromkeys(names.tolist())}
    _check_sizes({name: len(indices) for name, indices in members.items()})
    logits = np.zeros((len(images), 10), np.float32)
    done = 0

    def report(done_of_group: int) -> None:
        on_progress(done + done_of_group)

    for indices in members.values():
        of_group = images[indices]
        logits[indices] = _adapted(classifier, of_group).logits(of_group, report)
        done += len(indices)
    return logits


def _check_sizes(sizes: Mapping[str, int]) -> None:
    """Refuse a group that is too small to be adapted to."""
    for name, size in sizes.items():
        if size < MIN_DIGITS:
            subject = f"The group '{name}' has" if name else "There is"
            cause = f"{subject} one digit only, and the statistics of --adapt-batch-norm need several."
            raise InputError(cause, "Provide some hundred digits of each group, or leave the option out.")


def _adapted(classifier: DigitClassifier, images: npt.NDArray[np.uint8]) -> DigitClassifier:
    """Return a classifier of copies of the networks, adapted to images (N, 28, 28)."""
    from digitcli.inference.torch_runtime import TorchRuntime

    networks = [copy.deepcopy(_network_of(runtime)) for runtime in classifier.runtimes]
    for network in networks:
        _replace_statistics_in_memory(network, images)
    return classifier.with_runtimes([TorchRuntime(network) for network in networks])


def _network_of(runtime: Runtime) -> nn.Module:
    from digitcli.inference.torch_runtime import TorchRuntime

    assert isinstance(runtime, TorchRuntime), "the caller loads the models with torch"
    return runtime.network


def _batch_norms(network: nn.Module) -> list[_BatchNorm]:
    """Return the batch normalizations of a network that keep running statistics."""
    from torch.nn.modules.batchnorm import _BatchNorm

    return [
        layer
        for layer in network.modules()
        if isinstance(layer, _BatchNorm) and layer.running_mean is not None
    ]


def _replace_statistics_in_memory(network: nn.Module, images: npt.NDArray[np.uint8]) -> None:
    """Replace the running statistics, with smaller batches where the memory does not suffice."""
    batch_size = BATCH_SIZE
    while True:
        try:
            return _replace_statistics(network, images, batch_size)
        except (RuntimeError, MemoryError) as error:
            if batch_size // 2 < MIN_DIGITS or not is_out_of_memory(error):
                raise
            batch_size //= 2


def _replace_statistics(network: nn.Module, images: npt.NDArray[np.uint8], batch_size: int) -> None:
    """Replace the running statistics by the means over batches of images (N, 28, 28), uint8 with ink 255.

    Each batch normalization sees inputs that the layers before it normalized by the statistics of the batch.
    All other layers, e.g. dropout, compute as in evaluation. The batches do not depend on the batch size of
    the evaluation, and differ in size by one image at most, so that each image counts alike.
    """
    import torch

    from digitcli.inference.torch_runtime import as_input, device_of, evaluation_mode

    order = np.random.default_rng(SHUFFLE_SEED).permutation(len(images))
    batches = np.array_split(order, -(-len(images) // batch_size))
    with torch.inference_mode(), evaluation_mode(network):
        for layer in _batch_norms(network):
            layer.reset_running_stats()
            layer.momentum = None  # the mean over all batches, not a moving one
            layer.train()
        for batch in batches:
            network(as_input(torch.from_numpy(images[batch]).to(device_of(network))))
