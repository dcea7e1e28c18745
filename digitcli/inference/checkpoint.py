"""Read and write checkpoints: one safetensors file whose JSON header says how to rebuild the model.

The header holds a SHA-256 over every other byte of the file, which is verified whenever tensors are read.
Reading a header loads no torch. No pickle is ever read or written.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from digitcli.architectures.registry import ENSEMBLE
from digitcli.atomic_write import write_whole
from digitcli.errors import ModelError
from digitcli.json_records import parse_record

if TYPE_CHECKING:
    import numpy.typing as npt
    from torch import Tensor

Tensors = TypeVar("Tensors")

FORMAT_VERSION = 1
MODEL_FILE = "model.safetensors"  # the model of a run folder
RUNS = Path("runs")  # the folder of the run folders that have no other
RESUME_FILE = "resume.safetensors"  # the state from which a run folder continues its training
CONFIG_FILE = "config.json"  # the settings of a run folder, from its beginning on
COMPRESSION_FILE = "compression.json"  # the figures of a finished compression, beside its model
COMPRESSION_SETTINGS_FILE = "settings.json"  # of a compression, from its beginning on
ADAPTATION_FILE = "adaptation.json"  # names the checkpoints of a folder of adapted models
MEMBER_FOLDER = "member-{}"  # the folder of a member in the run folder of an ensemble, numbered from 0
EXPORTED_ENDINGS = (".onnx", ".pt2", ".tflite", ".html")  # of the files that `digitcli export` writes
ARRAYS_ENDING = ".npz"  # of NumPy's archives, which hold datasets
EXPORTED_FILES = ("digit_model.c", "saved_model.pb")  # in the folders that it writes for other programs
TRAIN_HASHES = "hashes.train"  # the tensor of a resume file that holds Digits.hashes() of the training digits
MAX_HEADER_BYTES = 16_000_000  # far above any real header, so that a damaged length cannot fill the memory
DIGEST_KEY = b'"sha256":"'
ALIGNMENT = 8  # bytes to a multiple of which safetensors pads its header
EMPTY_DIGEST = "0" * 64  # stands in the file while its digest is computed
PICKLE_STARTS = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
REPLACE_REMEDY = "Download or train the model again."


def is_run(folder: Path) -> bool:
    """Return whether a training has begun in a folder: it has a saved state or the settings of a run."""
    try:
        settings = json.loads((folder / CONFIG_FILE).read_bytes())
    except (OSError, ValueError, RecursionError):
        settings = None  # other programs write a file of this name, too
    is_of_run = isinstance(settings, dict) and isinstance(settings.get("config"), dict)
    return is_of_run or os.path.isfile(folder / RESUME_FILE)  # noqa: PTH113 (a long name is no error here)


@dataclass(frozen=True, kw_only=True)
class Guarantee:
    """What `digitcli calibrate` has proven about the answers of a model together with others.

    max_error: the share of wrong answers that is not exceeded.
    confidence: the confidence level: the probability, over the labelled pictures, that this is true.
    threshold: the least confidence of an answer.
    answered, wrong: the number of answers with this confidence or more, and how many of them are wrong.
    p_value: see `evaluation.calibration`.
    copy_of: the SHA-256 of the checkpoint whose tensors these are.
    companions: the SHA-256 of each model that read together with it, in ascending order.
    """

    max_error: float
    confidence: float
    threshold: float
    answered: int
    wrong: int
    p_value: float
    copy_of: str
    companions: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Header:
    """The description of a model that its checkpoint carries. Accuracies are fractions from 0 to 1.

    architecture: the name of the architecture in the registry.
    arguments: the arguments that its constructor takes; of an ensemble, the headers of its members.
    task: `digit`, `line`, `page` or `gaps`.
    alphabet: the characters that a line model reads.
    recipe: the settings of the training.
    seed: the seed of the training.
    dataset: the name, the digest and the split sizes of the training data.
    teacher: the models whose answers it learned from: their ids, e.g. `robust@1a2b3c4d`, with their digests.
    start: the `model` that the training started from, its `sha256` and its `temperature`, the `recipes` by
        which it was trained (see `recipes_of`), the `digest` of its data, and whether all digits that it has
        learned are known (`knows_digits`). Older files lack the last three. Empty without one.
    metrics: the results of the training.
    temperature: the divisor that calibrates the logits.
    refusal_threshold: the confidence below which an answer is refused.
    risk: for some shares of wrong answers, as text, the confidence from which on at most this share is wrong.
    page_risk: the same for numbers that stand beside others.
    risk_companions: the SHA-256 of each model that read together with it when the model was adapted and the
        risk was measured, in ascending order; empty for shipped models, whose risk is that of the default
        models together. A model that was adapted to pictures without labels has them, but no risk.
    guarantee: the threshold that `digitcli calibrate` has found; None in every other model.
    acceptance: the weights that turn the answers about a number into its confidence, see
        `recognition.confidence`.
    presence: the weights that turn them into the probability that a number stands there.
    versions: the versions of the libraries that wrote the file.
    training: the progress of the training, in resume files only.
    format_version: the version of the file format.
    """

    architecture: str
    arguments: dict[str, Any] = field(default_factory=dict)
    task: str = "digit"
    alphabet: str = "0123456789"
    recipe: dict[str, Any] = field(default_factory=dict)
    seed: int | None = None
    dataset: dict[str, Any] = field(default_factory=dict)
    teacher: dict[str, str] = field(default_factory=dict)
    start: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    temperature: float = 1.0
    refusal_threshold: float | None = None
    risk: dict[str, float] = field(default_factory=dict)
    page_risk: dict[str, float] = field(default_factory=dict)
    risk_companions: tuple[str, ...] = ()
    guarantee: Guarantee | None = None
    acceptance: dict[str, float] = field(default_factory=dict)
    presence: dict[str, float] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    format_version: int = FORMAT_VERSION

    @property
    def compression(self) -> Sequence[Mapping[str, Any]]:
        """The changes that a compression has made to the network, see `architectures.compression`."""
        changes: Sequence[Mapping[str, Any]] = self.arguments.get("compression", ())
        return changes

    @property
    def weight_bits(self) -> int | None:
        """The largest number of bits of weights that are integers; None if all are floats."""
        bits = [each for change in self.compression for each in change.get("bits", {}).values()]
        return max(bits, default=None)


def library_versions() -> dict[str, str]:
    """Return the versions of the libraries on which the weights of a model may depend."""
    import platform  # these two are slow to import, and reading a header does not need them
    from importlib.metadata import version

    packages = {name: version(name) for name in ("digitcli", "torch", "numpy")}
    return packages | {"python": platform.python_version()}


def write_checkpoint(path: Path, header: Header, tensors: Mapping[str, Tensor]) -> None:
    """Write a checkpoint with its digest, completely or not at all; equal contents give equal digests.

    Raises:
        OutputError: the file cannot be written; a file that was there before is unchanged.
    """
    from safetensors.torch import save

    metadata = {"digitcli": json.dumps(dataclasses.asdict(header)), "sha256": EMPTY_DIGEST}
    content = save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, metadata)
    write_whole(path, _insert_digest(_with_sorted_header(content)))


def read_checkpoint(path: Path, sha256: str | None = None) -> tuple[Header, dict[str, Tensor]]:
    """Return the header and the tensors of a checkpoint, on the CPU.

    With `sha256` the file must be the one that has this digest.

    Raises:
        ModelError: the file is missing, damaged, a pickle, of another program, of a newer digitcli, or was
            replaced by a file with another digest.
    """
    from safetensors.torch import load

    return _read(path, sha256, load)


def read_arrays(path: Path, sha256: str | None = None) -> tuple[Header, dict[str, npt.NDArray[Any]]]:
    """Return the header and the tensors of a checkpoint as NumPy arrays, without torch.

    Raises:
        ModelError: see `read_checkpoint`; or NumPy lacks the type of a tensor.
    """
    from safetensors.numpy import load

    return _read(path, sha256, load)


def read_header(path: Path) -> Header:
    """Return the header of a checkpoint, without torch or its tensors, or raise as `read_checkpoint` does."""
    return read_header_and_digest(path)[0]


def read_header_and_digest(path: Path) -> tuple[Header, str]:
    """Return the header as `read_header` does, and the SHA-256 that it states, which is not verified yet."""
    metadata = _parse_metadata(_read_bytes(path, header_only=True), path)
    return _parse_header(metadata, path), metadata["sha256"]


def _read(
    path: Path, sha256: str | None, load: Callable[[bytes], dict[str, Tensors]]
) -> tuple[Header, dict[str, Tensors]]:
    from safetensors import SafetensorError

    content = _read_bytes(path)
    metadata = _parse_metadata(content, path)
    header = _parse_header(metadata, path)
    digest = metadata["sha256"]
    if sha256 not in (None, digest):
        raise ModelError(f"{path} was replaced while it was being opened.", "Run the command again.")
    entry, text = DIGEST_KEY + digest.encode(errors="replace"), _header_bytes(content)
    if not re.fullmatch("[0-9a-f]{64}", digest) or text.count(entry) != 1:
        raise ModelError(f"{path} is damaged: it has no SHA-256.", REPLACE_REMEDY)
    if _digest_around(content, 8 + text.index(entry) + len(DIGEST_KEY)) != digest:
        raise ModelError(f"{path} is damaged: its bytes do not match its SHA-256.", REPLACE_REMEDY)
    try:
        tensors = load(content)
    except (SafetensorError, ValueError, KeyError, AttributeError) as error:
        raise ModelError(f"{path} is damaged: {error}.", REPLACE_REMEDY) from error
    for name, tensor in tensors.items():
        if not _is_finite(tensor):
            raise ModelError(f"The tensor {name} of {path} is not finite.", "Train the model again.")
    return header, tensors


def _is_finite(tensor: Any) -> bool:
    """Return whether all values of a torch tensor or NumPy array are finite; integers always are."""
    if hasattr(tensor, "isfinite"):
        return not tensor.is_floating_point() or bool(tensor.isfinite().all())
    import numpy as np

    return bool(np.isfinite(tensor).all())


def _read_bytes(path: Path, header_only: bool = False) -> bytes:
    try:
        if path.exists() and not path.is_file():
            raise ModelError(f"{path} is no regular file.", "Name another file.")
        with path.open("rb") as file:
            if not header_only:
                return file.read()
            start = file.read(8)
            return start + file.read(min(int.from_bytes(start, "little"), MAX_HEADER_BYTES))
    except (OSError, ValueError) as error:
        cause = error.strerror if isinstance(error, OSError) else error
        raise ModelError(f"{path} cannot be read: {cause}.", "Name another file.") from error


def _parse_metadata(content: bytes, path: Path) -> dict[str, str]:
    """Return the safetensors metadata: unique keys, text only, with both keys of digitcli."""
    try:
        entries = json.loads(_header_bytes(content), object_pairs_hook=_dict_of_unique_keys)
        metadata: dict[str, str] = entries.get("__metadata__", {})
    except (ValueError, AttributeError, RecursionError) as error:
        if path.suffix.lower() in EXPORTED_ENDINGS:
            raise exported_model(path) from error
        if path.suffix.lower() == ARRAYS_ENDING and content.startswith(PICKLE_STARTS):
            cause = f"{path} is a dataset, an .npz archive of arrays, and not a model."
            remedy = "Name a model. The commands train and evaluate take the dataset with --data."
            raise ModelError(cause, remedy) from error
        if content.startswith(PICKLE_STARTS):
            cause = f"{path} is a pickle or an archive of pickles, which can run any program."
            remedy = "digitcli opens no pickles; train the model with digitcli, which writes safetensors."
            raise ModelError(cause, remedy) from error
        raise ModelError(f"{path} is not a checkpoint, or it is damaged: {error}.", REPLACE_REMEDY) from error
    required_keys = ("digitcli", "sha256")
    if not isinstance(metadata, dict) or not all(isinstance(metadata.get(key), str) for key in required_keys):
        raise ModelError(f"{path} was not written by digitcli.", "Train the model with digitcli train.")
    return metadata


def exported_model(path: Path) -> ModelError:
    """Return the error about a file or a folder that was written for another program."""
    cause = f"{path} is an exported model for other programs, and digitcli reads checkpoints."
    return ModelError(cause, "Name the model that it was exported from.")


def _header_bytes(content: bytes) -> bytes:
    if len(content) < 8:
        raise ValueError(f"it has only {len(content)} bytes")
    (length,) = struct.unpack("<Q", content[:8])
    if length > min(len(content) - 8, MAX_HEADER_BYTES):
        raise ValueError("it is cut off, or not in the safetensors format")
    return content[8 : 8 + length]


def _dict_of_unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entries = dict(pairs)
    if len(entries) != len(pairs):
        raise ValueError("a name in its header appears twice")
    return entries


def _parse_header(metadata: dict[str, str], path: Path) -> Header:
    try:
        entries = json.loads(metadata["digitcli"], object_pairs_hook=_dict_of_unique_keys)
        version = entries["format_version"]
        if version > FORMAT_VERSION:
            cause = f"{path} has format version {version}; this digitcli reads up to {FORMAT_VERSION}."
            raise ModelError(cause, "Update digitcli.")
        if unknown := entries.keys() - {entry.name for entry in dataclasses.fields(Header)}:
            raise ValueError(f"it has an unknown entry '{min(unknown)}'")
        header: Header = parse_record(entries, Header, "header")
        _check_header(header)
        return header
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ModelError(f"{path} has a damaged header: {error}.", REPLACE_REMEDY) from error


def recipes_of(header: Header) -> tuple[Mapping[str, Any], ...]:
    """Return the recipe of a network, and those by which the models were trained from which it started."""
    return (header.recipe, *header.start.get("recipes", ()))


def has_learned_more(header: Header) -> bool:
    """Tell whether a network started from one that may have learned other digits than those of its data."""
    start = header.start
    same_data = start.get("knows_digits") and start.get("digest") == header.dataset.get("digest")
    return bool(start) and not same_data


def member_headers(header: Header) -> tuple[Header, ...]:
    """Return the headers of the networks of an ensemble; for another model, its own header alone.

    Raises:
        ValueError: a member has a damaged header.
    """
    if header.architecture != ENSEMBLE.name:
        return (header,)
    members = [parse_record(entries, Header, "a member") for entries in header.arguments.get("members", ())]
    return tuple(part for member in members for part in member_headers(member))


def name_members(header: Header) -> str:
    """Return the architectures and the seeds of the networks of an ensemble; empty for another model."""
    if header.architecture != ENSEMBLE.name:
        return ""
    members = [(member.architecture, member.seed) for member in member_headers(header)]
    return ", ".join(name if seed is None else f"{name} (seed {seed})" for name, seed in members)


def _check_header(header: Header) -> None:
    if header.architecture == ENSEMBLE.name:
        for member in member_headers(header):
            _check_header(member)
    if "pretrained" in header.arguments:  # loading the model would download weights
        raise ValueError("its arguments ask for pretrained weights")
    for weights in (header.risk, header.page_risk, header.acceptance, header.presence):
        if not all(isinstance(weight, int | float) for weight in weights.values()):
            raise TypeError(f"there is no number in {weights!r:.40}")
    recipes = header.start.get("recipes", ())
    if not isinstance(recipes, list | tuple) or not all(isinstance(recipe, dict) for recipe in recipes):
        raise TypeError(f"the recipes of the start model are {recipes!r:.40}")
    for change in header.compression:
        bits = change.get("bits", {}) if isinstance(change, dict) else None
        if not isinstance(bits, dict) or not isinstance(change.get("change"), str):
            raise TypeError(f"a change by compression is {change!r:.40}")
        if not all(type(number) is int for number in bits.values()):
            raise TypeError(f"the bits of weights are {bits!r:.40}")
    if not 1e-3 <= header.temperature <= 1e3:
        raise ValueError(f"temperature is {header.temperature}")
    if header.guarantee and not 0 <= header.guarantee.threshold <= 1:
        raise ValueError(f"the threshold of the guarantee is {header.guarantee.threshold}")
    for name, value in header.metrics.items():
        if not isinstance(value, int | float | None):
            raise TypeError(f"{name} is {value!r}")


def _with_sorted_header(content: bytes) -> bytes:
    """Sort the entries of a file's header, which safetensors writes in an order that changes."""
    header = _header_bytes(content)
    entries = json.dumps(json.loads(header), sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    encoded = entries.encode()
    padded = encoded.ljust(-(-len(encoded) // ALIGNMENT) * ALIGNMENT)
    return struct.pack("<Q", len(padded)) + padded + content[8 + len(header) :]


def _insert_digest(content: bytes) -> bytes:
    """Return the file with the digest of its other bytes in place of `EMPTY_DIGEST`."""
    start = content.index(DIGEST_KEY + EMPTY_DIGEST.encode()) + len(DIGEST_KEY)
    return content[:start] + _digest_around(content, start).encode() + content[start + len(EMPTY_DIGEST) :]


def _digest_around(content: bytes, start: int) -> str:
    """Return the SHA-256 over every byte of a file except the digest itself, which begins at `start`."""
    view = memoryview(content)
    sha256 = hashlib.sha256(view[:start])
    sha256.update(view[start + len(EMPTY_DIGEST) :])
    return sha256.hexdigest()
