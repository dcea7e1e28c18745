"""Random changes of shape that keep a digit what it is. Batched, on the device; never a flip.

Sources: Simard, Steinkraus & Platt, "Best practices for convolutional neural networks applied to visual
document analysis", 2003 (affine distortions of MNIST).
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


def augment(images: Tensor, share: tuple[int, int] = (0, 1)) -> Tensor:
    """Shift, rotate, scale and shear each image, and change the width of its strokes.

    Args:
        images: (N, 1, H, W), ink 1 on paper 0; drawn from torch's global random generator.
        share: (first, step): of a larger batch these are every so many-th image, from that one on. They
            change as they would within it.
    """
    return affine(change_stroke_width(images, share), share)


def affine(images: Tensor, share: tuple[int, int] = (0, 1)) -> Tensor:
    """Each image (N, 1, H, W) under its own random rotation, shear, scale and shift."""
    first, step = share
    numbers = _uniform(6, len(images) * step, images.device)[:, first::step]
    angle, shear, scale_x, scale_y, shift_x, shift_y = numbers
    angle, shear = angle * ROTATION, shear * SHEAR
    scale_x, scale_y = 1 + scale_x * SCALE, 1 + scale_y * SCALE
    cosine, sine = angle.cos(), angle.sin()
    rows = [
        [cosine * scale_x, (shear * cosine - sine) * scale_x, shift_x * SHIFT],
        [sine * scale_y, (shear * sine + cosine) * scale_y, shift_y * SHIFT],
    ]
    matrices = torch.stack([torch.stack(row, dim=1) for row in rows], dim=1)  # N, 2, 3
    return F.grid_sample(images, _grid(matrices, *images.shape[-2:]), align_corners=False)


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
    """A random share of the images (N, 1, H, W), blended with their dilation or their erosion."""
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
