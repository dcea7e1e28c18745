"""The classifier of single digits is adapted beside the reader, and kept only if it helps."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from digitcli.adaptation import classifier, cross_validation, final_network, kept_networks
from digitcli.adaptation.adapt import _results
from digitcli.adaptation.classifier import ClassifierSetup, classifier_to_adapt, train_classifier_on_all
from digitcli.adaptation.cross_validation import Setup
from digitcli.adaptation.digit_examples import PictureDigits
from digitcli.adaptation.examples import PictureLines
from digitcli.adaptation.folds import Folds, divide_into_folds
from digitcli.adaptation.kept_networks import KeptNetworks, train_networks
from digitcli.adaptation.results import Adaptation
from digitcli.adaptation.saving import save_adaptation
from digitcli.adaptation.settings import FineTuning
from digitcli.cli.views.adaptation import describe
from digitcli.data.dataset import Dataset, Digits
from digitcli.data.labelled_pictures import LabelledPicture, read_labelled_pictures
from digitcli.events import Event, OnEvent
from digitcli.inference.checkpoint import read_checkpoint, write_checkpoint
from digitcli.inference.model_resolution import ResolvedModel, resolve_model, resolve_models
from digitcli.recognition.calibrate import Answer
from digitcli.recognition.models import complete_models
from digitcli.recognition.reader import Reader
from digitcli.recognition.thresholds import find_thresholds
from digitcli.synthesis.lines import Line, LineSynthesizer
from digitcli.training import original, transfer
from digitcli.training.line_sources import compose
from digitcli.training.original import OriginalLines
from digitcli.training.state import TrainResult
from tests.support.adaptation import healed, labelled_digits, miscounting_reader

PICTURES = 12
NO_DIGITS = Digits(np.zeros((0, 28, 28), np.uint8), np.zeros(0, np.int64))

Train = Callable[[Sequence[int], int], Adaptation]


def untrained(
    setup: ClassifierSetup, digits: Digits, test: Digits, name: str, on_event: OnEvent
) -> TrainResult:
    """Copy the start model instead of training; it forgets 0.1 points, or 1 point with the seed 1."""
    checkpoint = setup.folder / f"{name}.safetensors"
    header, tensors = read_checkpoint(setup.start.path)
    write_checkpoint(checkpoint, dataclasses.replace(header, start={"sha256": setup.start.sha256}), tensors)
    return TrainResult(
        architecture=header.architecture,
        run=None,
        checkpoint=str(checkpoint),
        seed=setup.seed,
        epochs=1,
        train_seconds=1,
        total_seconds=1,
        validation_accuracy=1,
        parameters=1,
        trained_parameters=1,
        device="cpu",
        dtype="float32",
        unreadable=0,
        data="",
        original_accuracy_before=0.993,
        original_accuracy=0.983 if setup.seed else 0.992,
    )


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> list[Answer]:
    """Wrong answers to pictures of single digits."""
    folder = labelled_digits(tmp_path_factory.mktemp("digits") / "f", PICTURES)
    return [Answer(picture, 0.9, is_right=False) for picture in read_labelled_pictures(folder)]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[ResolvedModel, ...]:
    """The models of a reader that takes each digit for the next one."""
    wrong = miscounting_reader(tmp_path_factory.mktemp("models") / "wrong.safetensors")
    return complete_models(resolve_models([wrong]))


@pytest.fixture(scope="module")
def lines(digits: Digits) -> list[Line]:
    return compose(LineSynthesizer(digits), np.random.default_rng(0), PICTURES)


@pytest.fixture
def train(
    answers: list[Answer],
    models: tuple[ResolvedModel, ...],
    lines: list[Line],
    monkeypatch: pytest.MonkeyPatch,
) -> Train:
    """Adapt the models where so many pictures are read rightly with each network that is tried."""
    for module in (final_network, cross_validation):
        monkeypatch.setattr(module, "trained_epochs", healed)
    monkeypatch.setattr(classifier, "_fine_tune", untrained)
    monkeypatch.setattr(classifier, "load_dataset", lambda name: Dataset(name, NO_DIGITS, NO_DIGITS))
    monkeypatch.setattr(classifier, "split", lambda dataset: dataset)
    monkeypatch.setattr(OriginalLines, "test_accuracy", lambda self, network: 0.9)

    def run(right: Sequence[int], seed: int) -> Adaptation:
        counts = iter(right)

        def read(pictures: Sequence[LabelledPicture], *others: object) -> list[Answer]:
            count = next(counts)
            return [Answer(picture, 0.9, index < count) for index, picture in enumerate(pictures)]

        monkeypatch.setattr(kept_networks, "read_held_out", read)
        folds = divide_into_folds([None] * PICTURES, 2, seed)
        examples = [
            PictureLines(answer.picture, (line,)) for answer, line in zip(answers, lines, strict=True)
        ]
        settings = FineTuning(epochs=2, seed=seed)
        setup = Setup(models[0], examples, folds, (), settings, torch.device("cpu"))
        original = OriginalLines.__new__(OriginalLines)  # its lines are not read
        kept = train_networks(setup, answers, models, original, "cpu", lambda event: None)
        return adaptation_of(kept, answers, setup)

    return run


def adaptation_of(kept: KeptNetworks, answers: Sequence[Answer], setup: Setup) -> Adaptation:
    return Adaptation(
        folder="",
        model="",
        digest="",
        pictures=_results(answers, kept.answers, setup),
        unlabelled=0,
        failures=(),
        lines=PICTURES,
        groups=PICTURES,
        divides_group=False,
        folds=2,
        scores=kept.scores,
        choice=kept.choice,
        keeps_reader=kept.keeps_reader,
        classifier=kept.classifier,
        settings={},
        seconds=0,
        models=kept.models,
    )


@pytest.mark.parametrize(
    ("right", "seed", "keeps_reader", "keeps_classifier", "names"),
    [
        ((11, 12), 0, True, True, ["reader", "digit_or_none"]),
        ((11, 11), 0, True, False, ["reader"]),
        ((11, 12), 1, True, False, ["reader"]),  # it forgets too much
        ((0, 12), 0, False, True, ["reader", "digit_or_none"]),  # with the reader as it was
        ((0, 0), 0, False, False, []),
    ],
)
def test_networks_are_kept_only_if_more_pictures_are_read_rightly(
    train: Train,
    right: tuple[int, int],
    seed: int,
    keeps_reader: bool,
    keeps_classifier: bool,
    names: list[str],
) -> None:
    result = train(right, seed)
    found = result.classifier
    assert result.right_before == 0 and found is not None
    assert (result.keeps_reader, found.is_kept) == (keeps_reader, keeps_classifier)
    assert [model.name for model in result.models] == names and result.helps == bool(names)
    assert result.right_after == (right[1] if keeps_classifier else right[0])
    assert (found.right_before, found.right_after) == (right[0] if keeps_reader else 0, right[1])
    record = json.loads(json.dumps(result.record()))["classifier"]
    assert record["digits"] == record["pictures"] == PICTURES and record["is_kept"] == keeps_classifier
    rows = describe(result, None)
    assert rows["classifier"].endswith("; kept") == keeps_classifier
    assert ("MNIST" in rows) == (right[1] > found.right_before)


def test_a_folder_with_both_networks_is_one_model(
    train: Train, answers: list[Answer], tmp_path: Path
) -> None:
    save_adaptation(train((11, 12), 0), tmp_path / "my-reader")
    names = {path.name for path in (tmp_path / "my-reader").iterdir()}
    assert names == {"reader.safetensors", "digit_or_none.safetensors", "adaptation.json"}
    reader, digits = resolve_models([tmp_path / "my-reader"])
    assert (reader.header.task, digits.header.task) == ("line", "digit")
    shipped = resolve_model("digit_or_none")
    assert digits.graph_path == shipped.graph_path  # so that predict loads no PyTorch for it
    assert digits.header.start["sha256"] == shipped.sha256
    assert digits.header.dataset == {"name": "labelled pictures", "pictures": PICTURES, "train": 2 * PICTURES}
    reading = Reader(tmp_path / "my-reader", device="cpu").read(answers[7].picture.path)
    assert reading.text == "7" and reading.model.startswith(f"{reader.id}+{digits.id}+finder")
    assert find_thresholds(complete_models((reader, digits)), 0.1).note is None  # measured with these models
    assert find_thresholds(complete_models((reader,)), 0.1).note is not None


def test_a_classifier_alone_takes_the_reader_along_unchanged(
    train: Train, models: tuple[ResolvedModel, ...], tmp_path: Path
) -> None:
    save_adaptation(train((0, 12), 0), tmp_path / "my-reader")
    resolved = resolve_models([tmp_path / "my-reader"])
    header, before = resolved[0].header, models[0].header
    assert header.start["sha256"] == models[0].sha256
    assert header.recipe == before.recipe and header.risk != before.risk
    assert find_thresholds(complete_models(resolved), 0.1).note is None


def test_the_training_is_that_of_train_from_with_rehearsal(
    digits: Digits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = Dataset("mnist", digits.take(np.arange(500)), digits.take(np.arange(500, 600)))
    monkeypatch.setattr(classifier, "load_dataset", lambda name: few)
    monkeypatch.setattr(original, "load_dataset", lambda name: few)
    monkeypatch.setattr(transfer, "MIN_EPOCH_STEPS", 1)
    monkeypatch.setattr(transfer, "EPOCHS", 1)
    start = resolve_model("digit_or_none")
    images = np.random.default_rng(0).integers(0, 255, (12, 28, 28)).astype(np.uint8)
    shown = Digits(images, np.arange(12) % 3)
    examples = [PictureDigits(picture_of(str(n)), shown.take(np.array([n]))) for n in range(12)]
    events = list[Event]()
    folds = divide_into_folds([None] * 12, 2, seed=0)
    setup = ClassifierSetup(start, examples, folds, 0, "cpu", tmp_path, events.append)
    model, result = train_classifier_on_all(setup, 0.7)
    assert result.original_test_size == 100 and result.original_accuracy_before is not None
    assert result.test_accuracy == result.original_accuracy
    assert model.header.temperature == 0.7 and model.sha256 != start.sha256
    recipe = model.header.recipe
    assert (recipe["rehearse"], recipe["synthetic"], recipe["label_smoothing"]) == (0.5, 2, 0.02)
    assert events


def picture_of(text: str) -> LabelledPicture:
    return LabelledPicture(f"{text}.png", Path(f"{text}.png"), text)


def examples_of(single: int, others: int) -> list[PictureDigits]:
    crops = Digits(np.zeros((4, 28, 28), np.uint8), np.array([1, 1, 7, 7]))
    one = [PictureDigits(picture_of("1"), crops.take(np.arange(2)))] * single
    return one + [PictureDigits(picture_of("17"), crops)] * others


def test_only_enough_single_digits_and_one_network_can_be_adapted() -> None:
    enough, few = examples_of(10, 5), examples_of(9, 20)
    own, fast = resolve_models(["digit_or_none", "fast"])
    in_folds = divide_into_folds([None] * 29, 5, seed=0)
    folds = Folds(in_folds.numbers[:15], 5, 15, False)
    assert classifier_to_adapt([own], enough, folds) is own
    assert classifier_to_adapt([own], few, in_folds) is None
    assert classifier_to_adapt([own, fast], enough, folds) is None
    one_fold = dataclasses.replace(folds, numbers=(0,) * 15)
    assert classifier_to_adapt([own], enough, one_fold) is None
