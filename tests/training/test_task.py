"""The seeds of a run."""

from __future__ import annotations

from digitcli.training.task import derive_seed


def test_a_derived_seed_depends_on_every_part_and_nothing_else() -> None:
    seeds = {derive_seed(seed, epoch, step) for seed in range(5) for epoch in range(5) for step in range(5)}
    assert len(seeds) == 125
    assert derive_seed(1, 2, 3) == derive_seed(1, 2, 3)
    assert all(0 <= seed < 2**63 for seed in seeds)
