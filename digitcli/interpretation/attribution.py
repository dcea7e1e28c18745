"""Attribution: which pixels of an image speak for or against the answer of a network; what would change it.

A score is what is explained, for example the logit of a digit: a function from images (N, C, H, W) to (N,).
Each method maps one image (1, C, H, W) to an attribution of the same shape. They are signed, except those of
`saliency` and `smoothgrad`: positive where the pixel raises the score.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from digitcli.errors import UsageError
from digitcli.interpretation.explanation import Attribution, Method

Score = Callable[[Tensor], Tensor]

# Points of Gauss-Legendre quadrature along the path of integrated gradients, and the power by which they are
# denser at empty paper: as usual, and then for networks that normalize contrast, whose score changes where
# the ink is still very pale.
QUADRATURES = ((50, 1), (500, 4), (2000, 4))
# Share of the score, and logits if that is more, that the shares may miss.
COMPLETENESS, LEAST_LOGITS = 0.01, 0.05
# Noisy copies of an image, and the standard deviation of the noise in units of ink: the values of the paper.
NOISY_COPIES, NOISE, NOISE_SEED = 50, 0.15, 0
# Side of the square that occlusion covers and the distance between squares, in pixels: about the width of a
# stroke of MNIST, of which each pixel is covered several times. Strokes of lines are wider, and a line has
# many more places for a square: with these, 200 pixels take 496 passes through the network.
OCCLUSION_PX, LINE_OCCLUSION_PX = (4, 1), (8, 4)
# Pixels of the copies of an image that a network sees together: 64 digits.
BATCH_PIXELS = 64 * 28**2
# Of a change of the ink until another digit is read. Ink and paper are this far from 1 and 0, so that their
# logits are finite.
EDGE = 0.02
# Standard deviation in pixels by which a change is smoothed: about half the width of a stroke of MNIST.
SMOOTHING_PX = 1.0
# Steps of the search for a change, its rate, and the prices of a pixel of ink in logits: a lower one where
# the one before finds no change.
STEPS, RATE, PRICES = 250, 0.5, (0.02, 0.002)
# Margin in logits by which the other digit shall win.
MARGIN = 0.3


@contextlib.contextmanager
def backward_pass(network: nn.Module) -> Iterator[None]:
    """Let gradients of a network in evaluation mode be computed: cuDNN refuses those of recurrent layers."""
    is_recurrent = any(isinstance(layer, nn.RNNBase) for layer in network.modules())
    with torch.backends.cudnn.flags(enabled=torch.backends.cudnn.enabled and not is_recurrent):
        yield


def score_of(network: nn.Module, digit: int, against: int | None = None) -> Score:
    """Return the score of a digit: its logit, or its lead over the logit of another one."""

    def score(images: Tensor) -> Tensor:
        logits: Tensor = network(images)  # N, 10
        return logits[:, digit] if against is None else logits[:, digit] - logits[:, against]

    return score


def _copies_at_once(image: Tensor) -> int:
    return max(1, BATCH_PIXELS // (image.shape[-2] * image.shape[-1]))


def _gradient(score: Score, images: Tensor) -> Tensor:
    images = images.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(score(images).sum(), images)
    return gradient


def saliency(score: Score, image: Tensor, paper: float = 0.0) -> Tensor:
    """Return the size of the gradient: how much each pixel can change the score.

    Simonyan, Vedaldi & Zisserman, "Deep inside convolutional networks: visualising image classification
    models and saliency maps", 2014.
    """
    return _gradient(score, image).abs()


def smoothgrad(score: Score, image: Tensor, paper: float = 0.0) -> Tensor:
    """Return the size of the mean gradient of noisy copies of the image; the noise is the same every time.

    Smilkov et al., "SmoothGrad: removing noise by adding noise", 2017.
    """
    total = torch.zeros_like(image)
    with torch.random.fork_rng():
        torch.manual_seed(NOISE_SEED)
        for copies in image.expand(NOISY_COPIES, -1, -1, -1).split(_copies_at_once(image)):
            noisy = copies + NOISE * torch.randn_like(copies)
            total += _gradient(score, noisy).sum(dim=0, keepdim=True)
    return (total / NOISY_COPIES).abs()


class IncompleteError(UsageError):
    """Integrated gradients do not add up to what they explain."""


def integrated_gradients(score: Score, image: Tensor, paper: float = 0.0) -> Tensor:
    """Return each pixel's share of the difference between the score of the image and of empty paper.

    `paper` is the value of its pixels. The shares add up to that difference (completeness) within 1 %,
    or within 0.05 logits where that is more.
    Sundararajan, Taly & Yan, "Axiomatic attribution for deep networks", 2017. The integral is computed by
    Gauss-Legendre quadrature, the first of `QUADRATURES` for which they do.

    Raises:
        IncompleteError: the shares do not add up, because gradients do not tell how the score of this network
            changes: it may see the same in pale and in dark ink, or hold back gradients.
    """
    with torch.no_grad():
        difference = float(score(image) - score(torch.full_like(image, paper)))
    for points, power in QUADRATURES:
        nodes, weights = np.polynomial.legendre.leggauss(points)  # from -1 to 1
        places = (nodes + 1) / 2
        # A power of the place makes points denser at paper; its derivative keeps the integral the same.
        steps = np.stack([places**power, weights / 2 * power * places ** (power - 1)])
        shares = torch.zeros_like(image)
        for inks, lengths in torch.from_numpy(steps).to(image).split(_copies_at_once(image), dim=1):
            gradients = _gradient(score, paper + inks.view(-1, 1, 1, 1) * (image - paper))
            shares += (lengths.view(-1, 1, 1, 1) * gradients).sum(dim=0, keepdim=True)
        shares *= image - paper
        missing = abs(float(shares.sum()) - difference)
        if missing <= max(COMPLETENESS * abs(difference), LEAST_LOGITS):
            return shares
    raise IncompleteError(
        "Integrated gradients of this network do not add up to its score.", "Choose the method occlusion."
    )


@torch.no_grad()
def occlusion(
    score: Score,
    image: Tensor,
    paper: float = 0.0,
    squares_px: tuple[int, int] = OCCLUSION_PX,
) -> Tensor:
    """Return by how much the score falls where a square of paper covers a pixel, the mean over the squares.

    squares_px: their side, and the distance between them.
    Zeiler & Fergus, "Visualizing and understanding convolutional networks", 2014.
    """
    side_px, step_px = squares_px
    tops, lefts = (range(0, side - side_px + step_px, step_px) for side in image.shape[2:])
    squares = [np.s_[:, y : y + side_px, x : x + side_px] for y in tops for x in lefts]
    before, falls, counts = score(image), torch.zeros_like(image), torch.zeros_like(image)
    at_once = _copies_at_once(image)
    for start in range(0, len(squares), at_once):
        batch = squares[start : start + at_once]
        covered = image.repeat(len(batch), 1, 1, 1)
        for copy, square in zip(covered, batch, strict=True):
            copy[square] = paper
        for square, fall in zip(batch, before - score(covered), strict=True):
            falls[0][square] += fall
            counts[0][square] += 1
    return falls / counts.clamp(min=1)


# Each maps a score, an image and the value of its paper to an attribution.
METHODS: dict[Method, Callable[[Score, Tensor, float], Tensor]] = {
    "integrated-gradients": integrated_gradients,
    "saliency": saliency,
    "smoothgrad": smoothgrad,
    "occlusion": occlusion,
}


def attributions_of(
    network: nn.Module,
    image: Tensor,
    methods: Sequence[Method],
    digit: int,
    other: int,
    paper: float = 0.0,
    *,
    is_line: bool = False,
) -> tuple[list[Attribution], list[str]]:
    """Return what speaks for a digit, and for it and against another one, by each method; and notes.

    image: float32 (1, C, H, W), on paper of this value.
    methods: those that are no attributions are left out.
    """
    attribute = METHODS | ({"occlusion": partial(occlusion, squares_px=LINE_OCCLUSION_PX)} if is_line else {})
    attributions: list[Attribution] = []
    notes: list[str] = []
    for method in (method for method in methods if method in attribute):
        for against in (None, other) if other != digit else (None,):
            score = score_of(network, digit, against)
            try:
                values = one_map(method, attribute[method](score, image, paper))
            except IncompleteError as error:
                notes.append(f"{error.cause} {error.remedy}")
                continue
            with torch.no_grad():
                value, baseline = (float(score(each)) for each in (image, torch.full_like(image, paper)))
            attributions.append(Attribution(method, digit, against, value, baseline, values))
    return attributions, notes


def one_map(method: Method, values: Tensor) -> npt.NDArray[np.float32]:
    """Return the attribution (H, W) of one image (1, C, H, W).

    Shares of channels add up. Of others, the largest counts, as in Simonyan et al., 2014.
    """
    merged = values[0].sum(dim=0) if method == "integrated-gradients" else values[0].amax(dim=0)
    return merged.detach().float().cpu().numpy()


def counterfactual(network: nn.Module, image: Tensor, digit: int) -> Tensor | None:
    """Return an image (1, 1, 28, 28) with little ink added or erased, which is read as `digit`.

    None if none was found. Wachter, Mittelstadt & Russell, "Counterfactual explanations without opening the
    black box", 2017. So that the change looks drawn, it moves the edges of the ink: a smooth function is
    added to the logits of the ink, as in level-set methods (Osher & Sethian 1988).
    """
    found = (_redrawn(network, image, digit, price) for price in PRICES)
    return next((changed for changed in found if changed is not None), None)


def _redrawn(network: nn.Module, image: Tensor, digit: int, price: float) -> Tensor | None:
    places = torch.arange(-3, 4).to(image)
    row = torch.exp(-(places**2) / (2 * SMOOTHING_PX**2))
    kernel = row[:, None] * row
    kernel = (kernel / kernel.sum())[None, None]
    level = torch.log((image + EDGE) / (1 - image + EDGE))
    change = torch.zeros_like(image, requires_grad=True)
    optimizer = torch.optim.Adam([change], lr=RATE)
    best, least = None, float("inf")
    for _ in range(STEPS):
        smooth = F.conv2d(change, kernel, padding=kernel.shape[-1] // 2)
        changed = (image + (level + smooth).sigmoid() - level.sigmoid()).clamp(0, 1)
        margin = _margin(network(changed), digit)
        ink = (changed - image).abs().sum()
        stored = (255 * changed.detach()).round() / 255  # in 256 grey levels
        if ink < least and _margin(network(stored), digit) > 0:
            best, least = stored, float(ink.detach())
        loss = F.relu(MARGIN - margin).sum() + price * ink
        (change.grad,) = torch.autograd.grad(loss, change)
        optimizer.step()
    return best


def _margin(logits: Tensor, digit: int) -> Tensor:
    """Return the margin (N,) of a digit over the likeliest other one, in logits (N, 10)."""
    others = torch.cat([logits[:, :digit], logits[:, digit + 1 :]], dim=1)
    return logits[:, digit] - others.amax(dim=1)
