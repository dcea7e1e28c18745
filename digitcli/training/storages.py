"""What a pool of examples can be stored for, by the name of the architecture that learns from it."""

from __future__ import annotations

from typing import Any

from digitcli.synthesis.strips import pack_strips, unpack_strips
from digitcli.training.page_task import compose_squares, pack_squares, unpack_squares
from digitcli.training.pools import Storage
from digitcli.training.synthetic_lines import TRAINING_COMPOSERS

STORAGES: dict[str, Storage[Any]] = {
    "finder": Storage(compose_squares, pack_squares, unpack_squares),
    **{name: Storage(compose, pack_strips, unpack_strips) for name, compose in TRAINING_COMPOSERS.items()},
}
