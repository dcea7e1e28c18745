"""What explanations of digits and of lines share: the attributions and the layers by the names of methods."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from digitcli.errors import UsageError
from digitcli.interpretation.activations import feature_maps, filters
from digitcli.interpretation.attribution import (
    IncompleteError,
    Score,
    digit_score,
    integrated_gradients,
    occlusion,
    saliency,
    smoothgrad,
)
from digitcli.interpretation.explanation import Attribution, Layer, Method

# Why there may be no feature maps.
NO_MAPS = "No layer of this network answers with pictures, so it has no feature maps."
NO_ATTRIBUTION = {"prototype", "feature-maps", "filters"}
BY_SCORE: dict[str, Callable[[Score, Tensor], Tensor]] = {
    "integrated-gradients": integrated_gradients,
    "saliency": saliency,
    "smoothgrad": smoothgrad,
    "occlusion": occlusion,
}


def attributions_of(
    network: nn.Module,
    batch: Tensor,
    methods: Sequence[Method],
    digit: int,
    other: int,
    paper: float = 0.0,
    by_score: Mapping[str, Callable[[Score, Tensor], Tensor]] = BY_SCORE,
) -> tuple[list[Attribution], list[str]]:
    """Return what speaks for a digit, and for it and against another one, by each method; and notes.

    batch: one image (1, C, H, W), on paper of this value.
    by_score: the methods as functions, with their settings.
    """
    attributions: list[Attribution] = []
    notes: list[str] = []
    for method in methods:
        if method in NO_ATTRIBUTION:
            continue
        for opponent in (None, other) if other != digit else (None,):
            score = _score(network, digit, opponent)
            try:
                values = one_map(method, by_score[method](score, batch))
            except IncompleteError as error:
                notes.append(f"{error.cause} {error.remedy}")
                continue
            with torch.no_grad():
                value, baseline = (float(score(each)[0]) for each in (batch, torch.full_like(batch, paper)))
            attributions.append(Attribution(method, digit, opponent, value, baseline, values))
    return attributions, notes


def _score(network: nn.Module, digit: int, against: int | None) -> Score:
    """Return the score of a digit: its logit, or its lead over that of another one."""
    score = digit_score(network, torch.tensor([digit]))
    if against is None:
        return score
    other = digit_score(network, torch.tensor([against]))
    return lambda images: score(images) - other(images)


def one_map(method: str, values: Tensor) -> npt.NDArray[np.float32]:
    """Return the attribution (H, W) of one image (1, C, H, W).

    Shares of channels add up. Of others, the largest counts, as in Simonyan et al., 2014.
    """
    channels = values[0]
    if len(channels) == 1:
        return channels[0].float().cpu().numpy()
    merged = channels.sum(dim=0) if method == "integrated-gradients" else channels.amax(dim=0)
    return merged.float().cpu().numpy()


def layers_of(network: nn.Module, batch: Tensor, methods: Sequence[Method]) -> Iterator[Layer]:
    """Yield the filters of the first layer, and the feature maps of all layers without parts."""
    if "filters" in methods:
        for name, weights in filters(network).items():
            yield Layer(name, "filters", weights.float().cpu().numpy())
    if "feature-maps" in methods:
        for name, maps in feature_maps(network, batch).items():
            layer = network.get_submodule(name)
            if not list(layer.children()):
                yield Layer(name, type(layer).__name__, maps[0].float().cpu().numpy())


def note_on_maps(layers: Sequence[Layer], methods: Sequence[Method]) -> list[str]:
    """Return a note if feature maps are wanted and the network has none."""
    is_without = "feature-maps" in methods and all(layer.kind == "filters" for layer in layers)
    return [NO_MAPS] if is_without else []


def only_layer(layers: Sequence[Layer], name: str | None) -> tuple[Layer, ...]:
    """Return the filters, and the feature maps of one layer only; without a name, those of all layers.

    Raises:
        UsageError: there is no such layer with feature maps.
    """
    if name is None:
        return tuple(layers)
    maps = {layer.name: layer for layer in layers if layer.kind != "filters"}
    if name not in maps:
        remedy = f"Give one of {', '.join(maps)}." if maps else f"{NO_MAPS} Leave --layer out."
        raise UsageError(f"There are no feature maps of a layer '{name}'.", remedy)
    return tuple(layer for layer in layers if layer.kind == "filters" or layer.name == name)
