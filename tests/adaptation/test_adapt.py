"""Labelled pictures become an adapted model, which is judged on pictures that it was not trained on."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from digitcli.adaptation import cross_validation, final_network
from digitcli.adaptation.adapt import adapt, model_to_adapt
from digitcli.adaptation.adaptation import Adaptation, FineTuning, check_output, save_adaptation
from digitcli.adaptation.cross_validation import Setup, cross_validate, divide_into_folds
from digitcli.adaptation.labelled_lines import PictureLines
from digitcli.data.dataset import Digits
from digitcli.data.label_tables import LabelledPicture
from digitcli.errors import InputError, ModelError, OutputError, QualityError, UsageError
from digitcli.events import AdaptationStage, Event, StageProgress
from digitcli.inference.model_resolution import resolve_model, resolve_models, shipped_models
from digitcli.recognition.models import complete_models
from digitcli.recognition.reader import Reader
from digitcli.recognition.thresholds import find_thresholds
from digitcli.synthesis.lines import LineSynthesizer
from digitcli.training import start_model
from digitcli.training.synthetic_lines import compose
from tests.support.adaptation import TEXTS, healed, labelled_numbers, miscounting_reader

TWO = FineTuning(epochs=2)


@pytest.fixture
def without_training(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (final_network, cross_validation):
        monkeypatch.setattr(module, "trained_epochs", healed)


@pytest.fixture(scope="module")
def events() -> list[Event]:
    """The events of `helpful`."""
    return []


@pytest.fixture(scope="module")
def helpful(
    tmp_path_factory: pytest.TempPathFactory, few_lines_and_steps: None, events: list[Event]
) -> Adaptation:
    """The adaptation of a reader that takes digits for others, by a training that heals it."""
    place = tmp_path_factory.mktemp("helpful")
    reader = miscounting_reader(place / "wrong.safetensors")
    folder = labelled_numbers(place / "f", groups=["Ann", "Bob", "Cem"] * 4)
    with pytest.MonkeyPatch.context() as patch:
        for module in (final_network, cross_validation):
            patch.setattr(module, "trained_epochs", healed)
        return adapt(folder, [reader], settings=TWO, device="cpu", on_event=events.append)


def test_pictures_are_judged_by_networks_that_were_not_trained_on_them(helpful: Adaptation) -> None:
    assert helpful.helps and helpful.choice is not None
    assert helpful.choice.epochs in (1, 2) and helpful.choice.share == 1  # both epochs are equally good
    assert helpful.right_before < helpful.right_after == len(TEXTS) == len(helpful.pictures)
    assert (helpful.gained, helpful.lost) == (helpful.right_after - helpful.right_before, 0)
    assert (helpful.groups, helpful.folds, helpful.divides_group) == (3, 3, False)
    assert [score.epochs for score in helpful.scores] == [0, 1, 2]
    assert helpful.choice.score.nll < helpful.scores[0].nll
    assert {picture.fold for picture in helpful.pictures[::3]} == {helpful.pictures[0].fold}
    record = json.loads(json.dumps(helpful.record()))
    assert record["accuracy_after"] == 1 and record["lines"] == sum(
        each["lines"] for each in record["results"]
    )


def test_an_adapted_folder_is_a_model(helpful: Adaptation, tmp_path: Path) -> None:
    folder = tmp_path / "my-reader"
    save_adaptation(helpful, folder)
    assert {path.name for path in folder.iterdir()} == {"reader.safetensors", "adaptation.json"}
    assert json.loads((folder / "adaptation.json").read_text())["models"] == ["reader.safetensors"]
    (model,) = resolve_models([folder])
    assert resolve_model(str(folder)) == model and model.path == folder / "reader.safetensors"
    assert model.graph_path is None  # it started from no shipped model
    reader = Reader(folder, device="cpu")
    assert reader.read(Path(helpful.folder) / "2.png").text == TEXTS[2]
    assert [name.split("@")[0] for name in reader.name.split("+")] == [
        "finder", "page_reader", "reader",
    ]  # fmt: skip


def test_an_interrupted_save_keeps_the_former_folder(
    helpful: Adaptation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "my-reader"
    save_adaptation(helpful, folder)
    before = (folder / "reader.safetensors").read_bytes()
    rename = Path.rename

    def interrupted(path: Path, target: Path) -> Path:
        if path.name == "new":
            raise KeyboardInterrupt
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save_adaptation(helpful, folder)
    assert (folder / "reader.safetensors").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["my-reader"]


def test_the_measured_risk_counts_beside_the_same_models_only(helpful: Adaptation, tmp_path: Path) -> None:
    save_adaptation(helpful, tmp_path / "my-reader")
    models = complete_models(resolve_models([tmp_path / "my-reader"]))
    risk = models[0].header.risk
    assert set(risk) == {"0.1"}  # 12 right answers and one that counts as wrong show no less
    found = find_thresholds(models, 0.1)
    assert found.note is None and found.alone == found.page == risk["0.1"]
    others = [model for model in models if model.name != "page_reader"]
    assert find_thresholds(others, 0.1).note is not None


def test_copies_and_labels_without_digits_are_left_out(tmp_path: Path, without_training: None) -> None:
    folder = labelled_numbers(tmp_path / "f")
    (folder / "copy.png").write_bytes((folder / "3.png").read_bytes())
    table = folder / "labels.csv"
    rows = table.read_text().replace("305", "３０５").replace("747", "?")
    table.write_text(f"{rows}copy.png,96,Ann\n", encoding="utf-8")
    wrong = miscounting_reader(tmp_path / "wrong.safetensors")
    result = adapt(folder, [wrong], settings=TWO, folds=2, device="cpu")
    assert [(each.file, each.reason) for each in result.failures] == [
        ("copy.png", "duplicate"), ("11.png", "label")
    ]  # fmt: skip
    assert result.failures[0].cause == "It is a copy of 3.png."
    assert len(result.pictures) == 11 == result.right_after  # full-width digits count as digits


def test_what_does_not_help_is_not_written(tmp_path: Path, without_training: None) -> None:
    folder = labelled_numbers(tmp_path / "f", ["9", *TEXTS[1:]], groups=["Ann"] * 12)
    result = adapt(folder, settings=TWO, device="cpu")
    assert not result.helps and not result.models  # the same network reads no more pictures
    assert result.divides_group and result.groups == 1 and result.folds == 5
    with pytest.raises(ValueError, match="no networks"):
        save_adaptation(result, tmp_path / "my-reader")


def test_progress_is_reported_by_stage(helpful: Adaptation, events: list[Event]) -> None:
    assert {type(event) for event in events} == {StageProgress}
    last = {event.stage: event for event in events if isinstance(event, StageProgress)}
    for stage in (AdaptationStage.READ, AdaptationStage.CROP, AdaptationStage.COMPOSE, AdaptationStage.TEST):
        assert last[stage].done == last[stage].n


def test_a_picture_that_vanishes_during_the_training_is_an_input_error(
    tmp_path: Path, without_training: None
) -> None:
    folder = labelled_numbers(tmp_path / "f")

    def remove(event: Event) -> None:
        if isinstance(event, StageProgress) and event.stage is AdaptationStage.TEST:
            (folder / "0.png").unlink(missing_ok=True)
            (folder / "11.png").unlink(missing_ok=True)

    wrong = miscounting_reader(tmp_path / "wrong.safetensors")
    with pytest.raises(InputError, match=r"png could be read before the training"):
        adapt(folder, [wrong], settings=TWO, folds=2, device="cpu", on_event=remove)


def test_random_labels_do_not_help(tmp_path: Path) -> None:
    labels = [text[::-1] + "3" for text in TEXTS[::-1]]
    result = adapt(labelled_numbers(tmp_path / "f", labels), settings=TWO, folds=2, device="cpu")
    assert not result.helps and not result.models


@pytest.mark.parametrize(
    ("shares", "share"), [((0.9, 0.88), 1), ((0.9, 0.87, 0.89), 0.75), ((0.9, 0.87, 0.87, 0.87, 0.87), None)]
)
def test_a_network_that_forgets_is_moved_back_or_not_kept(
    shares: tuple[float, ...],
    share: float | None,
    digits: Digits,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    without_training: None,
) -> None:
    accuracies = iter(shares)
    monkeypatch.setattr(start_model.OriginalLines, "test_accuracy", lambda self, network: next(accuracies))
    wrong = resolve_model(miscounting_reader(tmp_path / "wrong.safetensors"))
    composed = compose(LineSynthesizer(digits), np.random.default_rng(0), 8)
    examples = [PictureLines(LabelledPicture("", tmp_path, line.text), (line,)) for line in composed]
    folds = divide_into_folds([None] * len(examples), 2, seed=0)
    setup = Setup(wrong, examples, folds, (), TWO, torch.device("cpu"))
    validation = cross_validate(setup)
    lines = start_model.OriginalLines("mnist", 0)
    trained = final_network.train_on_all(setup, validation, lines, lambda event: None)
    assert (trained.choice.share if trained else None) == share
    if trained:
        assert trained.choice.composed_after == shares[-1]
        assert (trained.choice.score == validation.best) == (share == 1)


def test_pictures_that_are_all_read_rightly_teach_nothing(tmp_path: Path) -> None:
    with pytest.raises(QualityError, match="All 12 labelled pictures"):
        adapt(labelled_numbers(tmp_path / "f"), device="cpu")


def test_too_few_pictures_are_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Of 5 labelled pictures, 5 can be used; 10 are needed.$"):
        adapt(labelled_numbers(tmp_path / "f", ["9", *TEXTS[1:5]]), device="cpu")


def test_labels_without_any_digit_are_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No row of labels.csv has a digit"):
        adapt(labelled_numbers(tmp_path / "f", [""] * 12), device="cpu")


def test_a_folder_that_is_not_there_or_has_no_table_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    for path, cause in (("", "no labels.csv in"), ("none", "no folder"), ("a.png", "is not a folder")):
        with pytest.raises(InputError, match=cause):
            adapt(tmp_path / path, device="cpu")


def test_a_fold_without_any_line_to_learn_from_is_an_input_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = labelled_numbers(tmp_path / "f", groups=["Ann"] * 11 + ["Bob"])
    table = folder / "labels.csv"
    table.write_text(table.read_text().replace("747", "1" * 99))  # the line of Bob has no room for it
    with pytest.raises(InputError, match="all of one group"):
        adapt(folder, device="cpu")


@pytest.mark.parametrize(
    ("models", "options"),
    [
        (["cnn"], {}),
        (["reader", "wrong"], {}),
        ([], {"folds": 1}),
        ([], {"settings": FineTuning(epochs=0)}),
        ([], {"settings": FineTuning(epochs=201), "folds": 3}),
    ],
)
def test_wrong_settings_are_usage_errors(
    tmp_path: Path, models: list[str], options: dict[str, object]
) -> None:
    folder = labelled_numbers(tmp_path / "f")
    miscounting_reader(tmp_path / "wrong")
    with pytest.raises(UsageError):
        adapt(folder, models, **options)  # type: ignore[arg-type]


def test_other_folders_are_never_replaced(helpful: Adaptation, tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    check_output(own, force=False)  # an empty folder may be used
    (own / "thesis.txt").write_text("unfinished")
    for folder in (own, shipped_models()["reader"].parent):
        with pytest.raises(OutputError, match="other files"):
            check_output(folder, force=True)
    with pytest.raises(OutputError, match="not a folder"):
        check_output(own / "thesis.txt", force=True)
    with pytest.raises(OutputError, match="cannot be written"):
        check_output(tmp_path / "none" / "such", force=False)


def test_files_beside_an_earlier_adaptation_are_never_deleted(helpful: Adaptation, tmp_path: Path) -> None:
    folder = tmp_path / "my-reader"
    save_adaptation(helpful, folder)
    calibrated = folder / "calibrated.safetensors"
    calibrated.write_bytes(b"an afternoon of work")
    with pytest.raises(OutputError, match="other files .* calibrated.safetensors"):
        check_output(folder, force=True)
    with pytest.raises(OutputError, match="other files"):
        save_adaptation(helpful, folder)  # the file may be younger than the check
    assert calibrated.read_bytes() == b"an afternoon of work"
    assert (folder / "reader.safetensors").is_file()


def test_an_earlier_adaptation_is_replaced_with_force_and_stays_after_a_failure(
    helpful: Adaptation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "my-reader"
    save_adaptation(helpful, folder)
    (folder / "adaptation.json").write_text("{}")
    with pytest.raises(ModelError, match="does not name the models"):
        resolve_models([folder])
    with pytest.raises(OutputError, match="exists already"):
        check_output(folder, force=False)
    check_output(folder, force=True)
    with monkeypatch.context() as patch:
        patch.setattr("digitcli.adaptation.adaptation.write_whole", _interrupt)
        with pytest.raises(KeyboardInterrupt):
            save_adaptation(helpful, folder)
    assert (folder / "adaptation.json").read_text() == "{}"
    assert {path.name for path in tmp_path.iterdir()} == {"my-reader"}
    save_adaptation(helpful, folder)
    assert len(resolve_models([folder])) == 1


def _interrupt(*arguments: object) -> None:
    raise KeyboardInterrupt


def test_a_reader_with_integer_weights_is_refused() -> None:
    reader = resolve_model("reader")
    changes = ({"change": "quantize_weights", "bits": {"classes": 8}},)
    header = replace(reader.header, arguments={**reader.header.arguments, "compression": changes})
    with pytest.raises(UsageError, match="The weights of reader are integers") as caught:
        model_to_adapt([replace(reader, header=header)])
    assert "compress the result" in caught.value.remedy
