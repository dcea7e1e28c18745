from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from digitcli.comparison.compare import Comparison
from digitcli.comparison.saved_comparison import ComparedRun, ModelDefinition, SavedModel, read_comparison
from digitcli.data.loading import load_dataset
from digitcli.reporting.comparison import page_of_comparison
from digitcli.reporting.page import render
from tests.support.models import as_npz, pointing_digits


def test_the_page_has_the_conclusion_the_chart_and_the_table(comparison: Path) -> None:
    page = page_of_comparison(read_comparison(comparison), "comparison.json", "0" * 64)
    result = page.values["result"]
    assert isinstance(result, Comparison) and result.winner == "softmax:lr=0.1"
    assert page.title == "Comparison of softmax:lr=0.1, softmax"
    html = render(page)
    assert "softmax:lr=0.1 is better than the others by more than chance." in html
    assert html.index("98.00") < html.index("69.00")  # the best first
    best, worst = page.values["rows"]
    underflow = replace(worst, model=replace(worst.model, p=0.0))
    rows = {**page.values, "rows": [best, underflow]}
    assert "&lt;1e-300" in render(replace(page, values=rows)) and "&lt;1e-300" not in html
    assert best.start == pytest.approx(0) and worst.start + worst.length == pytest.approx(100)
    assert best.start < best.mean < best.start + best.length < worst.mean
    assert "Their numbers are 99; their pictures are not at hand." in html  # the digest is another


def test_images_that_no_run_reads_have_pictures() -> None:
    some = pointing_digits([1] * 20, [1] * 20)
    data = as_npz(Path("digits.npz"), some, pointing_digits([5, 6, 7, 8], [5, 6, 7, 8]))
    run, digest = ComparedRun("m", 0.5, (1, 3)), load_dataset(data).digest
    model = SavedModel("m", ModelDefinition("softmax", {}, {}), data, digest, "test", 4, (run,))
    page = page_of_comparison([model], "one.json", "")
    assert [figure.caption for figure in page.values["missed"]] == ["image 1, a 6", "image 3, a 8"]
    assert page.values["conclusion"] == ""
    for change in ({"images": 8, "runs": (replace(run, accuracy=0.75),)}, {"digest": ""}, {"data": "no.npz"}):
        assert page_of_comparison([replace(model, **change)], "one.json", "").values["missed"] == []


def test_a_perfect_model_has_a_place_on_the_logarithmic_axis() -> None:
    run = ComparedRun("m", 1.0, ())
    model = SavedModel("m", ModelDefinition("softmax", {}, {}), "mnist", "", "test", 10, (run,))
    (row,) = page_of_comparison([model], "one.json", "").values["rows"]
    assert (row.start, row.mean, row.length) == (0, 0, pytest.approx(100))
