"""Training the page finder: its targets, its loss and its run."""

from __future__ import annotations

from dataclasses import replace
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import numpy as np
import pytest
import torch

from digitcli.data.dataset import split
from digitcli.data.mnist import load_mnist
from digitcli.errors import Interrupted
from digitcli.inference.checkpoint import read_checkpoint, read_header
from digitcli.inference.line_finding import decode_maps
from digitcli.page_format import SMALL
from digitcli.synthesis.page import Kind, Label, line_box
from digitcli.synthesis.scenes import scene_composer
from digitcli.training import page_task
from digitcli.training.configuration import TrainConfig
from digitcli.training.gap_task import GAPS
from digitcli.training.page_task import SQUARES, WEIGHTS, draw_targets, f_measure, page_counts, page_loss
from digitcli.training.task import ScenePools
from digitcli.training.trainer import resume, train


def _label(x: float, y: float, text: str, height: float, slope: float, kind: Kind = Kind.NUMBER) -> Label:
    """Return a label of characters side by side, each 0.7 heights wide, on a sloping line."""
    along = np.array([np.cos(slope), np.sin(slope)])
    across = np.array([-np.sin(slope), np.cos(slope)])
    corners = []
    for index in range(len(text)):
        start = np.array([x, y]) + along * 0.75 * height * index
        end = start + along * 0.7 * height
        corners.append([start, end, end + across * height, start + across * height])
    return Label(kind, text if kind is Kind.NUMBER else "", np.array(corners, np.float32))


def _as_outputs(targets: np.ndarray) -> np.ndarray:
    """Return the maps of a network that knows the targets."""
    cores, small = (np.where(targets[part] > 0, 12.0, -12.0) for part in (slice(2), [SMALL]))
    return np.concatenate([cores, targets[2:5], small]).astype(np.float32)


def test_the_boxes_of_lines_are_decoded_from_their_targets() -> None:
    for height, slope in ((14.0, 0.0), (28.0, 0.4), (60.0, -0.3), (14.0, -0.3), (60.0, 0.4)):
        label = _label(90, 120, "1234", height, slope)
        box = line_box(label)
        maps = draw_targets([label], 1.0, 384, 384)
        (line,) = decode_maps(_as_outputs(maps), 1.0, 1.0)
        assert line.box.height == pytest.approx(height, rel=0.02)
        assert line.box.angle == pytest.approx(slope, abs=0.02)
        assert (line.box.x, line.box.y) == pytest.approx((box.x, box.y), abs=3)
        assert line.box.length == pytest.approx(box.length, abs=8)
        assert line.score > 0.99
        assert line.other_score < 0.01


def test_numbers_that_stand_apart_have_separate_cores() -> None:
    labels = [_label(20, 40, "12", 24, 0), _label(80, 40, "34", 24, 0), _label(20, 90, "56", 24, 0)]
    assert len(decode_maps(_as_outputs(draw_targets(labels, 1.0, 160, 160)), 1.0, 1.0)) == 3


def test_a_narrow_gap_between_numbers_weighs_more_than_paper() -> None:
    pair = [_label(20, 40, "12", 24, 0), _label(64, 40, "34", 24, 0)]
    weights = draw_targets(pair, 1.0, 128, 128)[WEIGHTS]
    gap, paper = weights[13, 14], weights[28, 14]  # rows and columns of 4 pixels
    assert gap > 1.5
    assert paper == pytest.approx(1, abs=0.01)
    assert draw_targets(pair[:1], 1.0, 128, 128)[WEIGHTS].max() == 1


def test_a_lone_stroke_weighs_as_much_as_a_larger_digit() -> None:
    stroke = Label(Kind.NUMBER, "1", np.array([[[60, 40], [63, 40], [63, 53], [60, 53]]], np.float32))
    maps = draw_targets([stroke], 1.0, 128, 128)
    core = maps[0] > 0
    assert core.sum() == 9
    assert maps[WEIGHTS, core].sum() == pytest.approx(12)


def test_other_writing_is_no_number() -> None:
    maps = draw_targets([_label(20, 40, "word", 24, 0, Kind.OTHER)], 1.0, 128, 128)
    assert maps[1].any()
    assert not decode_maps(_as_outputs(maps), 1.0, 1.0)


def test_nothing_is_learned_of_lines_that_are_too_small_too_large_or_cut() -> None:
    cut = _label(20, 40, "12", 30, 0)
    for label in (
        _label(20, 20, "7", 9, 0),
        _label(10, 10, "7", 100, 0),
        _label(100, 40, "1234", 30, 0),
        replace(cut, seen=np.clip(cut.corners, 0, 55)),
    ):
        maps = draw_targets([label], 1.0, 128, 128)
        assert not maps[:2].any()
        assert (maps[WEIGHTS : WEIGHTS + 2] == 0).any()
    for height in (5, 120):  # for other levels of the pyramid they are background
        maps = draw_targets([_label(2, 2, "7", height, 0)], 1.0, 128, 128)
        assert not maps[:2].any()
        assert (maps[WEIGHTS : WEIGHTS + 2] == 1).all()


def test_writing_that_a_finer_scale_shows_better_is_small() -> None:
    for height, is_small, is_open in ((5, True, False), (13, False, True), (20, False, False)):
        maps = draw_targets([_label(20, 40, "1234", height, 0)], 1.0, 128, 128)
        assert maps[SMALL].any() == is_small
        assert (maps[WEIGHTS + 2] == 0).any() == is_open


def test_a_right_answer_has_a_small_loss_and_counts_fully() -> None:
    targets = draw_targets([_label(40, 40, "123", 24, 0)], 1.0, 128, 128)[None]
    right = torch.from_numpy(_as_outputs(targets[0])[None])
    wrong = -right
    assert page_loss(right, torch.from_numpy(targets)) < 0.2 < page_loss(wrong, torch.from_numpy(targets))
    assert f_measure(page_counts(right, torch.from_numpy(targets))) == 1
    assert f_measure(page_counts(wrong, torch.from_numpy(targets))) == 0


def test_a_picture_without_writing_has_a_finite_loss() -> None:
    targets = torch.from_numpy(draw_targets([], 1.0, 64, 64)[None])
    loss = page_loss(torch.zeros(1, 6, 16, 16), targets)
    assert torch.isfinite(loss)


@pytest.fixture
def few_squares(monkeypatch: pytest.MonkeyPatch) -> None:
    few = replace(SQUARES, epoch=4, validation=2, test=2, pool_batches=4)
    monkeypatch.setattr("digitcli.training.setup.SQUARES", few)
    monkeypatch.setattr(page_task, "SIDE_PX", 64)
    monkeypatch.setattr("digitcli.training.setup.WORKERS", 0)


def test_a_finder_is_trained_and_resumed_bit_for_bit(few_squares: None, tmp_path: Path) -> None:
    recipe = {"epochs": 2, "batch_size": 2, "dtype": "float32"}
    config = TrainConfig(arch="finder", recipe=recipe, device="cpu")
    whole = train(config, out=tmp_path / "whole")
    assert whole.checkpoint is not None
    header = read_header(Path(whole.checkpoint))
    assert header.task == "page"
    assert 0 <= header.metrics["test_accuracy"] <= 1
    steps = iter([None] * 2 + [2] * 100)
    with pytest.raises(Interrupted):
        train(config, out=tmp_path / "parts", stop_signal=lambda: next(steps))
    parts = resume(tmp_path / "parts", {})
    assert parts.checkpoint is not None
    _, ours = read_checkpoint(Path(whole.checkpoint))
    _, theirs = read_checkpoint(Path(parts.checkpoint))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_pool_has_batches_of_any_size(few_squares: None) -> None:
    composer = scene_composer(split(load_mnist()).test, "calibrate")
    for size in (2, 3, 10):
        pool = ScenePools(replace(SQUARES, pool_batches=8), composer, size, seed=0)[0]
        assert [len(batch) for batch in pool] == [size] * 8


def test_other_processes_compose_examples_of_each_kind() -> None:
    for kind in (SQUARES, GAPS):
        passed = ForkingPickler.loads(ForkingPickler.dumps(kind))
        assert passed.change is kind.change  # a lambda cannot be passed on
