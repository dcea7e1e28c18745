"""Copy the model of a run to the shipped models: `python scripts/ship.py runs/cnn-1 cnn`.

The script writes models/cnn.safetensors, in half precision if hardly an answer changes to the 70,000 digits
of MNIST, to 2,000 composed lines, the number of lines found on 200 composed pages, or the gaps of 200 such
pages. A new network also needs a new graph: `python scripts/graphs.py export`.
"""

from __future__ import annotations

import argparse
import functools
from pathlib import Path

import numpy as np

from digitcli.data.dataset import split
from digitcli.data.mnist import load_mnist
from digitcli.evaluation.metrics import read_digits
from digitcli.inference.checkpoint import read_checkpoint, read_header, write_checkpoint
from digitcli.inference.line_finding import find_lines
from digitcli.inference.model_resolution import resolve_model
from digitcli.inference.predictor import load_gap_splitter, load_page_finder
from digitcli.inference.torch_runtime import infer, load_model, open_network
from digitcli.recognition.readings import LIKELY
from digitcli.synthesis.glyphs import Mask
from digitcli.synthesis.scenes import scene_composer
from digitcli.training.gap_task import GapsOfPage, compose_pages
from digitcli.training.line_task import held_out_strips, line_logits

STRIPS = 2_000  # composed strips
MOST_CHANGED = 0.001  # of the answers (chosen by hand): rounding moves what stood between two of them
PAGES, PAGE = 200, (300, 400)  # composed pages, and their size in pixels
MODELS = Path(__file__).parent.parent / "models"


def main() -> None:
    """Copy the model that the arguments name."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", help="a run folder or a checkpoint")
    parser.add_argument("name", help="the name of the shipped model")
    arguments = parser.parse_args()
    ship(arguments.run, arguments.name)


def ship(run: str | Path, name: str) -> None:
    """Write the file in half precision, unless that changes more than `MOST_CHANGED` of its answers."""
    target = MODELS / f"{name}.safetensors"
    source = resolve_model(run).path
    header, tensors = read_checkpoint(source)
    expected = predict(source)
    halves = {key: each.half() if each.is_floating_point() else each for key, each in tensors.items()}
    write_checkpoint(target, header, halves)
    changed = sum(new != old for new, old in zip(predict(target), expected, strict=True))
    print(f"half precision changes {changed} of {len(expected)} answers")
    if changed > MOST_CHANGED * len(expected):
        write_checkpoint(target, header, tensors)
    print(f"{target}: {target.stat().st_size:,} bytes")


def predict(path: Path) -> list[str]:
    """Return the answers of a model to every digit of MNIST, or to composed lines or pages."""
    header = read_header(path)
    task = header.task
    if task == "line":
        strips = held_out_strips(header.architecture, "validation", 0, STRIPS)
        return read_digits(line_logits(open_network(resolve_model(path)), strips), header.alphabet)
    if task == "page":
        finder = load_page_finder(path, "cpu", "torch")
        return [str(len(find_lines(page, finder.maps).lines)) for page in pages()]
    if task == "gaps":
        splitter = load_gap_splitter(path, "cpu", "torch")
        return [str(share >= LIKELY) for page in gaps() for share in splitter(page.rows[None])]
    mnist = load_mnist()
    assert mnist.test is not None
    images = np.concatenate([mnist.train.images, mnist.test.images])
    return [str(digit) for digit in infer(load_model(path), images).argmax(-1).tolist()]


@functools.cache
def pages() -> list[Mask]:
    """Compose pages by held-out writers."""
    composer = scene_composer(split(load_mnist()).validation, "calibrate")
    return [composer.page(np.random.default_rng(number), *PAGE).picture for number in range(PAGES)]


@functools.cache
def gaps() -> list[GapsOfPage]:
    """Compose the gaps of pages by held-out writers, as the shipped networks see them."""
    composer = scene_composer(split(load_mnist()).validation, "calibrate")
    return compose_pages(composer, np.random.default_rng(0), PAGES)


if __name__ == "__main__":
    main()
