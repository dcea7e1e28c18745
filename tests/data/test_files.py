"""Pictures are listed in natural order, and no link leads in circles for ever."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from digitcli.data.files import is_picture, natural_order, walk_pictures


def create_files(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def list_pictures(folder: Path) -> list[str]:
    return [str(path.relative_to(folder)) for path in walk_pictures(folder) if isinstance(path, Path)]


def test_pictures_and_folders_come_in_natural_order(tmp_path: Path) -> None:
    create_files(tmp_path, "10.png", "9.png", "page 2/1.png", "page 10/1.png", "Z.png", "a.png")
    assert list_pictures(tmp_path) == ["9.png", "10.png", "Z.png", "a.png", "page 2/1.png", "page 10/1.png"]


def test_other_files_and_hidden_files_are_skipped(tmp_path: Path) -> None:
    create_files(tmp_path, "a.PNG", "b.Jpeg", ".hidden.png", ".git/c.png", "png", "d.png.txt", "e.svg")
    assert list_pictures(tmp_path) == ["a.PNG", "b.Jpeg"]


def test_pictures_are_recognized_by_their_suffix() -> None:
    for name in ("x.bmp", "x.GIF", "x.jpeg", "x.jpg", "x.pgm", "x.ppm", "x.tif", "x.webp"):
        assert is_picture(name), name
        assert not is_picture(f"{name}.gz") and not is_picture(Path(name).suffix), name


def test_a_folder_named_like_a_picture_is_a_folder(tmp_path: Path) -> None:
    create_files(tmp_path, "scan.png/1.png")
    assert list_pictures(tmp_path) == ["scan.png/1.png"]


def test_links_to_files_and_folders_are_followed(tmp_path: Path) -> None:
    create_files(tmp_path, "real/1.png", "walked/2.png")
    (tmp_path / "walked" / "there").symlink_to(tmp_path / "real")
    (tmp_path / "walked" / "one.png").symlink_to(tmp_path / "real" / "1.png")
    assert list_pictures(tmp_path / "walked") == ["2.png", "one.png", "there/1.png"]


def test_no_folder_is_entered_twice(tmp_path: Path) -> None:
    create_files(tmp_path, "a/1.png", "b/2.png")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "b" / "again").symlink_to(tmp_path / "a")
    assert list_pictures(tmp_path) == ["a/1.png", "b/2.png"]


def test_a_broken_link_is_listed_so_that_it_is_reported(tmp_path: Path) -> None:
    (tmp_path / "loop.png").symlink_to("loop.png")
    (tmp_path / "gone.png").symlink_to("nothing")
    create_files(tmp_path, "1.png")
    assert list_pictures(tmp_path) == ["1.png", "gone.png", "loop.png"]


def test_a_folder_that_cannot_be_listed_yields_its_error_and_the_others_are_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_files(tmp_path, "a/1.png", "b/2.png", "c/3.png")
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
def test_a_folder_without_permission_yields_its_error(tmp_path: Path) -> None:
    create_files(tmp_path, "locked/1.png")
    (tmp_path / "locked").chmod(0)
    try:
        (error,) = walk_pictures(tmp_path)
    finally:
        (tmp_path / "locked").chmod(0o700)
    assert isinstance(error, PermissionError) and Path(error.filename) == tmp_path / "locked"


def test_a_missing_folder_yields_its_error(tmp_path: Path) -> None:
    (error,) = walk_pictures(tmp_path / "none")
    assert isinstance(error, FileNotFoundError)


def test_folders_are_listed_one_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    create_files(tmp_path, "a/1.png", "b/2.png")
    listed: list[str] = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: listed.append(Path(path).name) or scandir(path))
    pictures = walk_pictures(tmp_path)
    next(pictures)
    assert listed == [tmp_path.name, "a"]


def test_numbers_in_names_are_compared_as_numbers() -> None:
    names = ["scan10.png", "scan2.png", "scan.png", "2", "10", "scan2a", "①", "scan٣"]
    ordered = sorted(names, key=natural_order)
    assert ordered.index("2") < ordered.index("10")
    assert ordered.index("scan2.png") < ordered.index("scan٣") < ordered.index("scan10.png")
    assert natural_order("1") != natural_order("01")
