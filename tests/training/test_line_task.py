"""The strips that a network learns to read, their batches and targets, and training on a pool of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from digitcli.architectures.registry import create_model
from digitcli.data.dataset import Digits
from digitcli.errors import InputError, Interrupted, UsageError
from digitcli.evaluation.evaluate import evaluate_lines
from digitcli.inference.checkpoint import Header, read_checkpoint, read_header, write_checkpoint
from digitcli.strip_format import ALPHABET
from digitcli.synthesis.scenes import scene_composer
from digitcli.synthesis.strips import LabelledStrip
from digitcli.training import line_task
from digitcli.training.configuration import TrainConfig
from digitcli.training.line_task import (
    STRIPS,
    LineBatch,
    as_batch,
    held_out_strips,
    line_loss,
    strips_to_evaluate,
)
from digitcli.training.setup import prepare
from digitcli.training.synthetic_strips import compose_strips
from digitcli.training.task import ScenePools
from digitcli.training.trainer import resume, train

RECIPE = {"epochs": 2, "batch_size": 8, "dtype": "float32"}
PAPER = np.full((3, 40, 64), 128, np.uint8)


@pytest.fixture(scope="module")
def strips(digits: Digits) -> list[LabelledStrip]:
    return compose_strips(scene_composer(digits, "train"), np.random.default_rng(4), 60)


@pytest.fixture
def few_to_measure_on(monkeypatch: pytest.MonkeyPatch) -> None:
    few = replace(STRIPS, epoch=40, validation=10, test=20, pool_batches=4, networks=())
    monkeypatch.setattr(line_task, "STRIPS", few)


def pool_config(pool: Path, **changes: object) -> TrainConfig:
    return replace(TrainConfig(arch="reader", data=str(pool), recipe=RECIPE, device="cpu"), **changes)  # type: ignore[arg-type]


@pytest.mark.usefixtures("few_to_measure_on")
def test_a_start_model_that_reads_other_characters_is_refused(strip_pool: Path, tmp_path: Path) -> None:
    network = create_model("reader", dropout=0.1, alphabet="0123456789.")
    header = Header(architecture="reader", arguments={"dropout": 0.1}, task="line", alphabet="0123456789.")
    write_checkpoint(tmp_path / "start.safetensors", header, network.state_dict())
    with pytest.raises(UsageError, match=r"reads the characters 0123456789\., but"):
        train(pool_config(strip_pool, start=str(tmp_path / "start.safetensors")), out=tmp_path / "run")


@pytest.mark.usefixtures("few_to_measure_on")
def test_training_on_a_pool_makes_a_model_and_resumes_bit_for_bit(strip_pool: Path, tmp_path: Path) -> None:
    whole = train(pool_config(strip_pool), out=tmp_path / "whole")
    assert whole.checkpoint is not None
    header = read_header(Path(whole.checkpoint))
    assert (header.task, header.alphabet) == ("line", ALPHABET)
    steps = iter([None] * 4 + [2] * 100)
    with pytest.raises(Interrupted):
        train(pool_config(strip_pool), out=tmp_path / "parts", stop_signal=lambda: next(steps))
    parts = resume(tmp_path / "parts", {})
    assert parts.checkpoint is not None
    _, ours = read_checkpoint(Path(whole.checkpoint))
    _, theirs = read_checkpoint(Path(parts.checkpoint))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    strips = held_out_strips("reader", "test", 0, 20)
    result = evaluate_lines(whole.checkpoint, strips, data="mnist", split="test", device="cpu")
    assert result.exact_match == whole.test_accuracy
    assert whole.misread is not None and len(whole.misread) == round((1 - result.exact_match) * result.n)


def test_strips_to_evaluate_on_are_composed_or_those_of_a_pool(strip_pool: Path, tmp_path: Path) -> None:
    strips, split = strips_to_evaluate("reader", str(strip_pool))
    assert (len(strips), split) == (60, "all")
    with pytest.raises(InputError, match="holds examples for 'reader', and not for 'glance'"):
        strips_to_evaluate("glance", str(strip_pool))
    with pytest.raises(UsageError, match="holds no strips"):
        strips_to_evaluate("reader", str(tmp_path))


def test_the_loss_falls_on_a_few_strips(strips: list[LabelledStrip]) -> None:
    torch.manual_seed(0)
    network = create_model("glance", dropout=0.0)
    batch = as_batch([each for each in strips if each.digits][:3], np.random.default_rng(5))
    optimizer = torch.optim.AdamW(network.parameters(), 3e-3)
    losses = []
    for _ in range(25):
        loss = line_loss(network, batch, torch.device("cpu"), guidance=1.0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.4 * losses[0]


@pytest.mark.usefixtures("few_to_measure_on")
def test_only_a_network_without_trained_weights_is_guided(
    strip_pool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    guidances: list[float] = []

    def spy(network: nn.Module, batch: LineBatch, device: torch.device, guidance: float = 0.0) -> Tensor:
        guidances.append(guidance)
        return torch.zeros(())

    monkeypatch.setattr(line_task, "line_loss", spy)
    for start in (None, "reader"):
        setup, _ = prepare(pool_config(strip_pool, start=start))
        for step, progress in enumerate((0.0, 0.1, 0.4, 1.0)):
            setup.loss(0, step, progress)
    assert guidances == pytest.approx([1.0, 0.75, 0.0, 0.0, *[0.0] * 4])


def test_a_batch_of_empty_strips_has_a_finite_loss() -> None:
    empty = LabelledStrip.without_boxes(PAPER, "")
    batch = as_batch([empty, empty], np.random.default_rng(0))
    assert batch.characters.dtype == np.int64 and not batch.boxed.any()
    assert line_loss(create_model("glance"), batch, torch.device("cpu")).isfinite()


def test_a_pool_depends_on_the_seed_and_its_number(digits: Digits) -> None:
    kind = replace(STRIPS, pool_batches=4, compose_training=None)

    def first(seed: int, number: int) -> list[bytes]:
        return [batch.images.tobytes() for batch in ScenePools(kind, composer, 2, seed)[number]]

    composer = scene_composer(digits, "train")
    images = first(0, 1)
    assert len(images) == 4 and images == first(0, 1)
    assert images != first(0, 2) and images != first(1, 1)


def test_a_batch_contains_the_columns_and_boxes_of_its_characters(strips: list[LabelledStrip]) -> None:
    batch = as_batch(strips[:12], np.random.default_rng(2))
    columns = batch.images.shape[-1] // 4
    assert batch.images.shape == (12, 3, 40, 4 * columns) and batch.nearest.shape == (12, columns)
    for row, strip in enumerate(strips[:12]):
        marked = batch.nearest[row][batch.nearest[row] < len(ALPHABET)]
        assert len(marked) <= len(strip.text) and (len(marked) > 0) == bool(strip.text)
        boxed = batch.boxes[row][batch.boxed[row]]
        assert (boxed[:, 3] >= boxed[:, 2]).all()  # the foot lies below the top


def test_a_strip_whose_boxes_are_not_known_has_its_text_only() -> None:
    batch = as_batch([LabelledStrip.without_boxes(PAPER, "12-")], np.random.default_rng(0))
    assert batch.lengths.tolist() == [3] and len(batch.characters) == 3
    assert not batch.boxed.any() and not batch.boxes.any()


def test_each_column_has_the_box_of_the_nearest_character() -> None:
    corners = np.array([[18, 1, 26, 39], [26, 3, 34, 39]], np.float32)  # middles at columns 5 and 7
    batch = as_batch(
        [LabelledStrip(PAPER[:, :, :40], "1,", corners, np.zeros(2, np.float32))], np.random.default_rng(0)
    )
    tops = batch.boxes[0, 3:10, 2] * 20
    assert tops.round().tolist() == [1, 1, 1, 1, 3, 3, 3]


def test_each_column_tells_whether_its_character_is_printed_and_none_where_that_is_not_known() -> None:
    boxes = np.array([[2, 1, 10, 39], [18, 1, 26, 39], [34, 3, 42, 39]], np.float32)
    strip = LabelledStrip(PAPER[:, :, :48], "123", boxes, np.array([1, 0, np.nan], np.float32))
    batch = as_batch([strip], np.random.default_rng(0))
    assert batch.boxed[0].all()
    expected = np.array([1, 1, 1, 1, 0, 0, 0, 0, *[np.nan] * 4])
    np.testing.assert_array_equal(batch.prints[0], expected)


def test_print_is_learned_where_it_is_known() -> None:
    """A step makes the logits of print move to the targets; unknown ones have no gradient."""
    known = LabelledStrip(PAPER, "1", np.array([[2, 1, 10, 39]], np.float32), np.ones(1, np.float32))
    prints = torch.zeros(2, as_batch([known] * 2, np.random.default_rng(0)).prints.shape[1], 1)
    prints.requires_grad_()
    batch = as_batch([known, replace(known, prints=np.full(1, np.nan, np.float32))], np.random.default_rng(0))

    line_task._print_loss(prints, batch).backward()

    assert prints.grad is not None
    assert (prints.grad[0, :4] < 0).all() and not prints.grad[1].any()
