"""Write the model cards of the shipped models: `python scripts/model_cards.py > models/README.md`.

They come from the checkpoints, from measurements and from `models/cards.toml`. `--data DATASET`, which may be
repeated, also measures models of single digits on that dataset.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from digitcli.benchmarking.benchmark import time_calls
from digitcli.benchmarking.benchmark_results import cpu_name
from digitcli.errors import UsageError
from digitcli.evaluation.evaluate import evaluate
from digitcli.export.hugging_face import FACTS_FILE, checkpoint_rows, read_facts, rows_table
from digitcli.inference.checkpoint import Header
from digitcli.inference.model_index import open_or_create
from digitcli.inference.model_resolution import shipped_models
from digitcli.inference.predictor import load_classifier

WARM_UP_CALLS = 10
CALLS = 100
INTRODUCTION = """# Shipped models

`python scripts/model_cards.py` writes this file. Facts that it cannot measure are in `cards.toml`.

Each model is a safetensors file with a JSON header that can rebuild it, and with a SHA-256 of its content
(`digitcli models cnn` shows them). The models are installed with the package: `load_model("cnn")` in Python.
They are stored in half precision if that changes at most one answer in a thousand, to the 70,000 digits of
MNIST, to 2,000 synthetic lines or to 200 synthetic pages (`scripts/ship.py` checks it), and compute in
float32.

The command of a card made its weights, from nothing and with seed 0. `python scripts/build_models.py WORK`
runs all of them.

Pen strokes from which lines and pages are synthesized: E. Alpaydin and F. Alimoglu, "Pen-Based Recognition of
Handwritten Digits" (CC BY 4.0); F. Prat et al., "UJI Pen Characters (version 2)" (CC BY 4.0);
kensanata/numbers (CC0 1.0); S. Kahl and B. Maxwell (Apache-2.0); the Lipi core toolkit 3.0 and BHMSDS by W.
Blachowski et al. (MIT). [LICENSE](../digitcli/data/handwriting/LICENSE) has the details and those of the
fonts.
"""


def main() -> None:
    """Print the cards."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", action="append", default=[], help="a dataset for models of single digits")
    sys.stdout.write(model_cards(parser.parse_args().data))


def model_cards(data: Sequence[str] = ()) -> str:
    """Return the cards of all shipped models as Markdown.

    data: datasets on which models of single digits are evaluated, too.

    Raises:
        UsageError: two datasets have the same file name.
        The errors of `evaluate`.
    """
    titles = [_title(source) for source in data]
    if repeated := [title for title in titles if titles.count(title) > 1]:
        raise UsageError(f"Two datasets are the {repeated[0]}.", "Rename one of the files.")
    shipped = shipped_models()
    facts = read_facts(next(iter(shipped.values())).with_name(FACTS_FILE)) if shipped else {}
    cards = [_card(name, path, data, facts.get(name, {})) for name, path in shipped.items()]
    return "\n".join([INTRODUCTION, *cards])


def _card(name: str, path: Path, data: Sequence[str], facts: dict[str, str]) -> str:
    network, model = open_or_create(name)
    assert model is not None
    header = model.header
    measured = _digit_rows(name, data) if header.task == "digit" else ROWS[header.task](header)
    rows = {
        **checkpoint_rows(network, header, path, facts),
        **measured,
        "test accuracy of the recipe": facts.get("seeds", ""),
        "one run takes": facts.get("took", ""),
    }
    return f"## {name}\n\n{rows_table(rows)}\n\n{facts.get('notes', '').rstrip()}\n"


def _digit_rows(name: str, data: Sequence[str]) -> dict[str, str]:
    result = evaluate(name, device="cpu", mistakes=0, robustness=True, ood=True)
    robustness, covered = result.robustness, {row.coverage: row.accuracy for row in result.coverage}
    assert robustness is not None and result.accuracy_without_label_errors is not None
    interval = f"{100 * result.accuracy_low:.2f} to {100 * result.accuracy_high:.2f}"
    others = {_title(source): evaluate(name, source, device="cpu", mistakes=0) for source in data}
    return {
        "test accuracy of these weights": f"{_percent(result.accuracy)} of the {result.n:,} test digits "
        f"(95 % interval {interval}); "
        f"{_percent(result.accuracy_without_label_errors)} without 15 whose labels people reject",
        "corrupted": f"{_percent(robustness.mean)} in the mean of {len(robustness.corruptions)} corruptions, "
        f"{_percent(robustness.unseen)} for those that are no augmentation of training, "
        f"{_percent(robustness.worst)} at worst ({robustness.worst_name})",
        **{
            title: f"{_percent(other.accuracy)} of {other.n:,}, {_overlap(other.overlap)}"
            + f"; {other.unreadable:,} more could not be read" * (other.unreadable > 0)
            for title, other in others.items()
        },
        "calibration": f"ECE {result.ece:.4f}, NLL {result.nll:.4f}; "
        f"of the most confident 99 % of the answers {_percent(covered[0.99])} are correct",
        "AUROC of confidence": ", ".join(
            f"{each.name} {each.auroc:.3f}" + " (also trained on)" * each.trained for each in result.ood or ()
        ),
        "one image takes": f"{_milliseconds(name):.2g} ms on {cpu_name()}",
    }


def _title(source: str) -> str:
    return f"digits of {Path(source).stem}"


def _overlap(overlap: int | None) -> str:
    if overlap is None:
        return "and it is not known whether the model was trained on them"
    return f"{overlap:,} of which were trained on" if overlap else "none of which was trained on"


def _line_rows(header: Header) -> dict[str, str]:
    """Return the metrics of the end of training, on lines that were synthesized for the test."""
    exact, ece, nll = (header.metrics[name] for name in ("test_accuracy", "test_ece", "test_nll"))
    return {
        "exact match on new lines": f"{_percent(exact)} (all digits of a line correct) of "
        f"{header.dataset['test']:,} lines",
        "calibration": f"ECE {ece:.3f}, NLL {nll:.3f} a line at temperature {header.temperature:.2f}",
    }


def _page_rows(header: Header) -> dict[str, str]:
    """Return the metrics of the end of training, on squares of pages that were synthesized for the test."""
    return {
        "F-measure on new pages": f"{_percent(header.metrics['test_accuracy'])} "
        f"(cells of the cores of numbers) in {header.dataset['test']:,} squares",
    }


def _gaps_rows(header: Header) -> dict[str, str]:
    """Return the metrics of the end of training, on gaps of pages that were synthesized for the test."""
    return {
        "gaps of new pages": f"{_percent(header.metrics['test_accuracy'])} decided correctly on "
        f"{header.dataset['test']:,} pages",
    }


ROWS = {"line": _line_rows, "page": _page_rows, "gaps": _gaps_rows}


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def _milliseconds(name: str) -> float:
    """Return the median time for one image, from pixels to probabilities, as `predict` runs the model."""
    classifier = load_classifier(name, device="cpu")
    image = np.zeros((1, 28, 28), np.uint8)

    def call() -> object:
        return classifier.probabilities(image)

    time_calls(call, time.perf_counter, WARM_UP_CALLS, min_seconds=0.0)
    return 1000 * statistics.median(time_calls(call, time.perf_counter, CALLS, min_seconds=0.0))


if __name__ == "__main__":
    main()
