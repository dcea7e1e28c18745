from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from digitcli import atomic_write
from digitcli.atomic_write import (
    check_writable,
    check_writable_folder,
    write_folder,
    write_whole,
    writing_whole,
)
from digitcli.errors import OutputError


def test_replaces_a_file_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    write_whole(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_new_file_has_the_usual_permissions(tmp_path: Path) -> None:
    path, ordinary = tmp_path / "file", tmp_path / "ordinary"
    write_whole(path, b"")
    ordinary.touch()
    assert path.stat().st_mode == ordinary.stat().st_mode


def test_a_file_that_is_replaced_keeps_its_permissions(tmp_path: Path) -> None:
    path, other = tmp_path / "file", tmp_path / "other"
    path.touch(mode=0o600)
    write_whole(path, b"new")
    write_whole(other, b"", like=path)
    assert path.stat().st_mode & 0o777 == other.stat().st_mode & 0o777 == 0o600


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_bytes(b"old")
    link.symlink_to(target)
    write_whole(link, b"new")
    assert link.is_symlink()
    assert target.read_bytes() == b"new"


@pytest.mark.parametrize("call", ["fsync", "fdopen", "replace"])
def test_the_old_file_is_unchanged_whatever_call_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def fail(*arguments: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path if call == "replace" else os, call, fail)
    with pytest.raises(OutputError, match="No space left") as caught:
        write_whole(path, b"new")
    monkeypatch.undo()
    assert caught.value.exit_code == 7
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_folder_is_an_output_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="No such file"):
        write_whole(tmp_path / "none" / "file", b"")


def test_a_file_written_in_parts_appears_only_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with writing_whole(path) as write:
        write(b"one ")
        write(b"two")
        assert not path.exists()
    assert path.read_bytes() == b"one two"


def test_an_error_of_the_caller_passes_through_and_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(BrokenPipeError), writing_whole(tmp_path / "file") as write:
        write(b"half")
        raise BrokenPipeError
    assert list(tmp_path.iterdir()) == []


def test_checking_a_new_file_does_not_create_it(tmp_path: Path) -> None:
    check_writable(tmp_path / "new.csv", force=False)
    assert list(tmp_path.iterdir()) == []


def test_an_existing_file_needs_force(tmp_path: Path) -> None:
    path = tmp_path / "old.csv"
    path.write_bytes(b"old")
    with pytest.raises(OutputError, match="exists already") as caught:
        check_writable(path, force=False)
    assert "--force" in caught.value.remedy
    check_writable(path, force=True)
    assert path.read_bytes() == b"old"


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("name", ["folder", "none/such.csv", "file/below.csv", "nul\0byte", "x" * 300])
def test_a_path_that_can_never_be_written_is_an_output_error(tmp_path: Path, name: str, force: bool) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(OutputError) as caught:
        check_writable(tmp_path / name, force)
    assert caught.value.exit_code == 7 and caught.value.remedy


def test_a_folder_without_write_permission_is_an_output_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**options: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    with pytest.raises(OutputError, match="Permission denied"):
        check_writable(tmp_path / "new.csv", force=True)


def test_a_link_that_leads_back_to_itself_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "loop.json").symlink_to("loop.json")
    with pytest.raises(OutputError, match="cannot be written"):
        check_writable(tmp_path / "loop.json", force=True)
    (tmp_path / "dangling.json").symlink_to("nothing.json")
    check_writable(tmp_path / "dangling.json", force=False)


def test_the_longest_possible_name_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / ("é" * 125 + ".json")
    check_writable(path, force=False)
    write_whole(path, b"new")
    assert path.read_bytes() == b"new"


def test_a_folder_is_replaced_whole_and_nothing_else_is_left(tmp_path: Path) -> None:
    folder, ordinary = tmp_path / "folder", tmp_path / "ordinary"
    ordinary.mkdir()
    write_folder(folder, {"a": b"1", "b": b"2"})
    assert folder.stat().st_mode == ordinary.stat().st_mode
    write_folder(folder, {"a": b"3"})
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {"a": b"3"}
    assert sorted(tmp_path.iterdir()) == [folder, ordinary]


@pytest.mark.parametrize("step", ["write_whole", "_sync_folder"])
def test_a_folder_that_cannot_be_written_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    folder = tmp_path / "folder"
    write_folder(folder, {"a": b"1"})

    def refuse(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(atomic_write, step, refuse)
    with pytest.raises(OutputError, match="No space left"):
        write_folder(folder, {"a": b"2"})
    assert list(tmp_path.iterdir()) == [folder] and (folder / "a").exists()


@pytest.mark.parametrize("name", ["file", "none/such", "file/below", "nul\0byte", "x" * 300, "loop", "other"])
def test_a_path_that_can_never_be_a_folder_is_an_output_error(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").touch()
    with pytest.raises(OutputError) as caught:
        check_writable_folder(tmp_path / name, ["model.c"], force=True)
    assert caught.value.exit_code == 7 and caught.value.remedy


def test_a_missing_parent_of_a_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"the folder \S*none does not exist\.$") as caught:
        check_writable_folder(tmp_path / "none" / "such", ["model.c"], force=False)
    assert "space" not in caught.value.remedy


def test_an_existing_folder_needs_force(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    check_writable_folder(folder, ["model.c"], force=False)
    (folder / "model.c").touch()
    with pytest.raises(OutputError, match="exists already"):
        check_writable_folder(folder, ["model.c"], force=False)
    check_writable_folder(folder, ["model.c"], force=True)
