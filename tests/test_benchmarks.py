"""The scripts in benchmarks/: the pages that they draw, how they judge, and what they write."""

from __future__ import annotations

import ast
import dataclasses
import json
from dataclasses import replace
from pathlib import Path
from typing import get_args

import compression
import cv2
import numpy as np
import pytest
import support
import synthetic_pages
import transfer
from calibrating.ink import Room, calibration_room
from calibrating.kinds import KINDS, NUMBERS
from ensembles import measure_group, members_of, views_of
from judging.camera import crumple, lay, speckled
from judging.ink import JudgingRoom, judging_room
from judging.nothing import NOTHING
from judging.score import WORLDS, judge, judge_table, page_row, score_page, single_number
from judging.sheet import Pen, digits_box, new_sheet, overlap
from judging.tables import TABLES, CellLabel, pair_page, table_page
from scenes import DrawnScene

from digitcli.compression.steps import TriedModel
from digitcli.data.dataset import Digits
from digitcli.evaluation.evaluate import evaluate
from digitcli.inference.model_resolution import resolve_model, resolve_models
from digitcli.inference.torch_runtime import write_ensemble
from digitcli.strip_format import ALPHABET
from digitcli.synthesis.page import Kind
from digitcli.synthesis.stamps import load_fonts
from digitcli.synthesis.strokes import Group, load_writers, split_writers
from digitcli.tables.table import Cell, Table
from tests.support.models import as_npz, saved
from tests.support.readings import reading_of
from tests.support.tables import digits_at

LENGTHS = {"groups": (5, 16), "field": (1, 10), "combs": (3, 8), "table": (1, 1), "cut row": (5, 16)}


@pytest.fixture(scope="module")
def room(digits: Digits) -> JudgingRoom:
    return judging_room(Digits(digits.images[:400], digits.labels[:400]))


@pytest.fixture(scope="module")
def calibration(digits: Digits) -> Room:
    return calibration_room(Digits(digits.images[:400], digits.labels[:400]))


def test_rows_are_saved_with_what_is_needed_to_repeat_them(tmp_path: Path) -> None:
    rows = support.Rows()
    readings = [reading_of(("4", (0, 0, 9, 9))), reading_of(("5", (0, 0, 9, 9)))]
    rows.add("a", support.shares([replace(each, text=each.numbers[0].text) for each in readings], ["4", "6"]))
    rows.save(None)
    rows.save(tmp_path / "new" / "rows.json", n=3)
    content = json.loads((tmp_path / "new" / "rows.json").read_text())
    assert list(content) == ["schema", "command", "machine", "versions", "date", "commit", "n", "rows"]
    assert content["rows"] == {"a": {"pictures": 2, "right": 0.5, "answered": 1.0, "wrong": 0.5}}


@pytest.mark.parametrize("name", WORLDS)
def test_every_generator_labels_numbers_where_their_ink_is(room: JudgingRoom, name: str) -> None:
    scene, again = (WORLDS[name](np.random.default_rng(3), room, None) for _ in range(2))
    assert np.array_equal(scene.picture, again.picture) and scene.ignored == again.ignored
    height, width = scene.picture.shape
    assert max(height, width) <= 2500
    numbers = [label for label in scene.labels if label.kind is Kind.NUMBER]
    assert numbers
    for label in numbers:
        assert set(label.text) <= set(ALPHABET) and len(label.corners) == len(label.text)
        x0, y0, x1, y1 = (round(side) for side in digits_box(label))
        assert -2 <= x0 < x1 <= width + 2 and -2 <= y0 < y1 <= height + 2
        assert np.ptp(scene.picture[max(y0, 0) : y1, max(x0, 0) : x1]) > 40
    alone = single_number(WORLDS[name], np.random.default_rng(2), room)
    assert [label.kind for label in alone.labels] == [Kind.NUMBER] and not alone.ignored


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_the_calibration_labels_what_is_written(calibration: Room, name: str) -> None:
    scenes = [KINDS[name](np.random.default_rng([5, number]), calibration) for number in range(4)]
    again = KINDS[name](np.random.default_rng([5, 0]), calibration)
    assert np.array_equal(scenes[0].picture, again.picture) and scenes[0].ignored == again.ignored
    numbers = [(scene, label) for scene in scenes for label in scene.labels if label.kind is Kind.NUMBER]
    assert bool(numbers) == (name in NUMBERS)
    for scene, label in numbers:
        assert len(label.corners) == len(label.text)
        x0, y0, x1, y1 = (round(side) for side in digits_box(label))
        assert np.ptp(scene.picture[max(y0, 0) : y1, max(x0, 0) : x1]) > 30


@pytest.mark.parametrize("name", NOTHING)
def test_judges_show_pictures_without_a_number(room: JudgingRoom, name: str) -> None:
    scene, again = (NOTHING[name](np.random.default_rng(6), room) for _ in range(2))
    assert np.array_equal(scene.picture, again.picture)
    assert not scene.ignored and all(label.kind is Kind.OTHER for label in scene.labels)


def test_training_calibration_and_judges_share_no_code() -> None:
    root = Path(__file__).parents[1]
    allowed = {"page": {"Corners", "Kind", "Label"}, "stamps": {"load_fonts"}}
    allowed["strokes"] = {"WriterStrokes", "load_writers", "split_writers"}
    for group, other in (("judging", "calibrating"), ("calibrating", "judging")):
        for path in sorted((root / "benchmarks" / group).glob("*.py")):
            if path.name == "score.py":  # judges answers, and draws nothing
                continue
            for module, name in imports_of(path):
                assert module.split(".")[0] != other, path
                *_, last = module.split(".")
                if module.startswith("digitcli."):
                    is_data = module in ("digitcli.data.dataset", "digitcli.synthesis." + last)
                    assert is_data and (last == "dataset" or name in allowed.get(last, ())), (
                        path,
                        module,
                        name,
                    )
    for path in (root / "digitcli").rglob("*.py"):
        assert not {module.split(".")[0] for module, _ in imports_of(path)} & {"judging", "calibrating"}


def imports_of(path: Path) -> list[tuple[str, str]]:
    """Return the modules and names that a file imports."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    named = [node for node in nodes if isinstance(node, ast.ImportFrom)]
    whole = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    return [(node.module or "", each.name) for node in named for each in node.names] + [
        (n, "") for n in whole
    ]


def test_each_group_has_writers_and_fonts_of_its_own() -> None:
    writers, fonts = load_writers(), load_fonts()
    parts = [[id(writer) for writer in split_writers(writers, group)] for group in get_args(Group)]
    assert sorted(sum(parts, [])) == sorted(map(id, writers))
    for kind in ("handwritten", "printed"):
        groups = [set(getattr(fonts.split(group), kind)) for group in get_args(Group)]
        assert sum(map(len, groups)) == len(set.union(*groups)) == len(getattr(fonts, kind))
        assert all(groups)


def test_labels_follow_the_ink_when_a_sheet_is_crumpled_and_photographed(room: JudgingRoom) -> None:
    sheet = new_sheet(np.random.default_rng(0), room, (30, 31), "x" * 10, 8)
    sheet.write(Pen(room.printer(sheet.random), 0.0), "407", 100, 120)
    crumple(sheet, 1.0)
    lay(sheet, speckled(sheet, 0.9), 3.0, 0.05)
    x, y, width, height = cv2.boundingRect((sheet.light < 0.4).astype(np.uint8))
    iou, share_in_label = overlap((x, y, x + width, y + height), digits_box(sheet.labels[0]))
    assert iou > 0.75 and share_in_label > 0.97


def test_a_page_is_scored_by_digits_and_places(room: JudgingRoom) -> None:
    scene = single_number(WORLDS["exam"], np.random.default_rng(4), room)
    text = support.digits_of(scene.labels[0].text)
    x0, y0, x1, y1 = (round(side) for side in digits_box(scene.labels[0]))
    right, elsewhere = (x0, y0, x1 - x0, y1 - y0), (x1 + 50, y1 + 50, 20, 20)
    ignoring = replace(scene, ignored=((x1 + 40, y1 + 40, x1 + 90, y1 + 90),))
    moved = replace(scene.labels[0], corners=scene.labels[0].corners - 500)
    with_two = replace(scene, labels=(moved, *scene.labels))
    once, twice = reading_of((text, right)), reading_of((text, right), (text, right))
    assert score_page(scene, once).tolist() == [1, 1, 1, 1]
    assert score_page(scene, reading_of(("9" * (len(text) + 1), right))).tolist() == [1, 0, 0, 1]
    assert score_page(scene, reading_of((text, right), (text, elsewhere))).tolist() == [1, 1, 1, 2]
    assert score_page(ignoring, reading_of((text, elsewhere))).tolist() == [1, 0, 0, 0]
    assert score_page(with_two, twice).tolist() == [2, 1, 1, 2]
    assert judge(scene, twice.numbers) == [True, False]  # what is shown once is right once
    row = page_row(np.array([4, 3, 2, 5]))
    assert row == {"numbers": 4, "offered": 0.75, "recall": 0.5, "precision": 0.4}


def test_a_table_is_scored_with_one_partner_for_each_row_and_column() -> None:
    """A row that is missing costs that row alone, and so does the shift of a whole table."""
    texts = [["17", "204", "5"], ["3", "86", "41"], ["9", "70", "12"], ["62", "8", "33"]]
    corners = np.zeros((1, 4, 2), np.float32)
    labels = [
        CellLabel(Kind.NUMBER, text, corners, row=row, column=column)
        for row, line in enumerate(texts)
        for column, text in enumerate(line)
    ]
    scene = DrawnScene(np.zeros((9, 9), np.uint8), tuple(labels), ())
    cells = tuple(
        Cell(label.row - (label.row > 1) + 3, label.column + 2, digits_at(label.text, 0, 0, 16))
        for label in labels
        if label.row != 1
    )
    elsewhere = tuple(replace(cell, column=6 - cell.column) for cell in cells)

    assert judge_table(labels, Table(cells, 7, 5), scene).tolist() == [12, 9, 9, 9, 0]
    assert judge_table(labels, Table(elsewhere, 7, 5), scene)[2] < 6
    assert judge_table(labels, Table((), 0, 0), scene).tolist() == [12, 0, 0, 0, 0]


def test_pages_of_tables_say_where_each_number_stands(room: JudgingRoom) -> None:
    for draw, count in ((table_page, 1), (pair_page, 2)):
        scene = draw(np.random.default_rng(1), room, next(iter(TABLES)))
        labels = [label for label in scene.labels if isinstance(label, CellLabel)]
        assert {label.table for label in labels} == set(range(count))
        assert all(len(label.corners) == len(label.text) for label in labels)


@pytest.mark.parametrize("kind", synthetic_pages.KINDS)
def test_pages_have_numbers_of_the_lengths_of_their_kind(kind: str) -> None:
    pages = list(synthetic_pages.examples(kind, support.held_out_composer(), seed=1, pages=12))
    assert len(pages) >= 3
    for scene, length in pages:
        assert LENGTHS[kind][0] <= length <= LENGTHS[kind][1]
        assert all(len(label.text) == length for label in scene.labels)
        if kind == "groups":
            (label,) = scene.labels
            left, right = label.corners[:, :, 0].min(axis=1), label.corners[:, :, 0].max(axis=1)
            gaps = (left[1:] - right[:-1]) / np.ptp(label.corners[:, :, 1], axis=1).max()
            assert 1 <= np.sum(gaps > 0.3) < length - 1
    if kind == "cut row":
        assert {len(scene.labels) for scene, _ in pages} == {0, 1}


def test_a_group_has_the_figures_of_its_members_and_of_their_average(digits: Digits, tmp_path: Path) -> None:
    validation, test = digits.take(np.arange(200)), digits.take(np.arange(200, 500))
    metrics = {"train_seconds": 7}
    paths = [saved(tmp_path / f"{n}.safetensors", seed=n, temperature=2.0, metrics=metrics) for n in range(3)]
    row = measure_group(members_of(resolve_models(paths)), validation, test)
    data = as_npz(tmp_path / "test.npz", test)
    alone = [evaluate(path, data, split="all", device="cpu") for path in paths]
    wrong = [each.wrong for each in alone]
    assert (row["least_errors"], row["most_errors"]) == (min(wrong), max(wrong))
    assert row["nll_of_members"] == pytest.approx(sum(each.nll for each in alone) / 3, rel=1e-4)
    both = tmp_path / "all.safetensors"
    write_ensemble(both, resolve_models(paths), temperature=float(row["temperature"]))
    together = evaluate(both, data, split="all", device="cpu")
    assert (row["errors"], row["accuracy_low"]) == (together.wrong, together.accuracy_low)
    assert row["nll"] == pytest.approx(together.nll, rel=1e-4)
    assert (row["parameters"], row["train_seconds"]) == (3 * 7850, 21)
    assert len(members_of([resolve_model(both)])) == 3  # an ensemble counts as its members
    views = measure_group(views_of(resolve_model(paths[0])), validation, test)
    assert (views["members"], views["parameters"], views["train_seconds"]) == (5, 7850, 7)


def test_fine_tuning_is_compared_on_the_same_pictures() -> None:
    images = np.zeros((500, 28, 28), np.uint8)
    images[:, 0, 0], images[:, 0, 1] = np.arange(500) % 256, np.arange(500) // 256
    numbered = Digits(images, np.arange(500) % 10)
    draw = transfer.from_parts(numbered, numbered)
    (first, test), (again, _), (other, same_test) = draw(5, 0), draw(5, 0), draw(5, 1)
    assert np.bincount(first.labels).tolist() == [5] * 10 and test is same_test
    assert np.array_equal(first.images, again.images) and not np.array_equal(first.images, other.images)
    train, rest = transfer.of_one_writer(numbered, 20, seed=3)
    assert (len(train), len(rest)) == (200, 300)
    assert not {image.tobytes() for image in train.images} & {image.tobytes() for image in rest.images}


def test_the_study_of_fine_tuning_has_means_with_their_spread_and_a_chart() -> None:
    runs = [
        {"target": "swiss", "per_class": 5, "method": method, "seed": seed, "test_accuracy": 0.5 + seed / 10}
        | {field: 0.9 for field in transfer.ACCURACIES[1:]}
        for method in transfer.METHODS
        for seed in (0, 1)
    ]
    *_, line = transfer.table(runs).splitlines()
    cells = [cell.strip() for cell in line.split("|")[1:-1]]
    assert cells == ["swiss", "5", "90.00", *["55.00 ± 7.07"] * 3, "90.00", "90.00", "90.00", "2"]
    chart = transfer.chart([{**run, "test_accuracy": 1.0} for run in runs], "fast")
    assert all(method in chart for method in transfer.METHODS) and "test error" in chart


def test_the_chart_has_each_compressed_model_once_and_leaves_out_readers_of_lines(tmp_path: Path) -> None:
    original = TriedModel("original", "", 0.99, 0, 1, None, 4000, 5000, 1000, 1000)
    small = dataclasses.replace(original, steps="int8", accuracy=0.98, weights_bytes=1000)
    folders = []
    for model, unit, *tried in (
        ("micro@11", "digit", original, small),
        ("micro@12", "digit", original),
        ("reader@22", "line", small),
    ):
        folder = tmp_path / model
        folder.mkdir()
        record = {
            "model": model,
            "unit": unit,
            "n": 50,
            "tried": [dataclasses.asdict(each) for each in tried],
        }
        (folder / "compression.json").write_text(json.dumps(record))
        folders.append(folder)
    chart = compression.draw(folders)
    assert "error on 50 validation digits" in chart and "reader" not in chart
    assert chart.count("1 micro int8") == chart.count("2 micro original") == 1 and "3 micro" not in chart
