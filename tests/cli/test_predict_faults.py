"""`digitcli predict` among bad files, hostile names, closed pipes, full disks and signals."""

from __future__ import annotations

import array
import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from digitcli.cli.signals import interrupt_on_signals, wait_with_signals
from digitcli.errors import Interrupted
from digitcli.inference.model_resolution import shipped_models
from tests.support.pictures import drawn, encoded, flipped, png
from tests.support.predictions import names_in, put, read, records
from tests.support.processes import Run
from tests.support.terminal import Terminal

PIPE_BYTES = 4096
NOISE = encoded(np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8))
FILES = {
    "empty.png": (b"", "empty_file"),
    "cut.png": (NOISE[:2000], "truncated"),
    "cut.jpg": (encoded(drawn(), "JPEG")[:1200], "truncated"),
    "flipped.png": (flipped(NOISE, 1000), "corrupt"),
    "text.jpg": (b"hello there", "not_an_image"),
    "page.jpg": (b"<!DOCTYPE html><html>404</html>", "not_an_image"),
    "flat.png": (png(0, 10), "not_an_image"),
    "large.png": (png(9000, 9000), "too_large"),
    "huge.png": (png(0xFFFFFFFF, 0xFFFFFFFF), "too_large"),
    "vector.eps": (encoded(Image.new("L", (32, 32)), "EPS"), "unsupported_format"),
    "vector.svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "unsupported_format"),
    "paper.pdf": (b"%PDF-1.7\n", "truncated"),
}
OTHERS = {
    "missing.png": "not_found",
    "5.png/below.png": "not_found",
    "loop.png": "not_found",
    "dangling.png": "not_found",
    "queue.png": "not_regular_file",
    "/dev/null": "not_regular_file",
    "x" * 5000: "not_found",
}
HOSTILE = [b"new\nline.png", b"\x1b[2J\x1b]0;title\x07.png", b"[red].png", b"[/].png", b"\xff.png", b"\\.png"]


@pytest.fixture
def bad(tmp_path: Path) -> dict[str, str]:
    """Names of inputs that cannot be read, with their reasons."""
    for name, (content, _) in FILES.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "loop.png").symlink_to("loop.png")
    (tmp_path / "dangling.png").symlink_to("nothing.png")
    os.mkfifo(tmp_path / "queue.png")
    return {**{name: reason for name, (_, reason) in FILES.items()}, **OTHERS}


def buffered(**environment: str) -> dict[str, Any]:
    """How a process writes for most people; a setting of this machine must not hide late failures."""
    return {"env": {**environment, "PYTHONUNBUFFERED": ""}, "stdin": subprocess.DEVNULL}


def test_bad_inputs_are_records_with_a_reason_and_lose_no_good_one(
    digitcli_process: Run, bad: dict[str, str], tmp_path: Path
) -> None:
    put(tmp_path / "5.png")
    names = ["5.png", *bad, "5.png"]
    done = digitcli_process("predict", *names, "--format", "jsonl", **buffered())
    lines = records(done)
    assert [record["file"] for record in lines] == names
    assert {record["file"]: record["reason"] for record in lines[1:-1]} == bad
    assert [record["text"] for record in lines] == ["5", *[None] * len(bad), "5"]
    assert {record["status"] for record in lines[1:-1]} == {"error"}
    assert done.returncode == 4 and "Traceback" not in done.stderr
    assert f"{len(bad)} of {len(names)} pictures could not be read" in done.stderr
    assert all(name in done.stderr for name in bad)
    assert "\x1b" not in done.stdout + done.stderr and "\r" not in done.stderr


def test_a_lone_bad_input_is_code_3_with_its_cause_told_once(predict: Run, bad: dict[str, str]) -> None:
    put("5.png")
    for name, reason in bad.items():
        done = predict(name, "--format", "jsonl")
        (record,) = records(done)
        assert (done.returncode, record["reason"], record["numbers"]) == (3, reason, [])
        assert done.stderr.count("Error:") == 1 and name in done.stderr
    done = predict(*bad)
    assert done.returncode == 3 and f"Of {len(bad)} pictures, none could be read" in done.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_a_file_without_permission_has_the_reason_permission(predict: Run) -> None:
    Path(put("secret.png")).chmod(0)
    put("closed/1.png"), put("open/5.png")
    Path("closed").chmod(0)
    done = predict("secret.png", "closed", "open", "--format", "jsonl")
    Path("closed").chmod(0o700)
    assert [record["reason"] for record in records(done)] == ["permission", "permission", None]
    assert done.returncode == 4


def test_hostile_names_are_exact_in_json_and_harmless_on_a_terminal(
    digitcli_process: Run, on_terminal: Terminal, tmp_path: Path
) -> None:
    names = [os.fsdecode(name) for name in HOSTILE]
    for name in names:
        put(tmp_path / name)
    missing = [f"no{name}" for name in names]
    done = digitcli_process("predict", *names, *missing, "--format", "jsonl", **buffered())
    assert read(done) == [(name, "5") for name in names] + [(name, None) for name in missing]
    code, shown = on_terminal("predict", *names, *missing, NO_COLOR="1", COLUMNS="120")
    assert code == 4
    for text in (shown, done.stderr):
        assert "\x1b[2J" not in text and "\x07" not in text and "Traceback" not in text
        assert "new\nline" not in text and "new\r\nline" not in text
        assert r"\x1b[2J\x1b]0;title\x07.png" in text and "[red].png" in text and r"\udcff.png" in text
    code, shown = on_terminal("predict", *names, "--format", "csv")
    assert code == 0 and "\x1b[2J" not in shown and r"\x1b[2J\x1b]0;title\x07.png" in shown


def test_a_file_that_looks_like_an_option_is_named_from_its_folder(predict: Run) -> None:
    put("-rf.jpg")
    done = predict("-rf.jpg")
    assert done.returncode == 2 and "To name the file -rf.jpg, write ./-rf.jpg" in done.stderr
    assert predict("./-rf.jpg").returncode == 0


@pytest.fixture
def models() -> dict[str, str]:
    """Return names of models that cannot be used, with words of their errors."""
    shipped = shipped_models()["cnn"].read_bytes()
    Path("flipped.safetensors").write_bytes(flipped(shipped, len(shipped) - 100))
    Path("cut.safetensors").write_bytes(shipped[: len(shipped) // 2])
    Path("empty.safetensors").write_bytes(b"")
    Path("old.pt").write_bytes(b"PK\x03\x04 archive/data.pkl")
    Path("page.safetensors").write_text("<html>404</html>")
    return {
        **{"flipped.safetensors": "SHA-256", "cut.safetensors": "damaged", "empty.safetensors": ""},
        **{"old.pt": "pickle", "page.safetensors": "not a checkpoint", "none.safetensors": "none.safetens"},
        "cmn": "Did you mean cnn",
    }


def test_a_model_that_cannot_be_used_is_code_5(predict: Run, models: dict[str, str]) -> None:
    put("5.png")
    for name, words in models.items():
        done = predict("5.png", "-m", "fast", "-m", name, "-o", "out.csv", "--annotate", "out")
        assert done.returncode == 5 and done.stdout == "", name
        assert words in done.stderr, name
    assert not Path("out.csv").exists() and not Path("out").exists()


def test_a_mistake_is_a_cause_and_an_exit_code(predict: Run) -> None:
    put("5.png")
    mistakes: list[tuple[str, int, str]] = [
        ("5.png -o . --format csv", 7, "is a folder"),
        ("5.png -o /proc/out.csv", 7, "cannot be written"),
        ("5.png --annotate /proc/out", 7, "cannot be used"),
        ("5.png --device cuda:99", 6, "It has:"),
    ]
    # found before a model is looked for
    mistakes += [
        (f"{arguments} -m none.safetensors", 2, words)
        for arguments, words in {
            "": "No picture",
            "- -": "more than once",
            "- --files-from -": "more than once",
            "5.png --force": "--annotate",
            "5.png -o out.csv --annotate ./out.csv": "both name",
            "5.png -o out.txt": "--format",
            "5.png -o out.csv --format table": "--format",
            "5.png --per number -o out.jsonl": "for CSV",
            "5.png --per number --format table": "for CSV",
            "5.png --min-confidence nan": "from 0 to 1",
            "5.png --min-confidence 99": "from 0 to 1",
            "5.png --format xml": "--format",
            "5.png --device gpu": "cuda",
            "5.png --length long": "5 or 4-6",
            "5.png --length 2 --single-digit": "Give one of them",
            "5.png --pattern (": "regular expression",
            "5.png --range 9-1": "9 is above 1",
            "5.png --max-error 0": "above 0",
            "5.png --max-error 0.1 --min-confidence 0.9": "both set",
            "5.png --resume": "as table",
            "5.png --resume -o out.json": "-o results.csv",
            "5.png --resume -o out.jsonl --force": "neither --force",
            "5.png --resume -o out.jsonl --annotate out": "nor --annotate",
            "- --resume -o out.jsonl": "was read before",
        }.items()
    ]
    for arguments, code, words in mistakes:
        done = predict(*arguments.split(), input=b"")
        assert done.returncode == code, (arguments, done.stderr)
        assert words in done.stderr and done.stdout == "" and names_in() == ["5.png"]


def test_a_terminal_as_standard_input_is_a_mistake_and_no_wait(on_terminal: Terminal) -> None:
    for arguments in (["-"], ["--files-from", "-"]):
        code, shown = on_terminal("predict", *arguments)
        assert code == 2 and "Standard input is a terminal" in shown


def shell(line: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """A line for the shell, in which $DIGITS stands for the program; its output goes where the line says."""
    environment = {"DIGITS": f"{sys.executable} -m digitcli predict", "PYTHONUNBUFFERED": "", **environment}
    return subprocess.run(
        ["bash", "-c", line],
        **{"cwd": folder, "env": {**os.environ, **environment}, "stdin": subprocess.DEVNULL},
        **{"capture_output": True, "text": True, "timeout": 120},
    )


def test_a_closed_pipe_ends_the_work_in_silence(tmp_path: Path) -> None:
    put(tmp_path / "5.png"), put(tmp_path / "many.png", "24572457")
    done = shell("$DIGITS 5.png none.png --format jsonl | true; echo ${PIPESTATUS[0]}", tmp_path)
    assert done.stdout == "141\n"
    assert "Traceback" not in done.stderr and "Broken" not in done.stderr
    many = "many.png " * 120  # more than a pipe holds
    done = shell(f"$DIGITS {many} --format jsonl | head -c 1; echo ${{PIPESTATUS[0]}}", tmp_path)
    assert done.stdout == "{141\n" and done.stderr == ""


def test_a_full_disk_is_code_7_and_closed_streams_are_no_crash(tmp_path: Path) -> None:
    put(tmp_path / "5.png")
    done = shell("$DIGITS 5.png none.png --format csv > /dev/full", tmp_path)
    assert done.returncode == 7, done.stderr
    assert "cannot be written: No space left" in done.stderr and "Exception ignored" not in done.stderr
    done = shell("$DIGITS 5.png --format jsonl >&- 2>&- <&-", tmp_path)
    assert done.returncode == 7 and done.stderr == ""


def test_where_text_is_ascii_so_is_everything(tmp_path: Path) -> None:
    put(tmp_path / "57.png", "57")
    plain = {"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    done = shell("$DIGITS 57.png none.png --show-steps", tmp_path, **plain)
    assert done.returncode == 4 and "57" in done.stdout and "@@" in done.stdout
    assert done.stdout.isascii() and done.stderr.isascii() and "\\u" not in done.stdout


def test_on_a_terminal_digits_are_drawn_in_colour_unless_that_is_unwanted(on_terminal: Terminal) -> None:
    put("57.png", "57")
    for no_color in ("", "1"):
        code, shown = on_terminal("predict", "57.png", NO_COLOR=no_color, COLUMNS="120")
        assert code == 0, shown
        assert ("▀" in shown) == (not no_color) and ("▒" in shown) == bool(no_color)
        assert bool(re.search(r"\x1b\[[0-9;]*[34][0-8][;m]", shown)) == (not no_color)
        assert "Loading the models" in shown


def wait_until(so: Callable[[], object]) -> None:
    patience = time.monotonic() + 60
    while not so():
        assert time.monotonic() < patience
        time.sleep(0.02)


def waiting_bytes(process: subprocess.Popen[bytes]) -> int:
    """Return the number of bytes that a process wrote and nobody has read."""
    count = array.array("i", [0])
    fcntl.ioctl(process.stdout, termios.FIONREAD, count)  # type: ignore[arg-type]
    return count[0]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_no_file_behind(tmp_path: Path, number: signal.Signals) -> None:
    """The list never ends, so the work is under way whenever the signal comes."""
    put(tmp_path / "5.png")
    process = subprocess.Popen(
        [sys.executable, "-m", "digitcli", *f"predict {'5.png ' * 100} --files-from - -o out.json".split()],
        **{"cwd": tmp_path, "stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE},
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),
    )
    wait_until(lambda: list(tmp_path.glob(".out.json.*.part")))
    process.send_signal(number)
    assert process.wait(60) == 128 + number
    out, err = process.communicate()
    assert out == b"" and err.startswith(b"Stopped.") and b"Error" not in err
    assert names_in(str(tmp_path)) == ["5.png"]


@pytest.mark.skipif(
    sys.platform != "linux" or os.sysconf("SC_PAGE_SIZE") != PIPE_BYTES, reason="pipes are longer here"
)
def test_json_stays_json_where_a_signal_meets_the_writing(tmp_path: Path) -> None:
    """Nobody reads for a while, so that the signal comes while a full pipe is written to."""
    put(tmp_path / "5.png")
    process = subprocess.Popen(
        [sys.executable, "-m", "digitcli", "predict", *["5.png"] * 120, "--format", "json", "-m", "cnn"],
        **buffered(**os.environ),
        **{"cwd": tmp_path, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "pipesize": PIPE_BYTES},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    wait_until(lambda: waiting_bytes(process) == PIPE_BYTES)  # it writes more than that at a time
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130 and err.startswith(b"Stopped."), err
    assert 0 < len(json.loads(out)) < 120


def test_signals_wait_while_compiled_modules_are_imported() -> None:
    done = []
    with pytest.raises(Interrupted) as caught, interrupt_on_signals(), wait_with_signals():
        signal.raise_signal(signal.SIGTERM)
        done.append("imported")
    assert done == ["imported"] and caught.value.exit_code == 143


def test_a_file_that_goes_away_meanwhile_is_one_record(predict: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    put("scans/1.png"), put("scans/2.png"), put("scans/3.png")
    from digitcli.recognition import sources

    walk = sources.walk_pictures

    def remove_after_listing(folder: Path, *arguments: Any) -> Any:
        for path in walk(folder, *arguments):
            if path == Path("scans/2.png"):
                path.unlink()
            yield path

    monkeypatch.setattr(sources, "walk_pictures", remove_after_listing)
    done = predict("scans", "--format", "jsonl")
    assert read(done) == [("scans/1.png", "5"), ("scans/2.png", None), ("scans/3.png", "5")]
    assert done.returncode == 4 and json.loads(done.stdout.splitlines()[1])["reason"] == "not_found"


def test_few_open_files_are_enough(tmp_path: Path) -> None:
    put(tmp_path / "5.png")
    (tmp_path / "bad.png").write_bytes(NOISE[:2000])
    done = shell(f"ulimit -n 64; $DIGITS {'5.png bad.png ' * 40} --format csv", tmp_path)
    assert done.returncode == 4 and done.stdout.count(",read,") == 40
