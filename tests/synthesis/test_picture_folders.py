"""Pictures of a folder match their labels and depend only on the seed; an unfinished folder has no labels."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import cv2
import pytest

from digitcli.atomic_write import check_new_folder
from digitcli.errors import OutputError
from digitcli.events import ThingsDone
from digitcli.synthesis import picture_folders
from digitcli.synthesis.picture_folders import write_pictures


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "labels.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_pictures_labels_and_boxes_match(tmp_path: Path) -> None:
    events: list[ThingsDone] = []
    written = write_pictures(tmp_path / "a" / "b", 12, 3, on_event=events.append)
    folder, rows = tmp_path / "a" / "b", rows_of(tmp_path / "a" / "b")
    assert [row["file"] for row in rows] == [f"{number:05}.png" for number in range(12)]
    boxes = json.loads((folder / "boxes.json").read_text())
    for row in rows:
        assert row["label"] == "".join(filter(str.isdecimal, row["raw"]))
        assert "".join(box[0] for box in boxes[row["file"]]) == row["raw"].replace(" ", "")
        image = cv2.imread(str(folder / row["file"]), cv2.IMREAD_UNCHANGED)
        assert image is not None and image.ndim == 2
        assert all(x + width <= image.shape[1] + 0.02 for _, x, _, width, _ in boxes[row["file"]])
    assert len(list(folder.iterdir())) == 14
    assert (written.count, written.digits) == (12, sum(len(row["label"]) for row in rows))
    assert [event.done for event in events] == list(range(1, 13)) and events[0].n == 12


def test_a_picture_depends_only_on_the_seed_and_its_number(tmp_path: Path) -> None:
    for name, count, seed in (("few", 3, 1), ("more", 5, 1), ("other", 3, 2)):
        write_pictures(tmp_path / name, count, seed)
    few, more, other = ((tmp_path / name / "00002.png").read_bytes() for name in ("few", "more", "other"))
    assert few == more != other
    (tmp_path / "few" / "letter.txt").write_text("dear")
    with pytest.raises(OutputError, match="not empty"):
        write_pictures(tmp_path / "few", 1, 0)
    assert len(rows_of(tmp_path / "few")) == 3
    write_pictures(tmp_path / "few", 1, 0, force=True)
    assert (tmp_path / "few" / "letter.txt").read_text() == "dear" and len(rows_of(tmp_path / "few")) == 1
    (tmp_path / "link").symlink_to(tmp_path / "link")
    for name in ("few/letter.txt", "few/letter.txt/below", "link", "x" * 300):
        with pytest.raises(OutputError):
            check_new_folder(tmp_path / name, force=True)


def test_an_unfinished_folder_has_no_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_pictures(tmp_path / "a", 2, 0)
    whole = picture_folders.write_whole

    def full_disk(path: Path, content: bytes) -> None:
        if path.name == "00001.png":
            raise OutputError("The disk is full.")
        whole(path, content)

    monkeypatch.setattr(picture_folders, "write_whole", full_disk)
    with pytest.raises(OutputError):
        write_pictures(tmp_path / "a", 2, 5, force=True)
    assert not (tmp_path / "a" / "labels.csv").exists()
