"""Augmentation: random changes of training digits that keep their labels. No digit is ever flipped.

`augment` calls the functions marked `@augmentation` or `@deformation`, in the order of their definitions.
Each has the name of the recipe's setting that turns it on and sets its strength. All change batches of images
(N, 1, H, W), ink 1 on paper 0, on their device, by random numbers of PyTorch's global generator.

Sources: Simard, Steinkraus & Platt, "Best practices for convolutional neural networks applied to visual
document analysis", 2003 (affine and elastic deformations of MNIST); Zhong et al., "Random erasing data
augmentation", 2020; Xu et al., "Robust and generalizable visual representation learning via random
convolutions", 2021; Zhang et al., "mixup: beyond empirical risk minimization", 2018.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from digitcli.architectures.recipe import Recipe

# All limits were chosen by hand: a person still reads nearly every changed digit.
ROTATION = math.radians(12)  # radians
SHEAR = 0.2  # pixels across for each pixel down
SCALE = 0.12  # fraction of the size
SHIFT = 2 / 14  # two of 28 pixels; the unit of a sampling grid is half of the image
STROKE_SHARE = 0.5  # fraction of the images whose strokes get thicker or thinner
ELASTIC_PX = 4.0  # pixels; standard deviation of the Gaussian that smooths displacements
FILTER_PX = 5  # pixels; side of a random filter
GREY_RANGE = 0.4  # grey levels; a filtered image starts at most this far above 0 and ends this far below 1
MIN_ERASED = 0.04  # fraction of the height or width of an image
MAX_ERASED = 0.8  # fraction of the height or width of an image
MAX_LINES = 3  # lines across an image
MAX_LINE_PX = 3.0  # pixels; the width of a line above its minimum of one pixel

# (first, step): the images are every `step`-th image of a larger batch, from `first` on. Random numbers are
# drawn for the larger batch, so that several processes together change it as one process alone would.
Share = tuple[int, int]
Function = Callable[..., Tensor]

AUGMENTATIONS: dict[str, Function] = {}
DEFORMATIONS: set[str] = set()


def augmentation(function: Function) -> Function:
    """Register `function(images, value, share)`, which returns changed images; `value` is its setting."""
    AUGMENTATIONS[function.__name__] = function
    return function


def deformation(function: Function) -> Function:
    """Register `function(grid, value, share, images)`, which returns a changed sampling grid.

    A grid holds the point (x, y) of the image, from -1 to 1, where each pixel takes its value: (N, 2, H * W),
    or (2, H * W) if it is the same for all images. Deformations in a row change one grid, so that the images
    are interpolated, and thereby blurred, only once.
    """
    DEFORMATIONS.add(function.__name__)
    return augmentation(function)


def augment(images: Tensor, recipe: Recipe, share: Share = (0, 1)) -> Tensor:
    """Return images (N, 1, H, W) changed by every augmentation that a recipe turns on, except mixup."""
    if not recipe.augment:
        return images
    grid = None
    for name, function in AUGMENTATIONS.items():
        value = getattr(recipe, name)
        if not value:
            continue
        if name in DEFORMATIONS:
            grid = function(_identity_grid(images) if grid is None else grid, value, share, images)
        else:
            images, grid = function(_interpolate(images, grid), value, share), None
    return _interpolate(images, grid)


@augmentation
def stroke_width(images: Tensor, value: bool, share: Share = (0, 1)) -> Tensor:
    """Blend a quarter of the images with their dilation and a quarter with their erosion.

    Batches are in random order, so these are the first images of the batch.
    """
    first, step = share
    count = int(len(images) * step * STROKE_SHARE)
    half = len(range(first, count // 2, step))
    changed = images[: len(range(first, count, step))]
    thicker, thinner = changed[:half], changed[half:]
    strength = torch.rand(count, 1, 1, 1, device=images.device)[first::step]
    thicker = torch.lerp(thicker, _extremes(thicker, torch.maximum, 0.0), strength[:half])
    thinner = torch.lerp(thinner, _extremes(thinner, torch.minimum, 1.0), 0.5 * strength[half:])
    return torch.cat([thicker, thinner, images[len(changed) :]])


@deformation
def affine(grid: Tensor, value: bool, share: Share, images: Tensor) -> Tensor:
    """Shift, rotate, scale and shear each image by a random affine map."""
    first, step = share
    numbers = torch.rand(6, len(images) * step, device=images.device) * 2 - 1
    angle, shear, scale_x, scale_y, shift_x, shift_y = numbers
    angle, shear = angle * ROTATION, shear * SHEAR
    scale_x, scale_y = 1 + scale_x * SCALE, 1 + scale_y * SCALE
    cosine, sine = angle.cos(), angle.sin()
    rows = [
        [cosine * scale_x, (shear * cosine - sine) * scale_x, shift_x * SHIFT],
        [sine * scale_y, (shear * sine + cosine) * scale_y, shift_y * SHIFT],
    ]
    matrices = torch.stack([torch.stack(row, dim=1) for row in rows], dim=1)[first::step]  # N, 2, 3
    return _map_grid(grid, matrices)


@deformation
def elastic(grid: Tensor, value: float, share: Share, images: Tensor) -> Tensor:
    """Bend each image by smooth random displacements of standard deviation `value`, in pixels."""
    first, step = share
    displacements = _displacements(len(images) * step, images)[first::step]
    return grid + value * displacements


@augmentation
def random_lines(images: Tensor, value: float, share: Share = (0, 1)) -> Tensor:
    """Draw one to `MAX_LINES` straight lines of random greys across a fraction `value` of the images."""
    (first, step), (height, width) = share, images.shape[-2:]
    whole, device = len(images) * step, images.device
    chance, count = torch.rand(2, whole, 1, 1, 1, device=device)[:, first::step]
    numbers = torch.rand(MAX_LINES, 4, whole, 1, 1, 1, device=device)[:, :, first::step]
    y = torch.arange(height, device=device).view(-1, 1) - (height - 1) / 2
    x = torch.arange(width, device=device) - (width - 1) / 2
    for number, (angle, position, thickness, grey) in enumerate(numbers):
        angle = math.pi * angle
        distance = x * angle.cos() + y * angle.sin() - (position - 0.5) * max(height, width)
        coverage = ((1 + MAX_LINE_PX * thickness) / 2 - distance.abs()).clamp(0, 1)
        is_drawn = (chance < value) & (count * MAX_LINES >= number)
        images = torch.lerp(images, grey.expand_as(images), coverage * is_drawn)
    return images


@augmentation
def random_convolution(images: Tensor, value: float, share: Share = (0, 1)) -> Tensor:
    """Blend a fraction `value` of the images with themselves under a random filter, each with its own.

    Xu et al., 2021: only shapes stay as they are, so that shapes are learned. Difference: the result
    runs from a random dark to a random light grey, and the 5x5 filters fade towards 1x1.
    """
    first, step = share
    whole, device = len(images) * step, images.device
    chance, weight, breadth, dark, light = torch.rand(5, whole, 1, 1, 1, device=device)[:, first::step]
    kernels = torch.randn(whole, 1, FILTER_PX, FILTER_PX, device=device)[first::step]
    squares = (torch.arange(FILTER_PX, device=device) - FILTER_PX // 2).square()
    distances = squares[:, None] + squares  # squared distances from the centre of the filter
    kernels = kernels * torch.exp(-distances / (0.1 + FILTER_PX * breadth))
    margin = FILTER_PX // 2
    padded = F.pad(images, (margin,) * 4, mode="replicate").transpose(0, 1)  # 1, N, H, W
    with torch.autocast(device.type, enabled=False):
        filtered = F.conv2d(padded, kernels, groups=len(images)).transpose(0, 1)
    blended = torch.lerp(images, _stretch(filtered), weight)
    low, high = GREY_RANGE * dark, 1 - GREY_RANGE * light
    return torch.where(chance < value, low + (high - low) * _stretch(blended), images)


@augmentation
def random_erasing(images: Tensor, value: float, share: Share = (0, 1)) -> Tensor:
    """Fill a random rectangle of a fraction `value` of the images with random greys between two levels.

    The levels are random too: the closer they are, the more even is the rectangle.
    """
    (first, step), (height, width) = share, images.shape[-2:]
    whole, device = len(images) * step, images.device
    chance, level, other_level, *numbers = torch.rand(7, whole, 1, 1, 1, device=device)[:, first::step]
    pixels = torch.rand(whole, 1, height, width, device=device)[first::step]
    inside = chance < value
    for axis, size in ((2, height), (3, width)):
        centre, extent = numbers[2 * axis - 4 : 2 * axis - 2]
        half = size * (MIN_ERASED + (MAX_ERASED - MIN_ERASED) * extent) / 2
        shape = (size, 1) if axis == 2 else (1, size)
        positions = (torch.arange(size, device=device) + 0.5).view(shape)
        inside = inside & ((positions - centre * size).abs() <= half)
    return torch.where(inside, torch.lerp(level, other_level, pixels), images)


def mixup(images: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
    """Blend each image (N, 1, H, W) with the one half a batch later, by one weight from Beta(alpha, alpha).

    Returns:
        The images and the weight of the first of each pair. The loss must blend the labels by the same
        weight; the labels of the second images are `labels.roll(len(labels) // 2)`.
    """
    both = torch.full((2,), alpha, device=images.device)
    weight = torch.distributions.Dirichlet(both, validate_args=False).sample()[0]
    return torch.lerp(images.roll(len(images) // 2, dims=0), images, weight), weight


def _identity_grid(images: Tensor) -> Tensor:
    """Return the centres of the pixels, (2, H * W)."""
    height, width = images.shape[-2:]
    x, y = ((2 * torch.arange(size, device=images.device) + 1) / size - 1 for size in (width, height))
    return torch.stack([x.repeat(height), y.repeat_interleave(width)])


def _map_grid(grid: Tensor, matrices: Tensor) -> Tensor:
    """Map the points of a grid by affine maps (N, 2, 3).

    On a CPU it takes a twentieth of the time of `F.affine_grid`.
    """
    with torch.autocast(grid.device.type, enabled=False):  # bfloat16 is too coarse for positions
        return matrices.contiguous() @ F.pad(grid, (0, 0, 0, 1), value=1.0)  # N, 2, H * W


def _interpolate(images: Tensor, grid: Tensor | None) -> Tensor:
    if grid is None:
        return images
    sampled_at = grid.view(len(images), 2, *images.shape[-2:]).permute(0, 2, 3, 1)  # N, H, W, 2
    return F.grid_sample(images, sampled_at, align_corners=False)


def _displacements(count: int, images: Tensor) -> Tensor:
    """Return smooth displacements of standard deviation one pixel, (count, 2, H * W), in units of a grid.

    A Gaussian smooths noise at every fourth pixel, which looks the same as smoothed noise at every pixel.
    """
    (height, width), device = images.shape[-2:], images.device
    weights_y, weights_x = _gaussian_weights(height, device), _gaussian_weights(width, device)
    noise = torch.randn(count, 2, weights_y.shape[1], weights_x.shape[1], device=device)
    with torch.autocast(device.type, enabled=False):
        fields = weights_y @ noise @ weights_x.T  # N, 2, H, W
    return torch.stack([fields[:, 0] * (2 / width), fields[:, 1] * (2 / height)], dim=1).flatten(2)


def _gaussian_weights(size: int, device: torch.device) -> Tensor:
    """Return the weight of each of K noise values for each pixel of a row, (size, K); squares add up to 1."""
    centres = torch.arange(-1, size / ELASTIC_PX + 1, device=device) * ELASTIC_PX
    pixels = torch.arange(size, device=device)[:, None]
    weights = torch.exp(-(((pixels - centres) / ELASTIC_PX) ** 2) / 2)
    return weights / weights.square().sum(dim=1, keepdim=True).sqrt()


def _stretch(images: Tensor) -> Tensor:
    """Return the images (N, 1, H, W), each stretched to values from 0 to 1."""
    low, high = images.amin(dim=(1, 2, 3), keepdim=True), images.amax(dim=(1, 2, 3), keepdim=True)
    return (images - low) / (high - low).clamp_min(1e-6)


def _extremes(images: Tensor, extreme: Callable[[Tensor, Tensor], Tensor], outside: float) -> Tensor:
    """Return the maximum or minimum of the 3x3 pixels around each pixel, with `outside` around the image.

    It takes a tenth of the time of `F.max_pool2d` on a CPU: all rows lie end to end, so that neighbours are
    one pixel or one row away. The margin keeps rows and images apart.
    """
    width = images.shape[-1] + 2
    padded = F.pad(images, (1, 1, 1, 1), value=outside)
    flat = padded.flatten()
    across = extreme(extreme(flat[:-2], flat[1:-1]), flat[2:])
    around = extreme(extreme(across[: -2 * width], across[width:-width]), across[2 * width :])
    padded.view(-1)[width + 1 : -(width + 1)] = around
    return padded[..., 1:-1, 1:-1]
