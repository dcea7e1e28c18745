"""Make the pictures of the quality gate, `tests/test_quality.py`: `python scripts/quality_pictures.py`.

The generators are those that training never uses: four kinds of papers of `benchmarks/judging`, and scenes
by writers and in fonts that training holds out. The pictures are stored in `tests/quality/`, so that the gate
judges the reader alone. Whoever makes them anew has to set the floors of the gate anew, too.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))

from judging.ink import judging_room  # noqa: E402
from judging.score import WORLDS, judged_scene, single_number  # noqa: E402
from judging.sheet import digits_box  # noqa: E402
from scenes import DrawnScene  # noqa: E402
from synthetic_pages import LAYOUTS  # noqa: E402

from digitcli.data.dataset import split  # noqa: E402
from digitcli.data.mnist import load_mnist  # noqa: E402
from digitcli.synthesis.page import Kind  # noqa: E402
from digitcli.synthesis.scenes import scene_composer  # noqa: E402

FOLDER = ROOT / "tests" / "quality"
SEED = 2
SINGLE, SLOPING, HARD, PAGES = 5, 2, 3, 3  # pictures of each kind of paper, and pages of each layout
SLOPES = (9, 18)  # degrees
PAGE_PX, DIGIT_PX = (330, 440), 24.0
QUALITY = 75  # of the JPEG files: all of them take less than 1 MB


def main() -> None:
    """Write the pictures and `labels.json`: for each picture its numbers with their boxes."""
    records = {}
    for old in FOLDER.glob("*.jpg"):
        old.unlink()
    for name, scene in scenes():
        cv2.imwrite(str(FOLDER / name), scene.picture, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
        numbers = [label for label in scene.labels if label.text and label.kind is Kind.NUMBER]
        records[name] = {
            "numbers": [{"text": re.sub(r"\D", "", each.text), "box": digits_box(each)} for each in numbers],
            "ignored": scene.ignored,
        }
    text = json.dumps(records, default=lambda value: np.asarray(value).round().tolist(), indent=1)
    (FOLDER / "labels.json").write_text(text + "\n")
    print(f"{len(records)} pictures, {sum(path.stat().st_size for path in FOLDER.iterdir()):,} bytes")


def scenes() -> Iterator[tuple[str, DrawnScene]]:
    """Yield pictures of one number, sloping and blurred ones, and pages of several numbers or of none."""
    room, mnist = judging_room(split(load_mnist()).test), split(load_mnist())
    for index, (name, world) in enumerate(WORLDS.items()):
        for number in range(SINGLE + SLOPING + HARD):
            random = np.random.default_rng([SEED, index, number])
            scene = single_number(world, random, room)
            if number >= SINGLE + SLOPING:
                scene = blurred(scene, random)
            elif number >= SINGLE:
                scene = rotated(scene, random.choice([-1, 1]) * SLOPES[number - SINGLE])
            yield f"{name}-{number}.jpg", scene
    composer = scene_composer(mnist.validation, "calibrate")
    for index, (layout, fill) in enumerate(LAYOUTS.items()):
        for number in range(PAGES):
            random = np.random.default_rng([SEED, index, number, 1])
            page = composer.page(random, *PAGE_PX, digit_px=DIGIT_PX, layout=fill)
            yield f"{layout}-{number}.jpg", judged_scene(page)


def rotated(scene: DrawnScene, degrees: float) -> DrawnScene:
    """Return a picture of one number rotated by some degrees, on a border of its own kind."""
    height, width = scene.picture.shape
    pad = width // 3
    picture = cv2.copyMakeBorder(scene.picture, pad, pad, pad, pad, cv2.BORDER_REPLICATE)
    middle = (width / 2 + pad, height / 2 + pad)
    matrix = cv2.getRotationMatrix2D(middle, degrees, 1)
    picture = cv2.warpAffine(picture, matrix, picture.shape[::-1], borderMode=cv2.BORDER_REPLICATE)
    return DrawnScene(picture, scene.labels, scene.ignored)


def blurred(scene: DrawnScene, random: np.random.Generator) -> DrawnScene:
    """Return a picture of one number out of focus and with noise, so that its reading is doubtful."""
    picture = cv2.GaussianBlur(scene.picture, (0, 0), 0.05 * scene.picture.shape[0]).astype(float)
    noise = random.normal(0, 12, picture.shape)
    return DrawnScene(np.clip(picture + noise, 0, 255).astype(np.uint8), scene.labels, scene.ignored)


if __name__ == "__main__":
    main()
