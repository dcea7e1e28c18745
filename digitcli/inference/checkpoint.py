"""A model on disk: one safetensors file with a JSON header that can rebuild it, sealed with SHA-256.

Reading a header loads no torch. No pickle is read or written.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from digitcli.atomic_write import write_whole
from digitcli.errors import ModelError, did_you_mean

if TYPE_CHECKING:
    import numpy.typing as npt
    from torch import Tensor

Numbers = TypeVar("Numbers")

DEFAULT_MODEL = "cnn"  # what answers where no model is named
FORMAT_VERSION = 1
MODEL_FILE, RESUME_FILE = "model.safetensors", "resume.safetensors"
TRAIN_HASHES = "hashes.train"  # a tensor of resume files: Digits.hashes() of the training digits
HEADER_LIMIT_BYTES = 16_000_000
UNSEALED = "0" * 64
DIGEST_KEY = b'"sha256":"'
PICKLE_STARTS = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
FETCH_ANEW = "Fetch or train it again."


HEADER_TYPES: dict[str, Any] = {
    "str": str,
    "int": int,
    "float": float,
    "dict": dict,
    "int | None": int | None,
    "float | None": float | None,
}


@dataclass(frozen=True, kw_only=True)
class Header:
    """What a checkpoint says of itself. Accuracies are fractions from 0 to 1."""

    architecture: str
    arguments: dict[str, Any] = field(default_factory=dict)
    task: str = "digit"
    alphabet: str = "0123456789"
    recipe: dict[str, Any] = field(default_factory=dict)
    seed: int | None = None
    dataset: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    temperature: float = 1.0
    refusal_threshold: float | None = None
    risk: dict[str, float] = field(default_factory=dict)  # share of wrong answers: confidence it begins at
    versions: dict[str, str] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)  # where a run stands; in resume files only
    format_version: int = FORMAT_VERSION


def write_checkpoint(path: Path, header: Header, tensors: Mapping[str, Tensor]) -> None:
    """Write a sealed checkpoint, whole or not at all.

    Raises:
        OutputError: it cannot be written; a file that was there before is as it was.
    """
    from safetensors.torch import save

    metadata = {"digitcli": json.dumps(dataclasses.asdict(header)), "sha256": UNSEALED}
    content = save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, metadata)
    write_whole(path, _seal(content))


def read_checkpoint(path: Path) -> tuple[Header, dict[str, Tensor]]:
    """The header and the tensors (on the CPU) of a checkpoint.

    Raises:
        ModelError: missing, damaged, foreign, newer than this digitcli, or a pickle.
    """
    from safetensors.torch import load

    return _read(path, load)


def read_arrays(path: Path) -> tuple[Header, dict[str, npt.NDArray[Any]]]:
    """The same with NumPy's arrays, without torch.

    Raises:
        ModelError: as `read_checkpoint`, or a tensor of a type that NumPy lacks.
    """
    from safetensors.numpy import load

    return _read(path, load)


def _read(path: Path, load: Callable[[bytes], dict[str, Numbers]]) -> tuple[Header, dict[str, Numbers]]:
    from safetensors import SafetensorError

    content = _content(path)
    metadata = _metadata(content, path)
    header = _header(metadata, path)
    digest = metadata["sha256"]
    if _digest(content, digest, path) != digest:
        raise ModelError(f"{path} is damaged: its bytes do not match its SHA-256.", FETCH_ANEW)
    try:
        tensors = load(content)
    except (SafetensorError, ValueError, KeyError, AttributeError) as error:
        raise ModelError(f"{path} is damaged: {error}.", FETCH_ANEW) from error
    for name, tensor in tensors.items():
        if not _is_finite(tensor):
            raise ModelError(f"{path} holds numbers that are not finite, in {name}.", "Train it again.")
    return header, tensors


def _is_finite(tensor: Any) -> bool:
    """Of a tensor, or of an array; whole numbers always are."""
    if hasattr(tensor, "isfinite"):
        return not tensor.is_floating_point() or bool(tensor.isfinite().all())
    import numpy as np

    return bool(np.isfinite(tensor).all())


def read_header(path: Path) -> Header:
    """The header alone, without torch and without reading the tensors.

    Raises:
        ModelError: missing, damaged, foreign, newer than this digitcli, or a pickle.
    """
    return _header(_metadata(_content(path, header_only=True), path), path)


def checkpoint_id(name: str) -> str:
    """Which weights a name stands for, e.g. `cnn@1a2b3c4d`: a short name and the start of the SHA-256.

    Raises:
        ModelError: there is no such model, or its file is damaged.
    """
    path = find_checkpoint(name)
    label = path.parent.resolve().name if path.name == MODEL_FILE else path.stem
    return f"{label}@{_metadata(_content(path, header_only=True), path)['sha256'][:8]}"


def shipped_models() -> dict[str, Path]:
    """The released weights by name: in the installed package, or beside it in a checkout."""
    package = Path(__file__).parent.parent
    for folder in (package / "models", package.parent / "models"):
        found = {path.stem: path for path in sorted(folder.glob("*.safetensors"))}
        if found:
            return found
    return {}


def find_checkpoint(name: str) -> Path:
    """The file behind a shipped name, a checkpoint file or a run folder.

    Raises:
        ModelError: there is no such model; the remedy suggests the nearest names.
    """
    shipped = shipped_models()
    if name in shipped:
        return shipped[name]
    path = Path(name)
    try:
        if path.is_dir():
            if (path / MODEL_FILE).is_file():
                return path / MODEL_FILE
            remedy = "Name the folder of a run that has ended an epoch."
            raise ModelError(f"The folder {path} holds no {MODEL_FILE}.", remedy)
        if path.exists():
            return path
    except (OSError, ValueError) as error:
        raise ModelError(f"{name} cannot be read: {error}.", "Name another file.") from error
    raise ModelError(
        f"There is no model '{name}': neither a shipped name, nor a checkpoint file, nor a run folder.",
        did_you_mean(name, shipped) if shipped else "Train one: digitcli train --arch cnn",
    )


def _content(path: Path, header_only: bool = False) -> bytes:
    """All bytes of a regular file, or those of its header."""
    try:
        if path.exists() and not path.is_file():
            raise ModelError(f"{path} is no regular file.", "Name another file.")
        with path.open("rb") as file:
            if not header_only:
                return file.read()
            start = file.read(8)
            return start + file.read(min(int.from_bytes(start, "little"), HEADER_LIMIT_BYTES))
    except (OSError, ValueError) as error:
        cause = error.strerror if isinstance(error, OSError) else error
        raise ModelError(f"{path} cannot be read: {cause}.", "Name another file.") from error


def _metadata(content: bytes, path: Path) -> dict[str, str]:
    """The strict reading of safetensors metadata: unique keys, text only, both of ours there."""
    try:
        entries = json.loads(_header_text(content), object_pairs_hook=_unique)
        metadata: dict[str, str] = entries.get("__metadata__", {})
    except (ValueError, AttributeError, RecursionError) as error:
        if content.startswith(PICKLE_STARTS):
            raise ModelError(
                f"{path} is a pickle or an archive of pickles, which can run any program.",
                "digitcli opens none; train the model with digitcli, which writes safetensors.",
            ) from error
        raise ModelError(f"{path} is not a checkpoint, or a damaged one: {error}.", FETCH_ANEW) from error
    ours = ("digitcli", "sha256")
    if not isinstance(metadata, dict) or not all(isinstance(metadata.get(key), str) for key in ours):
        raise ModelError(f"{path} was not written by digitcli.", "Train the model with digitcli train.")
    return metadata


def _header_text(content: bytes) -> bytes:
    if len(content) < 8:
        raise ValueError(f"it has only {len(content)} bytes")
    (length,) = struct.unpack("<Q", content[:8])
    if length > min(len(content) - 8, HEADER_LIMIT_BYTES):
        raise ValueError("it is cut off, or not in the safetensors format")
    return content[8 : 8 + length]


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entries = dict(pairs)
    if len(entries) != len(pairs):
        raise ValueError("a name in its header appears twice")
    return entries


def _header(metadata: dict[str, str], path: Path) -> Header:
    try:
        entries = json.loads(metadata["digitcli"], object_pairs_hook=_unique)
        version = entries["format_version"]
        if version > FORMAT_VERSION:
            raise ModelError(
                f"{path} has format version {version}; this digitcli reads up to {FORMAT_VERSION}.",
                "Update digitcli.",
            )
        header = Header(**entries)
        for entry in dataclasses.fields(Header):
            if not isinstance(getattr(header, entry.name), HEADER_TYPES[str(entry.type).split("[")[0]]):
                raise TypeError(f"{entry.name} is {getattr(header, entry.name)!r}")
        if not 1e-3 <= header.temperature <= 1e3:
            raise ValueError(f"temperature is {header.temperature}")
        for name, value in header.metrics.items():
            if not isinstance(value, int | float | None):
                raise TypeError(f"{name} is {value!r}")
        return header
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ModelError(f"{path} has a damaged header: {error}.", FETCH_ANEW) from error


def _seal(content: bytes) -> bytes:
    """Put the digest of every other byte into the place that was kept for it."""
    start = content.index(DIGEST_KEY + UNSEALED.encode()) + len(DIGEST_KEY)
    digest = hashlib.sha256(content[:start] + content[start + len(UNSEALED) :]).hexdigest()
    return content[:start] + digest.encode() + content[start + len(UNSEALED) :]


def _digest(content: bytes, digest: str, path: Path) -> str:
    """SHA-256 over every byte but the digest's own characters."""
    text = _header_text(content)
    sealed = DIGEST_KEY + digest.encode(errors="replace")
    if not re.fullmatch("[0-9a-f]{64}", digest) or text.count(sealed) != 1:
        raise ModelError(f"{path} is damaged: it has no SHA-256.", FETCH_ANEW)
    start = 8 + text.index(sealed) + len(DIGEST_KEY)
    view = memoryview(content)
    sha256 = hashlib.sha256(view[:start])
    sha256.update(view[start + len(digest) :])
    return sha256.hexdigest()
