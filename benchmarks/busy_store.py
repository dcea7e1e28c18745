"""Read pictures from a store that is late and busy, and from disk: `python benchmarks/busy_store.py FOLDER`.

The store is moto, an imitation of S3. Needs `pip install 'moto[server]' boto3`.
"""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import boto3
import typer
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

from digitcli.bulk.verification import verify

LATENCY, BUSY_SHARE = 0.03, 0.2  # seconds before an answer, and the share of answers that say 503
KEYS = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_DEFAULT_REGION": "us-east-1"}


class BusyStore:
    """A store whose answers are late, and a fifth of which say that it is busy, once it is open."""

    def __init__(self) -> None:
        self.store, self.chance = DomainDispatcherApplication(create_backend_app), random.Random(0)
        self.is_open, self.answers = False, Counter[str]()  # by method, and those that were refused

    def __call__(self, request: dict[str, Any], start: Any) -> Iterable[bytes]:
        """Answer a request of WSGI."""
        if self.is_open:
            time.sleep(LATENCY)
            is_busy = self.chance.random() < BUSY_SHARE
            self.answers["busy" if is_busy else request["REQUEST_METHOD"]] += 1
            if is_busy:
                request["wsgi.input"].read(int(request.get("CONTENT_LENGTH") or 0))
                start("503 Slow Down", [("Content-Type", "application/xml")])
                return [b"<Error><Code>SlowDown</Code></Error>"]
        return self.store(request, start)


class Quiet(WSGIRequestHandler):
    """Keeps connections open, and writes no log."""

    protocol_version = "HTTP/1.1"
    log = staticmethod(lambda *_: None)


@contextlib.contextmanager
def busy_store(folder: Path) -> Iterator[tuple[BusyStore, dict[str, str]]]:
    """Start a busy store with the pictures of a folder below s3://bucket/scans; yield variables for it."""
    store = BusyStore()
    server = make_server("127.0.0.1", 0, store, threaded=True, request_handler=Quiet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    variables = KEYS | {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}"}
    os.environ.update(variables)
    client = boto3.client("s3")
    client.create_bucket(Bucket="bucket")
    for picture in folder.glob("*.png"):
        client.upload_file(str(picture), "bucket", f"scans/{picture.name}")
    store.is_open = True
    yield store, variables
    server.shutdown()


def main(folder: Path, rounds: int = 3, workers: int = 1) -> None:
    """Read all pictures by turns from disk and from the store; print the ratio of the times."""
    with tempfile.TemporaryDirectory() as temporary, busy_store(folder) as (store, _):
        for number in range(rounds):
            places = {str(folder): f"{temporary}/{number}", "s3://bucket/scans": f"s3://bucket/{number}"}
            seconds = []
            store.answers.clear()
            for scans, out in list(places.items())[:: (-1) ** number]:
                run("plan", scans, "-o", f"{out}.parquet")
                began = time.monotonic()
                run("predict", "--manifest", f"{out}.parquet", "-o", out, "--workers", workers)
                seconds.append(time.monotonic() - began)
            line = {"ratio": round((seconds[1] / seconds[0]) ** (-1) ** number, 3), **store.answers}
            print(line | {"status": [dict(verify(out).by_status) for out in places.values()]}, flush=True)


def run(*command: object) -> None:
    """Run a command of digitcli."""
    subprocess.run([sys.executable, "-m", "digitcli", *map(str, command)], check=True, capture_output=True)


if __name__ == "__main__":
    typer.run(main)
