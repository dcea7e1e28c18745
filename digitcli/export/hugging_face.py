"""Hugging Face: a folder with the checkpoint as it is, its description and a model card with metadata.

Mitchell et al., "Model cards for model reporting", 2019. The fields of the metadata are those of
https://github.com/huggingface/hub-docs/blob/main/modelcard.md.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

import digitcli
from digitcli.architectures.registry import find_architecture
from digitcli.architectures.summary import summarize
from digitcli.data.mnist import DIGEST
from digitcli.export.exporter import Exporter, Images, Outputs, Source, describe
from digitcli.inference.checkpoint import Header, name_members
from digitcli.inference.model_resolution import shipped_models
from digitcli.inference.torch_runtime import TorchRuntime, load_model

FACTS_FILE = "cards.toml"


@dataclass(frozen=True)
class _Task:
    """What a card says of a task.

    input, unit: what the multiplications are counted for, and what models are trained on.
    pipeline: the task in the words of the hub.
    metric, use: what its accuracy is, and a command that uses a model.
    """

    input: str
    unit: str
    pipeline: str
    metric: str
    use: str


TASKS = {
    "digit": _Task("an image", "digits", "image-classification", "accuracy", "evaluate FOLDER"),
    "line": _Task(
        "a line of 200 x 40 pixels", "synthetic lines an epoch, with digits", "image-to-text", "exact match",
        "evaluate FOLDER",
    ),
    "page": _Task(
        "a page of 256 x 256 pixels", "synthetic squares of pages an epoch, with digits", "object-detection",
        "F-measure", "models FOLDER",
    ),
    "gaps": _Task(
        "a page of 40 gaps", "synthetic pages an epoch, with digits", "token-classification", "accuracy",
        "models FOLDER",
    ),
}  # fmt: skip
MNIST = {"name": "MNIST", "type": "ylecun/mnist", "split": "test"}  # the name of MNIST on the hub
LICENSE = "mit"  # of the shipped models; digitcli does not know that of others
# Every value of the metadata, which is YAML, is written as JSON, which is YAML too.
CARD = """---
{metadata}
---

# {title}

A network of the architecture `{architecture}`, exported by digitcli {version}.

{table}

## Use

`pip install .` in a copy of the repository of digitcli installs the program.

```console
digitcli {use}
```

digitcli takes the path of the folder wherever it takes the name of a model. Other programs find the weights
in `model.safetensors`, and what the input and the output are in `config.json`:

| | |
|---|---|
| input | {input} |
| preprocessing | {preprocessing} |
| output | {output} |
| probabilities | {probabilities}, at the temperature {temperature:.4g} |

## Checks

SHA-256 of the checkpoint: `{digest}`. Parity: {parity}.
"""


def prepare(source: Source) -> Exporter:
    """Prepare the export of a model to a folder for the Hugging Face hub."""
    facts = describe(source)
    files = {
        "config.json": json.dumps({"model_type": "digitcli", **facts}, indent=2).encode() + b"\n",
        "model.safetensors": source.model.path.read_bytes(),
        "README.md": _card(source, facts).encode(),
    }
    return Exporter(files, {"files": ", ".join(files)}, _run)


def _run(path: Path, batches: Sequence[Images]) -> list[Outputs]:
    runtime = TorchRuntime(load_model(path))
    return [runtime.run(batch) for batch in batches]


def _card(source: Source, facts: dict[str, Any]) -> str:
    model, task = source.model, TASKS[source.model.header.task]
    title = model.id.rpartition("@")[0]
    metadata = _metadata(source, title)
    path = shipped_models().get(model.name)
    facts_of_shipped = read_facts(path.with_name(FACTS_FILE)).get(model.name, {}) if path else {}
    rows = checkpoint_rows(source.network, model.header, model.path, facts_of_shipped)
    accuracy = model.header.metrics.get("test_accuracy")
    if accuracy is not None:
        rows[f"test {task.metric}"] = f"{100 * accuracy:.2f} %"
    return CARD.format(
        metadata="\n".join(f"{name}: {json.dumps(value)}" for name, value in metadata.items()),
        title=title,
        version=digitcli.__version__,
        table=rows_table(rows),
        use=task.use,
        digest=model.sha256,
        **{name: value for name, value in facts.items() if f"{{{name}" in CARD},
    )


def _metadata(source: Source, title: str) -> dict[str, Any]:
    """Return the metadata of the card, by which the hub sorts and finds models."""
    header = source.model.header
    pipeline = TASKS[header.task].pipeline
    shipped = source.model.shipped_as is not None
    is_mnist = header.dataset.get("name") == "mnist"
    if header.task == "digit":  # a folder of a person may be named mnist, too
        is_mnist = is_mnist and header.dataset.get("digest") == DIGEST
    metadata: dict[str, Any] = {"license": LICENSE} if shipped else {}
    metadata |= {
        "library_name": "digitcli",
        "pipeline_tag": pipeline,
        "tags": ["handwriting", "digits", header.architecture.replace("/", "-")],
    }
    if is_mnist:
        metadata["datasets"] = [MNIST["type"]]
    accuracy = header.metrics.get("test_accuracy")
    if is_mnist and accuracy is not None and header.task == "digit":
        result = {
            "task": {"type": pipeline, "name": "Handwritten digits"},
            "dataset": MNIST,
            "metrics": [{"type": "accuracy", "value": round(accuracy, 4)}],
        }
        metadata |= {"metrics": ["accuracy"], "model-index": [{"name": title, "results": [result]}]}
    return metadata


def read_facts(path: Path) -> dict[str, dict[str, str]]:
    """Return what a file of facts tells about each model; nothing where the file is missing."""
    return tomllib.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def checkpoint_rows(
    network: nn.Module, header: Header, path: Path, facts: Mapping[str, str]
) -> dict[str, str]:
    """Return the rows of a card that its checkpoint and its `cards.toml` tell, without a measurement."""
    summary = summarize(network, header.task)
    description = (find_architecture(header.architecture).load().__doc__ or "").strip().split("\n\n")[0]
    seed = "" if header.seed is None else f" (seed {header.seed})"
    macs = f"{summary.macs / 1e6:.3g} million for {TASKS[header.task].input}"
    size = path.stat().st_size
    return {
        "architecture": f"`{header.architecture}`: {' '.join(description.split()).rstrip('.')}",
        "members": name_members(header),
        "parameters, MACs": f"{summary.parameters:,} · {macs}",
        "size": f"{size / 1e6:.1f} MB" if size >= 100_000 else f"{size / 1e3:.0f} kB",
        "made by": f"`{facts['command']}`{seed}" if "command" in facts else "",
        "trained on": _training_data(header),
        "teacher": ", ".join(header.teacher),
    }


def rows_table(rows: Mapping[str, str]) -> str:
    """Return rows as a Markdown table without headings; empty rows are left out."""
    table = "\n".join(f"| {title} | {text} |" for title, text in rows.items() if text)
    return f"| | |\n|---|---|\n{table}"


def _training_data(header: Header) -> str:
    dataset = header.dataset
    if not {"name", "train", "validation"} <= dataset.keys():
        return ""
    synthetic = f" and {dataset['synthetic']:,} synthetic characters" if "synthetic" in dataset else ""
    return (
        f"{dataset['train']:,} {TASKS[header.task].unit} of {dataset['name']}{synthetic}; "
        f"{dataset['validation']:,} more to choose settings and to fit the temperature"
    )
