from __future__ import annotations

import json
import re
import shutil
from functools import partial
from pathlib import Path

import pytest

from digitcli.evaluation.evaluate import evaluate
from digitcli.evaluation.result_files import save_result
from digitcli.evaluation.saved import SavedEvaluation, SavedLineEvaluation
from digitcli.inference.model_resolution import resolve_model
from digitcli.reporting import evaluation as module
from digitcli.reporting.evaluation import find_model, page_of_evaluation, page_of_model
from digitcli.reporting.page import Page, render
from digitcli.reporting.source import read_source
from tests.support.models import as_npz, pointing_digits, pointing_model


def page_of(path: Path) -> Page:
    read = read_source(path)
    assert isinstance(read.content, SavedEvaluation)
    return page_of_evaluation(read.content, str(path), read.digest)


def test_the_page_has_the_figures_and_explains_the_mistakes(evaluation: Path) -> None:
    page = page_of(evaluation)
    html = render(page)
    assert "75.00\N{NO-BREAK SPACE}%" in html and "95 % interval 40.93 to" in html
    assert "Confusion matrix" in html and "Calibration and coverage" in html
    assert [len(each.figures) for each in page.values["mistakes"]] == [3, 3]
    captions = [figure.caption for figure in page.values["mistakes"][0].figures]
    assert captions == ["the digit", "speaks for 5", "speaks for 5, not 3"]
    assert page.values["note"] == "" and page.digest_of == "file"


def test_without_the_model_there_are_pictures_and_without_the_digits_none(
    evaluation: Path, tmp_path: Path
) -> None:
    alone = Path(shutil.copy(evaluation, tmp_path / "evaluation.json"))
    page = page_of(alone)
    assert [len(each.figures) for each in page.values["mistakes"]] == [1, 1]
    assert "since pointing@" in page.values["note"]
    record = json.loads(evaluation.read_text())
    same_labels = pointing_digits([3, 3, 3, 5, 5, 7, 7, 7], [3, 3, 9, 5, 5, 7, 7, 1])
    other = as_npz(tmp_path / "other.npz", same_labels)
    beyond = record["mistakes"][0] | {"index": 8}
    before = {name: value for name, value in record.items() if name != "digest"}
    for changed, note in (
        (record | {"data": "none.npz"}, "There is no file"),
        (record | {"data": other}, "no longer those that were evaluated"),
        (record | {"mistakes": [*record["mistakes"], beyond]}, "no longer those that were evaluated"),
        (before, "does not say which digits were evaluated"),
        (record | {"data": "svhn"}, "not loaded for a report"),
    ):
        alone.write_text(json.dumps(changed))
        page = page_of(alone)
        assert not any(each.figures for each in page.values["mistakes"])
        assert note in page.values["note"]
        assert "Digit 2 is a" in render(page) and note in render(page)


def worst_mistakes(html: str) -> str:
    """The text of the section of this name."""
    section = html.partition("<h2>Worst mistakes</h2>")[2].partition("</section>")[0]
    return " ".join(re.sub("<[^>]+>", "", section).split())


@pytest.mark.parametrize(
    ("answers", "saved", "text"),
    [
        ([3] * 60, 6, "No answer is wrong."),
        ([3] * 58 + [5] * 2, 6, "2 of 2 wrong answers are shown. These are"),
        ([3] * 58 + [5] * 2, 1, "1 of 2 wrong answers are shown. digitcli evaluate --mistakes N saves more"),
        ([3] * 20 + [5] * 40, 30, "24 of 40 wrong answers are shown, and the file has 30. These are"),
    ],
)
def test_the_page_says_how_many_of_the_mistakes_it_shows(answers: list[int], saved: int, text: str) -> None:
    data = as_npz(Path("digits.npz"), pointing_digits([3] * 60, answers))
    result = evaluate(str(pointing_model(Path("m.safetensors"))), data, device="cpu", mistakes=saved)
    save_result(Path("evaluation.json"), result)
    section = worst_mistakes(render(page_of(Path("evaluation.json"))))
    assert section == text if result.wrong == 0 else section.startswith(text)


def test_every_measurement_is_shown(evaluation: Path, tmp_path: Path) -> None:
    corruption = {"name": "salt_noise", "accuracy": 0.5, "trained": False}
    record = json.loads(evaluation.read_text()) | {
        "robustness": {
            "clean": 0.75, "mean": 0.5, "unseen": 0.5, "worst": 0.5, "worst_name": "salt_noise", "gap": 0.25,
            "corruptions": [corruption],
        },
        "ood": [{"name": "letters", "n": 20, "auroc": 0.875, "trained": True}],
        "selection": {
            "n": 43, "digest": "0", "left_out": [], "temperature": 0.9,
            "additions": [
                {"model": "a@1", "alone_accuracy": 0.61, "alone_nll": 0.1234, "accuracy": 0.9, "nll": 0.1}
            ],
        },
        "groups": [
            {"name": "dotted_line", "n": 1234, "accuracy": 0.5, "accuracy_low": 0.25, "accuracy_high": 0.75}
        ],
        "accuracy_without_label_errors": 0.8,
        "overlap": 3,
        "unreadable": 2,
    }  # fmt: skip
    (tmp_path / "full.json").write_text(json.dumps(record))
    html = render(page_of(tmp_path / "full.json"))
    for text in (
        "salt noise",
        "0.8750",
        "80.00",
        "3 of these digits were used in training",
        "2 inputs",
        "0.1234",
        "dotted line",
        "1,234",
    ):
        assert text in html


def test_lines_have_a_page_of_their_own() -> None:
    record = {
        "model": "reader@1", "data": "mnist", "split": "test", "n": 10, "exact_match": 0.9, "cer": None,
        "exact_match_low": 0.6, "exact_match_high": 0.98, "nll": 0.2, "ece": 0.1,
        "mistakes": [{"index": 4, "label": "12", "predicted": "", "confidence": 0.7}],
    }  # fmt: skip
    Path("lines.json").write_text(json.dumps(record))
    read = read_source(Path("lines.json"))
    assert isinstance(read.content, SavedLineEvaluation)
    html = render(page_of_evaluation(read.content, "lines.json", read.digest))
    assert "lines with every digit right" in html and "<td>nothing</td>" in html
    assert "character error rate" not in html and "No answer is wrong." not in html
    Path("lines.json").write_text(json.dumps(record | {"exact_match": 1, "mistakes": []}))
    perfect = read_source(Path("lines.json"))
    assert isinstance(perfect.content, SavedLineEvaluation)
    html = render(page_of_evaluation(perfect.content, "lines.json", perfect.digest))
    assert "No answer is wrong." in html and "<table" not in html


def test_a_model_is_evaluated_now(evaluation: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = evaluation.with_name("digits.npz")  # instead of the 10,000 test digits
    monkeypatch.setattr(module, "evaluate", partial(module.evaluate, data=data))
    model = resolve_model(evaluation.with_name("pointing.safetensors"))
    page = page_of_model(model, lambda event: None)
    assert (page.source, page.digest, page.digest_of) == (model.name, model.sha256, "model")
    assert page.values["evaluation"].n == 8 and len(page.values["mistakes"]) == 2


@pytest.mark.parametrize("place", ["runs/mine/model.safetensors", "beside/mine.safetensors"])
def test_a_model_is_found_by_its_id_unless_its_weights_have_changed(place: str) -> None:
    Path(place).parent.mkdir(parents=True)
    model = resolve_model(pointing_model(Path(place)))
    found = find_model(model.id, Path("beside"))
    assert found is not None and found.sha256 == model.sha256
    shipped = resolve_model("fast")
    assert find_model(shipped.id, Path("beside")) == shipped
    assert find_model("mine@00000000", Path("beside")) is None
    changes = [
        {"change": "resize", "attributes": {}, "shapes": {}},
        {"change": "quantize_weights", "bits": {"1": 8}},
    ]
    folder = Path("runs/compress/small-steps")
    folder.mkdir(parents=True)
    compressed = pointing_model(folder / "model.safetensors", arguments={"compression": changes})
    found = find_model(resolve_model(compressed).id, Path("beside"))
    assert found is not None and found.id.startswith("small-steps-pruned-int8@")
    for strange in ("", "@", "../mine@1", "a\0b@1", "cnn@1+fast@2"):
        assert find_model(strange, Path("beside")) is None
