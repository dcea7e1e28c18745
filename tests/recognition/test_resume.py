"""Results go on after an interruption as if there had been none."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from digitcli.errors import Interrupted, OutputError, UsageError
from digitcli.recognition.formats import as_text
from digitcli.recognition.results import Reading
from digitcli.recognition.resume import resuming
from digitcli.recognition.sources import Source

MODEL = "cnn@1a2b3c4d"
NAMES = ["a.png", "=b,1.png", "c.tif", "c.tif", "d.png"]


def readings(names: list[str]) -> list[Reading]:
    return [Reading(name, None, "read", None, "4", 0.5, (), MODEL) for name in names]


def write(path: Path, form: str, names: list[str]) -> list[str]:
    """Write results as `predict --resume` does; gives the names that were still to be read."""
    with resuming(path, form, MODEL) as resumed:  # type: ignore[arg-type]
        left = [source.name for source in resumed.left(Source(name, Path(name)) for name in names)]
        pieces = as_text(readings(left), form)  # type: ignore[arg-type]
        if resumed.done and form == "csv":
            next(pieces)
        for piece in pieces:
            resumed.write(piece)
    return left


@pytest.mark.parametrize("form", ["jsonl", "csv"])
@pytest.mark.parametrize("cut", [0, 3, 30, -1, -40])
def test_what_was_cut_off_anywhere_becomes_whole(tmp_path: Path, form: str, cut: int) -> None:
    whole, path = tmp_path / f"whole.{form}", tmp_path / f"results.{form}"
    assert write(whole, form, NAMES) == NAMES
    partial = tmp_path / f"results.{form}.partial"
    content = whole.read_bytes()
    partial.write_bytes(content[: cut or len(content)])
    write(path, form, NAMES)
    assert path.read_bytes() == content and not partial.exists()


@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_what_is_new_is_added_to_what_is_finished(tmp_path: Path, form: str) -> None:
    path = tmp_path / f"results.{form}"
    write(path, form, NAMES[:2])
    assert write(path, form, NAMES) == NAMES[2:]
    whole = tmp_path / f"whole.{form}"
    write(whole, form, NAMES)
    assert path.read_bytes() == whole.read_bytes()


def test_what_failed_is_read_again(tmp_path: Path) -> None:
    fault = Reading("b.png", None, "error", "timeout", None, None, (), MODEL)
    text = "".join(as_text([*readings(["a.png"]), fault, *readings(["c.png"])], "jsonl"))
    (tmp_path / "results.jsonl").write_text(text)
    assert write(tmp_path / "results.jsonl", "jsonl", ["a.png", "b.png", "c.png"]) == ["b.png"]


def test_a_picture_that_is_named_twice_is_read_twice(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    write(path, "csv", ["a.png", "b.png"])
    assert write(path, "csv", ["a.png", "b.png", "a.png", "-", "-"]) == ["a.png", "-", "-"]


@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_names_of_any_bytes_come_back(tmp_path: Path, form: str) -> None:
    path, names = tmp_path / f"results.{form}", [os.fsdecode(b"caf\xe9.png"), "new\nline.png", "old\rMac.png"]
    write(path, form, names)
    assert write(path, form, names) == []


def test_a_table_of_something_else_is_not_added_to(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("file,label\na.png,3\n")
    with pytest.raises(OutputError), resuming(path, "csv", MODEL):
        pass
    assert path.read_text() == "file,label\na.png,3\n"


def test_pages_of_the_last_file_are_read_again(tmp_path: Path) -> None:
    partial = tmp_path / "results.jsonl.partial"
    partial.write_text("".join(as_text(readings(NAMES[:3]), "jsonl")))
    assert write(tmp_path / "results.jsonl", "jsonl", NAMES) == ["c.tif", "c.tif", "d.png"]


def test_an_error_leaves_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    with pytest.raises(ZeroDivisionError), resuming(path, "jsonl", MODEL) as resumed:
        resumed.write(json.dumps({"file": "a.png"}) + "\n")
        raise ZeroDivisionError
    assert not path.exists()
    assert json.loads((tmp_path / "results.jsonl.partial").read_text()) == {"file": "a.png"}


@pytest.mark.parametrize(
    "content", ["not json\n", '{"no": "file"}\n', "[1]\n", "\xff\n", '{"file": "a.png"}\n']
)
def test_something_else_is_not_written_over(tmp_path: Path, content: str) -> None:
    path = tmp_path / "results.jsonl"
    path.write_text(content)
    with pytest.raises(OutputError, match="other than results"), resuming(path, "jsonl", MODEL):
        pass
    assert path.read_text() == content


def test_a_link_stays_a_link_and_what_is_private_stays_private(tmp_path: Path) -> None:
    real, link = tmp_path / "below" / "real.csv", tmp_path / "link.csv"
    real.parent.mkdir()
    write(real, "csv", NAMES[:2])
    real.chmod(0o400)
    link.symlink_to(real)
    with resuming(link, "csv", MODEL):
        assert (real.parent / "real.csv.partial").stat().st_mode & 0o777 == 0o600
    assert write(link, "csv", NAMES) == NAMES[2:]
    assert link.is_symlink() and real.read_text().count("cnn@") == len(NAMES)
    assert real.stat().st_mode & 0o777 == 0o600


def test_who_interrupts_is_told_where_the_results_are(tmp_path: Path) -> None:
    (tmp_path / "link.csv").symlink_to(tmp_path / "real.csv")
    with pytest.raises(Interrupted) as caught, resuming(tmp_path / "link.csv", "csv", MODEL):
        raise Interrupted(2, "Stopped.")
    assert str(tmp_path / "real.csv.partial") in caught.value.remedy


def test_what_fails_meanwhile_is_not_laid_on_the_results(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="of another"), resuming(tmp_path / "results.csv", "csv", MODEL):
        raise OSError("of another")


@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_two_runs_do_not_write_one_file(tmp_path: Path, form: str) -> None:
    path = tmp_path / f"results.{form}"
    there = pytest.raises(OutputError, match="Another run is writing")
    with resuming(path, form, MODEL), there:  # type: ignore[arg-type]
        write(path, form, NAMES)
    assert write(path, form, NAMES) == NAMES
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_what_another_model_read_is_not_mixed_with(tmp_path: Path, form: str) -> None:
    path = tmp_path / f"results.{form}"
    write(path, form, NAMES)
    before = path.read_bytes()
    mixed = pytest.raises(UsageError, match=r"read by cnn@1a2b3c4d, not by vgg@2")
    with mixed, resuming(path, form, "vgg@2"):  # type: ignore[arg-type]
        pass
    assert path.read_bytes() == before
