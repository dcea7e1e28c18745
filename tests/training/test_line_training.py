"""A line network is trained like any other: from composed lines or a folder, and resumed bit for bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from digitcli.architectures.registry import create_model
from digitcli.data.dataset import Dataset, Digits
from digitcli.errors import InputError, Interrupted, UsageError
from digitcli.evaluation.evaluate_lines import evaluate_lines
from digitcli.inference.checkpoint import read_checkpoint, read_header
from digitcli.synthesis.line_folders import is_line_folder, read_lines, write_lines
from digitcli.synthesis.lines import Line, LineSynthesizer
from digitcli.training.configuration import TrainConfig
from digitcli.training.line_sources import (
    POOL_BATCHES,
    ComposedLines,
    StoredLines,
    StoredPools,
    as_batch,
    compose,
)
from digitcli.training.line_task import LineMaterial, line_loss
from digitcli.training.trainer import resume, train
from tests.support.strokes import unipen

RECIPE = {"epochs": 2, "batch_size": 8, "dtype": "float32"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("lines") / "lines"
    write_lines(path, count=60, seed=3)
    return path


def test_a_folder_of_lines_gives_back_what_was_written(folder: Path, digits: Digits) -> None:
    assert is_line_folder(folder) and not is_line_folder(folder.parent)
    lines = read_lines(folder)
    assert len(lines) == 60
    from digitcli.data.dataset import split
    from digitcli.data.mnist import load_mnist

    synthesizer = LineSynthesizer(split(load_mnist()).train)
    for number in (0, 7, 59):
        line = synthesizer.synthesize_line(np.random.default_rng([3, number]))
        assert np.array_equal(lines[number].image, line.image) and lines[number].text == line.text
        np.testing.assert_allclose(lines[number].boxes, line.boxes, atol=0.02)


@pytest.mark.parametrize("damage", ["missing", "other", "label"])
def test_a_damaged_folder_is_an_input_error(folder: Path, tmp_path: Path, damage: str) -> None:
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    if damage == "missing":
        (copy / "00003.png").unlink()
    elif damage == "other":
        (copy / "00003.png").write_bytes(b"no picture")
    else:
        text = (copy / "labels.csv").read_text().splitlines()
        (copy / "labels.csv").write_text("\n".join([*text[:-1], "00059.png,1,11111111111"]) + "\n")
    with pytest.raises(InputError, match="digitcli synthesize|cannot be read|is no line"):
        read_lines(copy)


def test_training_on_a_folder_makes_a_model_and_goes_on_bit_for_bit(folder: Path, tmp_path: Path) -> None:
    config = TrainConfig(arch="reader", data=str(folder), recipe=RECIPE, device="cpu")
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
    result = evaluate_lines(whole.checkpoint, folder, device="cpu")
    assert (result.n, result.split) == (header.dataset["test"], "test")  # the others it was trained on
    assert result.exact_match == whole.test_accuracy
    assert whole.misread is not None and len(whole.misread) == round((1 - result.exact_match) * result.n)
    assert evaluate_lines("reader", folder, device="cpu").n == 60


def test_pools_of_a_folder_show_every_line_once_an_epoch(folder: Path) -> None:
    lines = read_lines(folder)
    pools = StoredPools(lines, batch_size=3, seed=0)
    texts = [batch.lengths.tolist() for number in range(5) for batch in pools[number]]
    epochs = np.array(texts).reshape(-1)  # 240 lines: four epochs of 60
    assert len(epochs) == 5 * POOL_BATCHES * 3
    assert sorted(epochs.tolist()) == sorted(4 * [len(line.text) for line in lines])


def test_a_pool_follows_from_seed_and_number(digits: Digits) -> None:
    def first(seed: int, number: int) -> np.ndarray:
        return ComposedLines(Dataset("d", digits), None, seed).pools(2)[number][0].images

    assert np.array_equal(first(0, 1), first(0, 1))
    assert not np.array_equal(first(0, 1), first(0, 2)) and not np.array_equal(first(0, 1), first(1, 1))


def test_writers_are_held_out(tmp_path: Path, digits: Digits) -> None:
    strokes = tmp_path / "strokes.tra"
    strokes.write_text("\n" + "".join(unipen(digit, writer) for writer in range(20) for digit in range(10)))
    lines = ComposedLines(Dataset("d", digits), str(strokes), 0)
    assert (len(lines._writers), len(lines._held_out)) == (18, 2)
    assert lines.digest != ComposedLines(Dataset("d", digits), None, 0).digest


def test_a_batch_says_where_its_characters_are(digits: Digits) -> None:
    lines = compose(LineSynthesizer(digits), np.random.default_rng(1), 12)
    batch = as_batch(lines, np.random.default_rng(2))
    columns = batch.images.shape[-1] // 4
    assert batch.images.shape == (12, 1, 40, 4 * columns) and batch.nearest.shape == (12, columns)
    for row, line in enumerate(lines):
        marked = batch.nearest[row][batch.nearest[row] < 15]
        assert len(marked) <= len(line.text) and (len(marked) > 0) == bool(line.text)
        boxed = batch.boxes[row][batch.boxed[row]]
        assert (boxed[:, 3] >= boxed[:, 2]).all()  # the foot lies below the top


def test_the_loss_falls_on_a_few_lines(digits: Digits) -> None:
    torch.manual_seed(0)
    network = create_model("reader", dropout=0.0)
    batch = as_batch(compose(LineSynthesizer(digits), np.random.default_rng(4), 6), np.random.default_rng(5))
    optimizer = torch.optim.AdamW(network.parameters(), 3e-3)
    losses = []
    for _ in range(40):
        loss = line_loss(network, batch, torch.device("cpu"), progress=0.0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.4 * losses[0]


def test_too_few_lines_are_told(tmp_path: Path) -> None:
    write_lines(tmp_path / "few", count=3, seed=0)
    with pytest.raises(InputError, match="too few"):
        StoredLines(tmp_path / "few", 0)


def test_a_batch_with_nothing_to_read_is_learnt(digits: Digits) -> None:
    empty = [line for line in compose(LineSynthesizer(digits), np.random.default_rng(0), 60) if not line.text]
    batch = as_batch(empty[:2], np.random.default_rng(0))
    assert batch.characters.dtype == np.int64 and not batch.boxed.any()
    loss = line_loss(create_model("reader"), batch, torch.device("cpu"), progress=1.0)
    assert loss.isfinite()


def test_boxes_belong_to_the_nearest_character(digits: Digits) -> None:
    image = np.zeros((40, 40), np.uint8)
    corners = np.array([[18, 1, 26, 39], [26, 3, 34, 39]], np.float32)  # middles at columns 5 and 7
    batch = as_batch([Line(image, "1,", corners)], np.random.default_rng(0))
    tops = batch.boxes[0, 3:10, 2] * 20
    assert tops.round().tolist() == [1, 1, 1, 1, 3, 3, 3]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"arch": "cnn", "strokes": "x.tra"}, "reads digits, not lines"),
        ({"arch": "cnn", "recipe": {"loss": "ctc"}}, "not for digits"),
        ({"arch": "reader", "recipe": {"loss": "cross_entropy"}}, "not for lines"),
        ({"arch": "reader", "recipe": {"augment": True}}, "all their variety"),
    ],
)
def test_what_does_not_go_together_is_told(config: dict[str, object], message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        train(TrainConfig(**config), out=tmp_path / "run")  # type: ignore[arg-type]


def test_other_data_hold_no_lines(folder: Path) -> None:
    with pytest.raises(UsageError, match="holds no lines"):
        evaluate_lines("reader", folder.parent)


def test_material_of_lines_has_no_hashes(folder: Path) -> None:
    from digitcli.architectures.registry import resolve_recipe

    material = LineMaterial(StoredLines(folder, 0), resolve_recipe("reader"), torch.device("cpu"), workers=0)
    assert material.hashes() is None and material.steps == 1 and material.unit == "line"
