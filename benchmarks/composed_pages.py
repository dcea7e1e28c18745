"""Measure reading on composed pages by layout, by people and fonts that training holds out.

    python benchmarks/composed_pages.py

Training composes such pages, and `scripts/calibrate_pages.py` fits the confidence on pages by the same
people, so that the figures say less about other pages than `held_out_scenes.py`: they show which layout
gains or loses. Layouts of one number or of none are left out. The columns are those of `held_out_scenes.py`.
A number of which more than a tenth of a character lies outside of the picture counts neither as right nor as
wrong. A table counts as one of digits if most of its numbers have one digit.
"""

from __future__ import annotations

import argparse

import numpy as np
from held_out.sheet import HeldOutScene, bounds
from held_out_scenes import FIELDS, score_page
from saved_rows import add_output, save_rows

from digitcli.data.dataset import split
from digitcli.data.mnist import load_mnist
from digitcli.recognition.reader import Reader
from digitcli.synthesis.page import Kind, numbers_of
from digitcli.synthesis.page_layouts import (
    fill_with_form,
    fill_with_free_numbers,
    fill_with_table,
    fill_with_text,
)
from digitcli.synthesis.page_parts import fill_with_combs, fill_with_exercises, fill_with_sums
from digitcli.synthesis.scenes import Scene
from digitcli.training.synthetic_lines import scene_composer

LAYOUTS = {
    "numbers": fill_with_free_numbers,
    "table": fill_with_table,
    "form": fill_with_form,
    "combs": fill_with_combs,
    "text": fill_with_text,
    "sums": fill_with_sums,
    "exercises": fill_with_exercises,
}
# Ranges, chosen by hand: sides of a page with room for several numbers, and heights of digits that a person
# reads without effort, so that a layout and not its size decides.
SIDES_PX = (400, 1200)
DIGIT_PX = (20.0, 60.0)
LARGEST_CUT = 0.1  # share of a character outside of the picture; as in training, which calls 0.12 whole


def main() -> None:
    """Read pages of every layout, and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pages", type=int, default=60, help="pages of each layout (default: 60)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the pages (default: 1)")
    parser.add_argument("--max-error", type=float, help="as of digitcli predict")
    add_output(parser)
    arguments = parser.parse_args()
    reader = Reader(device="cpu", rotate="0", max_error=arguments.max_error)
    composer = scene_composer(split(load_mnist()).validation, held_out=True)
    print(f"{'layout':16} {'numbers':>8} {'offered':>8} {'recall':>8} {'precision':>10}")
    totals: dict[str, np.ndarray] = {}
    for index, (layout, fill) in enumerate(LAYOUTS.items()):
        for page in range(arguments.pages):
            random = np.random.default_rng([arguments.seed, index, page])
            height, width = np.exp(random.uniform(*np.log(SIDES_PX), 2)).astype(int).tolist()
            digit_px = float(np.exp(random.uniform(*np.log(DIGIT_PX))))
            composed = composer.page(random, height, width, digit_px=digit_px, layout=fill)
            scene = judged_scene(composed)
            name = f"{layout} of digits" if layout == "table" and _has_single_digits(scene) else layout
            total = score_page(scene, reader.read(scene.picture))
            totals[name] = totals.get(name, np.zeros(4, np.int64)) + total
    shares = [
        [total[1] / max(total[0], 1), total[2] / max(total[0], 1), total[2] / max(total[3], 1)]
        for total in totals.values()
    ]
    rows = {}
    for name, total, row in zip(totals, totals.values(), shares, strict=True):
        rows[name] = {"numbers": int(total[0]), **dict(zip(FIELDS, row, strict=True))}
        print("{:16} {:8} {:8.1%} {:8.1%} {:10.1%}".format(name, total[0], *row))
    means = np.mean(shares, axis=0)
    print("{:16} {:8} {:8.1%} {:8.1%} {:10.1%}".format("mean", "", *means))
    save_rows(arguments.output, rows | {"mean": dict(zip(FIELDS, means, strict=True))})


def judged_scene(scene: Scene) -> HeldOutScene:
    """Return a scene with a label for each number that is seen whole."""
    size = scene.picture.shape[::-1]
    written = [label for label in scene.labels if label.kind is Kind.NUMBER]
    numbers = [number for label in written for number in numbers_of(label)]
    cut = [bool(number.shares_outside(size).max() > LARGEST_CUT) for number in numbers]
    whole = tuple(number for number, is_cut in zip(numbers, cut, strict=True) if not is_cut)
    unclear = [number for number, is_cut in zip(numbers, cut, strict=True) if is_cut]
    unclear += [label for label in written if not label.text]
    return HeldOutScene(scene.picture, whole, tuple(bounds(label.corners) for label in unclear))


def _has_single_digits(scene: HeldOutScene) -> bool:
    return bool(scene.labels) and sum(len(label.text) for label in scene.labels) < 1.5 * len(scene.labels)


if __name__ == "__main__":
    main()
