"""The meaning of names: files, folders, patterns, lists and standard input, one after the other."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from digitcli.data.files import is_picture
from digitcli.errors import InputError, PictureError, quoted
from digitcli.recognition import sources
from digitcli.recognition.sources import Picture, find_sources, listed_sources, read_list


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Pictures and other files in the current folder."""
    for name in ("10.png", "2.png", "notes.txt", "scans/a.JPG", "scans/deep/b.tif", "scans/x.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "empty").mkdir()
    return tmp_path


def names_of(pictures: Iterator[Picture]) -> list[str]:
    return [source.name for source in pictures]


def reason_of(source: Picture) -> str:
    assert isinstance(source.content, PictureError)
    assert source.content.cause.endswith(".") and source.content.remedy.endswith(".")
    return source.content.reason


def test_a_file_gives_itself_whatever_its_suffix(folder: Path) -> None:
    (folder / "loop.png").symlink_to("loop.png")
    names = ["notes.txt", "2.png", "missing.png", "x" * 5000, "loop.png", "2.png/below"]
    assert list(find_sources(names)) == [Picture(name, Path(name)) for name in names]
    for name in ("nul\0byte.png", "", "empty", "*.webp"):
        (source,) = find_sources([name])
        assert source.name == name and reason_of(source) == "not_found"


def test_an_address_on_the_web_is_not_fetched_and_can_be_piped(folder: Path) -> None:
    for name in ("http://x/a.png", "HTTPS://x/a.png?size=2&page=[1]"):
        for find in (find_sources, listed_sources):
            (source,) = find([name])
            assert source.name == name and isinstance(source.content, PictureError)
            assert source.content.cause.startswith(f"{name} is an address on the web")
            assert f"curl -s {quoted(name)} | digitcli predict -" in source.content.remedy


def test_a_folder_gives_its_pictures_in_natural_order_as_a_person_named_it(folder: Path) -> None:
    pictures = list(find_sources([str(folder)]))
    below = ["2.png", "10.png", "scans/a.JPG", "scans/deep/b.tif"]
    assert [source.name for source in pictures] == [str(folder / name) for name in below]
    assert all(source.content == Path(source.name) for source in pictures)
    for named in ("scans", "./scans", "scans/", "scans/deep/..", f"../{folder.name}/scans"):
        below = [f"{named.rstrip('/')}/{name}" for name in ("a.JPG", "deep/b.tif")]
        assert names_of(find_sources([named])) == below
    assert names_of(find_sources(["."]))[0] == "./2.png"
    assert names_of(find_sources(["./2.png"])) == ["./2.png"]
    for name in ("phone.HEIC", "scan.pdf"):
        (folder / "scans" / name).touch()
        assert f"scans/{name}" in names_of(find_sources(["scans"]))
    assert not is_picture("scan.pdf"), "of a dataset a description is no digit"


def test_patterns_are_expanded_in_natural_order(folder: Path) -> None:
    for pattern, names in {
        "*.png": ["2.png", "10.png"],
        "scans/**/*.[jt]if": ["scans/deep/b.tif"],
        "**/b.*": ["scans/deep/b.tif"],
        "./*.png": ["./2.png", "./10.png"],
        str(folder / "?.png"): [str(folder / "2.png")],
        "sc*": ["scans/a.JPG", "scans/deep/b.tif"],
        "none/**/*.png": ["none/**/*.png"],  # an error
        "scans/**": ["scans/a.JPG", "scans/deep/b.tif", "scans/x.txt"],  # alone and in its folder: once
    }.items():
        assert names_of(find_sources([pattern])) == names
    (folder / "[1].png").touch()
    (folder / "1.png").touch()
    assert names_of(find_sources(["[1].png"])) == ["[1].png"]


def test_a_pattern_for_any_depth_follows_no_link_around(folder: Path) -> None:
    (folder / "scans" / "up").symlink_to(folder)
    (folder / "scans" / ".hidden").mkdir()
    (folder / "scans" / ".hidden" / "c.tif").touch()
    assert names_of(find_sources(["**/*.tif"])) == ["scans/deep/b.tif"]


def test_a_hyphen_is_standard_input_and_a_list_means_its_names_to_the_letter(folder: Path) -> None:
    named = list(find_sources(["-", "2.png"], io.BytesIO(b"bytes")))
    assert named == [Picture("-", b"bytes"), Picture("2.png", Path("2.png"))]
    assert list(listed_sources(["*.png", "-"])) == [Picture("*.png", Path("*.png")), Picture("-", Path("-"))]
    assert names_of(listed_sources(["scans", "2.png"])) == ["scans/a.JPG", "scans/deep/b.tif", "2.png"]


class Broken(io.BytesIO):
    def read(self, size: int | None = -1) -> bytes:
        raise OSError(5, "Input/output error")

    read1 = read


def test_standard_input_that_is_too_long_or_breaks_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "MAX_BYTES", 10)
    (whole,) = find_sources(["-"], io.BytesIO(b"0123456789"))
    assert whole.content == b"0123456789"
    (source,) = find_sources(["-"], io.BytesIO(b"0123456789X"))
    assert reason_of(source) == "too_large"
    (source,) = find_sources(["-"], Broken())
    assert reason_of(source) == "not_found" and "Input/output error" in str(source.content)


def test_folders_are_listed_only_when_needed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed: list[str] = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: listed.append(str(path)) or scandir(path))
    taken: list[str] = []

    def names() -> Iterator[str]:
        for name in ("2.png", "scans", "10.png"):
            taken.append(name)
            yield name

    pictures = find_sources(names())
    assert taken == [] and listed == []
    next(pictures)
    assert taken == ["2.png"] and listed == []
    next(pictures)
    assert taken == ["2.png", "scans"] and listed == ["scans"]
    next(pictures)
    assert listed == ["scans", "scans/deep"]


def test_a_folder_that_cannot_be_listed_is_an_error_among_its_pictures(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scandir = os.scandir

    def refuse(path: Path) -> object:
        if Path(path).name == "deep":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    picture, locked = find_sources(["./scans"])
    assert picture.name == "./scans/a.JPG"
    assert locked.name == "./scans/deep" and reason_of(locked) == "permission"


class Blocks(io.BytesIO):
    """A stream that gives a few bytes at a time, however many a caller requests."""

    def __init__(self, content: bytes, block_bytes: int) -> None:
        super().__init__(content)
        self.block_bytes = block_bytes

    def read1(self, size: int | None = -1) -> bytes:
        return super().read1(self.block_bytes)


def test_blocks_of_a_list_may_end_anywhere() -> None:
    content = "scans/ä€.png\r\n\r\n二.jpg\nlast".encode()
    for block_bytes in (1, 2, 3, 5, 7, 1000):
        for mark in (b"", b"\xef\xbb\xbf"):
            names = list(read_list(Blocks(mark + content, block_bytes)))
            assert names == ["scans/ä€.png", "二.jpg", "last"]
    for empty in (b"", b"\n\r\n\n"):
        assert list(read_list(io.BytesIO(empty))) == []
    (name,) = read_list(io.BytesIO(b"caf\xe9 \xff.png\n"))  # no text
    assert os.fsencode(name) == b"caf\xe9 \xff.png"


def test_names_ended_by_zero_bytes_may_hold_anything_else() -> None:
    names = [b"end\r", b"one\ntwo.png", b"\xef\xbb\xbfmark.png", b" spaces ", b"\xff\xfe.png"]
    read = list(read_list(Blocks(b"\0".join(names) + b"\0", 5)))
    assert [os.fsencode(name) for name in read] == names


def test_a_list_is_read_as_it_is_asked_for() -> None:
    stream = io.BytesIO(b"a name of some length.png\n" * 100_000)
    names = read_list(stream)
    next(names)
    assert stream.tell() < 200_000


def test_a_name_is_read_as_soon_as_it_is_there() -> None:
    reading, writing = os.pipe()
    os.write(writing, b"a.png\nb.p")
    with os.fdopen(reading, "rb") as stream:
        names = read_list(stream)
        assert next(names) == "a.png"
        os.write(writing, b"ng\n")
        assert next(names) == "b.png"
        os.close(writing)
        assert list(names) == []


def test_what_is_no_list_is_an_error_and_not_read_into_memory() -> None:
    class Endless(io.BytesIO):
        def read1(self, size: int | None = -1) -> bytes:
            return bytes(size or 1)

    for stream, cause in (
        (Broken(), "Input/output error"),
        (Endless(), "zero bytes without names"),
        (io.BytesIO("a.png\n".encode("utf-16")), "UTF-16"),
    ):
        with pytest.raises(InputError, match=cause):
            list(read_list(stream))


def test_an_excluded_folder_gives_only_files_that_are_named(folder: Path) -> None:
    out = folder / "scans" / "deep"
    for names in (["scans"], ["."], ["scans/**/*.tif"], ["scans/*"]):
        assert not any("deep" in name for name in names_of(find_sources(names, leave_out=out))), names
    assert names_of(listed_sources(["scans"], leave_out=out)) == ["scans/a.JPG"]
    assert names_of(find_sources(["scans/deep/b.tif"], leave_out=out)) == ["scans/deep/b.tif"]
