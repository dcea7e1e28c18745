"""`digitcli plan`, `predict --manifest` and `verify` read many pictures in portions."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.support.pictures import drawn, encoded
from tests.support.processes import Run


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    folder = tmp_path / "scans"
    folder.mkdir()
    for digit in range(5):
        (folder / f"{digit}.png").write_bytes(encoded(drawn(str(digit))))
    (folder / "bad.png").write_bytes(b"no picture")
    return folder


def test_a_manifest_is_planned_read_and_verified(digitcli: Run, scans: Path) -> None:
    planned = digitcli("plan", "scans", "-o", "m.parquet", "--portion-size", "2", "--format", "json")
    assert json.loads(planned.stdout)["portions"] == 3 and planned.returncode == 0
    read = ("predict", "--manifest", "m.parquet", "-o", "out", "-m", "micro")
    first = digitcli(*read, "--portion", "0/2")
    assert first.returncode == 0 and "2 read, 0 read before, of 2" in first.stdout
    missing = digitcli("verify", "out")
    assert missing.returncode == 8 and "1 are missing" in missing.stdout
    assert "Remove" not in missing.stderr and "missing   1" in missing.stdout
    rest = digitcli(*read, "--format", "json")
    summary = json.loads(rest.stdout)
    assert (summary["read"], summary["kept"], summary["pages"]) == (1, 2, 2) and rest.returncode == 0
    whole = digitcli("verify", "out", "--format", "json")
    assert whole.returncode == 0 and json.loads(whole.stdout)["is_whole"]
    assert json.loads(whole.stdout)["by_reason"] == {"not_an_image": 1}
    other = digitcli(*read, "--rotate", "90")
    assert other.returncode == 2 and "other models, options or pictures" in other.stderr


def test_a_run_of_which_no_page_could_be_read_has_an_exit_code(digitcli: Run, scans: Path) -> None:
    digitcli("plan", "scans/bad.png", "-o", "bad.parquet")
    done = digitcli("predict", "--manifest", "bad.parquet", "-o", "out", "-m", "micro")
    assert done.returncode == 3 and "Of 1 page, none could be read" in done.stderr
    assert digitcli("verify", "out").returncode == 0


def test_mistakes_have_exit_codes(digitcli: Run, scans: Path) -> None:
    digitcli("plan", "scans", "-o", "m.parquet")
    for arguments, code, words in (
        (("plan", "nowhere", "-o", "n.parquet"), 3, "nowhere cannot be read"),
        (("plan", "-o", "n.parquet"), 3, "no pictures to plan"),
        (("plan", "scans", "-o", "m.parquet"), 7, "m.parquet exists already"),
        (("plan", "scans", "-o", "scans/0.png/n.parquet"), 7, "cannot be"),
        (("verify", "scans"), 3, "holds no results"),
        (("verify", "m.parquet"), 3, "holds no results"),
        (("predict", "--manifest", "scans/0.png", "-o", "out"), 3, "is no manifest"),
        (("predict", "--manifest", "m.parquet"), 2, "needs a folder"),
        (("predict", "--manifest", "m.parquet", "-o", "out", "scans"), 2, "does not go with pictures"),
        (("predict", "--manifest", "m.parquet", "-o", "out", "--per", "number"), 2, "does not go with --per"),
        (("predict", "--manifest", "m.parquet", "-o", "out", "--table"), 2, "does not go with --table"),
        (("predict", "scans", "--portion", "0/2"), 2, "--portion is for the portions of a manifest"),
        (("predict", "--manifest", "m.parquet", "-o", "out", "--portion", "2/2"), 2, "--portion is '2/2'"),
        (("predict", "scans", "-o", "s3://b/x.csv", "--resume"), 2, "cannot continue results in a store"),
        (("predict", "scans", "--format", "parquet"), 2, "Parquet is written to a file"),
    ):  # fmt: skip
        done = digitcli(*arguments)
        assert done.returncode == code and words in " ".join(done.stderr.split()), (arguments, done.stderr)
        assert "Traceback" not in done.stderr
    assert not Path("n.parquet").exists()
    assert digitcli("plan", "scans", "-o", "m.parquet", "--force").returncode == 0


def test_parquet_has_a_row_for_each_page(digitcli: Run, scans: Path) -> None:
    done = digitcli("predict", "scans", "-m", "micro", "-o", "r.parquet")
    assert done.returncode == 4
    rows = pq.read_table("r.parquet").to_pylist()
    assert [row["text"] for row in rows] == ["0", "1", "2", "3", "4", None]
    assert [row["index"] for row in rows] == list(range(6)) and rows[-1]["error"]["reason"] == "not_an_image"
    assert digitcli("predict", "scans", "-m", "micro", "-o", "r.parquet").returncode == 7
