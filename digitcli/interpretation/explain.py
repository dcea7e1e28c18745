"""Explain the answers of a model to images of single digits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from digitcli.data.mnist import load_mnist_test
from digitcli.errors import ModelError
from digitcli.inference.model_resolution import ModelLike, ResolvedModel, resolve_model
from digitcli.inference.torch_runtime import as_input, device_of, load_model
from digitcli.interpretation.activations import attention_rollout, feature_maps, filters
from digitcli.interpretation.attribution import (
    Score,
    digit_score,
    integrated_gradients,
    occlusion,
    saliency,
    smoothgrad,
)
from digitcli.interpretation.counterfactual import adversarial, counterfactual, optimal_input
from digitcli.interpretation.explanation import (
    PANEL,
    Attribution,
    Change,
    ChangeKind,
    Explanation,
    Layer,
    Method,
)
from digitcli.interpretation.neighbours import NeighbourSearch

# Test digits whose attributions are averaged for a class, and the distance of the squares that cover them.
CLASS_IMAGES, CLASS_STEP_PX = 50, 2
NO_ATTRIBUTION = {"prototype", "feature-maps", "filters"}
BY_SCORE = {
    "integrated-gradients": integrated_gradients,
    "saliency": saliency,
    "smoothgrad": smoothgrad,
    "occlusion": occlusion,
}


def explain(
    model: ModelLike,
    images: Iterable[tuple[str, npt.NDArray[np.uint8]]],
    methods: Sequence[Method] = PANEL,
    against: int | None = None,
    *,
    changes: Sequence[tuple[ChangeKind, int]] = (),
    device: str = "auto",
    search_all: bool = False,
) -> Iterator[Explanation]:
    """Explain the answer of a model of single digits to each image.

    model: a shipped name (`cnn`), a checkpoint file or a run folder.
    images: the names of the images, and the images, uint8 (28, 28), ink 255 on paper 0.
    methods: what is computed, see `explanation.Method`.
    against: the digit with which the answer is compared; by default the runner-up.
    changes: kinds of changes after which the image shall be read as another digit, and that digit.
    search_all: whether the nearest digits are searched among all training digits, not among 2,000.

    Raises:
        UsageError: the architecture of the model does not have what a method looks at.
        ModelError: there is no such model, its file is damaged, or it does not classify single digits.
        EnvironmentFault: the device is not available.
    """
    resolved = _resolve(model)
    network = load_model(resolved, device=device)
    search = NeighbourSearch(network, resolved, search_all) if "prototype" in methods else None
    for name, image in images:
        yield _explain(network, resolved, name, image, methods, against, changes, search)


def explain_class(model: ModelLike, digit: int, *, device: str = "auto") -> Explanation:
    """Explain what a model believes a digit is: the mean over test digits, and an optimal input.

    The image of the explanation is the mean of the test digits of MNIST with this label, and the attribution
    is the mean of that of the first of them, by occlusion.

    Raises:
        ModelError, EnvironmentFault: see `explain`.
    """
    resolved = _resolve(model)
    network = load_model(resolved, device=device)
    test = load_mnist_test()
    images = torch.from_numpy(test.images[test.labels == digit])
    mean = images.float().mean(dim=0).round().to(torch.uint8)
    batch = as_input(images[:CLASS_IMAGES].to(device_of(network)))
    score = digit_score(network, torch.full((len(batch),), digit))
    attribution = occlusion(score, batch, step_px=CLASS_STEP_PX).mean(dim=0, keepdim=True)
    with torch.no_grad():
        value = float(score(batch).mean())
    ink = float(images.float().sum(dim=(1, 2)).mean()) / 255
    optimal = (255 * optimal_input(network, digit, ink)).round().to(torch.uint8)[0, 0].cpu().numpy()
    return Explanation(
        f"class {digit}",
        resolved.id,
        mean.numpy(),
        tuple(_probabilities(network, resolved, as_input(mean[None].to(batch.device))).tolist()),
        (_attribution("occlusion", digit, None, value, attribution),),
        optimal=optimal,
    )


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
    other = runner_up if against is None else against
    attributions = []
    for method in methods:
        if method == "attention":
            attributions.append(_attribution(method, digit, None, 0.0, attention_rollout(network, batch)))
        elif method not in NO_ATTRIBUTION:
            for opponent in (None, other) if other != digit else (None,):
                attributions.append(_by_score(network, batch, method, digit, opponent))
    return Explanation(
        name,
        model.id,
        image,
        tuple(probabilities.tolist()),
        tuple(attributions),
        search.nearest(image) if search else (),
        tuple(_changed(network, model, batch, kind, other) for kind, other in changes if other != digit),
        tuple(_layers(network, batch, methods)),
    )


def _probabilities(network: nn.Module, model: ResolvedModel, batch: Tensor) -> Tensor:
    """Return the calibrated probabilities (10,) of one image."""
    with torch.no_grad():
        return torch.as_tensor((network(batch) / model.header.temperature).softmax(dim=1)[0])


def _changed(network: nn.Module, model: ResolvedModel, batch: Tensor, kind: ChangeKind, digit: int) -> Change:
    """Return a change of an image after which it is read as another digit."""
    find = {"counterfactual": counterfactual, "adversarial": adversarial}[kind]
    levels = (255 * find(network, batch, digit)).round()
    difference = levels / 255 - batch
    return Change(
        kind,
        digit,
        levels[0, 0].to(torch.uint8).cpu().numpy(),
        float(_probabilities(network, model, batch)[digit]),
        float(_probabilities(network, model, levels / 255)[digit]),
        float(difference.clamp(min=0).sum()),
        float((-difference).clamp(min=0).sum()),
        float(difference.abs().max()),
    )


def _layers(network: nn.Module, batch: Tensor, methods: Sequence[Method]) -> Iterator[Layer]:
    """Yield the feature maps of all layers without parts, and the filters of the first one."""
    if "filters" in methods:
        name, weights = filters(network)
        yield Layer(name, "filters", weights.float().cpu().numpy())
    if "feature-maps" in methods:
        for name, maps in feature_maps(network, batch).items():
            layer = network.get_submodule(name)
            if not list(layer.children()):
                yield Layer(name, type(layer).__name__, maps[0].float().cpu().numpy())


def _by_score(network: nn.Module, batch: Tensor, method: str, digit: int, against: int | None) -> Attribution:
    """Return what speaks for a digit, or for it and against another one."""
    score = digit_score(network, torch.tensor([digit]))
    if against is not None:
        score = _lead(score, digit_score(network, torch.tensor([against])))
    with torch.no_grad():
        value = float(score(batch)[0])
    return _attribution(method, digit, against, value, BY_SCORE[method](score, batch))


def _lead(score: Score, other: Score) -> Score:
    return lambda images: score(images) - other(images)


def _attribution(method: str, digit: int, against: int | None, score: float, values: Tensor) -> Attribution:
    return Attribution(method, digit, against, score, values[0, 0].float().cpu().numpy())
