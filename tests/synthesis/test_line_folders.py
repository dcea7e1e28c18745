"""A folder of lines contains matching files, and an unfinished folder has no labels."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import cv2
import pytest

from digitcli.errors import OutputError
from digitcli.synthesis import line_folders
from digitcli.synthesis.line_folders import LinesWritten, check_output_folder, write_lines


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "labels.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_pictures_labels_and_boxes_match(tmp_path: Path, strokes_file: Path) -> None:
    events: list[LinesWritten] = []
    written = write_lines(tmp_path / "a" / "b", 12, 3, strokes_file, on_event=events.append)
    folder, rows = tmp_path / "a" / "b", rows_of(tmp_path / "a" / "b")
    assert [row["file"] for row in rows] == [f"{number:05}.png" for number in range(12)]
    boxes = json.loads((folder / "boxes.json").read_text())
    for row in rows:
        assert row["label"] == "".join(filter(str.isdecimal, row["raw"]))
        assert "".join(box[0] for box in boxes[row["file"]]) == row["raw"]
        image = cv2.imread(str(folder / row["file"]), cv2.IMREAD_UNCHANGED)
        assert image is not None and image.ndim == 2 and image.shape[0] == 40
        assert all(x + width <= image.shape[1] + 0.02 for _, x, _, width, _ in boxes[row["file"]])
    assert len(list(folder.iterdir())) == 14
    assert (written.count, written.digits) == (12, sum(len(row["label"]) for row in rows))
    assert [event.done for event in events] == list(range(1, 13)) and events[0].count == 12


def test_a_line_depends_only_on_the_seed_and_its_number(tmp_path: Path) -> None:
    for name, count, seed in (("few", 3, 1), ("more", 5, 1), ("other", 3, 2)):
        write_lines(tmp_path / name, count, seed)
    few, more, other = ((tmp_path / name / "00002.png").read_bytes() for name in ("few", "more", "other"))
    assert few == more != other


def test_a_folder_that_is_not_empty_is_refused_without_force(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(OutputError, match="not empty"):
        write_lines(tmp_path, 1, 0)
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]
    write_lines(tmp_path, 1, 0, force=True)
    assert (tmp_path / "letter.txt").read_text() == "dear" and len(rows_of(tmp_path)) == 1


def test_a_path_that_is_not_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "link")
    for name in ("file", "file/below", "link", "x" * 300):
        with pytest.raises(OutputError):
            check_output_folder(tmp_path / name, force=True)


def test_an_unfinished_folder_has_no_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_lines(tmp_path / "a", 2, 0)
    whole = line_folders.write_whole

    def full_disk(path: Path, content: bytes) -> None:
        if path.name == "00001.png":
            raise OutputError("The disk is full.")
        whole(path, content)

    monkeypatch.setattr(line_folders, "write_whole", full_disk)
    with pytest.raises(OutputError):
        write_lines(tmp_path / "a", 2, 5, force=True)
    assert not (tmp_path / "a" / "labels.csv").exists()
