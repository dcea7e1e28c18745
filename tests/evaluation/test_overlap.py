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
from digitcli.inference.ensemble_file import write_ensemble
from digitcli.inference.model_resolution import resolve_model, resolve_models
from digitcli.training.configuration import TrainConfig
from digitcli.training.start_model import describe_start
from digitcli.training.trainer import train
from digitcli.training.transfer import with_start
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


def test_hashes_tell_images_apart_and_not_labels(digits: Digits) -> None:
    same = Digits(digits.images[:3], np.zeros(3, np.int64))
    assert same.hashes().dtype == np.int64
    assert np.array_equal(same.hashes(), digits.take(np.arange(3)).hashes())
    changed = digits.images[:3].copy()
    changed[1, 0, 0] ^= 1
    assert (Digits(changed, same.labels).hashes() == same.hashes()).tolist() == [True, False, True]
    turned = Digits(digits.images[:3].transpose(0, 2, 1), same.labels)
    assert np.array_equal(turned.hashes(), Digits(turned.images.copy(), same.labels).hashes())


def test_digits_of_the_training_are_reported(run: Path, few_digits: Path) -> None:
    result, notices = noticed(str(run), str(few_digits), "train")
    assert result.overlap == result.n == len(split(load_dataset(str(few_digits))).train)
    assert len(notices) == 1 and f"{result.n} of these {result.n} digits" in notices[0]


def test_the_digits_of_start_models_are_reported_or_unknown(
    run: Path, few_digits: Path, other_digits: Path, tmp_path: Path
) -> None:
    def tuned(start: Path, name: str) -> str:
        fields = {"start": str(start), "data": str(other_digits), "device": "cpu", "recipe": {"epochs": 1}}
        return str(train(TrainConfig(**with_start(fields)), out=tmp_path / name).run)

    copied = shutil.copy(run / MODEL_FILE, tmp_path / "copy.safetensors")
    twice = tuned(Path(tuned(run, "once")), "twice")
    assert noticed(twice, str(few_digits), "train")[0].overlap == len(
        split(load_dataset(str(few_digits))).train
    )
    assert noticed(tuned(Path(copied), "of_copy"), str(few_digits), "train")[0].overlap is None
    (tmp_path / "twice" / RESUME_FILE).unlink()
    assert noticed(twice, str(few_digits), "train")[0].overlap is None
    # as compression writes a model of the same data
    header, tensors = read_checkpoint(tmp_path / "once" / MODEL_FILE)
    start = describe_start(resolve_model(tmp_path / "once"))
    write_checkpoint(tmp_path / "small.safetensors", dataclasses.replace(header, start=start), tensors)
    assert noticed(str(tmp_path / "small.safetensors"), str(other_digits), "test")[0].overlap is None


@pytest.mark.parametrize("part", ["validation", "test"])
def test_held_out_digits_are_not_reported(run: Path, few_digits: Path, part: str) -> None:
    result, notices = noticed(str(run / MODEL_FILE), str(few_digits), part)
    assert result.overlap == 0 and notices == []


def test_the_resume_file_knows_images_in_any_other_set(run: Path, few_digits: Path, tmp_path: Path) -> None:
    splits = split(load_dataset(str(few_digits)))
    mixed = Digits(np.concatenate([splits.train.images[:7], splits.test.images[:5]]), np.zeros(12, np.int64))
    data = as_npz(tmp_path / "mixed.npz", mixed)
    result, notices = noticed(str(run), data)
    assert (result.split, result.overlap, len(notices)) == ("all", 7, 1)
    (run / RESUME_FILE).unlink()
    result, notices = noticed(str(run), data)
    assert result.overlap is None and notices == []


def test_without_a_resume_file_the_same_set_is_split_again(run: Path, few_digits: Path) -> None:
    (run / RESUME_FILE).unlink()
    result, _ = noticed(str(run), str(few_digits), "all")
    assert result.overlap == len(split(load_dataset(str(few_digits))).train)


def test_a_split_of_another_size_is_not_guessed_at(run: Path, few_digits: Path) -> None:
    (run / RESUME_FILE).unlink()
    header, tensors = read_checkpoint(run / MODEL_FILE)
    other = dataclasses.replace(header, dataset={**header.dataset, "train": 7})
    write_checkpoint(run / MODEL_FILE, other, tensors)
    assert noticed(str(run), str(few_digits), "all")[0].overlap is None


@pytest.mark.parametrize("harm", ["damaged", "older", "of another model"])
def test_a_resume_file_that_does_not_tell_stops_nothing(
    run: Path, few_digits: Path, tmp_path: Path, harm: str
) -> None:
    header, tensors = read_checkpoint(run / RESUME_FILE)
    if harm == "damaged":
        (run / RESUME_FILE).write_bytes(b"nothing of the kind")
    elif harm == "older":
        older = {name: tensor for name, tensor in tensors.items() if name != TRAIN_HASHES}
        write_checkpoint(run / RESUME_FILE, header, older)
    else:
        write_checkpoint(run / RESUME_FILE, dataclasses.replace(header, dataset={"digest": ""}), tensors)
    data = as_npz(tmp_path / "others.npz", load_dataset(str(few_digits)).train.take(np.arange(20)))
    assert noticed(str(run), data)[0].overlap is None


def test_with_one_unknown_model_the_overlap_is_unknown(run: Path, few_digits: Path, tmp_path: Path) -> None:
    unknown = str(pointing_model(tmp_path / "unknown.safetensors"))
    assert noticed([str(run), unknown], str(few_digits), "test")[0].overlap is None
    assert (noticed([unknown, str(run)], str(few_digits), "train")[0].overlap or 0) > 400


def test_shipped_weights_know_the_embedded_training_digits(tmp_path: Path) -> None:
    mnist = load_mnist()
    splits = split(mnist)
    mixed = Digits(
        np.concatenate([splits.train.images[:5], splits.validation.images[:3], splits.test.images[:2]]),
        np.zeros(10, np.int64),
    )
    model = resolve_model("cnn")
    assert mnist.digest == DIGEST
    assert count_overlap(mixed, Dataset("mixed", mixed), [model]) == 5
    assert count_overlap(splits.test, mnist, [model]) == 0


def test_the_training_digits_of_an_ensemble_are_those_of_its_members(
    run: Path, few_digits: Path, tmp_path: Path
) -> None:
    path = tmp_path / "elsewhere" / "together.safetensors"
    path.parent.mkdir()
    write_ensemble(path, resolve_models([run, "fast"]))
    result, notices = noticed(str(path), str(few_digits), "train")
    assert result.overlap == result.n and len(notices) == 1
    mnist = split(load_mnist()).train.take(np.arange(20))
    assert noticed(str(path), as_npz(tmp_path / "mnist.npz", mnist))[0].overlap == 20
    unknown = pointing_model(tmp_path / "unknown.safetensors")
    write_ensemble(path, resolve_models([unknown, "fast"]))
    assert noticed(str(path), str(few_digits), "test")[0].overlap is None
