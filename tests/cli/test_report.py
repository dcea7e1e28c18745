"""`digitcli report` as a person or a program meets it."""

from __future__ import annotations

import json
from pathlib import Path

from digitcli.recognition.results import format_readings
from tests.support.predictions import put
from tests.support.processes import Run


def test_what_predict_wrote_is_reported(digitcli: Run) -> None:
    put("five.png", "5")
    results = "results.jsonl"
    assert digitcli("predict", "five.png", "-o", results).returncode == 0
    done = digitcli("report", results)
    assert done.returncode == 0 and "report.html" in done.stdout, done.stderr
    html = Path("report.html").read_text()
    assert "five.png" in html and "data:image/jpeg" in html
    again = digitcli("report", results)
    assert again.returncode == 7 and "exists already" in again.stderr
    done = digitcli("report", results, "--force", "--format", "json")
    size_bytes = Path("report.html").stat().st_size
    assert json.loads(done.stdout) == {
        "report": "report.html",
        "title": "Report of results.jsonl",
        "source": results,
        "size_bytes": size_bytes,
    }


def test_mistakes_have_a_cause_and_an_exit_code(digitcli: Run) -> None:
    Path("damaged.json").write_text('{"schema": 1, "models": ')
    Path("numbers.csv").write_text("".join(format_readings([], "csv", "number")))
    for arguments, code, cause in (
        (["none.json"], 3, "There is no file or folder 'none.json'"),
        (["damaged.json"], 3, "damaged.json cannot be reported"),
        (["numbers.csv"], 3, "it holds no record"),
        (["cnn"], 2, "digitcli evaluate cnn -o evaluation.json"),
        (["results.jsonl", "-o", "report.pdf"], 2, "Name a file that ends in .html"),
        (["results.jsonl", "-o", "none/report.html"], 7, "cannot be written"),
    ):
        done = digitcli("report", *arguments)
        assert done.returncode == code and cause in done.stderr, done.stderr
        assert "Traceback" not in done.stderr and done.stdout == ""
        assert not Path("report.html").exists()
