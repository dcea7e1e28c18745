"""Copy the model of a run to the shipped models: `python scripts/ship.py runs/cnn-1 cnn`.

The script writes models/cnn.safetensors. It stores as many tensors as possible in half precision, the largest
first, as long as no answer changes to the 70,000 digits of MNIST, or to 2,000 synthetic lines. A new network
also needs a new graph: `python scripts/export_graphs.py`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from digitcli.data.mnist import load_mnist
from digitcli.evaluation.evaluate_lines import evaluate_lines
from digitcli.inference.checkpoint import read_checkpoint, read_header, write_checkpoint
from digitcli.inference.model_resolution import resolve_model
from digitcli.inference.torch_runtime import infer, load_model

MODELS = Path(__file__).parent.parent / "models"


def main() -> None:
    """Write the file with fewer and fewer tensors in half precision until it answers as the run does."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", help="a run folder or a checkpoint")
    parser.add_argument("name", help="the name of the shipped model")
    arguments = parser.parse_args()

    target = MODELS / f"{arguments.name}.safetensors"
    source = resolve_model(arguments.run).path
    header, tensors = read_checkpoint(source)
    expected = predict(source)
    floats = [name for name in tensors if tensors[name].is_floating_point()]
    by_size = sorted(floats, key=lambda name: -tensors[name].numel())
    for count in range(len(by_size), -1, -1):
        half_precision = by_size[:count]
        stored = {
            name: tensor.half() if name in half_precision else tensor for name, tensor in tensors.items()
        }
        write_checkpoint(target, header, stored)
        changed = sum(new != old for new, old in zip(predict(target), expected, strict=True))
        print(f"{count} of {len(by_size)} tensors in half precision change {changed} answers", flush=True)
        if not changed:
            break
    print(f"{target}: {target.stat().st_size:,} bytes")


def predict(path: Path) -> list[str]:
    """Return the answers of a model to every digit of MNIST, or to synthetic lines."""
    if read_header(path).task == "line":
        return evaluate_lines(path, runtime="torch").predicted
    mnist = load_mnist()
    assert mnist.test is not None
    images = np.concatenate([mnist.train.images, mnist.test.images])
    return [str(digit) for digit in infer(load_model(path), images).argmax(-1).tolist()]


if __name__ == "__main__":
    main()
