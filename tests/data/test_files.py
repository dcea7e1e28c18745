"""Folders are walked as a person would list them, and no link leads around for ever."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from digitcli.data.files import is_picture, natural_order, walk_pictures


def made(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def below(folder: Path) -> list[str]:
    found = list(walk_pictures(folder))
    return [str(path.relative_to(folder)) for path in found if isinstance(path, Path)]


def test_pictures_come_in_natural_order_folders_among_them(tmp_path: Path) -> None:
    made(tmp_path, "10.png", "9.png", "page 2/1.png", "page 10/1.png", "Z.png", "a.png")
    assert below(tmp_path) == ["9.png", "10.png", "Z.png", "a.png", "page 2/1.png", "page 10/1.png"]


def test_other_files_and_hidden_ones_are_left_out(tmp_path: Path) -> None:
    made(tmp_path, "a.PNG", "b.Jpeg", ".hidden.png", ".git/c.png", "png", "d.png.txt", "e.svg")
    assert below(tmp_path) == ["a.PNG", "b.Jpeg"]


@pytest.mark.parametrize("name", ["x.bmp", "x.GIF", "x.jpeg", "x.jpg", "x.pgm", "x.ppm", "x.tif", "x.webp"])
def test_suffixes_of_pictures(name: str) -> None:
    assert is_picture(name)
    assert not is_picture(f"{name}.gz") and not is_picture(Path(name).suffix)


def test_a_folder_named_like_a_picture_is_a_folder(tmp_path: Path) -> None:
    made(tmp_path, "scan.png/1.png")
    assert below(tmp_path) == ["scan.png/1.png"]


def test_links_to_files_and_folders_are_followed(tmp_path: Path) -> None:
    made(tmp_path, "real/1.png", "walked/2.png")
    (tmp_path / "walked" / "there").symlink_to(tmp_path / "real")
    (tmp_path / "walked" / "one.png").symlink_to(tmp_path / "real" / "1.png")
    assert below(tmp_path / "walked") == ["2.png", "one.png", "there/1.png"]


def test_no_folder_is_entered_twice(tmp_path: Path) -> None:
    made(tmp_path, "a/1.png", "b/2.png")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "b" / "again").symlink_to(tmp_path / "a")
    assert below(tmp_path) == ["a/1.png", "b/2.png"]


def test_a_link_that_leads_back_to_itself_is_a_file_to_be_told_of(tmp_path: Path) -> None:
    (tmp_path / "loop.png").symlink_to("loop.png")
    (tmp_path / "gone.png").symlink_to("nothing")
    made(tmp_path, "1.png")
    assert below(tmp_path) == ["1.png", "gone.png", "loop.png"]


def test_a_folder_that_cannot_be_listed_gives_its_error_and_loses_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(tmp_path, "a/1.png", "b/2.png", "c/3.png")
    scandir = os.scandir

    def refuse(path: Path) -> object:
        if Path(path).name == "b":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    first, error, last = walk_pictures(tmp_path)
    assert (first, last) == (tmp_path / "a/1.png", tmp_path / "c/3.png")
    assert isinstance(error, PermissionError) and error.filename == str(tmp_path / "b")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may list every folder")
def test_a_locked_folder_gives_its_error(tmp_path: Path) -> None:
    made(tmp_path, "locked/1.png")
    (tmp_path / "locked").chmod(0)
    try:
        (error,) = walk_pictures(tmp_path)
    finally:
        (tmp_path / "locked").chmod(0o700)
    assert isinstance(error, PermissionError) and Path(error.filename) == tmp_path / "locked"


def test_a_missing_folder_gives_its_error(tmp_path: Path) -> None:
    (error,) = walk_pictures(tmp_path / "none")
    assert isinstance(error, FileNotFoundError)


def test_folders_are_listed_one_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made(tmp_path, "a/1.png", "b/2.png")
    listed: list[str] = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: listed.append(Path(path).name) or scandir(path))
    found = walk_pictures(tmp_path)
    next(found)
    assert listed == [tmp_path.name, "a"]


def test_numbers_in_names_are_compared_as_numbers() -> None:
    names = ["scan10.png", "scan2.png", "scan.png", "2", "10", "scan2a", "①", "scan٣"]
    ordered = sorted(names, key=natural_order)
    assert ordered.index("2") < ordered.index("10")
    assert ordered.index("scan2.png") < ordered.index("scan٣") < ordered.index("scan10.png")
    assert natural_order("1") != natural_order("01")
