"""Draw compressed models by size: `python benchmarks/compression_chart.py runs/compress/* -o chart.svg`.

The chart has every model that the named compressions of `digitcli compress` have tried: its error on the
validation examples by the bytes of its weights, and the Pareto front over all of them.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from digitcli.charts import Panel, Series, draw_chart
from digitcli.compression.steps import TriedModel
from digitcli.inference.checkpoint import COMPRESSION_FILE
from digitcli.json_records import parse_record

SIZE_PX = 560, 620
LEAST_ERROR = 0.02  # percent; a logarithmic axis has no 0, and 0.02 % is one of 5,000 validation digits


def main() -> None:
    """Read the results of compressions, and draw their chart."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="+", type=Path, help="folders that digitcli compress has written")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the SVG file to write")
    arguments = parser.parse_args()
    arguments.output.write_text(draw(arguments.folders), encoding="utf-8")


def draw(folders: Sequence[Path]) -> str:
    """Return the chart, as SVG, of all models of single digits in folders of compressions."""
    models: dict[str, TriedModel] = {}
    examples = set()
    for folder in folders:
        result = json.loads((folder / COMPRESSION_FILE).read_text(encoding="utf-8"))
        if result["unit"] != "digit":
            continue
        examples.add(result["n"])
        for record in result["tried"]:
            model = parse_record(record, TriedModel, "model")
            models.setdefault(f"{result['model'].partition('@')[0]} {model.steps}", model)
    names = sorted(models, key=lambda name: models[name].weights_bytes)
    tried = [models[name] for name in names]
    points = [(model.weights_bytes / 1000, max(LEAST_ERROR, 100 * (1 - model.accuracy))) for model in tried]
    front = Series("Pareto front", [points[index] for index in pareto_front(tried)])
    panel = Panel(
        f"error on {' or '.join(f'{n:,}' for n in sorted(examples))} validation digits in %",
        "weights in kB",
        [front, Series("tried", points, numbered=True)],
        logarithmic=True,
    )
    return draw_chart("Compression of models of single digits", [panel], names, SIZE_PX)


def pareto_front(tried: Sequence[TriedModel]) -> list[int]:
    """Return the models such that none with as few bytes of weights is more accurate, the smallest first."""
    front: list[int] = []
    for index in sorted(range(len(tried)), key=lambda i: (tried[i].weights_bytes, -tried[i].accuracy)):
        if not front or tried[index].accuracy > tried[front[-1]].accuracy:
            front.append(index)
    return front


if __name__ == "__main__":
    main()
