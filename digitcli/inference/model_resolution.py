"""Resolve the name of a model: a shipped name, a checkpoint file, a run folder or a folder of adapted models.

A folder of adapted models, which `digitcli adapt` writes, may name several models; the others name one. A
command resolves the names that it is given once and passes the results on. Loads no torch.
"""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from digitcli.architectures.registry import is_architecture
from digitcli.errors import ModelError, UsageError, did_you_mean
from digitcli.inference.checkpoint import (
    ADAPTATION_FILE,
    COMPRESSION_SETTINGS_FILE,
    EXPORTED_FILES,
    MEMBER_FOLDER,
    MODEL_FILE,
    Header,
    exported_model,
    read_header_and_digest,
)

TASKS = {
    "digit": "single digits",
    "line": "lines",
    "page": "finding lines on pages",
    "gaps": "grouping digits",
}
DEFAULT_MODEL = "cnn"  # where no model is named and single digits are read


@dataclass(frozen=True)
class ResolvedModel:
    """A model whose checkpoint was found and whose header was read.

    name: the name by which the model was asked for.
    path: its checkpoint.
    header: the header of the checkpoint.
    sha256: the digest that the checkpoint states.
    graph_path: its graph for ONNX Runtime; None for a model that is neither shipped nor a calibrated copy of
        a shipped one, nor fine-tuned from one.
    shipped_as: the name of the shipped model that it is, also where its path was named.
    """

    name: str
    path: Path
    header: Header
    sha256: str
    graph_path: Path | None
    shipped_as: str | None = None

    @property
    def label(self) -> str:
        """A short name, which can be part of a file's: that of its file or run folder, e.g. `cnn`.

        What a compression has changed is part of it, e.g. `cnn-pruned-int8`, unless the name ends so.
        """
        label = self.path.parent.resolve().name if self.path.name == MODEL_FILE else self.path.stem
        names = {"resize": "-pruned", "quantize_weights": f"-int{self.header.weight_bits}"}
        changes = dict.fromkeys(change["change"] for change in self.header.compression)
        suffix = "".join(names.get(change, "") for change in changes)  # the others change no answer
        return label if label.endswith(suffix) else label + suffix

    @property
    def id(self) -> str:
        """The label and the start of the digest, e.g. `cnn@1a2b3c4d`."""
        return f"{self.label}@{self.sha256[:8]}"


ModelLike = str | Path | ResolvedModel


def resolve_models(names: Iterable[ModelLike]) -> tuple[ResolvedModel, ...]:
    """Return the models behind names; a model that is resolved already is returned as it is.

    A name has one model, but a folder of adapted models may have several.

    Raises:
        ModelError: there is no model of a name, or its file is damaged or was not written by digitcli.
    """
    models: list[ResolvedModel] = []
    for name in names:
        if isinstance(name, ResolvedModel):
            models.append(name)
        else:
            adapted = adapted_checkpoints(Path(name)) if str(name) not in shipped_models() else ()
            models += map(_resolve, adapted or (str(name),))
    return tuple(models)


def resolve_model(name: ModelLike) -> ResolvedModel:
    """Return the model behind one name, see `resolve_models`.

    Raises:
        ModelError: there is no such model, or the name is that of a folder with several.
    """
    models = resolve_models([name])
    if len(models) > 1:
        cause = f"{name} holds {len(models)} models, but one is needed here."
        raise ModelError(cause, f"Name one of them: {', '.join(model.name for model in models)}.")
    return models[0]


def check_task(models: Sequence[ResolvedModel], task: str) -> None:
    """Check that all models have a task.

    Raises:
        ModelError: one has another.
    """
    for model in models:
        if model.header.task != task:
            cause = f"The task of {model.name} is {model.header.task}s, not {TASKS[task]}."
            raise ModelError(cause, f"Name a model of the task {task}.")


def check_distinct(models: Sequence[ResolvedModel]) -> None:
    """Check that no model is named twice, since the average of a model with itself is that model.

    Raises:
        UsageError: two names have the same model.
    """
    first_of: dict[str, ResolvedModel] = {}
    for model in models:
        first = first_of.setdefault(model.sha256, model)
        if first is not model:
            is_copy = model.name != first.name
            cause = f"{model.name} is {f'the same model as {first.name}' if is_copy else 'named twice'}."
            raise UsageError(cause, "Name each model once.")


def shipped_models() -> dict[str, Path]:
    """Return the checkpoint of each shipped model by name, from the package or from beside a checkout."""
    package = Path(__file__).parent.parent
    for folder in (package / "models", package.parent / "models"):
        paths = {path.stem: path for path in sorted(folder.glob("*.safetensors"))}
        if paths:
            return paths
    return {}


def adapted_checkpoints(folder: Path) -> tuple[str, ...]:
    """Return the checkpoints that a folder of adapted models names; none for any other path.

    Raises:
        ModelError: the file that names them is damaged.
    """
    path = folder / ADAPTATION_FILE
    try:
        if (folder / MODEL_FILE).exists() or not path.is_file():
            return ()
    except OSError:
        return ()
    try:
        names = json.loads(path.read_text(encoding="utf-8"))["models"]
        if not names or any(Path(name).name != name for name in names):
            raise ValueError(f"it names the models {names}")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        cause = f"{path} does not name the models of its folder: {error}."
        raise ModelError(cause, "Run digitcli adapt again.") from error
    return tuple(str(folder / name) for name in names)


def _resolve(name: str) -> ResolvedModel:
    shipped = shipped_models()
    path = shipped.get(name) or _find_checkpoint(name, shipped)
    header, sha256 = read_header_and_digest(path)
    by_digest = {} if name in shipped else _shipped_by_digest(tuple(shipped.items()))
    shipped_as = name if name in shipped else by_digest[sha256][0] if sha256 in by_digest else None
    like = shipped_as or _shipped_with_same_graph(header, by_digest)
    graph_path = shipped[like].with_suffix(".onnx") if like else None
    has_graph = graph_path is not None and graph_path.is_file()
    return ResolvedModel(name, path, header, sha256, graph_path if has_graph else None, shipped_as)


@functools.lru_cache(maxsize=1)
def _shipped_by_digest(shipped: tuple[tuple[str, Path], ...]) -> dict[str, tuple[str, Header]]:
    """Return the name and the header of each shipped model by its digest, without damaged ones."""
    by_digest = {}
    for name, path in shipped:
        with contextlib.suppress(ModelError):
            header, digest = read_header_and_digest(path)
            by_digest[digest] = (name, header)
    return by_digest


def _shipped_with_same_graph(header: Header, by_digest: Mapping[str, tuple[str, Header]]) -> str | None:
    """Return the shipped model of which a model is a calibrated copy, or from which it was fine-tuned.

    A graph has no weights of its own, and fine-tuning changes nothing but weights.
    """
    if header.guarantee and header.guarantee.copy_of in by_digest:
        return by_digest[header.guarantee.copy_of][0]
    name, start = by_digest.get(str(header.start.get("sha256")), (None, header))
    is_same = (start.architecture, start.arguments) == (header.architecture, header.arguments)
    return name if is_same else None


def _find_checkpoint(name: str, shipped: dict[str, Path]) -> Path:
    """Return a checkpoint file, or the checkpoint of a run folder."""
    path = Path(name)
    try:
        if name and path.is_dir():  # Path("") is the current folder
            if (path / MODEL_FILE).is_file():
                return path / MODEL_FILE
            if any((path / file).is_file() for file in EXPORTED_FILES):
                raise exported_model(path)
            raise ModelError(f"The folder {path} holds no {MODEL_FILE}.", _remedy_for_unfinished(path))
        if name and path.exists():
            return path
    except (OSError, ValueError) as error:
        raise ModelError(f"{name} cannot be read: {error}.", "Name another file.") from error
    cause = f"There is no model '{name}': it is no shipped model, no checkpoint file and no run folder."
    if is_architecture(name):
        run = f"runs/{name.replace('/', '-')}-1"
        remedy = f"{name} is an architecture. To use your own run, give its folder, for example {run}."
        raise ModelError(cause, remedy)
    remedy = did_you_mean(name, shipped) if shipped else "Train one: digitcli train --arch cnn"
    raise ModelError(cause, remedy)


def _remedy_for_unfinished(folder: Path) -> str:
    """Return the remedy for a folder without a model, by what has begun there."""
    if (folder / COMPRESSION_SETTINGS_FILE).is_file():
        return "Its compression was interrupted: run the same `digitcli compress` again, which continues it."
    if (folder / MEMBER_FOLDER.format(0)).is_dir():
        return f"Train the other members of this ensemble: digitcli train --resume {folder}"
    return "Name the folder of a run that has finished at least one epoch."
