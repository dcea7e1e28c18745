"""Ship the model of a run: `python scripts/ship.py runs/cnn-1 cnn` writes models/cnn.safetensors.

Weights go to disk in half precision where that changes none of the answers to the 70,000 digits of MNIST,
or to 2,000 composed lines: as many tensors as possible, the largest first. A new network also needs a new
graph: `python scripts/export_graphs.py`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from digitcli.data.mnist import load_mnist
from digitcli.evaluation.evaluate_lines import evaluate_lines
from digitcli.inference.checkpoint import read_checkpoint, read_header, write_checkpoint
from digitcli.inference.model_resolution import resolve_model
from digitcli.inference.torch_runtime import infer, load_model

MODELS = Path(__file__).parent.parent / "models"


def main() -> None:
    """Write the file, halving fewer and fewer tensors until it answers as the run does."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", help="a run folder or a checkpoint")
    parser.add_argument("name", help="the name it is shipped under")
    arguments = parser.parse_args()

    target = MODELS / f"{arguments.name}.safetensors"
    source = resolve_model(arguments.run).path
    header, tensors = read_checkpoint(source)
    expected = answers(source)
    floats = [name for name in tensors if tensors[name].is_floating_point()]
    by_size = sorted(floats, key=lambda name: -tensors[name].numel())
    for count in range(len(by_size), -1, -1):
        halved = by_size[:count]
        stored = {name: tensor.half() if name in halved else tensor for name, tensor in tensors.items()}
        write_checkpoint(target, header, stored)
        changed = sum(ours != before for ours, before in zip(answers(target), expected, strict=True))
        print(f"{count} of {len(by_size)} tensors halved: {changed} answers change", flush=True)
        if not changed:
            break
    print(f"{target}: {target.stat().st_size:,} bytes")


def answers(path: Path) -> list[str]:
    """What a model answers to every digit of MNIST, or to composed lines."""
    if read_header(path).task == "line":
        return evaluate_lines(path, runtime="torch").found
    mnist = load_mnist()
    assert mnist.test is not None
    images = torch.cat([torch.from_numpy(part.images) for part in (mnist.train, mnist.test)])
    return [str(digit) for digit in infer(load_model(str(path)), images).argmax(-1).tolist()]


if __name__ == "__main__":
    main()
