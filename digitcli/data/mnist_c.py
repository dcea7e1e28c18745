"""MNIST-C: the test digits of MNIST under 15 corruptions, made anew or read from the published files.

Mu & Gilmer, "MNIST-C: A robustness benchmark for computer vision", 2019. The corruptions and their strengths
are those of the authors' generator; the random numbers are others. Where its libraries do something unusual,
a docstring says so. A corruption takes images (N, 28, 28), float64 with ink 1 on paper 0, and returns such
images; values outside of 0 to 1 are cut off afterwards. SciPy and scikit-image are loaded by the corruptions
that need them.
"""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from digitcli.data.dataset import Dataset, Digits, concatenate
from digitcli.data.files import MAX_BYTES
from digitcli.data.mnist import load_mnist
from digitcli.errors import InputError

NAME = "mnist-c"
SIDE_PX = 28
CENTRE_PX = 13.5  # the centre of an image, counted from the centre of its first pixel
SEED = 2019
CHUNK = 200  # images that are corrupted at once: the fog of one needs half a megabyte
_UNPACK = "Unpack the published files of MNIST-C again."

Images = npt.NDArray[np.float64]  # N, 28, 28
Clouds = npt.NDArray[np.floating]  # N, 256, 256
Matrix = list[list[float]]  # 2, 2


def load_mnist_c() -> Dataset:
    """Return MNIST with 15 corrupted copies of its test digits, 150,000, as the test part.

    They are made by the definitions of the authors' generator with other random numbers: single images differ
    from the published ones.

    Raises:
        InputError: an embedded file of MNIST is damaged.
    """
    clean = load_mnist()
    assert clean.test is not None
    parts = {name: Digits(corrupt(name, clean.test.images), clean.test.labels) for name in CORRUPTIONS}
    return _with_groups(NAME, clean.train, parts)


def is_mnist_c_folder(folder: Path) -> bool:
    """Tell whether a folder has the form in which MNIST-C is published: a folder for each corruption."""
    return all((folder / name / "test_images.npy").is_file() for name in CORRUPTIONS)


def load_mnist_c_folder(folder: Path) -> Dataset:
    """Return MNIST with the test digits of the published files as the test part.

    Raises:
        InputError: A file is missing or damaged.
    """
    parts = {name: _read_digits(folder / name) for name in CORRUPTIONS}
    return _with_groups(folder.name, load_mnist().train, parts)


def _with_groups(name: str, train: Digits, parts: Mapping[str, Digits]) -> Dataset:
    groups = tuple(group for group, digits in parts.items() for _ in range(len(digits)))
    return Dataset(name, train, concatenate(*parts.values()), test_groups=groups)


def _read_digits(folder: Path) -> Digits:
    files = [folder / f"test_{kind}.npy" for kind in ("images", "labels")]
    try:
        if any(file.stat().st_size > MAX_BYTES for file in files):
            raise ValueError("they are too large")
        images, labels = (np.asarray(np.load(file, allow_pickle=False)) for file in files)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"The test digits in {folder} cannot be read: {error}.", _UNPACK) from error
    if images.ndim == 4:  # as published, with one channel
        images = images[..., 0]
    is_labelled = labels.ndim == 1 and labels.dtype.kind in "iu" and set(np.unique(labels)) <= {*range(10)}
    if not is_labelled or images.dtype != np.uint8 or images.shape != (len(labels), 28, 28):
        cause = f"The arrays in {folder} are not labelled images of 28x28 pixels."
        raise InputError(cause, _UNPACK)
    return Digits(np.asarray(images, np.uint8), labels.astype(np.int64))


def corrupt(name: str, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return images (N, 28, 28), uint8 with ink 255, under a corruption; every call returns the same."""
    random = np.random.default_rng((SEED, zlib.crc32(name.encode())))
    corrupted = np.empty_like(images)
    for start in range(0, len(images), CHUNK):
        chunk = CORRUPTIONS[name](images[start : start + CHUNK] / 255, random)
        corrupted[start : start + CHUNK] = np.rint(255 * chunk.clip(0, 1))
    return corrupted


def shot_noise(images: Images, random: np.random.Generator) -> Images:
    """Count few photons: Poisson noise of three photons for full ink."""
    photons = 3
    return np.asarray(random.poisson(images * photons) / photons)


def impulse_noise(images: Images, random: np.random.Generator) -> Images:
    """Turn 17 % of the pixels black or white."""
    is_hit = random.random(images.shape) < 0.17
    return np.where(is_hit, random.integers(0, 2, images.shape), images)


def glass_blur(images: Images, random: np.random.Generator) -> Images:
    """Blur, swap each pixel with a neighbour, and blur again, as frosted glass does.

    The generator calls its Gaussian filter with the option for colour images, which takes the columns of a
    grey image for colours: it blurs along the columns only.
    """
    sigma_px, rounds = 0.7, 2
    blurred = np.floor(255 * _blur(images, sigma_px, across=False)) / 255
    places = [(row, column) for row in range(27, 1, -1) for column in range(27, 1, -1)]
    for row, column in places * rounds:
        swapped = np.flatnonzero(random.random(len(images)) < 0.5)
        down, right = random.integers(-1, 1, (2, len(swapped)))
        other = (swapped, row + down, column + right)
        here = blurred[swapped, row, column].copy()
        blurred[swapped, row, column] = blurred[other]
        blurred[other] = here
    return _blur(blurred, sigma_px, across=False)


def motion_blur(images: Images, random: np.random.Generator) -> Images:
    """Smear by ten pixels to one side, in a direction up to 45 degrees from the horizontal.

    The weights of the smear are ImageMagick's: one half of a Gaussian, sampled at whole pixels.
    """
    sigma_px, steps = 3.0, np.arange(21)
    weights = np.exp(-(steps**2) / (2 * sigma_px**2))
    weights /= weights.sum()
    angles = np.deg2rad(random.uniform(-45, 45, len(images)))
    down = np.ceil(steps * np.sin(angles)[:, None] - 0.5).astype(int)  # N, 21
    right = np.ceil(steps * np.cos(angles)[:, None] - 0.5).astype(int)
    grid = np.arange(SIDE_PX)
    rows = (grid + down[..., None]).clip(0, SIDE_PX - 1)  # N, 21, 28
    columns = (grid + right[..., None]).clip(0, SIDE_PX - 1)
    smeared = np.zeros_like(images)
    for step, weight in enumerate(weights):
        place = (np.arange(len(images))[:, None, None], rows[:, step, :, None], columns[:, step, None, :])
        smeared += weight * images[place]
    return np.rint(255 * smeared) / 255  # ImageMagick stores whole grey levels


def shear(images: Images, random: np.random.Generator) -> Images:
    """Slant by 0.4 radians to the left or to the right, as scikit-image did then: the height changes too."""
    signs = random.choice([-1.0, 1.0], len(images)).tolist()
    return _warp(images, [[[1, -sign * np.sin(0.4)], [0, np.cos(0.4)]] for sign in signs])


def scale(images: Images, random: np.random.Generator) -> Images:
    """Shrink to 70 %."""
    return _warp(images, [[[1 / 0.7, 0], [0, 1 / 0.7]]] * len(images))


def rotate(images: Images, random: np.random.Generator) -> Images:
    """Rotate by 0.4 radians (23 degrees) in either direction."""
    cosine, sines = np.cos(0.4), (np.sin(0.4) * random.choice([-1.0, 1.0], len(images))).tolist()
    return _warp(images, [[[cosine, -sine], [sine, cosine]] for sine in sines])


def brightness(images: Images, random: np.random.Generator) -> Images:
    """Add half of full ink to every pixel."""
    return images + 0.5


def translate(images: Images, random: np.random.Generator) -> Images:
    """Move by three pixels horizontally and by three pixels vertically."""
    shifts = 3 * random.choice([-1, 1], (len(images), 2))
    padded = np.pad(images, ((0, 0), (3, 3), (3, 3)))
    moved = [
        image[3 + down : 31 + down, 3 + right : 31 + right]
        for image, (down, right) in zip(padded, shifts.tolist(), strict=True)
    ]
    return np.stack(moved)


def stripe(images: Images, random: np.random.Generator) -> Images:
    """Exchange ink and paper in the left and in the right quarter."""
    striped = images.copy()
    for quarter in (striped[..., :7], striped[..., 21:]):
        quarter[:] = 1 - quarter
    return striped


def fog(images: Images, random: np.random.Generator) -> Images:
    """Add a cloud that is three times as strong as the ink, and reduce the contrast to that of before."""
    strength = 3.0
    most = images.max(axis=(1, 2), keepdims=True)
    clouds = _plasma(len(images), random)[:, :SIDE_PX, :SIDE_PX]
    return np.asarray((images + strength * clouds) * most / (most + strength))


def spatter(images: Images, random: np.random.Generator) -> Images:
    """Cover the digit with drops of grey mud."""
    liquid = _blur(random.normal(0.65, 0.3, images.shape), 1.0)
    mud = _blur(np.where(liquid > 0.65, 1.0, 0.0), 1.5)
    mud[mud < 0.8] = 0
    return images * (1 - mud) + 63 / 255 * mud


def dotted_line(images: Images, random: np.random.Generator) -> Images:
    """Draw a dashed line from the left edge to the right."""
    ends = random.integers(0, 27, (len(images), 2))
    lines = np.stack([_line((0, left), (27, right)) for left, right in ends.tolist()])
    lines[..., np.arange(SIDE_PX) // 2 % 2 == 0] = 0
    return images + lines


def zigzag(images: Images, random: np.random.Generator) -> Images:
    """Draw a zigzag line from near the left edge to near the right."""
    starts, rises = random.integers(0, 27, len(images)), random.integers(-5, 5, len(images))
    lines = [_zigzag_line(start, rise) for start, rise in zip(starts.tolist(), rises.tolist(), strict=True)]
    return images + np.stack(lines)


def canny_edges(images: Images, random: np.random.Generator) -> Images:
    """Leave only the edges of the strokes, which Canny's detector finds (Canny 1986)."""
    from skimage.feature import canny

    return np.stack([canny(image) for image in images]).astype(np.float64)


CORRUPTIONS: dict[str, Callable[[Images, np.random.Generator], Images]] = {
    function.__name__: function
    for function in (
        shot_noise, impulse_noise, glass_blur, motion_blur, shear, scale, rotate, brightness, translate,
        stripe, fog, spatter, dotted_line, zigzag, canny_edges,
    )
}  # fmt: skip


def _blur(images: Images, sigma_px: float, across: bool = True) -> Images:
    """Blur with a Gaussian that ends at four standard deviations; `across`: along the rows, too."""
    from scipy.ndimage import gaussian_filter

    sigmas = (0, sigma_px, sigma_px if across else 0)
    return np.asarray(gaussian_filter(images, sigmas, mode="nearest"))


def _warp(images: Images, matrices: Sequence[Matrix]) -> Images:
    """Take each pixel from the place to which a matrix about the centre maps it, with linear interpolation.

    matrices: for each image the matrix (2, 2), which maps (x, y).
    """
    from skimage.transform import AffineTransform, warp

    warped = []
    for image, matrix in zip(images, matrices, strict=True):
        about_centre = np.eye(3)
        about_centre[:2, :2] = matrix
        about_centre[:2, 2] = CENTRE_PX * (1 - np.sum(matrix, axis=1))
        warped.append(warp(image, AffineTransform(about_centre)))
    return np.stack(warped)


def _plasma(count: int, random: np.random.Generator) -> Images:
    """Return clouds (N, 256, 256) from 0 to 1 by the diamond-square algorithm, which wraps around the edges.

    Each point is the mean of its four neighbours and a random number, whose range falls with the distance of
    the neighbours. As in the generator, the amplitude enters twice.
    """
    side, amplitude, decay = 256, 100.0, 1.4
    cloud: Clouds = np.zeros((count, side, side), np.float32)

    def wobble(total: Clouds) -> Clouds:
        return total / 4 + amplitude * random.uniform(-amplitude, amplitude, total.shape)

    step = side
    while step >= 2:
        half = step // 2
        corners = cloud[:, ::step, ::step]
        pairs = corners + np.roll(corners, -1, axis=1)
        cloud[:, half::step, half::step] = wobble(pairs + np.roll(pairs, -1, axis=2))
        centres = cloud[:, half::step, half::step]
        beside = corners + np.roll(corners, -1, axis=2)
        cloud[:, ::step, half::step] = wobble(centres + np.roll(centres, 1, axis=1) + beside)
        above = corners + np.roll(corners, -1, axis=1)
        cloud[:, half::step, ::step] = wobble(centres + np.roll(centres, 1, axis=2) + above)
        step, amplitude = half, amplitude / decay
    cloud -= cloud.min(axis=(1, 2), keepdims=True)
    return np.asarray(cloud / cloud.max(axis=(1, 2), keepdims=True), np.float64)


def _line(start: tuple[float, float], end: tuple[float, float]) -> Images:
    """Return an image (28, 28) of a straight line between two points (x, y); it fades out in 2.3 pixels."""
    (x0, y0), (x1, y1) = start, end
    if x0 == x1:
        return np.zeros((SIDE_PX, SIDE_PX))
    rows, columns = np.mgrid[:SIDE_PX, :SIDE_PX]
    distance = np.abs(rows - (y0 + (y1 - y0) / (x1 - x0) * (columns - x0)))
    line = (np.log1p(-distance.clip(0, 2.3 - 1e-10) / 2.3) + 1).clip(0, 1)
    line[:, : int(np.floor(x0))] = 0
    line[:, int(np.ceil(x1)) :] = 0
    return np.asarray(line)


def _zigzag_line(row: int, rise: int) -> Images:
    """Return a zigzag (28, 28) that begins in a row and ends `rise` rows below; its teeth have two pixels."""
    tooth, first, last = 2.0, 2, 25
    angle = np.arctan(rise / (last - first))
    length = (last - first) / np.cos(angle)
    teeth = int((length - tooth) // (2 * tooth)) + 1
    points = [(0.0, 0.0), *(((2 * i + 1) * tooth, (-1) ** i * tooth) for i in range(teeth))]
    whole = 2 * tooth * (length // (2 * tooth))
    if length != whole:
        points.append((length, points[-1][1] / (2 * (length - whole))))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    corners = (np.array(points) @ turn.T + (first, row)).tolist()
    zigzag = np.zeros((SIDE_PX, SIDE_PX))
    for start, end in itertools.pairwise(corners):
        zigzag += _line(tuple(start), tuple(end))
    return zigzag
