"""The program as a whole: help, version, completion, streams."""

from __future__ import annotations

import importlib
import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import digitcli as package
from digitcli.cli import COMMANDS, options, unwrap
from digitcli.inference import model_index
from tests.support.processes import Run, modules_loaded_by


def test_help(digitcli: Run) -> None:
    for arguments in (["--help"], ["-h"], ["train", "-h"], *([name, "--help"] for name in COMMANDS)):
        done = digitcli(*arguments)
        shown = " ".join(done.stdout.split())
        assert done.returncode == 0 and "Usage:" in shown and "bool" not in shown, arguments
        codes = "141 the reader closed the pipe" if arguments[0].startswith("-") else "digitcli --help"
        assert codes in shown, arguments
    assert "mnist-c" in digitcli("evaluate", "--help").stdout
    done = digitcli()
    assert done.returncode == 2 and "Usage:" in done.stdout + done.stderr


def test_the_process_ends_after_exit_functions_and_waits_for_no_thread() -> None:
    code = (
        "import atexit, sys, threading\nfrom digitcli.cli import main\n"
        "atexit.register(lambda: print('done', end=''))\n"
        "threading.Thread(target=threading.Event().wait).start()\n"
        "sys.argv = ['digitcli', 'trian']\nmain()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (2, "done") and "train" in done.stderr


def test_version(digitcli_process: Run) -> None:
    assert digitcli_process("--version").stdout == f"digitcli {package.__version__}\n"


def test_a_closed_stdout_is_no_crash() -> None:
    command = f"'{sys.executable}' -m digitcli train --print-config >&-"
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert "Traceback" not in done.stderr and done.returncode in (0, 7)


def test_completion_knows_architectures_models_datasets_and_devices() -> None:
    assert "lenet5" in options.complete_architecture("le")
    assert options.complete_model("cn") == ["cnn"]
    assert options.complete_dataset("mni") == ["mnist", "mnist-c"]
    assert options.complete_device("cu") == ["cuda"]


def test_the_shell_completes_without_torch() -> None:
    code = "\n".join(
        [
            "import os, contextlib",
            "os.environ['_DIGITCLI_COMPLETE'] = 'complete_bash'",
            "os.environ |= {'COMP_WORDS': 'digitcli train --arch ', 'COMP_CWORD': '3'}",
            "sys.argv = ['digitcli']",
            "from digitcli.cli import exit_code_of_run",
            "exit_code_of_run()",
            "print()",
        ]
    )
    assert "torch" not in modules_loaded_by(code)


def test_the_help_of_the_program_imports_no_command() -> None:
    code = (
        "import sys; sys.argv = ['digitcli', '--help']; from digitcli.cli import exit_code_of_run\n"
        "exit_code_of_run(); print()"
    )
    loaded = modules_loaded_by(code)
    assert not {f"digitcli.cli.{name}" for name in COMMANDS} & loaded
    assert {"numpy", "pydantic"}.isdisjoint(loaded)


def test_paragraphs_of_a_docstring_are_unwrapped_but_indented_lines_are_not() -> None:
    assert unwrap("One\ntwo.\n\n  a\n  b") == "One two.\n\n  a\n  b"


def test_the_program_summarizes_a_command_as_the_command_does() -> None:
    for name, summary in COMMANDS.items():
        command = getattr(importlib.import_module(f"digitcli.cli.{name}"), name)
        assert inspect.getdoc(command).partition("\n\n")[0] == summary


def test_a_command_is_found_after_dashes(digitcli: Run) -> None:
    assert 'arch = "cnn"' in digitcli("--", "train", "--print-config").stdout


def test_the_shell_completes_names_options_and_commands() -> None:
    for request, offered in (
        ("digitcli train --arch l", "lenet5"),
        ("digitcli train --stoch", "--stochastic-depth"),
        ("digitcli eval", "evaluate"),
    ):
        environment = {**os.environ, "_DIGITCLI_COMPLETE": "complete_bash", "COMP_WORDS": request}
        environment["COMP_CWORD"] = str(len(request.split()) - 1)
        done = subprocess.run(
            [sys.executable, "-m", "digitcli"], env=environment, capture_output=True, text=True
        )
        assert offered in done.stdout


def test_public_names_exist() -> None:
    assert all(getattr(package, name) for name in package.__all__)
    with pytest.raises(AttributeError):
        package.no_such_thing  # noqa: B018


def test_the_package_lists_its_names_and_loads_no_torch_for_it() -> None:
    code = "import digitcli, sys; print(*dir(digitcli)); assert not {'torch', 'numpy'} & set(sys.modules)"
    listed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(package.__all__) <= set(listed.stdout.split())


@pytest.mark.parametrize(("debug", "traceback"), [("", False), ("1", True)])
def test_an_internal_error_is_reported_as_one(tmp_path: Path, debug: str, traceback: bool) -> None:
    code = (
        "import digitcli.inference.model_index as c, digitcli.cli as cli, sys\n"
        "def fail(shipped): raise RuntimeError('[red]oops')\n"
        "c.list_models = fail\nsys.argv = ['digitcli', 'models']\ncli.main()"
    )
    environment = {**os.environ, "DIGITCLI_DEBUG": debug}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert ("Traceback" in done.stderr) == traceback
    assert "[red]oops" in done.stderr


def test_too_little_memory_is_a_fault_of_the_environment(
    digitcli: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors: list[Exception] = [
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        MemoryError(),
    ]

    def fail(shipped: bool) -> None:
        raise errors[-1]

    monkeypatch.setattr(model_index, "list_models", fail)
    while errors:
        done = digitcli("models")
        assert done.returncode == 6 and "not enough memory" in done.stderr, errors[-1]
        errors.pop()
