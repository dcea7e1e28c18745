"""Examples are stored in a folder and used again; a seed gives the same bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from digitcli.errors import InputError, UsageError
from digitcli.synthesis.scenes import SceneComposer
from digitcli.synthesis.strips import LabelledStrip, pack_strips, unpack_strips
from digitcli.training import pools
from digitcli.training.page_task import pack_squares, unpack_squares
from digitcli.training.pools import POOL_FILE, Storage, StoredExamples, write_pool


def compose(composer: SceneComposer, random: np.random.Generator, count: int) -> list[LabelledStrip]:
    """Return strips whose text is their width; every third is empty."""
    strips = []
    for number in range(count):
        width = int(random.integers(8, 60))
        image = random.integers(0, 256, (3, 40, width), dtype=np.uint8)
        text = str(width) if number % 3 else ""
        boxes, prints = random.random((len(text), 4)), random.choice([0, 1, np.nan], len(text))
        strips.append(LabelledStrip(image, text, boxes.astype(np.float32), prints.astype(np.float32)))
    return strips


STRIPS = Storage(compose, pack_strips, unpack_strips)


@pytest.fixture(autouse=True)
def small_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "STORED_EXAMPLES", 4)


def test_what_is_stored_is_what_was_composed(tmp_path: Path) -> None:
    summary = write_pool(tmp_path / "pool", "reader", STRIPS, 10, seed=3)
    assert summary.count == 10 and [file.name for file in sorted((tmp_path / "pool").glob("*.npz"))] == [
        "00000.npz", "00001.npz", "00002.npz",
    ]  # fmt: skip
    stored = StoredExamples(tmp_path / "pool", "reader", unpack_strips)
    composed = [
        strip
        for number, size in enumerate((4, 4, 2))
        for strip in compose(None, np.random.default_rng([3, number]), size)  # type: ignore[arg-type]
    ]
    assert stored.digest == summary.digest
    for start, count in ((0, 10), (3, 6), (8, 13), (25, 2)):
        taken = stored.take(start, count)
        expected = [composed[(start + number) % 10] for number in range(count)]
        assert [strip.text for strip in taken] == [strip.text for strip in expected]
        for ours, theirs in zip(taken, expected, strict=True):
            assert np.array_equal(ours.image, theirs.image) and np.array_equal(ours.boxes, theirs.boxes)
            np.testing.assert_array_equal(ours.prints, theirs.prints)
    squares = [(np.full((4, 8, 8), 7, np.uint8), np.full((9, 2, 2), 0.5, np.float32))] * 2
    for (inputs, maps), (old_inputs, old_maps) in zip(
        unpack_squares(pack_squares(squares)), squares, strict=True
    ):
        assert np.array_equal(inputs, old_inputs) and np.array_equal(maps, old_maps)


def test_equal_seeds_give_equal_bytes_and_a_begun_folder_is_finished(tmp_path: Path) -> None:
    first = write_pool(tmp_path / "a", "reader", STRIPS, 9, seed=0)
    begun = tmp_path / "b"
    begun.mkdir()
    content = (tmp_path / "a" / "00001.npz").read_bytes()
    (begun / "00001.npz").write_bytes(content)
    assert write_pool(begun, "reader", STRIPS, 9, seed=0).digest == first.digest
    assert write_pool(tmp_path / "c", "reader", STRIPS, 9, seed=1).digest != first.digest
    with pytest.raises(UsageError, match="finished pool"):
        write_pool(begun, "reader", STRIPS, 9, seed=0)


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no finished pool"):
        StoredExamples(tmp_path, "finder", unpack_squares)
    write_pool(tmp_path / "pool", "reader", STRIPS, 5, seed=0)
    with pytest.raises(InputError, match="examples for 'reader', and not for 'finder'"):
        StoredExamples(tmp_path / "pool", "finder", unpack_squares)
    (tmp_path / "pool" / "00001.npz").write_bytes(b"PK damaged")
    with pytest.raises(InputError, match="00001.npz cannot be read"):
        StoredExamples(tmp_path / "pool", "reader", unpack_strips).take(0, 5)
    (tmp_path / "pool" / POOL_FILE).write_text("{}")
    with pytest.raises(InputError, match="holds no finished pool"):
        StoredExamples(tmp_path / "pool", "reader", unpack_strips)
