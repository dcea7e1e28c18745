"""What a pool of examples can be stored for, by the name of the architecture that learns from it."""

from __future__ import annotations

from typing import Any

from digitcli.synthesis.strips import pack_strips, unpack_strips
from digitcli.training.page_task import compose_squares, pack_squares, unpack_squares
from digitcli.training.pools import Storage
from digitcli.training.synthetic_strips import compose_pictures, compose_training_strips

STORAGES: dict[str, Storage[Any]] = {
    "finder": Storage(compose_squares, pack_squares, unpack_squares),
    "reader": Storage(compose_training_strips, pack_strips, unpack_strips),
    "glance": Storage(compose_pictures, pack_strips, unpack_strips),
}
