"""Random changes that keep a digit what it is. Batched, on the device; never a flip.

Sources: Simard, Steinkraus & Platt, "Best practices for convolutional neural networks applied to visual
document analysis", 2003 (affine and elastic distortions of MNIST); Zhong et al., "Random erasing data
augmentation", 2020; Xu et al., "Robust and generalizable visual representation learning via random
convolutions", 2021; Zhang et al., "mixup: beyond empirical risk minimization", 2018.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

ROTATION = math.radians(12)
SHEAR = 0.2
SCALE = 0.12
SHIFT = 2 / 14  # two of 28 pixels; the grid's unit is half the image
STROKE_SHARE = 0.5  # of the images get a thicker or thinner stroke
ELASTIC_PX = 4.0  # the deviation of the Gaussian that displacements are smoothed by, and their spacing
FILTER_PX = 5
GREYS = 0.4  # as dark as light grey, and as light as dark grey gets
SMALLEST_ERASED, LARGEST_ERASED = 0.04, 0.8  # of the height and width of the image
MOST_LINES, WIDEST_LINE_PX = 3, 3.0


def augment(
    images: Tensor,
    share: tuple[int, int] = (0, 1),
    *,
    affine: bool = True,
    stroke_width: bool = True,
    elastic: float = 0.0,
    random_lines: float = 0.0,
    random_convolution: float = 0.0,
    random_erasing: float = 0.0,
) -> Tensor:
    """Change strokes; shift, rotate, scale, shear and bend each image; rule, filter, erase some.

    Args:
        images: (N, 1, H, W), ink 1 on paper 0; drawn from torch's global random generator.
        share: (first, step): of a larger batch these are every so many-th image, from that one on. They
            change as they would within it.
        affine: whether to shift, rotate, scale and shear.
        stroke_width: whether to change the width of strokes.
        elastic: how far the parts of an image move against each other, the deviation in pixels.
        random_lines: the share of the images that lines cross.
        random_convolution: the share of the images that random filters change.
        random_erasing: the share of the images of which a rectangle is erased.
    """
    if stroke_width:
        images = change_stroke_width(images, share)
    if affine or elastic:
        images = warp(images, share, affine, elastic)
    if random_lines:
        images = rule(images, random_lines, share)
    if random_convolution:
        images = filter_randomly(images, random_convolution, share)
    return erase(images, random_erasing, share) if random_erasing else images


def warp(
    images: Tensor, share: tuple[int, int] = (0, 1), affine: bool = True, elastic: float = 0.0
) -> Tensor:
    """Each image (N, 1, H, W) under its own random affine map, its own elastic one, or both."""
    (first, step), (height, width) = share, images.shape[-2:]
    whole = len(images) * step
    device = images.device
    matrices = _affine_maps(whole, device) if affine else torch.eye(2, 3, device=device).expand(whole, 2, 3)
    grid = _grid(matrices[first::step], height, width)
    if elastic:
        grid = grid + elastic * _displacements(whole, height, width, device)[first::step]
    return F.grid_sample(images, grid, align_corners=False)


def _affine_maps(count: int, device: torch.device) -> Tensor:
    """Random rotation, shear, scale and shift: (N, 2, 3)."""
    numbers = _uniform(6, count, device)
    angle, shear, scale_x, scale_y, shift_x, shift_y = numbers
    angle, shear = angle * ROTATION, shear * SHEAR
    scale_x, scale_y = 1 + scale_x * SCALE, 1 + scale_y * SCALE
    cosine, sine = angle.cos(), angle.sin()
    rows = [
        [cosine * scale_x, (shear * cosine - sine) * scale_x, shift_x * SHIFT],
        [sine * scale_y, (shear * sine + cosine) * scale_y, shift_y * SHIFT],
    ]
    return torch.stack([torch.stack(row, dim=1) for row in rows], dim=1)


def _displacements(count: int, height: int, width: int, device: torch.device) -> Tensor:
    """Smooth random displacements of a deviation of one pixel, (N, H, W, 2), in units of the grid.

    Noise at every fourth pixel under a Gaussian, in place of noise at each: smoothed, they look alike.
    """
    down, across = _bells(height, device), _bells(width, device)
    noise = torch.randn(count, 2, down.shape[1], across.shape[1], device=device)
    with torch.autocast(device.type, enabled=False):
        fields = down @ noise @ across.T  # N, 2, H, W
    return torch.stack([fields[:, 0] * (2 / width), fields[:, 1] * (2 / height)], dim=3)


def _bells(size: int, device: torch.device) -> Tensor:
    """(size, K): how much each pixel of a row takes from each of K numbers, its squares adding up to 1."""
    centres = torch.arange(-1, size / ELASTIC_PX + 1, device=device) * ELASTIC_PX
    pixels = torch.arange(size, device=device)[:, None]
    bells = torch.exp(-(((pixels - centres) / ELASTIC_PX) ** 2) / 2)
    return bells / bells.square().sum(dim=1, keepdim=True).sqrt()


def erase(images: Tensor, probability: float, share: tuple[int, int] = (0, 1)) -> Tensor:
    """The images (N, 1, H, W), a random rectangle of some of them filled at random.

    What fills it lies between two greys of its own: it is all of one grey, of random pixels, or in between.
    """
    (first, step), (height, width) = share, images.shape[-2:]
    whole, device = len(images) * step, images.device
    chance, one, other, *numbers = torch.rand(7, whole, 1, 1, 1, device=device)[:, first::step]
    pixels = torch.rand(whole, 1, height, width, device=device)[first::step]
    inside = chance < probability
    for axis, size in ((2, height), (3, width)):
        centre, extent = numbers[2 * axis - 4 : 2 * axis - 2]
        half = size * (SMALLEST_ERASED + (LARGEST_ERASED - SMALLEST_ERASED) * extent) / 2
        shape = (size, 1) if axis == 2 else (1, size)
        places = (torch.arange(size, device=device) + 0.5).view(shape)
        inside = inside & ((places - centre * size).abs() <= half)
    return torch.where(inside, torch.lerp(one, other, pixels), images)


def rule(images: Tensor, probability: float, share: tuple[int, int] = (0, 1)) -> Tensor:
    """The images (N, 1, H, W), some of them crossed by one to three straight lines, each of its own grey."""
    (first, step), (height, width) = share, images.shape[-2:]
    whole, device = len(images) * step, images.device
    chance, count = torch.rand(2, whole, 1, 1, 1, device=device)[:, first::step]
    numbers = torch.rand(MOST_LINES, 4, whole, 1, 1, 1, device=device)[:, :, first::step]
    down = torch.arange(height, device=device).view(-1, 1) - (height - 1) / 2
    across = torch.arange(width, device=device) - (width - 1) / 2
    for number, (angle, place, breadth, grey) in enumerate(numbers):
        angle = math.pi * angle
        from_middle = across * angle.cos() + down * angle.sin() - (place - 0.5) * max(height, width)
        covered = ((1 + WIDEST_LINE_PX * breadth) / 2 - from_middle.abs()).clamp(0, 1)
        drawn = (chance < probability) & (count * MOST_LINES >= number)
        images = torch.lerp(images, grey.expand_as(images), covered * drawn)
    return images


def filter_randomly(images: Tensor, probability: float, share: tuple[int, int] = (0, 1)) -> Tensor:
    """Some of the images (N, 1, H, W), each blended with itself under a random filter of its own.

    Xu et al., "Robust and generalizable visual representation learning via random convolutions", 2021:
    shapes stay and all else changes, so that shapes are learnt. What differs here: a blend runs from a random
    dark to a random light grey, and random filters of 5x5 fade towards 1x1.
    """
    first, step = share
    whole, device = len(images) * step, images.device
    chance, weight, breadth, dark, light = torch.rand(5, whole, 1, 1, 1, device=device)[:, first::step]
    kernels = torch.randn(whole, 1, FILTER_PX, FILTER_PX, device=device)[first::step]
    places = (torch.arange(FILTER_PX, device=device) - FILTER_PX // 2).square()
    distances = places[:, None] + places  # squared, from the middle
    kernels = kernels * torch.exp(-distances / (0.1 + FILTER_PX * breadth))
    margin = FILTER_PX // 2
    padded = F.pad(images, (margin,) * 4, mode="replicate").transpose(0, 1)  # 1, N, H, W
    with torch.autocast(device.type, enabled=False):
        filtered = F.conv2d(padded, kernels, groups=len(images)).transpose(0, 1)
    blended = torch.lerp(images, _spread(filtered), weight)
    low, high = GREYS * dark, 1 - GREYS * light
    return torch.where(chance < probability, low + (high - low) * _spread(blended), images)


def _spread(images: Tensor) -> Tensor:
    """The images (N, 1, H, W), each from 0 at its lowest value to 1 at its highest."""
    low, high = images.amin(dim=(1, 2, 3), keepdim=True), images.amax(dim=(1, 2, 3), keepdim=True)
    return (images - low) / (high - low).clamp_min(1e-6)


def mix(images: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
    """Blend each image (N, 1, H, W) with that half a batch further on, by one weight from Beta(alpha, alpha).

    Gives them and the weight of the first of each pair. Of the labels take `labels.roll(len(labels) // 2)`.
    """
    both = torch.full((2,), alpha, device=images.device)
    weight = torch.distributions.Dirichlet(both, validate_args=False).sample()[0]
    return torch.lerp(images.roll(len(images) // 2, dims=0), images, weight), weight


def _grid(matrices: Tensor, height: int, width: int) -> Tensor:
    """What `F.affine_grid` gives, (N, H, W, 2), in a twentieth of its time on a CPU."""
    x, y = (
        (2 * torch.arange(size, device=matrices.device) + 1) / size - 1  # centres of pixels
        for size in (width, height)
    )
    places = torch.stack([x.repeat(height), y.repeat_interleave(width), torch.ones_like(x).repeat(height)])
    with torch.autocast(matrices.device.type, enabled=False):  # bfloat16 is too coarse for places
        mapped = matrices.flatten(0, 1) @ places  # N * 2, H * W
    return mapped.view(len(matrices), 2, height, width).permute(0, 2, 3, 1)


def change_stroke_width(images: Tensor, share: tuple[int, int] = (0, 1)) -> Tensor:
    """A share of the images (N, 1, H, W), blended with their dilation or their erosion; of few, none."""
    first, step = share
    count = int(len(images) * step * STROKE_SHARE)  # batches come in random order
    half = len(range(first, count // 2, step))
    changed = images[: len(range(first, count, step))]
    thicker, thinner = changed[:half], changed[half:]
    strength = torch.rand(count, 1, 1, 1, device=images.device)[first::step]
    thicker = torch.lerp(thicker, _extremes(thicker, torch.maximum, 0.0), strength[:half])
    thinner = torch.lerp(thinner, _extremes(thinner, torch.minimum, 1.0), 0.5 * strength[half:])
    return torch.cat([thicker, thinner, images[len(changed) :]])


def _extremes(images: Tensor, extreme: Callable[[Tensor, Tensor], Tensor], outside: float) -> Tensor:
    """The largest or smallest of the 3x3 pixels around each one; a tenth of `F.max_pool2d`'s time on a CPU.

    Rows lie end to end, so that neighbours are a step or a row away; the margin keeps rows and images apart.
    """
    width = images.shape[-1] + 2
    padded = F.pad(images, (1, 1, 1, 1), value=outside)
    flat = padded.flatten()
    across = extreme(extreme(flat[:-2], flat[1:-1]), flat[2:])
    around = extreme(extreme(across[: -2 * width], across[width:-width]), across[2 * width :])
    padded.view(-1)[width + 1 : -(width + 1)] = around
    return padded[..., 1:-1, 1:-1]


def _uniform(kinds: int, count: int, device: torch.device) -> Tensor:
    """Numbers in [-1, 1), one row a kind."""
    return torch.rand(kinds, count, device=device) * 2 - 1
