"""Copy what was measured into README.md and docs/: figures in sentences, and tables.

The figures stand in `benchmarks/results/*.json`, which benchmark scripts write (`-o FILE.json`), in the runs
`benchmarks/*.json` that `digitcli compare` saved, and in the headers of the shipped models. A page has marks:

- `<!--=FILE/ROW/FIELD-->92.0 %<!--/-->` is one figure; a fraction is shown as a percentage. `FIELD:2` sets
  its decimals. No line of a page may begin with such a mark, which Markdown would take for a block.
- `<!-- table NAME -->` and `<!-- /table -->`, on lines of their own, have that table between them.

`python scripts/generate_docs.py` fills the marks; a test fails if a figure was edited by hand.
"""

from __future__ import annotations

import functools
import json
import re
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from digitcli.inference.model_index import list_models
from digitcli.inference.model_resolution import resolve_model

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"
FIGURE = re.compile(r"<!--=([\w.-]+)/([^<>]+)/(\w+)(?::(\d))?-->.*?<!--/-->", re.DOTALL)
TABLE = re.compile(r"<!-- table ([\w.-]+) -->\n.*?<!-- /table -->", re.DOTALL)
MARK = re.compile(r"<!--(?:=[^>]*|/)-->")

Row = Mapping[str, Any]
Rows = Mapping[str, Row]
Cell = str | Callable[[Row], str]  # `FIELD` or `FIELD:DECIMALS`, or what makes the text of a row

KINDS = {
    "strings/cheque_amounts": "amounts on cheques, digits touch",
    "strings/cheque_dates": "dates on cheques",
    "strings/child_decimals": "decimals by children",
    "strings/nist_hsf_fields": "fields of forms, scanned",
    "strings/bd_table_cells": "cells of a table of marks",
    "strings/sums": "sums",
    "strings/shop_bill_amounts": "amounts on bills",
    "strings/phone_photos_numbers": "numbers in phone photographs",
    "strings/scanned_rows": "rows of ten digits, scanned",
    "strings/form_comb_fields": "fields of boxes (combs)",
    "photos/phone_photos": "phone photographs of digits",
    "photos/scanned_pen": "digits written with a pen, scanned",
    "photos/form_cells_grey": "cells of forms, grey",
    "photos/tablet_28px": "written on a tablet, 28 pixels",
    "photos/paint_28px": "drawn in a paint program, 28 pixels",
    "photos/marker_photos": "photographs of a marker",
    "photos/brush_28px": "photographs of a brush",
    "photos/cluttered_photos": "cluttered photographs",
    "photos/faint_photos": "faint photographs",
}
README_KINDS = (
    "strings/cheque_amounts",
    "photos/phone_photos",
    "photos/form_cells_grey",
    "photos/tablet_28px",
    "strings/sums",
    "strings/cheque_dates",
)
NOTHING = {
    "notdigits/blank_paper": "blank paper",
    "notdigits/empty_frames": "empty frames",
    "notdigits/greek": "single Greek letters",
    "notdigits/strokes": "single strokes",
}
PAGES = {
    "number_pages": "pages of separate digits",
    "homework_printed_and_child": "homework, printed and by a child",
    "sudoku_bands": "sudokus",
    "score_cards": "score cards",
    "nist_hsf_rows": "rows of forms",
    "bd_marktables": "tables of marks, scanned",
    "photo_marktables": "tables of marks, photographed",
    "mean": "mean of the kinds",
}
LAYOUTS = {
    "free": "free numbers",
    "table": "tables of numbers",
    "table of digits": "tables of single digits",
    "form": "forms",
    "combs": "combs below each other",
    "text": "numbers in text",
    "sums": "sums in columns",
    "exercises": "exercises",
    "mean": "mean of the layouts",
}
CONDITIONS = {
    "as it is": "as it is",
    "turned by 10 degrees": "rotated by 10 degrees",
    "turned by 20 degrees": "rotated by 20 degrees",
    "turned by 30 degrees": "rotated by 30 degrees",
    "light on dark": "light on dark",
    "on coloured paper": "on coloured paper",
    "in a large photograph": "at a random place of 12 megapixels",
}
LENGTHS = {
    "groups": "one number in groups, in a picture",
    "field": "a field of boxes, in a picture",
    "combs": "rows of boxes below each other, all filled",
    "table": "tables of single digits",
}
REFUSAL = {"`--max-error 0.01`": "-max-error-0.01", "by default": "", "`--max-error 0.05`": "-max-error-0.05"}
README_MODELS = {
    "reader": "`reader`: lines of numbers (synthetic strips, every digit correct)",
    "glance": "`glance`: easy pictures, before the others (synthetic pictures)",
    "finder": "`finder`: where numbers stand on a page (F-measure)",
    "grouper": "`grouper`: which digits form one number (gaps of synthetic pages)",
    "cnn": "`cnn`: the default of `train`",
    "fast": "`fast`: trained for 20 epochs, 33 s",
    "tiny": "`tiny`: 25 kB",
    "micro": "`micro`: 9 kB",
    "robust": "`robust`: the most accurate single network",
}


@functools.cache
def results(name: str) -> Rows:
    """Return the rows of a file; `thresholds` are those of `--max-error`, `shipped` the models in models/."""
    if name == "thresholds":
        header = resolve_model("reader").header
        single, beside = header.risk, header.page_risk
        return {error: {"single": single[error], "beside": beside[error]} for error in single}
    if name == "shipped":
        sizes = {row.name: row.parameters for row in list_models()}
        headers = {model: resolve_model(model).header for model in README_MODELS}
        return {
            model: {"accuracy": header.metrics["test_accuracy"], "parameters": sizes.get(model, 0)}
            for model, header in headers.items()
        }
    content = json.loads((BENCHMARKS / "results" / f"{name}.json").read_text(encoding="utf-8"))
    rows: Rows = content["rows"]
    return rows


def filled(text: str) -> str:
    """Return a page with all of its marked figures and tables as they were measured."""
    text = FIGURE.sub(lambda found: f"{_mark(found)}{_figure(found)}<!--/-->", text)
    return TABLE.sub(
        lambda found: f"<!-- table {found[1]} -->\n\n{TABLES[found[1]]()}\n\n<!-- /table -->", text
    )


def without_figures(text: str) -> str:
    """Return a page without its marked figures and tables: what somebody typed."""
    return TABLE.sub("", FIGURE.sub("", text))


def _mark(found: re.Match[str]) -> str:
    return MARK.match(found[0])[0]  # type: ignore[index]


def _figure(found: re.Match[str]) -> str:
    value = results(found[1])[found[2]][found[3]]
    return shown(value, int(found[4]) if found[4] else 1)


def shown(value: float | int | str, decimals: int = 1) -> str:
    """Return a fraction as a percentage, another number with a comma for thousands, and a text as it is."""
    if isinstance(value, str):
        return value
    if isinstance(value, float) and 0 <= value <= 1:
        percent = f"{100 * value:.{decimals}f}"
        return f"{float(percent):.0f} %" if float(percent) in (0, 100) else f"{percent} %"
    return f"{value:,}"


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(f"|{'|'.join(line)}|" for line in lines)


def rows_table(
    name: str, labels: Mapping[str, str], columns: Mapping[str, Cell], heading: str = "in percent"
) -> str:
    """Return a table of some rows of a file."""
    rows = results(name)
    return table([heading, *columns], (cells(label, rows[key], columns) for key, label in labels.items()))


def cells(label: str, row: Row, columns: Mapping[str, Cell]) -> list[str]:
    """Return the cells of a row; a fraction in percent, without the sign."""
    return [label, *(cell(row) if callable(cell) else of(cell, row) for cell in columns.values())]


def of(name: str, row: Row) -> str:
    """Return a field of a row as it is shown."""
    field, _, decimals = name.partition(":")
    return shown(row[field], int(decimals or 1)).removesuffix(" %") if field in row else ""


def counted(field: str) -> Cell:
    """Return a column that shows a share in percent, or as a number of fewer than 20 pictures."""

    def cell(row: Row) -> str:
        count = row["pictures"]
        return of(field, row) if count >= 20 else f"{round(row[field] * count)}/{count}"

    return cell


def reading_table(kinds: Iterable[str] = KINDS, coverage: bool = True) -> str:
    """Compare digitcli and RapidOCR on each kind of real pictures, and in the mean of the kinds."""
    readers = {"digitcli": "digitcli", "masked": "RapidOCR, masked", "RapidOCR": "RapidOCR"}
    columns: dict[str, Cell] = {"pictures": "pictures"}
    for reader, heading in list(readers.items())[: 3 if coverage else 2]:
        columns[heading] = counted(f"{reader}_right")
        if coverage and reader != "RapidOCR":
            columns[f"{heading}: coverage"] = counted(f"{reader}_coverage")
    rows = results("reading")
    means = {**rows["mean"], "pictures": rows["all"]["pictures"]}
    lines = rows_table("reading", {kind: KINDS[kind] for kind in kinds}, columns)
    return f"{lines}\n|{'|'.join(cells('mean of 19 kinds', means, columns))}|"


def nothing_table() -> str:
    """Show in how many pictures without a number none is read."""
    readers = {"digitcli": "digitcli", "RapidOCR, masked": "masked", "RapidOCR": "RapidOCR"}
    columns: dict[str, Cell] = {
        heading: lambda row, field=f"{name}_right": str(round(row[field] * row["pictures"]))
        for heading, name in readers.items()
    }
    return rows_table("reading", NOTHING, {"pictures": "pictures", **columns})


def refusal_table() -> str:
    """Show how many numbers are answered correctly, and which share of the answers is wrong, by threshold."""
    files = {
        name: [results(f"{name}{suffix}") for suffix in REFUSAL.values()] for name in ("reading", "pages")
    }
    lines = []
    whole = {"all": "pictures of one number", "strings/cheque_amounts": "amounts on cheques, of these"}
    for key, label in whole.items():
        rows = [file[key] for file in files["reading"]]
        shares = (f"{shown(row['answered_correctly'])}; {shown(row['wrong_answers'])}" for row in rows)
        lines.append([f"{shown(rows[0]['pictures'])} {label}", *shares])
    means = [file["mean"] for file in files["pages"]]
    label = f"{shown(means[0]['numbers'])} numbers on {means[0]['pages']} pages, mean of 7 kinds"
    lines.append([label, *(f"{shown(mean['recall'])}; {shown(mean['wrong_answers'])}" for mean in means)])
    return table(["answered correctly; wrong among the answers", *REFUSAL], lines)


def thresholds_table() -> str:
    """Show the stored thresholds of `--max-error`."""
    chosen = {error: row for error, row in results("thresholds").items() if error != "0.1"}
    titles = {
        "single": "refuse below a confidence of",
        "beside": "the same for a number beside others on its page",
    }
    lines = ([title, *(f"{row[field]:.3f}" for row in chosen.values())] for field, title in titles.items())
    return table(["`--max-error`", *chosen], lines)


def saved_models(file: str) -> list[dict[str, Any]]:
    """Return label, mean accuracy, standard deviation (None for one run) and runs of each saved model."""
    models = json.loads((BENCHMARKS / f"{file}.json").read_text(encoding="utf-8"))["models"]
    accuracies = [[1 - len(run["misread"]) / model["images"] for run in model["runs"]] for model in models]
    return [
        {
            "label": model["label"],
            "accuracy": statistics.fmean(each),
            "sd": statistics.stdev(each) if len(each) > 1 else None,
            "n": len(each),
        }
        for model, each in zip(models, accuracies, strict=True)
    ]


def with_deviation(model: Row) -> str:
    """Return an accuracy in percent with its standard deviation, where it has one, as `99.56 ± 0.04`."""
    spread = f" ± {100 * model['sd']:.2f}" if model["sd"] is not None else ""
    return f"{100 * model['accuracy']:.2f}{spread}"


def zoo_table() -> str:
    """List every architecture with its accuracy over seeds."""
    sizes, times = {row.name: row.parameters for row in list_models()}, results("latency")
    lines = []
    for model in sorted(saved_models("zoo"), key=lambda model: model["accuracy"]):
        label, milliseconds = model["label"], f"{times[model['label']]['ms']:g}"
        size = f"{sizes[label.removeprefix('shipped/')]:,}"
        lines.append([f"`{label}`", size, with_deviation(model), str(model["n"]), milliseconds])
    return table(["architecture", "parameters", "accuracy in %, mean ± sd", "n", "ms per image"], lines)


def switches_table() -> str:
    """List what changing one setting of `fast` does over eight epochs."""
    models = sorted(saved_models("switches"), key=lambda model: -model["accuracy"])
    labels = (model["label"].removeprefix("fast:epochs=8").removeprefix(",") for model in models)
    rows = ([_setting(label), with_deviation(model)] for label, model in zip(labels, models, strict=True))
    return table(["", "accuracy in %, mean ± sd"], rows)


def other_switches_table() -> str:
    """List the two settings that were tested on other architectures."""
    pairs = (
        sorted(saved_models(file), key=lambda model: len(model["label"]))
        for file in ("stochastic_depth", "dropout")
    )
    lines = ([f"`{new['label']}`", with_deviation(plain), with_deviation(new)] for plain, new in pairs)
    return table(["the change", "without it", "with it"], lines)


def short_switches_table() -> str:
    """List what changing one setting of `fast` does in one epoch."""
    rows = results("switches-one-epoch").items()
    lines = ([_setting(name), with_deviation(row), f"{row['seconds']} s"] for name, row in rows)
    return table(["", "accuracy in %, mean ± sd", "trained in"], lines)


def _setting(label: str) -> str:
    return f"`{label}`" if label else "the recipe"


def mnist_c_table() -> str:
    """Show the accuracy under each corruption of MNIST-C."""
    models = {f"`{name}`": results("mnist_c")[name] for name in ("fast", "cnn", "robust")}
    lines = (
        [corruption.replace("_", " "), *(of(corruption, row) for row in models.values())]
        for corruption in results("mnist_c")["fast"]
    )
    return table(["in percent", *models], lines)


def lengths_table() -> str:
    """Show what `--length` changes on synthetic pages."""
    rows = results("known_lengths")

    def three(key: str) -> str:
        return "; ".join(shown(rows[key][field], 0) for field in ("offered", "recall", "precision"))

    lines = (
        [label, f"{rows[key]['numbers']:,}", three(key), three(f"{key}, length")]
        for key, label in LENGTHS.items()
    )
    return table(["", "numbers", "without a constraint", "with `--length N`"], lines)


def models_table() -> str:
    """List the shipped models with the accuracy that their files state."""
    size: Cell = lambda row: f"{row['parameters']:,}" if row["parameters"] else ""  # noqa: E731
    columns: dict[str, Cell] = {"parameters": size, "accuracy": lambda row: shown(row["accuracy"], 2)}
    return rows_table("shipped", README_MODELS, columns, heading="shipped model")


TABLES: dict[str, Callable[[], str]] = {
    "reading": reading_table,
    "reading-readme": lambda: reading_table(README_KINDS, coverage=False),
    "nothing": nothing_table,
    "refusal": refusal_table,
    "thresholds": thresholds_table,
    "lengths": lengths_table,
    "models": models_table,
    "zoo": zoo_table,
    "switches": switches_table,
    "switches-one-epoch": short_switches_table,
    "other-switches": other_switches_table,
    "mnist-c": mnist_c_table,
    "pages": lambda: rows_table(
        "pages",
        PAGES,
        {
            "numbers": "numbers", "answered correctly": "recall", "precision": "precision",
            "digits found": "digits", "RapidOCR: correct": "rapidocr_recall",
            "precision ": "rapidocr_precision", "digits": "rapidocr_digits",
        },
    ),
    "layouts": lambda: rows_table(
        "composed_pages",
        LAYOUTS,
        {"numbers": "numbers", "found": "offered", "answered correctly": "recall", "precision": "precision"},
    ),
    "conditions": lambda: rows_table(
        "conditions", CONDITIONS, {"correct": "right", "wrong": "wrong", "refused": "refused"}
    ),
    "classifiers": lambda: rows_table(
        "classifiers",
        {"robust": "`robust`", "cnn": "`cnn`"},
        {
            "test accuracy": "accuracy:2", "without 15 doubtful labels": "without_label_errors:2",
            "99 % most confident": "most_confident_99:2", "USPS, unseen": "usps:2", "MNIST-C": "mnist_c",
            "AUROC, digits against letters": lambda row: f"{row['auroc_letters']:.3f}",
        },
    ),
    "growth-digits": lambda: rows_table(
        "growth-digits",
        {count: f"{int(count):,}" for count in ("1000", "10000", "100000", "1000000")},
        {
            "trained in": lambda row: f"{row['seconds']} s",
            "evaluated in": lambda row: f"{row['evaluation_seconds']} s",
            "peak memory": lambda row: f"{row['memory_mb']:,} MB",
        },
        heading="digits",
    ),
    "growth-batch": lambda: rows_table(
        "growth-batch",
        {name: f"`{name}`" for name in ("lenet5", "cnn", "resnet")},
        {size: size for size in ("16", "32", "64", "128", "256", "512", "1024")}
        | {"1 thread": "one_thread", "2 threads": "two_threads"},
        heading="batch size",
    ),
}  # fmt: skip
