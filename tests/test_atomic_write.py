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


def test_a_file_is_replaced_with_its_permissions_and_nothing_else_is_left(tmp_path: Path) -> None:
    path, ordinary, other = tmp_path / "file", tmp_path / "ordinary", tmp_path / "other"
    write_whole(path, b"old")
    ordinary.touch()
    assert path.stat().st_mode == ordinary.stat().st_mode
    path.chmod(0o600)
    write_whole(path, b"new")
    assert path.read_bytes() == b"new"
    write_whole(other, b"", like=path)
    assert path.stat().st_mode & 0o777 == other.stat().st_mode & 0o777 == 0o600
    assert sorted(tmp_path.iterdir()) == [path, ordinary, other]


def test_a_link_stays_a_link_and_one_that_leads_back_to_itself_is_an_error(tmp_path: Path) -> None:
    target, link, loop = tmp_path / "target", tmp_path / "link", tmp_path / "loop"
    link.symlink_to(target)
    check_writable(link, force=False)  # its target is missing
    write_whole(link, b"new")
    assert link.is_symlink() and target.read_bytes() == b"new"
    loop.symlink_to(loop)
    with pytest.raises(OutputError, match="cannot be written"):
        check_writable(loop, force=True)


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


def test_a_new_file_is_not_created_by_its_check_and_an_existing_one_needs_force(tmp_path: Path) -> None:
    path = tmp_path / ("é" * 125 + ".json")  # the longest possible name
    check_writable(path, force=False)
    assert list(tmp_path.iterdir()) == []
    write_whole(path, b"old")
    with pytest.raises(OutputError, match="exists already") as caught:
        check_writable(path, force=False)
    assert "--force" in caught.value.remedy
    check_writable(path, force=True)
    assert path.read_bytes() == b"old"


def test_a_path_that_can_never_be_written_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    for name in ("folder", "none/such.csv", "file/below.csv", "nul\0byte", "x" * 300):
        for force in (False, True):
            with pytest.raises(OutputError) as caught:
                check_writable(tmp_path / name, force)
            assert caught.value.exit_code == 7 and caught.value.remedy, name
    with pytest.raises(OutputError, match="No such file"):
        write_whole(tmp_path / "none" / "file", b"")


def test_a_folder_without_write_permission_is_an_output_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**options: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    with pytest.raises(OutputError, match="Permission denied"):
        check_writable(tmp_path / "new.csv", force=True)


def test_a_folder_is_replaced_whole_and_nothing_else_is_left(tmp_path: Path) -> None:
    folder, ordinary = tmp_path / "folder", tmp_path / "ordinary"
    ordinary.mkdir()
    write_folder(folder, {"a": b"1", "b": b"2"})
    assert folder.stat().st_mode == ordinary.stat().st_mode
    write_folder(folder, {"a": b"3"})
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {"a": b"3"}
    assert sorted(tmp_path.iterdir()) == [folder, ordinary]


def test_a_folder_that_cannot_be_written_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So does Ctrl-C, between the two steps by which a folder takes the place of another, too."""
    folder, rename = tmp_path / "folder", Path.rename
    write_folder(folder, {"a": b"1"})

    def refuse(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def interrupt(path: Path, target: Path) -> Path:
        if path.name == "new":
            raise KeyboardInterrupt
        return rename(path, target)

    for place, name, function, error in (
        (atomic_write, "write_whole", refuse, OutputError),
        (atomic_write, "_sync_folder", refuse, OutputError),
        (Path, "rename", interrupt, KeyboardInterrupt),
    ):
        with monkeypatch.context() as patch, pytest.raises(error):
            patch.setattr(place, name, function)
            write_folder(folder, {"a": b"2"})
        assert list(tmp_path.iterdir()) == [folder] and (folder / "a").exists()


def test_a_path_that_can_never_be_a_folder_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").touch()
    for name in ("file", "none/such", "file/below", "nul\0byte", "x" * 300, "loop", "other"):
        with pytest.raises(OutputError) as caught:
            check_writable_folder(tmp_path / name, ["model.c"], force=True)
        assert caught.value.exit_code == 7 and caught.value.remedy, name
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
