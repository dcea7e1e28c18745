"""Labelled pictures become answers, and answers become a guarantee that a model carries."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest

from digitcli.adaptation.calibrate import (
    Calibration,
    calibrate,
    carrier_of,
    numbers_of,
    save_calibrated,
)
from digitcli.cli.calibrate import _describe as describe
from digitcli.errors import InputError, UsageError
from digitcli.events import Event, ThingsDone
from digitcli.inference.checkpoint import read_header
from digitcli.inference.model_resolution import resolve_models
from digitcli.recognition.models import complete_models
from digitcli.recognition.reader import Reader
from digitcli.recognition.readings import Number, Reading
from digitcli.recognition.sources import Picture
from tests.support.pictures import drawn, encoded, written

# With so many right answers, and none wrong, at most 30 % are wrong with 70 % confidence.
LOOSE = {"max_error": 0.3, "confidence": 0.7}
LEAST = 4


def labelled(folder: Path, texts: Mapping[str, str], groups: Mapping[str, str] | None = None) -> Path:
    """Draw the digits that each file's name begins with, and label it with a text."""
    folder.mkdir(exist_ok=True)
    for name in texts:
        if name[0].isdigit():
            (folder / name).write_bytes(encoded(drawn(name[0])))
    with (folder / "labels.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["file", "text", *(["group"] if groups else [])])
        rows.writerows(
            [name, text, *([groups.get(name, "")] if groups else [])] for name, text in texts.items()
        )
    return folder


@pytest.fixture(scope="module")
def right(tmp_path_factory: pytest.TempPathFactory) -> Calibration:
    """The calibration of a model that reads eight digits rightly."""
    folder = labelled(tmp_path_factory.mktemp("right") / "f", {f"{digit}.png": digit for digit in "01234567"})
    return calibrate(folder, ["cnn"], device="cpu", **LOOSE)


def test_a_label_has_the_numbers_that_a_reading_would_have() -> None:
    labels = {"17146": "17146", "17.146.-": "17146", "12 7": "12 7", " 3+4 = 7": "3 4 7", "": "", "CHF -": ""}
    assert {label: numbers_of(label) for label in labels} == labels


def test_right_answers_are_counted(right: Calibration) -> None:
    assert (right.pictures, right.answers, right.failures, right.unlabelled) == (8, 8, (), 0)
    assert right.control.proven is not None
    assert (right.control.proven.answered, right.control.proven.wrong) == (8, 0)
    assert right.share_answered == 1 and right.control.least_answers == LEAST
    assert right.more_pictures == 0
    assert right.model.startswith("cnn@")
    assert "At a confidence level of 70 %, at most 30 % of the answers" in (right.guarantee or "")
    record = right.record()
    assert record["threshold"] == right.control.proven.threshold and record["p_value"] < 0.3


def test_copies_of_a_picture_are_no_further_evidence(tmp_path: Path) -> None:
    names = [f"0-{number}.png" for number in range(8)]
    folder = labelled(tmp_path / "f", {**{name: "0" for name in names}, "1.png": "1"})
    result = calibrate(folder, ["cnn"], device="cpu", **LOOSE)
    assert (result.pictures, result.answers, result.unlabelled, result.failures) == (2, 2, 0, ())
    assert result.control.proven is None  # two pictures prove nothing, nine would
    with pytest.raises(ValueError, match="proven"):
        save_calibrated(result, tmp_path / "my.safetensors")
    assert not (tmp_path / "my.safetensors").exists()
    assert [copy["file"] for copy in result.record()["copies"]] == names[1:]
    rows = describe(result, None, [])
    assert rows["copies"] == "7 pictures left out: each is a copy of another, and copies show nothing new"


def test_an_answer_to_nothing_is_wrong_and_a_refusal_is_none(tmp_path: Path) -> None:
    texts = {"0.png": "0", "1.png": "7", "2.png": "", "white.png": "", "two.png": "58"}
    folder = labelled(tmp_path / "f", texts)
    (folder / "white.png").write_bytes(encoded(np.full((90, 90), 255, np.uint8)))
    (folder / "two.png").write_bytes(encoded(written("58", gap=3.0)[0]))
    events: list[Event] = []
    result = calibrate(folder, ["cnn"], device="cpu", on_event=events.append, **LOOSE)
    assert events == [ThingsDone(number, 5) for number in range(1, 6)]
    assert result.pictures == 5 and result.answers == 4
    assert result.control.proven is None and result.guarantee is None and result.share_answered is None
    tested = result.control.tests[-1]
    assert (tested.answered, tested.wrong) == (4, 3)  # all but 0.png


def test_a_picture_of_several_numbers_is_as_sure_as_the_least_sure_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = tuple(Number((), confidence, "") for confidence in (0.99, 0.6, 0.9))

    def read_all(self: Reader, sources: Iterable[Picture]) -> Iterator[Reading]:
        for source in sources:
            yield Reading(source.name, None, "read", None, source.name[0], 0.53, numbers, "cnn")

    monkeypatch.setattr(Reader, "read_all", read_all)
    folder = labelled(tmp_path / "f", {f"{digit}.png": digit for digit in "01234567"})
    tests = calibrate(folder, ["cnn"], device="cpu", **LOOSE).control.tests
    assert tests[0].answered == 8 and all(test.threshold <= 0.6 for test in tests)


def test_wrong_values_and_pictures_raise_errors_of_their_kind(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Of 2 labelled pictures, none could be read"):
        calibrate(labelled(tmp_path / "f", {"a.png": "1", "b.png": "2"}), ["cnn"], device="cpu")
    for values in ({"max_error": 0}, {"max_error": 1}, {"confidence": 0}, {"confidence": 95}):
        with pytest.raises(UsageError):
            calibrate(tmp_path, **values)  # type: ignore[arg-type]


def test_a_guarantee_for_groups_is_for_these_groups(tmp_path: Path) -> None:
    texts = {f"{digit}.png": digit for digit in "0123456"} | {"7.png": "1"}
    groups = {name: "Ann" if name < "4" else "Bob" for name in texts} | {"0.png": ""}
    result = calibrate(labelled(tmp_path / "f", texts, groups), ["cnn"], device="cpu", **LOOSE)
    assert result.groups == 2
    assert result.control.proven is not None and "of the same groups" in (result.guarantee or "")
    expected = int(result.control.proven.wrong > 0)
    assert result.groups_with_wrong == expected


def test_the_model_that_carries_the_guarantee_differs_in_nothing_else(
    right: Calibration, tmp_path: Path
) -> None:
    path = tmp_path / "my.safetensors"
    save_calibrated(right, path)
    (original,), (model,) = resolve_models(["cnn"]), resolve_models([path])
    guarantee = read_header(path).guarantee
    assert guarantee is not None and right.control.proven is not None
    assert (guarantee.max_error, guarantee.confidence) == (0.3, 0.7)
    assert guarantee.threshold == right.control.proven.threshold
    assert (guarantee.answered, guarantee.wrong) == (8, 0)
    assert (guarantee.copy_of, guarantee.companions) == (original.sha256, ())
    assert model.graph_path == original.graph_path  # the same library runs it
    readers = [Reader(name, device="cpu") for name in ("cnn", path)]
    (first, second) = (reader.read(written("3058", stroke_px=12)[0]) for reader in readers)
    assert first.confidence == second.confidence and first.text == second.text == "3058"
    again = calibrate(right.folder, [path], device="cpu", max_error=0.4, confidence=0.7)
    save_calibrated(again, tmp_path / "b.safetensors")
    guarantee = read_header(tmp_path / "b.safetensors").guarantee
    assert guarantee is not None and guarantee.max_error == 0.4
    assert guarantee.copy_of == original.sha256


def test_one_model_of_a_reader_carries_the_guarantee() -> None:
    for named, carrier in (
        ([], "reader"),
        (["fast", "cnn"], "fast"),
        (["finder", "reader"], "reader"),
    ):
        assert carrier_of(complete_models(resolve_models(named))).name == carrier
