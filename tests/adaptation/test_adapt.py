"""Labelled pictures become an adapted model, which is judged on pictures that it was not trained on."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from digitcli.adaptation import adapt as module
from digitcli.adaptation import adaptation, line_fine_tuning
from digitcli.adaptation.adapt import (
    Setup,
    adapt,
    cross_validate,
    divide_into_folds,
    model_to_adapt,
    read_held_out,
)
from digitcli.adaptation.adaptation import FILES, Adaptation, FineTuning, save_adaptation
from digitcli.adaptation.calibrate import Answer
from digitcli.atomic_write import check_writable_folder
from digitcli.data.dataset import Digits
from digitcli.data.label_tables import LabelledPicture
from digitcli.errors import InputError, ModelError, OutputError, QualityError, UsageError
from digitcli.events import Event, ThingsDone
from digitcli.inference.model_resolution import resolve_model, resolve_models, shipped_models
from digitcli.recognition.models import complete_models
from digitcli.recognition.reader import Reader
from digitcli.recognition.thresholds import find_thresholds
from digitcli.synthesis.scenes import scene_composer
from digitcli.training.synthetic_strips import compose_strips
from tests.support.adaptation import TEXTS, healed, labelled_numbers, measured_adaptation, miscounting_reader
from tests.support.predictions import records
from tests.support.processes import Run


@pytest.fixture(autouse=True, scope="module")
def few_lines_and_steps() -> Iterator[None]:
    """Compose few lines, and train for one step an epoch."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "COMPOSED_STRIPS", 24)
        patch.setattr(module, "COMPOSED_AT_ONCE", 24)
        patch.setattr(module, "TEST_STRIPS", 24)
        patch.setattr(line_fine_tuning, "LEAST_STEPS", 1)
        patch.setattr(line_fine_tuning, "MOST_STEPS", 1)
        yield


@pytest.fixture
def without_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "trained_epochs", healed)


@pytest.fixture(scope="module")
def events() -> list[Event]:
    """The events of `helpful`."""
    return []


@pytest.fixture(scope="module")
def helpful(
    tmp_path_factory: pytest.TempPathFactory, few_lines_and_steps: None, events: list[Event]
) -> Adaptation:
    """The adaptation of a reader that takes digits for others, by a training that heals it.

    Of the pictures, one is a copy, one has a label without digits, and one has full-width digits.
    """
    place = tmp_path_factory.mktemp("helpful")
    reader = miscounting_reader(place / "wrong.safetensors")
    folder = labelled_numbers(place / "f", groups=["Ann", "Bob", "Cem"] * 4)
    (folder / "copy.png").write_bytes((folder / "3.png").read_bytes())
    table = folder / "labels.csv"
    rows = table.read_text().replace("305", "３０５").replace("747", "?")
    table.write_text(f"{rows}copy.png,96,Ann\n", encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "trained_epochs", healed)
        return adapt(folder, [reader], settings=FineTuning(2), device="cpu", on_event=events.append)


def test_pictures_are_judged_by_networks_that_were_not_trained_on_them(
    helpful: Adaptation, events: list[Event]
) -> None:
    n = len(TEXTS) - 1
    assert helpful.helps and helpful.choice is not None
    assert helpful.choice.epochs in (1, 2) and helpful.choice.share == 1  # both epochs are equally good
    assert helpful.right_before < helpful.right_after == n == len(helpful.pictures)
    assert (helpful.gained, helpful.lost) == (helpful.right_after - helpful.right_before, 0)
    assert (helpful.groups, helpful.folds, helpful.divides_group) == (3, 3, False)
    assert [score.epochs for score in helpful.scores] == [0, 1, 2]
    assert helpful.choice.score.nll < helpful.scores[0].nll
    assert {picture.fold for picture in helpful.pictures[::3]} == {helpful.pictures[0].fold}
    record = json.loads(json.dumps(helpful.record()))
    assert record["accuracy_after"] == 1
    assert record["lines"] == sum(each["lines"] for each in record["results"])
    left_out = [(each.file, each.reason) for each in helpful.failures]
    assert left_out == [("copy.png", "duplicate"), ("11.png", "label")]
    assert helpful.failures[0].cause == "It is a copy of 3.png."
    last = {event.things: event for event in events if isinstance(event, ThingsDone)}
    counted = ["pictures read", "pictures cropped", "synthetic lines composed", "held-out pictures read"]
    assert list(last) == counted and all(event.done == event.n for event in last.values())
    assert {type(event) for event in events} == {ThingsDone}


def test_an_adapted_folder_is_a_model(helpful: Adaptation, tmp_path: Path) -> None:
    """Its measured risk counts beside the same models only."""
    folder = tmp_path / "my-reader"
    save_adaptation(helpful, folder)
    assert {path.name for path in folder.iterdir()} == {"reader.safetensors", "adaptation.json"}
    assert json.loads((folder / "adaptation.json").read_text())["models"] == ["reader.safetensors"]
    (model,) = resolve_models([folder])
    assert resolve_model(str(folder)) == model and model.path == folder / "reader.safetensors"
    assert model.graph_path is None  # it started from no shipped model
    reader = Reader(folder, device="cpu")
    assert reader.read(Path(helpful.folder) / "2.png").text == TEXTS[2]
    names = [name.split("@")[0] for name in reader.name.split("+")]
    assert names == ["finder", "reader", "grouper"]
    models = complete_models([model])
    risk = model.header.risk
    assert set(risk) == {"0.1"}  # 11 right answers and one that counts as wrong show no less
    found = find_thresholds(models, 0.1)
    assert found.note is None and found.alone == found.page == risk["0.1"]
    assert find_thresholds([each for each in models if each.name != "finder"], 0.1).note is not None


def test_the_command_writes_a_model_that_other_commands_take(
    digitcli: Run, helpful: Adaptation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "adapt", lambda *arguments, **options: helpful)
    done = digitcli("adapt", helpful.folder, "-o", "my-reader", "--device", "cpu")
    assert done.returncode == 4 and "copy.png" in done.stderr  # some pictures could not be used
    shown = " ".join(done.stdout.split())
    assert "after 11 of 11 read correctly (100.00 %), 0 answered wrongly" in shown
    assert "digitcli predict PICTURES -m my-reader" in shown and "hardly chance" in shown
    picture = Path(helpful.folder) / "2.png"
    (record,) = records(digitcli("predict", picture, "-m", "my-reader", "--format", "jsonl"))
    assert record["text"] == TEXTS[2] and record["status"] == "read"
    described = " ".join(digitcli("models", "my-reader").stdout.split())
    assert "measured on the held-out pictures of the adaptation" in described
    again = digitcli("adapt", helpful.folder, "-o", "my-reader")
    assert again.returncode == 7 and "--force" in again.stderr
    loose = ("--max-error", "0.5", "--confidence", "0.6", "--device", "cpu")
    calibrated = digitcli("calibrate", helpful.folder, "-m", "my-reader", *loose)
    assert calibrated.returncode == 0 and "-m my-reader" in calibrated.stdout, calibrated.stderr


def test_an_adaptation_that_does_not_help_or_cannot_be_written_leaves_its_figures(
    digitcli: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for adapted, code, words in ((None, 8, "did not help"), ((None, {}), 7, "No space left")):
        result = measured_adaptation(adapted)
        monkeypatch.setattr(module, "adapt", lambda *arguments, result=result, **options: result)
        monkeypatch.setattr(adaptation, "write_checkpoint", _full_disk)
        for format, figure in (("table", "after 2 of 4 read correctly"), ("json", '"pictures": 4')):
            done = digitcli("adapt", tmp_path, "-o", "my-reader", "--format", format)
            assert done.returncode == code and words in done.stderr
            assert figure in " ".join(done.stdout.split()) and "my-reader" not in done.stdout
            assert not Path("my-reader").exists()


def _full_disk(*arguments: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_mistakes_have_exit_codes(digitcli: Run, tmp_path: Path) -> None:
    labelled_numbers(tmp_path / "f")
    for options, code in (
        ((), 2), (("-o", "x", "--epochs", "0"), 2), (("-o", "x", "--epochs", "121"), 2), (("-o", "f"), 7),
    ):  # fmt: skip
        assert digitcli("adapt", "f", *options).returncode == code


def test_random_labels_of_one_group_do_not_help(tmp_path: Path) -> None:
    labels = [text[::-1] + "3" for text in TEXTS[::-1]]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "FOLDS", 2)
        folder = labelled_numbers(tmp_path / "f", labels, ["Ann"] * 12)
        result = adapt(folder, settings=FineTuning(1), device="cpu")
    assert not result.helps and result.adapted is None and result.folds == 2
    assert result.divides_group and result.groups == 1
    with pytest.raises(ValueError, match="no network"):
        save_adaptation(result, tmp_path / "my-reader")


@pytest.fixture
def make_setup(digits: Digits, tmp_path: Path, without_training: None) -> Callable[[], Setup]:
    """A function that makes a setup with eight lines, and a training that heals its reader."""

    def make() -> Setup:
        wrong = resolve_model(miscounting_reader(tmp_path / "wrong.safetensors"))
        composer, random = scene_composer(digits, "train"), np.random.default_rng(0)
        lines = [each for each in compose_strips(composer, random, 40) if each.digits][:8]
        folds = divide_into_folds([None] * len(lines), 2, seed=0)
        examples = [[line] for line in lines]
        device = torch.device("cpu")
        return Setup(wrong, examples, folds, (), lines, FineTuning(2), device, lambda event: None)

    return make


def test_a_network_that_forgets_is_moved_back_or_not_kept(
    make_setup: Callable[[], Setup], monkeypatch: pytest.MonkeyPatch
) -> None:
    setup = make_setup()
    validation = cross_validate(setup)
    for accuracies, share in (
        ((0.9, 0.88), 1), ((0.9, 0.87, 0.89), 0.75), ((0.9, 0.87, 0.87, 0.87, 0.87), None),
    ):  # fmt: skip
        values = iter(accuracies)
        monkeypatch.setattr(module, "accuracy_on", lambda *given, it=values: next(it))
        trained = module.train_on_all(setup, validation)
        assert (trained[0].share if trained else None) == share
        if trained:
            assert trained[0].composed_after == accuracies[-1]
            assert (trained[0].score == validation.best) == (share == 1)


def test_a_picture_that_vanishes_during_the_training_is_an_input_error(
    make_setup: Callable[[], Setup], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setup = make_setup()
    monkeypatch.setattr(module, "accuracy_on", lambda *given: 0.9)
    answers = [Answer(LabelledPicture(f"{n}.png", tmp_path / f"{n}.png", "1"), None, False) for n in range(8)]
    validation = cross_validate(setup)
    trained = module.train_on_all(setup, validation)
    assert trained is not None
    with pytest.raises(InputError, match=r"png could be read before the training"):
        read_held_out(setup, validation, trained[0], answers, [setup.start])


def test_pictures_from_which_nothing_can_be_learned_are_refused(tmp_path: Path) -> None:
    cases: list[tuple[list[str], type[Exception], str]] = [
        ([*TEXTS], QualityError, "All 12 labelled pictures"),
        (["9", *TEXTS[1:5]], InputError, "Of 5 labelled pictures, 5 can be used; 10 are needed.$"),
        ([""] * 12, InputError, "No row of labels.csv has a digit"),
    ]
    for number, (labels, error, cause) in enumerate(cases):
        with pytest.raises(error, match=cause):
            adapt(labelled_numbers(tmp_path / str(number), labels), device="cpu")
    (tmp_path / "a.png").touch()
    for path, cause in (("", "no labels.csv in"), ("none", "no folder"), ("a.png", "is not a folder")):
        with pytest.raises(InputError, match=cause):
            adapt(tmp_path / path, device="cpu")
    folder = labelled_numbers(tmp_path / "f", groups=["Ann"] * 11 + ["Bob"])
    table = folder / "labels.csv"
    table.write_text(table.read_text().replace("747", "1" * 99))  # the line of Bob has no room for it
    with pytest.raises(InputError, match="all of one group"):
        adapt(folder, device="cpu")


def test_wrong_settings_are_usage_errors(tmp_path: Path) -> None:
    folder = labelled_numbers(tmp_path / "f")
    miscounting_reader(tmp_path / "wrong")
    for models in (["cnn"], ["reader", "wrong"]):
        with pytest.raises(UsageError):
            adapt(folder, models)
    for epochs in (0, 201):
        with pytest.raises(UsageError, match="--epochs is"):
            FineTuning(epochs)
    reader = resolve_model("reader")
    changes = ({"change": "quantize_weights", "bits": {"classes": 8}},)
    header = replace(reader.header, arguments={**reader.header.arguments, "compression": changes})
    with pytest.raises(UsageError, match="The weights of reader are integers") as caught:
        model_to_adapt([replace(reader, header=header)])
    assert "compress the result" in caught.value.remedy


def test_an_earlier_adaptation_is_replaced_and_nothing_else(
    helpful: Adaptation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "my-reader"
    save_adaptation(helpful, folder)
    (folder / "adaptation.json").write_text("{}")
    with pytest.raises(ModelError, match="does not name the models"):
        resolve_models([folder])
    with monkeypatch.context() as patch, pytest.raises(OutputError, match="No space left"):
        patch.setattr(adaptation, "write_checkpoint", _full_disk)
        save_adaptation(helpful, folder)
    assert (folder / "adaptation.json").read_text() == "{}" and (folder / "reader.safetensors").is_file()
    save_adaptation(helpful, folder)
    assert len(resolve_models([folder])) == 1
    (folder / "calibrated.safetensors").write_bytes(b"an afternoon of work")
    with pytest.raises(OutputError, match="other files, e.g. calibrated"):  # younger than the first check
        save_adaptation(helpful, folder)
    assert {path.name for path in folder.iterdir()} == {
        "adaptation.json", "calibrated.safetensors", "reader.safetensors",
    }  # fmt: skip
    for path in (folder, shipped_models()["reader"].parent):
        with pytest.raises(OutputError, match="other files"):
            check_writable_folder(path, FILES, force=True)
