"""Compare int8 with float32 in ONNX Runtime: `python benchmarks/int8_speed.py fast runs/compress/fast`.

Pairs of models are named: a model of single digits, and the same one after `digitcli compress --steps int8`.
Both compute the same random images with one thread, in alternating rounds, so that other programs slow down
both. A line has the median processor time of a call, and the median, the lowest and the highest ratio of a
round: how many times as fast the second model is as the first.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence

import numpy as np

from digitcli.export.onnx_file import graph_of_model
from digitcli.inference.model_resolution import resolve_model
from digitcli.inference.onnx_runtime import OnnxRuntime

BATCH_SIZES = (1, 64, 256)
ROUNDS = 15
IMAGES = 300  # in each round and for each model, but one call at least


def main() -> None:
    """Print a line for each pair of models and each batch size."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="+", help="a model, its int8 version, another model, ...")
    models = parser.parse_args().models
    if len(models) % 2:
        parser.error("an even number of models is needed")
    print("| model | images | float32, ms | int8, ms | times as fast |\n|---|---:|---:|---:|---|")
    for floats, integers in zip(models[::2], models[1::2], strict=True):
        runtimes = [_open(name) for name in (floats, integers)]
        for size in BATCH_SIZES:
            first, second = seconds_of_rounds(runtimes, size)
            ratios = [one / other for one, other in zip(first, second, strict=True)]
            times = " | ".join(f"{1000 * statistics.median(each):.3f}" for each in (first, second))
            middle = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
            print(f"| {floats} | {size} | {times} | {middle} |", flush=True)


def _open(name: str) -> OnnxRuntime:
    return OnnxRuntime(graph_of_model(resolve_model(name)).SerializeToString(), {}, 1)


def seconds_of_rounds(runtimes: Sequence[OnnxRuntime], size: int) -> list[list[float]]:
    """Return the processor time of a call in each round, for each runtime."""
    images = np.random.default_rng(0).random((size, 1, 28, 28), np.float32)
    calls = max(1, IMAGES // size)
    for runtime in runtimes:
        runtime.run_batch(images)
    seconds: list[list[float]] = [[] for _ in runtimes]
    for _ in range(ROUNDS):
        for runtime, rounds in zip(runtimes, seconds, strict=True):
            start = time.process_time()
            for _ in range(calls):
                runtime.run_batch(images)
            rounds.append((time.process_time() - start) / calls)
    return seconds


if __name__ == "__main__":
    main()
