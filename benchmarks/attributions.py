"""Test the attributions of `digitcli explain`: `python benchmarks/attributions.py cnn vit-run`.

Each model explains test digits. Four questions for each method, beside those of the input and of chance:

- deletion: how fast does the probability of the answer fall when the most important pixels become paper?
  The mean over all shares of pixels; the lower, the better.
- insertion: how fast does it rise when they appear on empty paper? The higher, the better.
- inversion: how fast does it fall when they are inverted? The mean over the first tenth of the pixels; the
  lower, the better.
- randomized: the rank correlation with the attribution of the same network after the weights of its last
  layer, and of all layers, were put in a random order. Only the size of the attributions counts, and only
  on the ink. What stays high does not explain the network.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
from torch import Tensor, nn

from digitcli.data.mnist import load_mnist_test
from digitcli.errors import UsageError
from digitcli.inference.torch_runtime import load_model
from digitcli.interpretation.activations import attention_rollout, grad_cam
from digitcli.interpretation.attribution import (
    digit_score,
    integrated_gradients,
    occlusion,
    saliency,
    smoothgrad,
)
from digitcli.interpretation.faithfulness import (
    deletion,
    insertion,
    inversion,
    randomized,
    rank_correlation,
)

FIRST_SHARE = 0.1  # of the pixels that are inverted
Explain = Callable[[nn.Module], Tensor]


def main() -> None:
    """Print one table for each model."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="+", help="shipped names, checkpoint files or run folders")
    parser.add_argument("--digits", type=int, default=100, help="test digits (default: the first 100)")
    arguments = parser.parse_args()
    digits = load_mnist_test()
    images = torch.from_numpy(digits.images[: arguments.digits].copy())[:, None].float() / 255
    for model in arguments.models:
        network = load_model(model)
        with torch.no_grad():
            answers = network(images).argmax(dim=1)
        print(f"{model}: {len(images)} test digits")
        print(f"{'':22}{'deletion':>9}{'insertion':>10}{'inversion':>10}{'last layer':>11}{'all layers':>11}")
        for name, explain in methods(images, answers).items():
            print(f"{name:22}{row(network, images, answers, explain)}", flush=True)


def methods(images: Tensor, answers: Tensor) -> dict[str, Explain]:
    """Return every method as a function of the network."""
    chance = torch.rand(images.shape, generator=torch.Generator().manual_seed(0))
    return {
        "integrated-gradients": lambda network: integrated_gradients(digit_score(network, answers), images),
        "saliency": lambda network: saliency(digit_score(network, answers), images),
        "smoothgrad": lambda network: smoothgrad(digit_score(network, answers), images),
        "occlusion": lambda network: occlusion(digit_score(network, answers), images),
        "grad-cam": lambda network: grad_cam(network, digit_score(network, answers), images),
        "attention": lambda network: attention_rollout(network, images),
        "the input itself": lambda network: images,
        "chance": lambda network: chance,
    }


def row(network: nn.Module, images: Tensor, answers: Tensor, explain: Explain) -> str:
    """Return the figures of a method."""

    def probability(batch: Tensor) -> Tensor:
        return torch.as_tensor(network(batch).softmax(dim=1).gather(1, answers[:, None])[:, 0])

    try:
        attribution = explain(network)
    except UsageError as error:
        return f"  {error.cause}"
    deleted, inserted, inverted = (
        curve(probability, images, attribution) for curve in (deletion, insertion, inversion)
    )
    tenth = inverted[:, : round(FIRST_SHARE * inverted.shape[1])]
    means = (f"{curve.mean().item():10.3f}" for curve in (deleted, inserted, tenth))
    changed = [other for _, other in randomized(network)]
    correlations = []
    for other in (changed[0], changed[-1]):
        try:
            correlations.append(f"{correlation_on_ink(attribution, explain(other), images):11.2f}")
        except UsageError:
            correlations.append(f"{'-':>11}")
    return f"{''.join(means)[1:]}{''.join(correlations)}"


def correlation_on_ink(first: Tensor, second: Tensor, images: Tensor) -> float:
    """Return the mean rank correlation of the sizes of attributions (N, 1, H, W) where there is ink."""
    correlations = [
        rank_correlation(one.abs()[image > 0][None], other.abs()[image > 0][None])
        for one, other, image in zip(first, second, images, strict=True)
    ]
    return float(torch.cat(correlations).mean())


if __name__ == "__main__":
    main()
