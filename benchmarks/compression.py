"""Draw and time compressed models: `python benchmarks/compression.py chart`, and `... speed`."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from support import open_app

from digitcli.charts import Panel, Series, draw_chart
from digitcli.compression.steps import TriedModel
from digitcli.export.onnx_file import graph_of_model
from digitcli.inference.checkpoint import COMPRESSION_FILE
from digitcli.inference.model_resolution import resolve_model
from digitcli.inference.runtime import OnnxRuntime
from digitcli.json_records import parse_record

app = open_app(__doc__)
SIZE_PX = 560, 620
LEAST_ERROR = 0.02  # percent; a logarithmic axis has no 0, and 0.02 % is one of 5,000 validation digits
BATCH_SIZES = (1, 64, 256)
ROUNDS = 15
IMAGES = 300  # in each round and for each model, but one call at least


@app.command()
def chart(folders: list[Path], output: Annotated[Path, typer.Option("--output", "-o")]) -> None:
    """Draw the error on the validation digits by the bytes of the weights, with the Pareto front.

    The chart has every model of single digits that these folders of `digitcli compress` have tried.
    """
    output.write_text(draw(folders), encoding="utf-8")


def draw(folders: Sequence[Path]) -> str:
    """Return the chart, as SVG, of all models of single digits in folders of compressions."""
    models: dict[str, TriedModel] = {}
    examples = set()
    for folder in folders:
        result = json.loads((folder / COMPRESSION_FILE).read_text(encoding="utf-8"))
        for record in result["tried"] if result["unit"] == "digit" else ():
            examples.add(result["n"])
            model = parse_record(record, TriedModel, "model")
            models.setdefault(f"{result['model'].partition('@')[0]} {model.steps}", model)
    names = sorted(models, key=lambda name: models[name].weights_bytes)
    tried = [models[name] for name in names]
    points = [(model.weights_bytes / 1000, max(LEAST_ERROR, 100 * (1 - model.accuracy))) for model in tried]
    front = Series("Pareto front", [points[index] for index in pareto_front(tried)])
    title = f"error on {' or '.join(f'{n:,}' for n in sorted(examples))} validation digits in %"
    lines = [front, Series("tried", points, numbered=True)]
    panel = Panel(title, "weights in kB", lines, logarithmic=True)
    return draw_chart("Compression of models of single digits", [panel], names, SIZE_PX)


def pareto_front(tried: Sequence[TriedModel]) -> list[int]:
    """Return the models such that none with as few bytes of weights is more accurate, the smallest first."""
    front: list[int] = []
    for index in sorted(range(len(tried)), key=lambda i: (tried[i].weights_bytes, -tried[i].accuracy)):
        if not front or tried[index].accuracy > tried[front[-1]].accuracy:
            front.append(index)
    return front


@app.command()
def speed(models: list[str]) -> None:
    """Compare int8 with float32 in ONNX Runtime: name a model and its int8 version, another model, ...

    Both compute the same random images with one thread, in alternating rounds, so that other programs slow
    down both. A line has the median processor time of a call, and the median, the lowest and the highest
    ratio of a round: how many times as fast the second model is as the first.
    """
    print("| model | images | float32, ms | int8, ms | times as fast |\n|---|---:|---:|---:|---|")
    for pair in zip(models[::2], models[1::2], strict=True):
        runtimes = [
            OnnxRuntime(graph_of_model(resolve_model(name)).SerializeToString(), {}, 1) for name in pair
        ]
        for size in BATCH_SIZES:
            first, second = seconds_of_rounds(runtimes, size)
            ratios = [one / other for one, other in zip(first, second, strict=True)]
            times = " | ".join(f"{1000 * statistics.median(each):.3f}" for each in (first, second))
            middle = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
            print(f"| {pair[0]} | {size} | {times} | {middle} |", flush=True)


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
    app()
