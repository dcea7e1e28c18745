"""Say how often each kind of paper, pen, mark and layout occurs: the shares stand in `shares.toml`."""

from __future__ import annotations

import functools
import tomllib
from importlib.resources import files

import numpy as np


@functools.cache
def shares(table: str) -> dict[str, float]:
    """Return the shares of a table of `shares.toml` by name."""
    return {name: float(share) for name, share in _tables()[table].items()}


@functools.cache
def _tables() -> dict[str, dict[str, float]]:
    return tomllib.loads(files("digitcli.synthesis").joinpath("shares.toml").read_text(encoding="utf-8"))


def choose(random: np.random.Generator, table: str) -> str:
    """Return one name of a table, by their shares, which need not add up to 1."""
    names, weights = _weights(table)
    return names[int(np.searchsorted(weights, random.random(), side="right"))]


def sample(random: np.random.Generator, table: str) -> list[str]:
    """Return names of a table in their order, each with the probability of its share."""
    table_shares = shares(table)
    drawn = random.random(len(table_shares))
    return [
        name
        for name, share, number in zip(table_shares, table_shares.values(), drawn, strict=True)
        if number < share
    ]


@functools.cache
def _weights(table: str) -> tuple[list[str], np.ndarray]:
    """Return the names of a table and the cumulated shares, of which the last is 1."""
    table_shares = shares(table)
    cumulated = np.cumsum(list(table_shares.values()))
    return list(table_shares), cumulated / cumulated[-1]
