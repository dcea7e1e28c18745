from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest

from digitcli.data.dataset import Dataset, Digits, split
from digitcli.data.loading import load_dataset
from digitcli.data.mnist import DIGEST, load_mnist
from digitcli.evaluation.evaluate import EvaluationResult, evaluate
from digitcli.evaluation.splits import count_overlap
from digitcli.events import Event, Notice
from digitcli.inference.checkpoint import (
    MODEL_FILE,
    RESUME_FILE,
    TRAIN_HASHES,
    read_checkpoint,
    write_checkpoint,
)
from digitcli.inference.model_resolution import resolve_model, resolve_models
from digitcli.inference.torch_runtime import write_ensemble
from digitcli.training.configuration import TrainConfig, with_start
from digitcli.training.start_model import describe_start
from digitcli.training.trainer import train
from tests.support.models import as_npz, pointing_model


@pytest.fixture(scope="module")
def trained(few_digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one epoch; tests copy it before they change it."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    train(TrainConfig(arch="softmax", data=str(few_digits), device="cpu", recipe={"epochs": 1}), out=folder)
    return folder


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "run"))


def noticed(model: str | list[str], data: str, part: str | None = None) -> tuple[EvaluationResult, list[str]]:
    events: list[Event] = []
    result = evaluate(model, data, split=part, device="cpu", on_event=events.append)  # type: ignore[arg-type]
    return result, [event.message for event in events if isinstance(event, Notice)]


def train_part(data: Path) -> Digits:
    return split(load_dataset(str(data))).train


def test_hashes_tell_images_apart_and_not_labels(digits: Digits) -> None:
    same = Digits(digits.images[:3], np.zeros(3, np.int64))
    assert same.hashes().dtype == np.int64
    assert np.array_equal(same.hashes(), digits.take(np.arange(3)).hashes())
    changed = digits.images[:3].copy()
    changed[1, 0, 0] ^= 1
    assert (Digits(changed, same.labels).hashes() == same.hashes()).tolist() == [True, False, True]
    transposed = Digits(digits.images[:3].transpose(0, 2, 1), same.labels)
    assert np.array_equal(transposed.hashes(), Digits(transposed.images.copy(), same.labels).hashes())


def test_digits_of_the_training_are_reported_and_held_out_ones_are_not(run: Path, few_digits: Path) -> None:
    result, notices = noticed(str(run), str(few_digits), "train")
    assert result.overlap == result.n == len(train_part(few_digits))
    assert len(notices) == 1 and f"{result.n} of these {result.n} digits" in notices[0]
    for part in ("validation", "test"):
        result, notices = noticed(str(run / MODEL_FILE), str(few_digits), part)
        assert result.overlap == 0 and notices == []


def test_the_digits_of_start_models_are_reported_or_unknown(
    run: Path, few_digits: Path, other_digits: Path, tmp_path: Path
) -> None:
    def tuned(start: Path, name: str) -> str:
        fields = {"start": str(start), "data": str(other_digits), "device": "cpu", "recipe": {"epochs": 1}}
        return str(train(TrainConfig(**with_start(fields)), out=tmp_path / name).run)

    copied = shutil.copy(run / MODEL_FILE, tmp_path / "copy.safetensors")
    twice = tuned(Path(tuned(run, "once")), "twice")
    assert noticed(twice, str(few_digits), "train")[0].overlap == len(train_part(few_digits))
    assert noticed(tuned(Path(copied), "of_copy"), str(few_digits), "train")[0].overlap is None
    (tmp_path / "twice" / RESUME_FILE).unlink()
    assert noticed(twice, str(few_digits), "train")[0].overlap is None
    # as compression writes a model of the same data
    header, tensors = read_checkpoint(tmp_path / "once" / MODEL_FILE)
    start = describe_start(resolve_model(tmp_path / "once"))
    write_checkpoint(tmp_path / "small.safetensors", dataclasses.replace(header, start=start), tensors)
    assert noticed(str(tmp_path / "small.safetensors"), str(other_digits), "test")[0].overlap is None


def test_the_resume_file_knows_images_in_any_other_set(run: Path, few_digits: Path, tmp_path: Path) -> None:
    """Without it, the same set is split again, but not if a part has another size than in training."""
    splits = split(load_dataset(str(few_digits)))
    mixed = Digits(np.concatenate([splits.train.images[:7], splits.test.images[:5]]), np.zeros(12, np.int64))
    data = as_npz(tmp_path / "mixed.npz", mixed)
    result, notices = noticed(str(run), data)
    assert (result.split, result.overlap, len(notices)) == ("all", 7, 1)
    (run / RESUME_FILE).unlink()
    result, notices = noticed(str(run), data)
    assert result.overlap is None and notices == []
    assert noticed(str(run), str(few_digits), "all")[0].overlap == len(splits.train)
    header, tensors = read_checkpoint(run / MODEL_FILE)
    other = dataclasses.replace(header, dataset={**header.dataset, "train": 7})
    write_checkpoint(run / MODEL_FILE, other, tensors)
    assert noticed(str(run), str(few_digits), "all")[0].overlap is None


def test_a_resume_file_that_does_not_tell_stops_nothing(run: Path, few_digits: Path, tmp_path: Path) -> None:
    file = run / RESUME_FILE
    header, tensors = read_checkpoint(file)
    data = as_npz(tmp_path / "others.npz", load_dataset(str(few_digits)).train.take(np.arange(20)))
    older = {name: tensor for name, tensor in tensors.items() if name != TRAIN_HASHES}
    write_checkpoint(file, header, older)
    assert noticed(str(run), data)[0].overlap is None
    write_checkpoint(file, dataclasses.replace(header, dataset={"digest": ""}), tensors)  # of another model
    assert noticed(str(run), data)[0].overlap is None
    file.write_bytes(b"nothing of the kind")
    assert noticed(str(run), data)[0].overlap is None


def test_with_one_unknown_model_the_overlap_is_unknown(run: Path, few_digits: Path, tmp_path: Path) -> None:
    unknown = str(pointing_model(tmp_path / "unknown.safetensors"))
    assert noticed([str(run), unknown], str(few_digits), "test")[0].overlap is None
    assert (noticed([unknown, str(run)], str(few_digits), "train")[0].overlap or 0) > 400


def test_the_training_digits_of_shipped_models_and_of_an_ensembles_members_are_known(
    run: Path, few_digits: Path, tmp_path: Path
) -> None:
    splits = split(load_mnist())
    assert load_mnist().digest == DIGEST
    images = [splits.train.images[:5], splits.validation.images[:3], splits.test.images[:2]]
    mixed = Digits(np.concatenate(images), np.zeros(10, np.int64))
    assert count_overlap(mixed, Dataset("mixed", mixed), [resolve_model("cnn")]) == 5
    assert count_overlap(splits.test, load_mnist(), [resolve_model("cnn")]) == 0
    path = tmp_path / "elsewhere" / "together.safetensors"
    path.parent.mkdir()
    write_ensemble(path, resolve_models([run, "fast"]))
    result, notices = noticed(str(path), str(few_digits), "train")
    assert result.overlap == result.n and len(notices) == 1
    assert (
        noticed(str(path), as_npz(tmp_path / "mnist.npz", splits.train.take(np.arange(20))))[0].overlap == 20
    )
    write_ensemble(path, resolve_models([pointing_model(tmp_path / "unknown.safetensors"), "fast"]))
    assert noticed(str(path), str(few_digits), "test")[0].overlap is None
