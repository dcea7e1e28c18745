from __future__ import annotations

import dataclasses
import json
import os
import pickle
import random
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save

from digitcli.architectures.recipe import Recipe
from digitcli.errors import ModelError, OutputError
from digitcli.inference import checkpoint
from digitcli.inference.checkpoint import (
    Header,
    read_arrays,
    read_checkpoint,
    read_header,
    read_header_and_digest,
    write_checkpoint,
)
from digitcli.inference.model_resolution import shipped_models
from tests.support.processes import Run

ROOT = Path(__file__).parents[2]

HEADER = Header(architecture="softmax", dataset={"name": "mnist", "digest": "ab" * 32}, temperature=1.25)
TENSORS = {"weight": torch.arange(12.0).reshape(3, 4), "half": torch.ones(2, dtype=torch.float16)}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    write_checkpoint(path, HEADER, TENSORS)
    return path


def forge(path: Path, change: dict[str, object]) -> None:
    """Write a well-sealed checkpoint whose header has been tampered with."""
    entries = {**json.loads(json.dumps(HEADER.__dict__)), **change}
    content = save(TENSORS, {"digitcli": json.dumps(entries), "sha256": checkpoint.EMPTY_DIGEST})
    path.write_bytes(checkpoint._insert_digest(content))


def test_comes_back_as_it_went_from_an_ordinary_safetensors_file(path: Path, tmp_path: Path) -> None:
    header, tensors = read_checkpoint(path)
    assert header == HEADER == read_header(path)
    assert tensors.keys() == TENSORS.keys() == load_file(path).keys()
    for name, tensor in tensors.items():
        assert tensor.dtype == TENSORS[name].dtype
        assert torch.equal(tensor, TENSORS[name])
    again = tmp_path / "again.safetensors"
    for _ in range(8):  # safetensors chooses one of two orders of its header by chance
        write_checkpoint(again, HEADER, dict(reversed(TENSORS.items())))
        assert again.read_bytes() == path.read_bytes()


def test_every_flipped_bit_every_truncation_and_an_appended_byte_are_found(path: Path) -> None:
    content = path.read_bytes()
    randomness = random.Random(0)
    for bit in randomness.sample(range(8 * len(content)), 500):
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        with pytest.raises(ModelError):
            read_checkpoint(path)
    for damaged in (*(content[:length] for length in range(0, len(content), 7)), content + b"\0"):
        path.write_bytes(damaged)
        with pytest.raises(ModelError):
            read_checkpoint(path)


def test_files_of_other_kinds_are_said_to_be_these_and_pickles_stay_unopened(tmp_path: Path) -> None:
    path, archive = tmp_path / "model.safetensors", tmp_path / "small.npz"
    for zipped in (True, False):
        torch.save(TENSORS, path, _use_new_zipfile_serialization=zipped)
        with pytest.raises(ModelError, match="pickle"):
            read_checkpoint(path)
    contents = (b"", b"hello", b"<html>404</html>", b"\xff" * 100, b"[" * 100_000)
    for content, cause in (
        (pickle.dumps(TENSORS), "pickle"),
        (save(TENSORS), "not written by digitcli"),
        *((content, "not a checkpoint") for content in contents),
    ):
        path.write_bytes(content)
        with pytest.raises(ModelError, match=cause):
            read_checkpoint(path)
    np.savez(archive, images=np.zeros((2, 28, 28), np.uint8), labels=np.zeros(2))
    for read in (read_checkpoint, read_header):
        with pytest.raises(ModelError, match="is a dataset") as caught:
            read(archive)
        assert "--data" in caught.value.remedy
    with pytest.raises(ModelError, match="No such file"):
        read_checkpoint(tmp_path / "none.safetensors")
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(ModelError, match="no regular file"):
        read_checkpoint(tmp_path / "fifo")
    with pytest.raises(OutputError):
        write_checkpoint(tmp_path / "none" / "model.safetensors", HEADER, TENSORS)


def test_a_header_whose_length_looks_like_a_pickle_is_read(tmp_path: Path) -> None:
    """The first bytes are the length of the header, and 0x0580 is how a pickle begins."""
    path = tmp_path / "model.safetensors"
    write_checkpoint(path, dataclasses.replace(HEADER, dataset={"name": ""}), TENSORS)
    length = int.from_bytes(path.read_bytes()[:8], "little")
    padding = (0x0580 - length) % 0x10000  # the length is a multiple of eight
    write_checkpoint(path, dataclasses.replace(HEADER, dataset={"name": "x" * padding}), TENSORS)
    assert path.read_bytes().startswith(b"\x80\x05")
    assert read_checkpoint(path)


def test_a_newer_format_asks_for_an_update(path: Path) -> None:
    forge(path, {"format_version": 99})
    with pytest.raises(ModelError, match="version 99") as caught:
        read_checkpoint(path)
    assert "Update" in caught.value.remedy


def test_a_header_of_wrong_types_is_damaged(path: Path) -> None:
    changes: list[dict[str, object]] = [
        {"architecture": 5},
        {"temperature": 0.0},
        {"temperature": "warm"},
        {"metrics": []},
        {"format_version": "one"},
        {"surprise": 1},
        {"metrics": {"test_accuracy": "x"}},
        {"arguments": {"compression": [{"change": "quantize_weights", "bits": {"0": "8"}}]}},
        {"arguments": {"compression": [{"change": "quantize_weights", "bits": [8]}]}},
        {"arguments": {"pretrained": True}},
        {"risk": {"0.01": "x"}},
        {"start": {"recipes": 5}},
    ]
    for change in changes:
        forge(path, change)
        with pytest.raises(ModelError, match="damaged header"):
            read_checkpoint(path)


def test_a_name_twice_in_the_header_is_damage(path: Path) -> None:
    content = path.read_bytes()
    text = checkpoint._header_bytes(content)
    doubled = text[:-1] + b"," + re.search(rb'"weight":\{.*?\}', text)[0] + b"}"
    path.write_bytes(len(doubled).to_bytes(8, "little") + doubled + content[8 + len(text) :])
    with pytest.raises(ModelError, match="twice"):
        read_checkpoint(path)


def test_weights_that_are_not_finite_are_refused(path: Path) -> None:
    for value in (float("nan"), float("inf")):
        write_checkpoint(path, HEADER, {"weight": torch.tensor([1.0, value])})
        with pytest.raises(ModelError, match="not finite"):
            read_checkpoint(path)


def test_strange_metadata_is_a_model_error(path: Path) -> None:
    content = path.read_bytes()
    header = checkpoint._header_bytes(content)
    changes: list[dict[str, object]] = [
        {"sha256": "x"}, {"sha256": "\ud800" * 64}, {"sha256": 5}, {"digitcli": {}},
    ]  # fmt: skip
    for change in changes:
        entries = json.loads(header)
        entries["__metadata__"] |= change
        text = json.dumps(entries).encode()
        path.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + len(header) :])
        with pytest.raises(ModelError):
            read_checkpoint(path)
    content = save(TENSORS, {"digitcli": "[" * 100_000, "sha256": checkpoint.EMPTY_DIGEST})
    path.write_bytes(checkpoint._insert_digest(content))
    with pytest.raises(ModelError, match="damaged header"):
        read_checkpoint(path)


# Trainings that go on from shipped weights take further seeds, so that they see other lines and pages.
FURTHER_SEEDS = {"finder": 3, "glance": 8, "reader": 3}


@pytest.mark.parametrize("name", sorted(shipped_models()))
def test_shipped_weights_have_the_seed_and_the_recipe_on_their_card(name: str, digitcli: Run) -> None:
    card = (ROOT / "models" / "README.md").read_text().split(f"\n## {name}\n")[1]
    made_by = re.search(r"`digitcli (train [^`]*)`", card)
    assert made_by
    options = re.sub(r" --(strokes|fonts) \S+", "", made_by[1])  # files that are not here
    options = re.sub(r"--from \S+", f"--from {name}", options).split()
    settings = json.loads(digitcli(*options, "--print-config", "--format", "json").stdout)
    header = read_header(shipped_models()[name])
    assert header.seed == settings["seed"] == FURTHER_SEEDS.get(name, 0)
    known = {field.name for field in dataclasses.fields(Recipe)}  # either may have settings the other lacks
    shared = known & header.recipe.keys() & settings.keys()
    stored, shown = (Recipe(**{key: each[key] for key in shared}) for each in (header.recipe, settings))
    assert stored == shown and len(shared) >= 10


def test_a_file_that_was_replaced_meanwhile_is_refused(path: Path) -> None:
    _, digest = read_header_and_digest(path)
    assert read_checkpoint(path, digest)[0] == read_arrays(path, digest)[0] == HEADER
    write_checkpoint(path, dataclasses.replace(HEADER, seed=1), TENSORS)
    with pytest.raises(ModelError, match="replaced"):
        read_checkpoint(path, digest)
