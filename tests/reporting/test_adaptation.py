"""The report of a folder that `digitcli adapt` wrote."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from digitcli.adaptation.results import AdaptedModel
from digitcli.adaptation.saving import save_adaptation
from digitcli.errors import InputError, ModelError
from digitcli.inference.checkpoint import ADAPTATION_FILE, read_checkpoint
from digitcli.inference.model_resolution import resolve_model
from digitcli.reporting.page import render
from digitcli.reporting.report import build_page
from tests.support.adaptation import measured_adaptation, measured_self_training


@pytest.fixture(scope="module")
def models() -> list[AdaptedModel]:
    """A model to write; which one does not matter to a report."""
    return [AdaptedModel("reader", *read_checkpoint(resolve_model("fast").path))]


def html_of(source: object) -> str:
    page = build_page(str(source), lambda event: None)
    assert (page.kind, page.title) == ("adaptation", "Adaptation to cheques")
    return " ".join(render(page).split())  # no-break spaces become plain ones


def test_an_adaptation_to_labelled_pictures(models: list[AdaptedModel], tmp_path: Path) -> None:
    save_adaptation(measured_adaptation(models), tmp_path / "my-reader")
    html = html_of(tmp_path / "my-reader")
    assert html == html_of(tmp_path / "my-reader" / ADAPTATION_FILE).replace(f"/{ADAPTATION_FILE}", "")
    assert "<strong>No more pictures are read rightly than before.</strong>" in html
    assert html.count("50.00 %<small>2 of 4") == 2  # before and after
    assert "the probability of that by chance is 1" in html
    assert "80.00 % were read rightly before and 90.00 % after 1 epoch," in html
    assert "1 (chosen)" in html and html.count("(chosen)") == 1
    assert "91.40 % were read rightly before the training and 90.80 % after it" in html
    assert "50.00 % of the way" in html and "All pictures are of one group" not in html
    rows = [html.index(f">{name}.png<") for name in "bca"]
    assert rows == sorted(rows) and "d.png" not in html
    assert "The adaptation left 1 picture out" in html and "e.png: It is damaged." in html
    assert "<td>right, " in html and "<td>wrong, " in html


def test_pictures_of_one_group_are_a_caution(models: list[AdaptedModel], tmp_path: Path) -> None:
    save_adaptation(measured_adaptation(models, divides_group=True), tmp_path / "my-reader")
    assert "All pictures are of one group" in html_of(tmp_path / "my-reader")


@pytest.mark.parametrize(
    ("labels", "verdict"),
    [
        ((None, None), "no picture has a label"),
        (("75", "75", None), "More labelled pictures are read rightly than before, but this may be chance."),
        (("15", "75", None), "Fewer labelled pictures"),
    ],
)
def test_a_self_training(
    models: list[AdaptedModel], tmp_path: Path, labels: tuple[str | None, ...], verdict: str
) -> None:
    save_adaptation(measured_self_training(models, labels), tmp_path / "my-reader")
    html = html_of(tmp_path / "my-reader")
    assert verdict in html and "it was measured" in html
    assert "<td>15, 50.0 %</td><td>75, 95.0 %</td>" in html.replace("> <", "><")
    assert ("for 4 epochs, chosen from 0 to 8 by the labelled pictures" in html) == any(labels)
    assert ("for 4 epochs, a fixed number" in html) != any(labels)
    assert ("labelled pictures read rightly" in html) == any(labels)
    assert ("sure of more wrong answers" in html) == (labels[0] == "15")


@pytest.mark.parametrize(
    "change",
    [{"pictures": 5}, {"right_after": 9}, {"epochs": 7}, {"scores": []}, {"folds": "many"}, {"results": []}],
    ids=str,
)
def test_damaged_figures_are_refused(
    models: list[AdaptedModel], tmp_path: Path, change: dict[str, object]
) -> None:
    save_adaptation(measured_adaptation(models), tmp_path / "my-reader")
    path = tmp_path / "my-reader" / ADAPTATION_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InputError, match="cannot be reported"):
        build_page(str(path.parent), lambda event: None)
    path.write_text("{")
    with pytest.raises(ModelError, match="does not name the models"):
        build_page(str(path.parent), lambda event: None)
