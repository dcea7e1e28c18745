"""Packages that only some features need; each belongs to an extra of digitcli. Loads no torch."""

from __future__ import annotations

import importlib

from digitcli.errors import EnvironmentFault


def import_packages(needed_by: str, extra: str, *modules: str) -> None:
    """Import what only some features need.

    needed_by: what cannot be done without it.

    Raises:
        EnvironmentFault: a module cannot be imported.
    """
    try:
        for module in modules:
            importlib.import_module(module)
    except ImportError as error:
        raise missing_package(needed_by, extra, str(error)) from error


def missing_package(needed_by: str, extra: str, reason: str) -> EnvironmentFault:
    """Return the error about a package of an extra that is not installed."""
    cause = f"{needed_by} needs a package that cannot be loaded: {reason}."
    return EnvironmentFault(cause, f"Install it, in the copy of the repository: {install_command(extra)}")


def install_command(extra: str) -> str:
    """Return the command that installs the packages of an extra, in a copy of the repository."""
    return f"pip install '.[{extra}]'"
