"""The recipes read every picture once, and object storage that is slow and busy loses none."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import boto3
import pyarrow.dataset as ds
import pytest
from moto.server import ThreadedMotoServer

ENGINES, PICTURES = Path(__file__).parent, 24
LATENCY, BUSY_SHARE = 0.03, 0.2  # seconds before an answer, and the share of answers that say 503


def run(*command: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, *command], env={**os.environ, **environment}, capture_output=True, text=True
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


@pytest.mark.parametrize("engine", ["ray", "dask"])
def test_portions_are_the_same_bytes_on_every_engine(folder: Path, engine: str) -> None:
    out, manifest = folder / engine, str(folder / "m.parquet")
    if engine == "dask":
        run(str(ENGINES / "dask_portions.py"), manifest, str(out))
    else:
        run("-m", "digitcli", "predict", "--manifest", manifest, "-o", str(out), "--engine", "ray")
    for part in (folder / "local").glob("*.parquet"):
        assert (out / part.name).read_bytes() == part.read_bytes()


def test_results_are_queried(folder: Path) -> None:
    assert "not_an_image" in run(str(ENGINES / "queries.py"), str(folder / "local"))


class Throttle(BaseHTTPRequestHandler):
    """A proxy before a store: every answer is late, and a fifth of them says that the store is busy."""

    protocol_version = "HTTP/1.1"
    store = ""
    chance = random.Random(0)
    busy = 0

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        time.sleep(LATENCY)
        if self.chance.random() < BUSY_SHARE:
            type(self).busy += 1
            code, headers, content = 503, {}, b"<Error><Code>SlowDown</Code></Error>"
        else:
            code, headers, content = self._asked(body)
        self.send_response(code)
        for name, value in headers.items():
            if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                self.send_header(name, value)
        self.send_header("Content-Length", headers.get("Content-Length", str(len(content))))
        self.end_headers()
        self.wfile.write(content)

    def _asked(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        headers = {name: value for name, value in self.headers.items() if name.lower() != "connection"}
        request = Request(self.store + self.path, body or None, headers, method=self.command)
        try:
            with urlopen(request) as answer:
                return answer.status, dict(answer.headers), answer.read()
        except HTTPError as error:
            return error.code, dict(error.headers), error.read()

    do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = _answer  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def store(folder: Path) -> Iterator[dict[str, str]]:
    """A busy store with the pictures, and the variables that name it."""
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    Throttle.store = "http://{}:{}".format(*server.get_host_and_port())
    keys = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_DEFAULT_REGION": "us-east-1"}
    os.environ.update(keys)
    client = boto3.client("s3", endpoint_url=Throttle.store)
    client.create_bucket(Bucket="bucket")
    for picture in (folder / "scans").glob("*.png"):
        client.upload_file(str(picture), "bucket", f"scans/{picture.name}")
    proxy = ThreadingHTTPServer(("127.0.0.1", 0), Throttle)
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    yield keys | {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{proxy.server_port}"}
    proxy.shutdown()
    server.stop()


def test_a_busy_store_loses_no_picture(folder: Path, store: dict[str, str]) -> None:
    run(
        "-m",
        "digitcli",
        "plan",
        "s3://bucket/scans",
        "-o",
        "s3://bucket/m.parquet",
        "--portion-size",
        "5",
        **store,
    )
    read = ("-m", "digitcli", "predict", "--manifest", "s3://bucket/m.parquet", "-o", "s3://bucket/out")
    run(*read, **store)
    shown = run("-m", "digitcli", "verify", "s3://bucket/out", **store)
    assert f"{PICTURES} of {PICTURES}" in shown and "not_an_image 1" in shown and "unavailable" not in shown
    assert Throttle.busy > 5
