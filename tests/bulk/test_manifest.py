"""A manifest divides pictures of folders, archives and tables into portions, and gives back their bytes."""

from __future__ import annotations

import gzip
import time
import warnings
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from digitcli.bulk import manifest as module
from digitcli.bulk.manifest import Entry, Manifest, content_of, entries_of, plan_pictures, write_manifest
from digitcli.data.storage import read_ahead
from digitcli.errors import InputError, PictureError
from tests.bulk.conftest import CONTENTS


def test_archives_hold_the_same_pictures_as_a_folder(scans: Path, archives: dict[str, Path]) -> None:
    for place in (scans, *archives.values()):
        entries = list(entries_of(str(place)))
        assert sorted(entry.file.rsplit("/")[-1] for entry in entries) == sorted(CONTENTS)
        for entry in entries:
            assert content_of(entry) == CONTENTS[entry.file.rsplit("/")[-1]], entry


def test_threads_fetch_a_group_of_rows_once(
    archives: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    entries, opened, open_slowly = (
        list(entries_of(str(archives["parquet"]))),
        list[str](),
        module._parquet_file,
    )

    def count(place: str) -> pq.ParquetFile:
        time.sleep(0.02)
        opened.append(place)
        return open_slowly(place)

    monkeypatch.setattr(module, "_parquet_file", count)
    contents = [content for _, content in read_ahead(entries, content_of)]
    assert contents == list(CONTENTS.values()) and len(opened) == 3  # groups


def test_lists_and_inventories_name_places(tmp_path: Path, scans: Path) -> None:
    (tmp_path / "list.txt").write_text(f"{scans}/1.png\n{scans}/2.png\n")
    assert [content_of(each) for each in entries_of("list.txt")] == [CONTENTS["1.png"], CONTENTS["2.png"]]
    rows = 'bucket,key,size\nb,"scans/a%20b.png",17\nb,c.jpg,\nb,scans/,0\nb,notes.txt,3\n'
    expected = [
        Entry("s3://b/scans/a b.png", "s3://b/scans/a b.png", size=17),
        Entry("s3://b/c.jpg", "s3://b/c.jpg"),
    ]
    (tmp_path / "inventory.csv").write_text(rows)
    (tmp_path / "inventory.csv.gz").write_bytes(gzip.compress(rows.encode()))
    assert list(entries_of("inventory.csv")) == list(entries_of("inventory.csv.gz")) == expected
    keys = ["scans/a b.png", "c.jpg", "notes.txt"]
    table = pa.table({"bucket": ["b"] * 3, "key": keys, "size": [17, None, 3]})
    pq.write_table(table, tmp_path / "inventory.parquet")
    assert list(entries_of("inventory.parquet")) == expected


def test_a_list_names_archives_too(tmp_path: Path, scans: Path, archives: dict[str, Path]) -> None:
    (tmp_path / "list.txt").write_text(f"{archives['zip']}\n{scans}/2.png\n")
    listed = [entry.file for entry in entries_of(str(tmp_path / "list.txt"))]
    assert listed == [*(entry.file for entry in entries_of(str(archives["zip"]))), f"{scans}/2.png"]


def test_portions_have_so_many_pictures_or_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROWS_OF_A_GROUP", 4)
    sizes = [10, 10, 10, 200, 10, 10, 500, 10]
    entries = [Entry(f"{number}.png", f"{number}.png", size=size) for number, size in enumerate(sizes)]
    summary = write_manifest(entries, "m.parquet", portion_size=3, portion_bytes=220)
    assert (summary.portions, summary.pictures, summary.bytes) == (4, 8, sum(sizes))
    read = Manifest("m.parquet")
    files = [[int(entry.file[0]) for entry in read.entries(portion)] for portion in range(read.portions)]
    assert files == [[0, 1, 2], [3, 4, 5], [6], [7]] and read.pictures == 8
    assert read.entries(1)[0] == entries[3]


def test_what_holds_no_pictures_is_refused(tmp_path: Path, scans: Path) -> None:
    (tmp_path / "none").mkdir()
    (tmp_path / "bad.zip").write_bytes(b"PK damaged")
    pq.write_table(pa.table({"a": [1]}), tmp_path / "numbers.parquet")
    for name, cause in (
        ("none", "no pictures"), ("nowhere", "cannot be read"), ("bad.zip", "cannot be read"),
        ("numbers.parquet", "no column of bytes"), ("ftpx://a/b", "cannot be opened"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=cause):
            plan_pictures([name], "m.parquet")
    assert not Path("m.parquet").exists()
    for name in ("numbers.parquet", "bad.zip", "nowhere"):
        with pytest.raises(InputError, match="is no manifest"):
            Manifest(name)


def test_a_picture_that_is_gone_or_damaged_has_an_error(tmp_path: Path, archives: dict[str, Path]) -> None:
    gone = content_of(Entry("a.png", str(tmp_path / "a.png")))
    assert isinstance(gone, PictureError) and gone.reason == "not_found"
    first = next(entries_of(str(archives["zip"])))
    content = bytearray(archives["zip"].read_bytes())
    content[40:60] = bytes(20)
    archives["zip"].write_bytes(content)
    damaged = content_of(first)
    assert isinstance(damaged, PictureError) and damaged.reason == "corrupt"
    lost = content_of(Entry("b.png", str(tmp_path / "b.zip"), "zip"))
    assert isinstance(lost, PictureError) and lost.reason == "not_found"
    archives["zip"].write_bytes(content[: len(content) // 2])
    module._archive.cache_clear()
    cut = content_of(first)
    assert isinstance(cut, PictureError) and cut.reason == "corrupt"
    nowhere = content_of(Entry("b.png", "htp://a/b.png"))  # must not end the reading of others
    assert isinstance(nowhere, PictureError) and nowhere.reason == "not_found"


def test_two_members_of_a_zip_may_have_one_name(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for content in (b"first", b"second"):
            archive.writestr("a.png", content)
    assert [content_of(each) for each in entries_of(str(tmp_path / "a.zip"))] == [b"first", b"second"]
