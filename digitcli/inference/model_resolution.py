"""Resolve the name of a model: a shipped name, a checkpoint file or a run folder.

A command resolves the names that it is given once and passes the results on. Loads no torch.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from digitcli.architectures.registry import is_architecture
from digitcli.errors import ModelError, did_you_mean
from digitcli.inference.checkpoint import MEMBER_FOLDER, MODEL_FILE, Header, read_header_and_digest

DEFAULT_MODEL = "cnn"  # where no model is named and single digits are read


@dataclass(frozen=True)
class ResolvedModel:
    """A model whose checkpoint was found and whose header was read.

    name: the name by which the model was asked for.
    path: its checkpoint.
    header: the header of the checkpoint.
    sha256: the digest that the checkpoint states.
    graph_path: its graph for ONNX Runtime; None for a model that is neither shipped nor a calibrated copy of
        a shipped one.
    """

    name: str
    path: Path
    header: Header
    sha256: str
    graph_path: Path | None

    @property
    def id(self) -> str:
        """A short name and the start of the digest, e.g. `cnn@1a2b3c4d`."""
        label = self.path.parent.resolve().name if self.path.name == MODEL_FILE else self.path.stem
        return f"{label}@{self.sha256[:8]}"


ModelLike = str | Path | ResolvedModel


def resolve_models(names: Iterable[ModelLike]) -> tuple[ResolvedModel, ...]:
    """Return the model behind each name; a model that is resolved already is returned as it is.

    Raises:
        ModelError: there is no model of a name, or its file is damaged or was not written by digitcli.
    """
    return tuple(name if isinstance(name, ResolvedModel) else _resolve(str(name)) for name in names)


def resolve_model(name: ModelLike) -> ResolvedModel:
    """Return the model behind one name, see `resolve_models`."""
    return resolve_models([name])[0]


def shipped_models() -> dict[str, Path]:
    """Return the checkpoint of each shipped model by name, from the package or from beside a checkout."""
    package = Path(__file__).parent.parent
    for folder in (package / "models", package.parent / "models"):
        paths = {path.stem: path for path in sorted(folder.glob("*.safetensors"))}
        if paths:
            return paths
    return {}


def _resolve(name: str) -> ResolvedModel:
    shipped = shipped_models()
    path = shipped.get(name) or _find_checkpoint(name, shipped)
    header, sha256 = read_header_and_digest(path)
    copied = _copied_checkpoint(header, shipped)
    graph_path = (copied or path).with_suffix(".onnx")
    has_graph = (copied or path) in shipped.values() and graph_path.is_file()
    return ResolvedModel(name, path, header, sha256, graph_path if has_graph else None)


def _copied_checkpoint(header: Header, shipped: dict[str, Path]) -> Path | None:
    """Return the shipped checkpoint that has the same tensors as a calibrated model, if there is one."""
    if header.guarantee is None:
        return None
    digests = {read_header_and_digest(path)[1]: path for path in shipped.values()}
    return digests.get(header.guarantee.copy_of)


def _find_checkpoint(name: str, shipped: dict[str, Path]) -> Path:
    """Return a checkpoint file, or the checkpoint of a run folder."""
    path = Path(name)
    try:
        if path.is_dir():
            if (path / MODEL_FILE).is_file():
                return path / MODEL_FILE
            remedy = "Name the folder of a run that has finished at least one epoch."
            if (path / MEMBER_FOLDER.format(0)).is_dir():
                remedy = f"Train the other members of this ensemble: digitcli train --resume {path}"
            raise ModelError(f"The folder {path} holds no {MODEL_FILE}.", remedy)
        if path.exists():
            return path
    except (OSError, ValueError) as error:
        raise ModelError(f"{name} cannot be read: {error}.", "Name another file.") from error
    cause = f"There is no model '{name}': it is no shipped model, no checkpoint file and no run folder."
    raise ModelError(cause, _remedy_for_missing(name, shipped))


def _remedy_for_missing(name: str, shipped: dict[str, Path]) -> str:
    if is_architecture(name):
        run = f"runs/{name.replace('/', '-')}-1"
        return f"{name} is an architecture. To use your own run, give its folder, for example {run}."
    return did_you_mean(name, shipped) if shipped else "Train one: digitcli train --arch cnn"
