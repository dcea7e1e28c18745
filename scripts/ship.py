"""Ship the model of a run: `python scripts/ship.py runs/cnn-1 cnn` writes models/cnn.safetensors.

Weights go to disk in half precision where that changes none of the answers to the 70,000 digits of MNIST.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from digitcli.checkpoint import find_checkpoint, read_checkpoint, write_checkpoint
from digitcli.data.mnist import load_mnist
from digitcli.inference import infer, load_model


def main() -> None:
    """Write the file, then compare its answers with those of the run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", help="a run folder or a checkpoint")
    parser.add_argument("name", help="the name it is shipped under")
    arguments = parser.parse_args()

    source = find_checkpoint(arguments.run)
    target = Path(__file__).parent.parent / "models" / f"{arguments.name}.safetensors"
    header, tensors = read_checkpoint(source)
    halves = {
        name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()
    }
    write_checkpoint(target, header, halves)
    changed = count_changed_answers(source, target)
    if changed:
        write_checkpoint(target, header, tensors)
    print(f"{target}: {target.stat().st_size:,} bytes; half precision changes {changed} of 70,000 answers")


def count_changed_answers(source: Path, target: Path) -> int:
    """How many digits of MNIST the two models answer differently."""
    mnist = load_mnist()
    assert mnist.test is not None
    images = torch.cat([torch.from_numpy(part.images) for part in (mnist.train, mnist.test)])
    answers = [infer(load_model(str(path)), images).argmax(-1) for path in (source, target)]
    return int((answers[0] != answers[1]).sum())


if __name__ == "__main__":
    main()
