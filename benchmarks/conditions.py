"""Measure how turned, reversed, coloured and lost numbers are read: `python benchmarks/conditions.py`.

The pictures are those of one number by generators that training never sees (`held_out_scenes.py --single`).
Each is read as it is, turned by an angle on ground of its own grey, light on dark, on coloured paper, and
at a random place of a photograph of 12 megapixels of the same ground, with a shadow and grain. A picture is
right if its digits are answered, and wrong if others are.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt
from held_out.sheet import held_out_room
from held_out_scenes import WORLDS, outcome, single_number
from saved_rows import add_output, save_rows

from digitcli.data.dataset import split
from digitcli.data.mnist import load_mnist
from digitcli.recognition.reader import Reader

HEIGHT_PX, WIDTH_PX = 4000, 3000
SHADOW, GRAIN = 0.3, 4.0  # range of the light on the large photograph, and standard deviation of its grain
TINT = 0.55  # least share of the light that coloured paper reflects in a channel

Picture = npt.NDArray[np.uint8]
Change = Callable[[np.random.Generator, Picture], Picture]


def turned(degrees: float) -> Change:
    """Return a change that turns a picture to either side, and keeps all of it."""

    def turn(random: np.random.Generator, picture: Picture) -> Picture:
        height, width = picture.shape
        matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees * random.choice([-1, 1]), 1)
        cosine, sine = abs(matrix[0, 0]), abs(matrix[0, 1])
        size = int(height * sine + width * cosine) + 1, int(height * cosine + width * sine) + 1
        matrix[:, 2] += (size[0] - width) / 2, (size[1] - height) / 2
        return np.asarray(cv2.warpAffine(picture, matrix, size, borderValue=ground_of(picture)), np.uint8)

    return turn


def reversed_(random: np.random.Generator, picture: Picture) -> Picture:
    """Show a picture light on dark."""
    return np.asarray(255 - picture, np.uint8)


def coloured(random: np.random.Generator, picture: Picture) -> Picture:
    """Lay a picture on paper of a random colour, (H, W, 3)."""
    tint = random.uniform(TINT, 1, 3) / random.uniform(TINT, 1)
    return np.asarray((picture[..., None] * tint).clip(0, 255), np.uint8)


def lost(random: np.random.Generator, picture: Picture) -> Picture:
    """Put a picture at a random place of a large photograph."""
    height, width = picture.shape
    page = np.full((HEIGHT_PX, WIDTH_PX), ground_of(picture), np.float32)
    y, x = (int(random.integers(size - side)) for size, side in zip(page.shape, picture.shape, strict=True))
    page[y : y + height, x : x + width] = picture
    page *= np.linspace(1 - random.uniform(0, SHADOW), 1, WIDTH_PX, dtype=np.float32)
    page += GRAIN * random.standard_normal(page.shape, np.float32)
    return np.asarray(page.clip(0, 255), np.uint8)


def ground_of(picture: Picture) -> float:
    """Return the median of the edges of a picture."""
    return float(np.median(np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])))


CONDITIONS: dict[str, Change] = {
    "as it is": lambda random, picture: picture,
    **{f"turned by {degrees} degrees": turned(degrees) for degrees in (10, 20, 30)},
    "light on dark": reversed_,
    "coloured paper": coloured,
    "on 12 megapixels": lost,
}


def main() -> None:
    """Read all pictures under each condition, and print a row for each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--pictures", type=int, default=60, help="pictures of each of the four generators (default: 60)"
    )
    parser.add_argument("--seed", type=int, default=1, help="the random seed (default: 1)")
    add_output(parser)
    arguments = parser.parse_args()
    room, reader = held_out_room(split(load_mnist()).test), Reader()
    print(f"{'condition':22} {'pictures':>8} {'right':>8} {'wrong':>8} {'refused':>8}")
    rows = {}
    for condition, change in CONDITIONS.items():
        counts = {"right": 0, "wrong": 0, "refused": 0}
        for index, world in enumerate(WORLDS.values()):
            for number in range(arguments.pictures):
                scene = single_number(world, np.random.default_rng([arguments.seed, index, number, 1]), room)
                random = np.random.default_rng([arguments.seed, index, number, 2])
                counts[outcome(reader.read(change(random, scene.picture)), scene)] += 1
        total = sum(counts.values())
        shares = {name: count / total for name, count in counts.items()}
        rows[condition] = {"pictures": total, **shares}
        print(
            f"{condition:22} {total:8} " + " ".join(f"{share:8.1%}" for share in shares.values()), flush=True
        )
    save_rows(arguments.output, rows)


if __name__ == "__main__":
    main()
