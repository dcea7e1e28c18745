"""An interrupted run continues as if there had been no interruption."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from digitcli.errors import Interrupted, OutputError, UsageError
from digitcli.recognition.readings import Digit, Number, Reading
from digitcli.recognition.results import Per, format_readings, new_results, resume_results
from digitcli.recognition.sources import Picture

MODEL = "cnn@1a2b3c4d"
NAMES = ["a.png", "=b,1.png", "c.tif", "c.tif", "d.png"]


def readings(names: list[str]) -> list[Reading]:
    return [Reading(name, None, "read", None, "4", 0.5, (), MODEL) for name in names]


def names_in(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir() if not file.name.endswith(".options"))


def write(path: Path, names: list[str], options: dict[str, str] | None = None) -> list[str]:
    """Write results as `predict --resume` does; return the names that were still to be read."""
    with resume_results(path, MODEL, None, options) as results:
        left = [source.name for source in results.left(Picture(name, Path(name)) for name in names)]
        for piece in format_readings(readings(left), "jsonl"):
            results.write(piece)
    return left


def test_results_that_were_cut_off_anywhere_become_whole(tmp_path: Path) -> None:
    whole, path = tmp_path / "whole.jsonl", tmp_path / "results.jsonl"
    assert write(whole, NAMES) == NAMES
    content = whole.read_bytes()
    for end in (0, 3, 30, len(content) - 40, len(content) - 1, len(content)):
        path.unlink(missing_ok=True)
        (tmp_path / "results.jsonl.partial").write_bytes(content[:end])
        write(path, NAMES)
        assert path.read_bytes() == content and names_in(tmp_path) == ["results.jsonl", "whole.jsonl"], end


def test_pictures_are_read_that_have_no_result_or_a_failed_one(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    write(path, NAMES[:2])
    assert write(path, NAMES) == NAMES[2:] and write(path, [*NAMES, "a.png"]) == ["a.png"]
    fault = Reading("b.png", None, "error", "timeout", None, None, (), MODEL)
    path.write_text("".join(format_readings([*readings(["a.png"]), fault, *readings(["c.png"])], "jsonl")))
    assert write(path, ["a.png", "b.png", "c.png"]) == ["b.png"]
    strange = [os.fsdecode(b"caf\xe9.png"), "new\nline.png", "old\rMac.png"]
    assert write(path, strange) == strange and write(path, strange) == []
    partial = tmp_path / "results.jsonl.partial"  # counts however old it is; more pages may be missing
    path.unlink()
    partial.write_text("".join(format_readings(readings(NAMES[:3]), "jsonl")))
    os.utime(partial, (0, 0))
    assert write(path, NAMES) == ["c.tif", "c.tif", "d.png"]


def test_results_of_pictures_that_are_not_named_again_stay(tmp_path: Path) -> None:
    path, failed = (
        tmp_path / "results.jsonl",
        replace(readings(["b.tif"])[0], status="error", reason="timeout"),
    )
    with resume_results(path, MODEL) as results:
        for piece in format_readings([*readings(["a.png", "b.tif"]), failed], "jsonl"):
            results.write(piece)
    before = path.read_text().splitlines()
    assert write(path, ["c.png"]) == ["c.png"]
    after = path.read_text().splitlines()
    assert sorted(after[:1] + after[2:]) == sorted(before) and '"c.png"' in after[1]
    path.rename(tmp_path / "results.jsonl.partial")
    with pytest.raises(Interrupted), resume_results(path, MODEL):
        raise Interrupted(2, "Stopped.")
    write(path, ["d.png"])
    assert {*before, *after} < {*path.read_text().splitlines()}
    assert write(path, ["b.tif"]) == ["b.tif"]
    assert path.read_text().count('"b.tif"') == 1


def test_a_run_that_reads_nothing_leaves_no_unfinished_results(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    with pytest.raises(ZeroDivisionError), resume_results(path, MODEL, "page") as results:
        results.write("".join(format_readings([], "csv")))
        raise ZeroDivisionError
    assert names_in(tmp_path) == []


def test_a_full_disk_is_an_error_of_the_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    path = tmp_path / "results.jsonl"
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
        with pytest.raises(OutputError, match="cannot be written"):
            write(path, [f"{number}.png" for number in range(20)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    left = write(path, [f"{number}.png" for number in range(20)])
    assert 0 < len(left) < 20 and path.read_text().count("\n") == 20


def test_runs_do_not_write_one_file_nor_lose_results(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    for run in (lambda: resume_results(path, MODEL), lambda: new_results(path, force=True)):
        with run(), pytest.raises(OutputError, match="Another run is writing"):
            write(path, NAMES)
    with pytest.raises(OutputError, match="exists already"), new_results(path, force=False):
        pass
    path.rename(tmp_path / "results.jsonl.partial")
    with pytest.raises(OutputError, match="has not finished"), new_results(path, force=False):
        pass
    with new_results(path, force=True) as new:
        new.write("other\n")
    assert path.read_text() == "other\n" and names_in(tmp_path) == [path.name]


def test_an_error_keeps_the_written_results_and_its_own_words(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    with pytest.raises(OSError, match="of another"), resume_results(path, MODEL) as resumed:
        resumed.write(json.dumps({"file": "a.png"}) + "\n")
        raise OSError("of another")
    assert not path.exists()
    assert json.loads((tmp_path / "results.jsonl.partial").read_text()) == {"file": "a.png"}


def test_other_content_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    row = '{"schema": 1, "file": ["a.png"], "page": null, "status": "read", "model": "m"}'
    rows = ["not json", '{"no": "file"}', "[1]", "[" * 100_000, "\xff", '{"file": "a.png"}', row]
    for content in rows:
        path.write_text(content + "\n")
        with pytest.raises(OutputError, match="other than results"), resume_results(path, MODEL):
            pass
        assert path.read_text() == content + "\n"


def test_a_link_stays_a_link_and_a_private_file_stays_private(tmp_path: Path) -> None:
    real, link = tmp_path / "below" / "real.jsonl", tmp_path / "link.jsonl"
    real.parent.mkdir()
    write(real, NAMES[:2])
    real.chmod(0o400)
    link.symlink_to(real)
    with resume_results(link, MODEL):
        assert (real.parent / "real.jsonl.partial").stat().st_mode & 0o777 == 0o600
    assert write(link, NAMES) == NAMES[2:]
    assert link.is_symlink() and real.read_text().count("cnn@") == len(NAMES)
    assert real.stat().st_mode & 0o777 == 0o600


def test_an_interruption_names_the_file_of_the_results(tmp_path: Path) -> None:
    (tmp_path / "link.jsonl").symlink_to(tmp_path / "real.jsonl")
    with pytest.raises(Interrupted) as caught, resume_results(tmp_path / "link.jsonl", MODEL):
        raise Interrupted(2, "Stopped.")
    assert str(tmp_path / "real.jsonl.partial") in caught.value.remedy


def test_results_of_another_model_or_of_other_options_are_not_added_to(tmp_path: Path) -> None:
    path, own = tmp_path / "results.jsonl", {"--max-error": "0.03"}
    write(path, NAMES, own)
    before = path.read_bytes()
    with pytest.raises(UsageError, match=r"cnn@1a2b3c4d.*vgg@2"), resume_results(path, "vgg@2"):
        pass
    others: dict[str, dict[str, str]] = {
        "read with --max-error 0.03, but this run has no --max-error": {},
        "read with --max-error 0.03, but this run has --max-error 0.01": {"--max-error": "0.01"},
        "read with no --length, but this run has --length 5-5": own | {"--length": "5-5"},
    }
    for words, options in others.items():
        with pytest.raises(UsageError, match=words):
            write(path, ["more.png"], options)
    assert path.read_bytes() == before
    assert write(path, [*NAMES, "more.png"], own) == ["more.png"]


def test_options_of_results_may_not_be_known(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    write(path, NAMES, {"--max-error": "0.03"})
    with new_results(path, force=True) as new:
        new.write("".join(format_readings(readings(NAMES), "jsonl")))
    for _ in range(2):
        with resume_results(path, MODEL, None, {"--max-error": "0.01"}) as results:
            assert not results.has_known_options


def test_options_belong_to_the_results_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    write(path, NAMES, {"--max-error": "0.01"})
    with pytest.raises(RuntimeError), new_results(path, force=True, options={}):
        raise RuntimeError
    assert write(path, NAMES, {"--max-error": "0.01"}) == []
    with new_results(path, force=True, options={}) as new:
        new.write("".join(format_readings(readings(NAMES), "jsonl")))
    with pytest.raises(UsageError, match="no --max-error, but this run has --max-error 0.01"):
        write(path, NAMES, {"--max-error": "0.01"})


NUMBERS_OF = {
    "a,b.png": 2,
    "same.png": 1,
    "=1.png": 3,
    "'=2.png": 0,
    'q"uote.png': 2,
    "two\nlines.png": 2,
    "\udce9.png": 1,
}


def write_csv(path: Path, names: list[str], per: Per) -> None:
    """Write results as `predict --resume` does, with these names."""
    with resume_results(path, MODEL, per) as results:
        left = [source.name for source in results.left(Picture(name, Path(name)) for name in names)]
        with_numbers = [
            replace(
                reading, numbers=tuple(number_at(20 * place) for place in range(NUMBERS_OF[reading.file]))
            )
            for reading in readings(left)
        ]
        for piece in format_readings(with_numbers, "csv", per, has_heading=not results.read_before):
            results.write(piece)


def number_at(x: int) -> Number:
    return Number((Digit("4", 0.5, (x, 0, 9, 9)),), 0.5, raw="4", row=0, column=0)


@pytest.mark.parametrize("per", ["page", "number"])
def test_csv_that_was_cut_off_anywhere_becomes_whole(
    tmp_path: Path, per: Per, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda handle: None)  # it takes most of the time
    names = [*NUMBERS_OF, "same.png", "same.png", "a,b.png", "a,b.png", "same.png"]
    write_csv(tmp_path / "whole.csv", names, per)
    whole = (tmp_path / "whole.csv").read_bytes()
    for end in range(len(whole) + 1):
        (tmp_path / "results.csv").unlink(missing_ok=True)
        (tmp_path / "results.csv.partial").write_bytes(whole[:end])
        write_csv(tmp_path / "results.csv", names, per)
        assert (tmp_path / "results.csv").read_bytes() == whole, end
