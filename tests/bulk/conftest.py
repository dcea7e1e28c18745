"""Pictures in a folder and in archives, and a manifest of them."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from digitcli.bulk.manifest import plan_pictures
from digitcli.recognition.reader_config import ReaderConfig
from tests.support.pictures import drawn, encoded

CONTENTS = {f"{digit}.png": encoded(drawn(str(digit))) for digit in range(6)} | {"empty.png": b""}


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """Seven pictures in a folder, of which one is empty."""
    folder = tmp_path / "scans"
    folder.mkdir()
    for name, content in CONTENTS.items():
        (folder / name).write_bytes(content)
    (folder / "notes.txt").write_text("no picture")
    return folder


@pytest.fixture
def archives(tmp_path: Path) -> dict[str, Path]:
    """The same pictures in archives, and in a table."""
    paths = {kind: tmp_path / f"scans.{kind}" for kind in ("tar", "zip", "parquet")}
    with tarfile.open(paths["tar"], "w") as tar, zipfile.ZipFile(paths["zip"], "w") as archive:
        for number, (name, content) in enumerate(CONTENTS.items()):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
            method = (zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED)[number % 2]
            archive.writestr(name, content, compress_type=method)
    rows = [{"name": name, "image": {"bytes": content}} for name, content in CONTENTS.items()]
    pq.write_table(pa.Table.from_pylist(rows), paths["parquet"], row_group_size=3)
    return paths


@pytest.fixture
def manifest(scans: Path, tmp_path: Path) -> str:
    """Three portions: three pictures, three, and one."""
    path = str(tmp_path / "manifest.parquet")
    plan_pictures([str(scans)], path, portion_size=3)
    return path


@pytest.fixture(scope="session")
def config() -> ReaderConfig:
    """A reader that is quick to load."""
    return ReaderConfig(models=("micro",)).with_identity()
