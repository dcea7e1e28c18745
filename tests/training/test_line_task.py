"""The lines that a network trains on, their batches and targets, and training on a folder of lines."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from digitcli.architectures.registry import create_model
from digitcli.data.dataset import Dataset, Digits, split
from digitcli.data.mnist import load_mnist
from digitcli.errors import InputError, Interrupted, UsageError
from digitcli.evaluation.evaluate import evaluate_lines
from digitcli.inference.checkpoint import Header, read_checkpoint, read_header, write_checkpoint
from digitcli.synthesis.line_folders import is_line_folder, lines_to_evaluate, read_lines, write_lines
from digitcli.synthesis.lines import Line, LineSynthesizer
from digitcli.synthesis.scenes import SceneComposer
from digitcli.synthesis.strokes import load_writers, split_writers
from digitcli.training import line_task
from digitcli.training.configuration import TrainConfig
from digitcli.training.line_task import (
    POOL_BATCHES,
    ComposedLines,
    LineBatch,
    StoredLines,
    StoredPools,
    as_batch,
    line_loss,
)
from digitcli.training.setup import prepare
from digitcli.training.synthetic_lines import compose, compose_ink_of_strips
from digitcli.training.trainer import resume, train

RECIPE = {"epochs": 2, "batch_size": 8, "dtype": "float32"}


def test_a_folder_contains_the_lines_that_were_written(line_folder: Path, digits: Digits) -> None:
    assert is_line_folder(line_folder) and not is_line_folder(line_folder.parent)
    lines = read_lines(line_folder)
    assert len(lines) == 60

    writers = split_writers(load_writers(), "train")
    synthesizer = LineSynthesizer(split(load_mnist()).train, writers)
    for number in (0, 7, 59):
        line = synthesizer.synthesize_line(np.random.default_rng([3, number]))
        assert np.array_equal(lines[number].image, line.image) and lines[number].text == line.text
        np.testing.assert_allclose(lines[number].boxes, line.boxes, atol=0.02)


def test_a_damaged_folder_is_an_input_error(line_folder: Path, tmp_path: Path) -> None:
    labels = (line_folder / "labels.csv").read_text().splitlines()
    damages = {
        "00003.png": [None, b"no picture"],
        "labels.csv": ["\n".join([*labels[:-1], "00059.png,1,11111111111\n"]).encode()],
    }
    for file, contents in damages.items():
        for content in contents:
            copy = Path(shutil.copytree(line_folder, tmp_path / "copy", dirs_exist_ok=True))
            (copy / file).unlink() if content is None else (copy / file).write_bytes(content)
            with pytest.raises(InputError, match="digitcli synthesize|cannot be read|is no line"):
                read_lines(copy)
    with pytest.raises(UsageError, match="holds no lines"):
        lines_to_evaluate(str(line_folder.parent), None)


def test_a_start_model_that_reads_other_characters_is_refused(line_folder: Path, tmp_path: Path) -> None:
    network = create_model("reader", dropout=0.1, alphabet="0123456789.")
    header = Header(architecture="reader", arguments={"dropout": 0.1}, task="line", alphabet="0123456789.")
    write_checkpoint(tmp_path / "start.safetensors", header, network.state_dict())
    start = str(tmp_path / "start.safetensors")
    config = TrainConfig(arch="reader", data=str(line_folder), recipe=RECIPE, device="cpu", start=start)
    with pytest.raises(UsageError, match=r"reads the characters 0123456789\., but"):
        train(config, out=tmp_path / "run")


def test_training_on_a_folder_makes_a_model_and_resumes_bit_for_bit(
    line_folder: Path, tmp_path: Path
) -> None:
    config = TrainConfig(arch="reader", data=str(line_folder), recipe=RECIPE, device="cpu")
    whole = train(config, out=tmp_path / "whole")
    assert whole.checkpoint is not None
    header = read_header(Path(whole.checkpoint))
    assert (header.task, header.alphabet) == ("line", "0123456789.,-=/")
    assert header.dataset["train"] + header.dataset["validation"] + header.dataset["test"] == 60
    steps = iter([None] * 4 + [2] * 100)
    with pytest.raises(Interrupted):
        train(config, out=tmp_path / "parts", stop_signal=lambda: next(steps))
    parts = resume(tmp_path / "parts", {})
    assert parts.checkpoint is not None
    _, ours = read_checkpoint(Path(whole.checkpoint))
    _, theirs = read_checkpoint(Path(parts.checkpoint))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    test_lines, name = lines_to_evaluate(str(line_folder), header.dataset["digest"])
    result = evaluate_lines(whole.checkpoint, test_lines, data="lines", split=name, device="cpu")
    assert (result.n, result.split) == (header.dataset["test"], "test")  # the others it was trained on
    assert result.exact_match == whole.test_accuracy
    assert whole.misread is not None and len(whole.misread) == round((1 - result.exact_match) * result.n)
    assert len(lines_to_evaluate(str(line_folder), "another digest")[0]) == 60


def test_the_loss_falls_on_a_few_lines(digits: Digits) -> None:
    torch.manual_seed(0)
    network = create_model("reader", dropout=0.0)
    batch = as_batch(compose(LineSynthesizer(digits), np.random.default_rng(4), 3), np.random.default_rng(5))
    optimizer = torch.optim.AdamW(network.parameters(), 3e-3)
    losses = []
    for _ in range(25):
        loss = line_loss(network, batch, torch.device("cpu"), guidance=1.0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.4 * losses[0]


def test_only_a_network_without_trained_weights_is_guided(
    line_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    guidances: list[float] = []

    def spy(
        network: nn.Module, batch: LineBatch, device: torch.device, guidance: float, alphabet: str
    ) -> Tensor:
        guidances.append(guidance)
        return torch.zeros(())

    monkeypatch.setattr("digitcli.training.line_task.line_loss", spy)
    for start in (None, "reader"):
        config = TrainConfig(arch="reader", data=str(line_folder), recipe=RECIPE, device="cpu", start=start)
        setup, _ = prepare(config)
        for step, progress in enumerate((0.0, 0.1, 0.4, 1.0)):
            setup.loss(0, step, progress)
    assert guidances == pytest.approx([1.0, 0.75, 0.0, 0.0, *[0.0] * 4])


def test_a_batch_of_empty_lines_has_a_finite_loss(digits: Digits) -> None:
    empty = [line for line in compose(LineSynthesizer(digits), np.random.default_rng(0), 60) if not line.text]
    batch = as_batch(empty[:2], np.random.default_rng(0))
    assert batch.characters.dtype == np.int64 and not batch.boxed.any()
    loss = line_loss(create_model("reader"), batch, torch.device("cpu"), guidance=0.0)
    assert loss.isfinite()


def test_pools_of_stored_lines_contain_every_line_once_an_epoch(line_folder: Path) -> None:
    lines = read_lines(line_folder)
    pools = StoredPools(lines, batch_size=3, seed=0)
    texts = [batch.lengths.tolist() for number in range(5) for batch in pools[number]]
    epochs = np.array(texts).reshape(-1)
    assert len(epochs) == 5 * POOL_BATCHES * 3 == 32 * len(lines)  # 1,920 lines: 32 epochs of 60
    assert sorted(epochs.tolist()) == sorted(32 * [len(line.text) for line in lines])


def test_a_pool_depends_on_the_seed_and_its_number(digits: Digits, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line_task, "POOL_BATCHES", 4)

    def first(seed: int, number: int) -> np.ndarray:
        return ComposedLines(Dataset("d", digits), seed).pools(2)[number][0].images

    image = first(0, 1)
    assert np.array_equal(image, first(0, 1))
    assert not np.array_equal(image, first(0, 2)) and not np.array_equal(image, first(1, 1))


def test_some_writers_are_held_out(digits: Digits) -> None:
    lines = ComposedLines(Dataset("d", digits), 0)
    training, held_out = (lines.composer(part).lines._writers for part in ("train", "validation"))
    assert (len(training), len(held_out)) == (147, 8)
    assert not {id(writer) for writer in training} & {id(writer) for writer in held_out}


def test_half_of_the_lines_of_a_pool_are_the_ink_of_strips(
    digits: Digits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(line_task, "POOL_BATCHES", 4)
    counts: list[int] = []
    composed = compose_ink_of_strips

    def counting(composer: SceneComposer, random: np.random.Generator, count: int) -> list[Line]:
        counts.append(count)
        return composed(composer, random, count)

    monkeypatch.setattr(line_task, "compose_ink_of_strips", counting)
    batches = ComposedLines(Dataset("d", digits), 0).pools(6)[0]
    assert counts == [12] and sum(len(batch.lengths) for batch in batches) == 24


def test_a_batch_contains_the_columns_and_boxes_of_its_characters(digits: Digits) -> None:
    lines = compose(LineSynthesizer(digits), np.random.default_rng(1), 12)
    batch = as_batch(lines, np.random.default_rng(2))
    columns = batch.images.shape[-1] // 4
    assert batch.images.shape == (12, 1, 40, 4 * columns) and batch.nearest.shape == (12, columns)
    for row, line in enumerate(lines):
        marked = batch.nearest[row][batch.nearest[row] < 15]
        assert len(marked) <= len(line.text) and (len(marked) > 0) == bool(line.text)
        boxed = batch.boxes[row][batch.boxed[row]]
        assert (boxed[:, 3] >= boxed[:, 2]).all()  # the foot lies below the top


def test_too_few_lines_are_an_input_error(tmp_path: Path) -> None:
    write_lines(tmp_path / "few", count=3, seed=0)
    with pytest.raises(InputError, match="too few"):
        StoredLines(tmp_path / "few", 0)


def test_a_line_whose_boxes_are_not_known_has_its_text_only() -> None:
    line = Line(np.zeros((40, 64), np.uint8), "12-", np.zeros((0, 4), np.float32))
    batch = as_batch([line], np.random.default_rng(0))
    assert batch.lengths.tolist() == [3] and len(batch.characters) == 3
    assert not batch.boxed.any() and not batch.boxes.any()


def test_each_column_has_the_box_of_the_nearest_character(digits: Digits) -> None:
    image = np.zeros((40, 40), np.uint8)
    corners = np.array([[18, 1, 26, 39], [26, 3, 34, 39]], np.float32)  # middles at columns 5 and 7
    batch = as_batch([Line(image, "1,", corners)], np.random.default_rng(0))
    tops = batch.boxes[0, 3:10, 2] * 20
    assert tops.round().tolist() == [1, 1, 1, 1, 3, 3, 3]
