"""Addresses of stores, and the faults of what cannot be read."""

from __future__ import annotations

from pathlib import Path

import pytest
from obstore.store import MemoryStore

from digitcli.data.storage import address_of, open_file, open_folder, read_picture, split_place
from digitcli.errors import InputError, PictureError


def test_addresses_are_told_from_paths() -> None:
    for text, address in (
        ("s3://bucket/a b/c.png", "s3://bucket/a b/c.png"), ("S3:/bucket/x", "s3://bucket/x"),
        ("scans/a.png", None), ("C:/scans", None), ("C:\\scans", None), ("gs://b/k", "gs://b/k"),
        ("file:///a/b.png", "file:///a/b.png"), ("File:/a/b.png", "file:///a/b.png"),
    ):  # fmt: skip
        assert address_of(text) == address
    assert address_of(Path("s3://bucket/out")) == "s3://bucket/out"  # Path drops a slash
    for place, parts in (
        ("s3://bucket/a/b.png", ("s3://bucket/a", "b.png")),
        ("az://container/b.png", ("az://container", "b.png")),
        ("https://example.org/a.png?x=1", ("https://example.org", "a.png?x=1")),
        ("hdfs://host/a/b.png", ("hdfs://host/a", "b.png")),
        ("scans/a.png", ("scans", "a.png")),
    ):  # fmt: skip
        assert split_place(place) == parts


@pytest.mark.parametrize("place", ["store", "memory://store", "s3://bucket"])
def test_a_folder_is_written_listed_and_read(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryStore()
    for name in ("store", "fsspec"):
        monkeypatch.setattr(f"obstore.{name}.from_url", lambda *_, **__: store)
    folder = open_folder(place)
    folder.write("a/b.bin", bytes(range(100)))
    folder.write("c.bin", b"")
    assert sorted(folder.files()) == [("a/b.bin", 100), ("c.bin", 0)]
    assert folder.read("a/b.bin", 10, 5) == bytes(range(10, 15)) and folder.read("c.bin", 0, 0) == b""
    assert folder.size("a/b.bin") == 100
    folder.remove("c.bin")
    folder.remove("c.bin")
    with pytest.raises(FileNotFoundError):
        folder.read("c.bin")
    assert [name for name, _ in folder.files()] == ["a/b.bin"]


def test_a_picture_that_cannot_be_read_has_a_reason(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "a.png").write_bytes(b"7")
    assert read_picture(f"file://{tmp_path}/a.png") == b"7"
    for place, reason in (("none.png", "not_found"), ("folder", "not_regular_file")):
        error = read_picture(place)
        assert isinstance(error, PictureError) and error.reason == reason
    with pytest.raises(OSError):
        open_file("none.bin")
    with pytest.raises(InputError, match="cannot be opened"):
        open_folder("nosuchscheme://a/b")
