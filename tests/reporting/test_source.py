from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from digitcli.comparison.saved_comparison import SavedModel
from digitcli.errors import InputError
from digitcli.evaluation.saved import SavedEvaluation
from digitcli.recognition.reading_formats import SavedReading
from digitcli.reporting.source import read_source
from tests.reporting.conftest import reading


def test_the_kind_follows_from_the_content(evaluation: Path, comparison: Path, readings: Path) -> None:
    assert isinstance(read_source(evaluation).content, SavedEvaluation)
    for path, kind in ((comparison, SavedModel), (readings, SavedReading)):
        content = read_source(path).content
        assert isinstance(content, tuple) and {type(each) for each in content} == {kind}


def test_readings_are_alike_in_every_format(tmp_path: Path) -> None:
    records = [
        reading("-a.png", text="17", raw="17", confidence=0.5, model="m"),
        reading("b.tif", "refused", page=2, reason="cut_off", text="", raw="", confidence=0.1, model="m"),
    ]
    (tmp_path / "list.json").write_text(json.dumps(records))
    (tmp_path / "lines.jsonl").write_text("".join(f"{json.dumps(record)}\n" for record in records))
    (tmp_path / "one.jsonl").write_text(json.dumps(records[0]))
    (tmp_path / "table.csv").write_bytes(
        b"\xef\xbb\xbffile,page,status,reason,text,raw,confidence,model\n"
        b"'-a.png,,read,,17,17,0.5,m\nb.tif,2,refused,cut_off,,,0.1,m\n"
    )
    first = read_source(tmp_path / "list.json").content
    assert read_source(tmp_path / "lines.jsonl").content == first
    assert isinstance(first, tuple)
    assert read_source(tmp_path / "one.jsonl").content == first[:1]
    rows = read_source(tmp_path / "table.csv").content
    assert isinstance(rows, tuple)
    fields = [(row.file, row.page, row.status, row.confidence) for row in rows]  # type: ignore[union-attr]
    assert fields == [("-a.png", None, "read", 0.5), ("b.tif", 2, "refused", 0.1)]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is empty"),
        (b"\n \n", "it is empty"),
        (b"\xff\xfe", "not a text file"),
        (b"\x89PNG\r\n", "not a text file"),
        (b"hello", "no JSON"),
        (b"[" * 100_000, "recursion"),
        (b"7", "no evaluation, no saved comparison, no readings and no adaptation"),
        (b'{"schema": 1, "results": []}', "no evaluation"),
        (b'[{"digit": 7}]', "a list of something else"),
        (b"[1, 2]", "a list of something else"),
        (b'{"file": "a", "status": "read"}\n{"file": "b", "st', "line 2 is no JSON"),
        (b'{"file": "a", "status": "read"}\n7\n', "a list of something else"),
        (b'{"file": "a", "status": "fine"}', "record 1.status is 'fine'"),
        (b'{"file": "a", "status": "read", "confidence": 2}', "a confidence is 2"),
        (b'{"file": "a", "status": "read", "confidence": NaN}', "confidence is nan"),
        (b'{"model": "m", "exact_match": 1}', "has no"),
        (b'{"model": "m", "accuracy": 1, "confusion": []}', "has no"),
        (b'{"schema": 1, "models": []}', "holds no model"),
        (b"file,page,status,reason,text,raw,confidence,model\na,x,read,,,,,m\n", "invalid literal"),
        (b"file,page,status,reason,text,raw,confidence,model\na,1\n", "not the columns"),
    ],
)
def test_damaged_and_foreign_files_are_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "file.json").write_bytes(content)
    with pytest.raises(InputError, match="file.json") as caught:
        read_source(tmp_path / "file.json")
    assert reason in caught.value.cause and "digitcli evaluate --save" in caught.value.remedy


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        read_source(tmp_path / "none.json")


@pytest.mark.parametrize(
    "change",
    [
        {"accuracy": 1.5},
        {"n": 9},
        {"confusion": [[1] * 10] * 9},
        {"coverage": []},
        {"per_class": []},
        {"mistakes": [{"index": 0}]},
        {"split": "half"},
    ],
    ids=str,
)
def test_figures_that_contradict_each_other_are_refused(
    tmp_path: Path, evaluation: Path, change: dict[str, Any]
) -> None:
    record = json.loads(evaluation.read_text()) | change
    (tmp_path / "changed.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match=r"changed.json cannot be reported"):
        read_source(tmp_path / "changed.json")
