"""Explain the answers of a model to images of single digits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from digitcli.architectures.registry import find_architecture
from digitcli.data.mnist import load_mnist_test
from digitcli.errors import ModelError
from digitcli.inference.model_resolution import ModelLike, ResolvedModel, resolve_model
from digitcli.inference.torch_runtime import as_input, device_of, load_model
from digitcli.interpretation.attribution import backward_pass, digit_score, occlusion
from digitcli.interpretation.counterfactual import adversarial, counterfactual, optimal_input
from digitcli.interpretation.explanation import PANEL, Attribution, Change, ChangeKind, Explanation, Method
from digitcli.interpretation.methods import attributions_of, layers_of, note_on_maps, one_map, only_layer
from digitcli.interpretation.neighbours import NeighbourSearch

# Test digits whose attributions are averaged for a class, and the distance of the squares that cover them.
CLASS_IMAGES, CLASS_STEP_PX = 50, 2


def explain(
    model: ModelLike,
    images: Iterable[tuple[str, npt.NDArray[np.uint8]]],
    methods: Sequence[Method] = PANEL,
    against: int | None = None,
    *,
    changes: Sequence[tuple[ChangeKind, int]] = (),
    layer: str | None = None,
    device: str = "auto",
    search_all: bool = False,
) -> Iterator[Explanation]:
    """Explain the answer of a model of single digits to each image.

    model: a shipped name (`cnn`), a checkpoint file or a run folder.
    images: the names of the images, and the images, uint8 (28, 28), ink 255 on paper 0.
    methods: what is computed, see `explanation.Method`.
    against: the digit with which the answer is compared; by default, or if it is the answer, the runner-up.
    layer: the only layer whose feature maps are wanted.
    changes: kinds of changes after which the image shall be read as another digit, and that digit.
    search_all: whether the nearest digits are searched among all training digits, not among 2,000.

    Raises:
        UsageError: the architecture of the model does not have what a method looks at.
        ModelError: there is no such model, its file is damaged, or it does not classify single digits.
        EnvironmentFault: the device is not available.
    """
    resolved = _resolve(model)
    network = load_model(resolved, device=device)
    search = None
    for name, image in images:
        if "prototype" in methods and search is None:
            search = NeighbourSearch(network, resolved, search_all)
        with backward_pass(network), find_architecture(resolved.header.architecture).plugin_errors():
            explanation = _explain(network, resolved, name, image, methods, against, changes, search)
        yield replace(explanation, layers=only_layer(explanation.layers, layer))


def explain_class(model: ModelLike, digit: int, *, device: str = "auto", every: bool = False) -> Explanation:
    """Explain what a model believes a digit is: the mean over test digits, and activation maximization.

    The image of the explanation is the mean of the test digits of MNIST with this label, and the attribution
    is the mean of that of the first `CLASS_IMAGES` of them, or of `every` one, by occlusion.

    Raises:
        ModelError, EnvironmentFault: see `explain`.
    """
    resolved = _resolve(model)
    network = load_model(resolved, device=device)
    test = load_mnist_test()
    images = torch.from_numpy(test.images[test.labels == digit])
    mean = images.float().mean(dim=0).round().to(torch.uint8)
    chosen = as_input((images if every else images[:CLASS_IMAGES]).to(device_of(network)))
    attribution, value, baseline = _mean_occlusion(network, chosen, digit)
    with backward_pass(network):
        optimal = optimal_input(network, as_input(mean[None].to(chosen.device)), digit)
    return Explanation(
        f"class {digit}",
        resolved.id,
        mean.numpy(),
        tuple(_probabilities(network, resolved, optimal).tolist()),
        (Attribution("occlusion", digit, None, value, baseline, one_map("occlusion", attribution)),),
        optimal=_levels(optimal),
    )


def _mean_occlusion(network: nn.Module, images: Tensor, digit: int) -> tuple[Tensor, float, float]:
    """Return the mean attribution (1, 1, 28, 28) of images, and their mean scores with and without ink."""
    total, value, baseline = torch.zeros_like(images[:1]), 0.0, 0.0
    for batch in images.split(CLASS_IMAGES):
        score = digit_score(network, torch.full((len(batch),), digit))
        total += occlusion(score, batch, step_px=CLASS_STEP_PX).sum(dim=0, keepdim=True)
        with torch.no_grad():
            value += float(score(batch).sum())
            baseline += float(score(torch.zeros_like(batch)).sum())
    return total / len(images), value / len(images), baseline / len(images)


def _resolve(model: ModelLike) -> ResolvedModel:
    resolved = resolve_model(model)
    if resolved.header.task != "digit":
        cause = f"The task of {resolved.name} is {resolved.header.task}s, not single digits."
        raise ModelError(cause, "Name a model of the task digit, for example cnn.")
    return resolved


def _explain(
    network: nn.Module,
    model: ResolvedModel,
    name: str,
    image: npt.NDArray[np.uint8],
    methods: Sequence[Method],
    against: int | None,
    changes: Sequence[tuple[ChangeKind, int]],
    search: NeighbourSearch | None,
) -> Explanation:
    batch = as_input(torch.from_numpy(image[None].copy()).to(device_of(network)))
    probabilities = _probabilities(network, model, batch)
    digit, runner_up = probabilities.topk(2).indices.tolist()
    other = runner_up if against in (None, digit) else against
    attributions, notes = attributions_of(network, batch, methods, digit, other)
    found = {pair: _changed(network, model, batch, *pair) for pair in changes if pair[1] != digit}
    notes += [
        f"No {kind} change to {wanted} was found." for (kind, wanted), each in found.items() if not each
    ]
    layers = tuple(layers_of(network, batch, methods))
    notes += note_on_maps(layers, methods)
    return Explanation(
        name,
        model.id,
        image,
        tuple(probabilities.tolist()),
        tuple(attributions),
        search.nearest(image) if search else (),
        tuple(change for change in found.values() if change),
        layers,
        tuple(dict.fromkeys(notes)),
    )


def _probabilities(network: nn.Module, model: ResolvedModel, batch: Tensor) -> Tensor:
    """Return the calibrated probabilities (10,) of one image."""
    with torch.no_grad():
        return torch.as_tensor((network(batch) / model.header.temperature).softmax(dim=1)[0])


def _changed(
    network: nn.Module, model: ResolvedModel, batch: Tensor, kind: ChangeKind, digit: int
) -> Change | None:
    """Return a change of an image after which it is read as another digit, or None if none was found."""
    changed = {"counterfactual": counterfactual, "adversarial": adversarial}[kind](network, batch, digit)
    if changed is None:
        return None
    difference = changed - batch
    return Change(
        kind,
        digit,
        _levels(changed),
        float(_probabilities(network, model, batch)[digit]),
        float(_probabilities(network, model, changed)[digit]),
        float(difference.clamp(min=0).sum()),
        float((-difference).clamp(min=0).sum()),
        float(difference.abs().max()),
    )


def _levels(image: Tensor) -> npt.NDArray[np.uint8]:
    """Return one image (1, 1, 28, 28) as grey levels (28, 28)."""
    return (255 * image[0, 0]).round().to(torch.uint8).cpu().numpy()
