"""Self-training learns confident readings that agree, and labelled pictures only judge it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from digitcli.recognition.pages import page_reader
from PIL import Image
from torch import nn

from digitcli.adaptation import self_training
from digitcli.adaptation.cross_validation import copied_weights
from digitcli.adaptation.examples import find_lines_to_learn
from digitcli.adaptation.saving import save_adaptation
from digitcli.adaptation.self_training import adapt_unlabelled
from digitcli.adaptation.self_training_results import PictureReadTwice, SelfTraining
from digitcli.adaptation.settings import INK_READER, FineTuning
from digitcli.cli.views.adaptation import describe_self_training
from digitcli.data.labelled_pictures import LABELS, read_labelled_pictures
from digitcli.errors import InputError
from digitcli.events import AdaptationStage, Event, StageProgress
from digitcli.inference.model_resolution import resolve_model, resolve_models
from digitcli.inference.predictor import LineRecognizer, load_line_recognizer, load_page_finder
from digitcli.inference.torch_runtime import open_network
from digitcli.recognition.constraints import parse_constraints
from digitcli.recognition.line_crops import RegionCrops
from digitcli.recognition.models import complete_models
from digitcli.recognition.reader import Reader
from digitcli.recognition.region_evidence import RegionEvidence, run_networks
from digitcli.recognition.thresholds import find_thresholds
from digitcli.training import start_model
from tests.support.adaptation import TEXTS, healed, labelled_numbers, miscounting_reader


@pytest.fixture
def without_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(self_training, "trained_epochs", healed)


@pytest.fixture(scope="module")
def events() -> list[Event]:
    """The events of `trained`."""
    return []


@pytest.fixture(scope="module")
def trained(
    tmp_path_factory: pytest.TempPathFactory, few_lines_and_steps: None, events: list[Event]
) -> SelfTraining:
    """A self-training of one step on pictures that have no table."""
    folder = labelled_numbers(tmp_path_factory.mktemp("trained") / "f")
    (folder / LABELS).unlink()
    return adapt_unlabelled(folder, fixed_epochs=1, device="cpu", on_event=events.append)


def with_further_pictures(folder: Path, rows: str) -> Path:
    """Draw the numbers of `TEXTS` without labels, and label some of them, one pixel smaller, by rows."""
    labelled_numbers(folder)
    for name in (line.split(",")[0] for line in rows.splitlines()):
        with Image.open(folder / name.removeprefix("copy")) as picture:
            picture.crop((1, 1, *picture.size)).save(folder / name)
    (folder / LABELS).write_text(f"file,text\n{rows}\n")
    return folder


def test_without_labels_nothing_tells_whether_it_helps(trained: SelfTraining, events: list[Event]) -> None:
    assert trained.helps is None and trained.right_before is None and trained.p_value is None
    assert len(trained.models) == 1 and not trained.labelled
    assert trained.threshold == resolve_model("reader").header.risk["0.01"]
    assert trained.answered_before == trained.learned == len(TEXTS) and trained.lines == 3 * len(TEXTS)
    assert [picture.text_before for picture in trained.unlabelled] == [*TEXTS]
    assert all(picture.answered_before for picture in trained.pictures)
    record = json.loads(json.dumps(trained.record()))
    assert record["helps"] is None and record["labelled"] == 0 and record["pictures"] == len(TEXTS)
    last = {event.stage: event for event in events if isinstance(event, StageProgress)}
    assert [*last] == [
        AdaptationStage.READ, AdaptationStage.CROP, AdaptationStage.COMPOSE, AdaptationStage.TRAIN_ALL,
        AdaptationStage.READ_AGAIN,
    ]  # fmt: skip
    assert all(event.done == event.n for event in last.values())


def test_copies_are_left_out_so_that_no_labelled_picture_is_learned(tmp_path: Path) -> None:
    for name in ("a.png", "b.png", "c.png"):
        Image.fromarray(np.full((8, 8), 0 if name == "c.png" else 255, np.uint8)).save(tmp_path / name)
    (tmp_path / "labels.csv").write_text("file,text\nb.png,12\n")
    pictures, labels, copies = self_training._list_pictures(tmp_path)
    assert [picture.file for picture in pictures] == ["b.png", "c.png"] and labels == {"b.png": "12"}
    assert [copy.file for copy in copies] == ["a.png"]


def test_the_model_of_a_self_training_is_used_and_knows_no_risk(
    trained: SelfTraining, tmp_path: Path
) -> None:
    save_adaptation(trained, tmp_path / "my-reader")
    (model,) = resolve_models([tmp_path / "my-reader"])
    shipped = resolve_model("reader")
    assert model.header.temperature == shipped.header.temperature and not model.header.risk
    assert model.graph_path == shipped.path.with_suffix(".onnx")
    note = find_thresholds(complete_models([model]), 0.01).note
    assert note is not None and "pictures of the adaptation do not show" in note
    assert Reader(tmp_path / "my-reader").read(Path(trained.folder) / "2.png").text == TEXTS[2]


def test_a_labelled_part_chooses_the_epochs_shows_that_it_helps_and_is_never_learned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, without_training: None
) -> None:
    wrong = miscounting_reader(tmp_path / "wrong.safetensors")
    monkeypatch.setattr(self_training, "LEAST_PICTURES", 3)
    monkeypatch.setattr(self_training, "MAX_ERROR", 0.2)
    monkeypatch.setattr(page_reader, "run_networks", _run_ink_reader)  # the other one disagrees with it
    folder = with_further_pictures(tmp_path / "f", "copy0.png,305\ncopy2.png,4280\ncopy4.png,512")
    result = adapt_unlabelled(folder, [wrong], settings=FineTuning(epochs=2), device="cpu")
    assert result.helps and not result.is_worse and result.models
    assert (result.right_before, result.right_after, result.gained, result.lost) == (0, 3, 3, 0)
    assert len(result.labelled) == 3 and len(result.unlabelled) == len(TEXTS)
    assert not any(picture.lines for picture in result.labelled)
    assert result.changed == len(TEXTS)
    assert (result.epochs, result.most_epochs) == (1, 2)  # both epochs of `healed` are equally good
    assert result.models[0].header.recipe["epochs"] == 1
    assert "chosen from 0 to 2 by the labelled" in describe_self_training(result, None)["epochs"]
    idle = dataclasses.replace(result, epochs=0, composed_after=None)
    assert "likelier" in describe_self_training(idle, None)["result"]


def _run_ink_reader(
    regions: Sequence[RegionCrops], models: Sequence[LineRecognizer], *weights: Mapping[str, float]
) -> list[RegionEvidence]:
    return run_networks(
        regions, [each for each in models if each.header.architecture == INK_READER], *weights
    )


def test_no_model_is_given_if_the_labelled_part_became_worse(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = resolve_model(miscounting_reader(tmp_path / "wrong.safetensors"))

    def spoiled(*arguments: object) -> Iterator[nn.Module]:
        yield open_network(wrong)

    monkeypatch.setattr(self_training, "trained_epochs", spoiled)
    monkeypatch.setattr(start_model.OriginalLines, "test_accuracy", lambda self, network: 0.9)
    folder = with_further_pictures(tmp_path / "f", "copy0.png,305")
    result = adapt_unlabelled(folder, fixed_epochs=1, device="cpu")
    assert result.is_worse and result.helps is False and not result.models
    assert (result.right_before, result.right_after, result.wrong_before) == (1, 0, 0)


def test_a_network_that_forgets_too_much_is_not_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, without_training: None
) -> None:
    accuracies = iter((0.9, 0.8, 0.8, 0.8, 0.8))
    monkeypatch.setattr(start_model.OriginalLines, "test_accuracy", lambda self, network: next(accuracies))
    folder = with_further_pictures(tmp_path / "f", "copy0.png,305")
    result = adapt_unlabelled(folder, fixed_epochs=1, device="cpu")
    assert not result.models and not result.is_worse
    assert (result.epochs, result.changed, result.composed_after) == (0, 0, None) and result.forgets


@pytest.mark.parametrize(("length", "max_error"), [("9", 0.01), (None, 1e-9)])
def test_readings_that_break_a_constraint_or_are_doubtful_are_not_learned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, length: str | None, max_error: float
) -> None:
    monkeypatch.setattr(self_training, "MAX_ERROR", max_error)
    folder = labelled_numbers(tmp_path / "f")
    (folder / LABELS).unlink()
    constraints = parse_constraints(length=length)
    with pytest.raises(InputError, match="12 pictures without a label, 0 are read with enough confidence"):
        adapt_unlabelled(folder, constraints=constraints, device="cpu")


def test_pictures_without_a_label_are_needed(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no pictures without a label"):
        adapt_unlabelled(labelled_numbers(tmp_path / "f"), device="cpu")
    with pytest.raises(InputError, match="no pictures without a label"):
        adapt_unlabelled(tmp_path / "none", device="cpu")


def test_the_table_warns_if_the_reader_is_surer_of_wrong_answers(trained: SelfTraining) -> None:
    sure = PictureReadTwice("a", "17", 0, "11", "11", 0.5, 0.9, answered_before=False, answered_after=True)
    surer = dataclasses.replace(trained, pictures=(*trained.pictures, sure))
    assert (surer.wrong_before, surer.wrong_after, surer.helps, surer.is_worse) == (0, 1, False, False)
    assert "more wrong answers" in describe_self_training(surer, None)["caution"]
    assert "caution" not in describe_self_training(trained, None)


def test_labelled_lines_choose_the_number_of_epochs(tmp_path: Path) -> None:
    right, wrong = (
        resolve_model(each) for each in ("reader", miscounting_reader(tmp_path / "wrong.safetensors"))
    )
    folder = labelled_numbers(tmp_path / "f", TEXTS[:3])
    recognizer, finder = load_line_recognizer(right, "cpu"), load_page_finder("finder", "cpu")
    lines = find_lines_to_learn(read_labelled_pictures(folder), recognizer, finder)
    weights = [copied_weights(open_network(model)) for model in (wrong, right, wrong)]
    assert self_training._choose_epochs(wrong, weights, lines, torch.device("cpu")) == 2
    assert self_training._choose_epochs(right, weights, lines, torch.device("cpu")) == 0
