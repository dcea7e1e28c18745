"""The recipes read every picture once, and object storage that is slow and busy loses none."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pyarrow.dataset as ds
import pytest
from busy_store import busy_store  # of benchmarks

ENGINES, PICTURES = Path(__file__).parent, 24


def run(*command: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, *command],
        env={**os.environ, "PYSPARK_PYTHON": sys.executable, **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures, of which one is damaged, a manifest, and the results of one machine."""
    path = tmp_path_factory.mktemp("recipes")
    run("-m", "digitcli", "synthesize", "-o", str(path / "scans"), "-n", str(PICTURES))
    (path / "scans" / "00003.png").write_bytes(b"no picture")
    run("-m", "digitcli", "plan", str(path / "scans"), "-o", str(path / "m.parquet"), "--portion-size", "5")
    read = ("-m", "digitcli", "predict", "--manifest", str(path / "m.parquet"), "--workers", "2", "-o")
    run(*read, str(path / "local"))
    return path


def rows(results: Path) -> list[tuple[str, str | None, str]]:
    table = ds.dataset(str(results), exclude_invalid_files=True).to_table(columns=["file", "text", "status"])
    return sorted((Path(row["file"]).name, row["text"], row["status"]) for row in table.to_pylist())


@pytest.mark.parametrize("recipe", ["ray_data", "spark"])
def test_pipelines_of_engines_read_as_one_machine_does(folder: Path, recipe: str) -> None:
    run(str(ENGINES / f"{recipe}.py"), str(folder / "scans"), str(folder / recipe))
    read = [row for row in rows(folder / recipe) if row[0].endswith(".png")]
    assert read == rows(folder / "local") and len(read) == PICTURES


@pytest.mark.parametrize("engine", ["ray", "dask", "spark"])
def test_portions_are_the_same_bytes_on_every_engine(folder: Path, engine: str) -> None:
    out, manifest = folder / engine, str(folder / "m.parquet")
    if engine == "ray":
        run("-m", "digitcli", "predict", "--manifest", manifest, "-o", str(out), "--engine", "ray")
    else:
        run(str(ENGINES / f"{engine}_portions.py"), manifest, str(out))
    for part in (folder / "local").glob("*.parquet"):
        assert (out / part.name).read_bytes() == part.read_bytes()


def test_results_are_queried(folder: Path) -> None:
    assert "not_an_image" in run(str(ENGINES / "queries.py"), str(folder / "local"))


def test_a_busy_store_loses_no_picture(folder: Path) -> None:
    with busy_store(folder / "scans") as (store, variables):
        manifest, out = "s3://bucket/m.parquet", "s3://bucket/out"
        run("-m", "digitcli", "plan", "s3://bucket/scans", "-o", manifest, "--portion-size", "5", **variables)
        run("-m", "digitcli", "predict", "--manifest", manifest, "-o", out, **variables)
        shown = run("-m", "digitcli", "verify", out, **variables)
    assert f"{PICTURES} of {PICTURES}" in shown and "not_an_image 1" in shown and "unavailable" not in shown
    assert store.answers["busy"] > 5
