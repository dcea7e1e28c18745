"""Read the portions of a manifest by Dask: `python dask_portions.py MANIFEST OUT [SCHEDULER]`."""

import sys

import dask
from dask.distributed import Client, as_completed

from digitcli import ReaderConfig, read_portion
from digitcli.bulk.engines import begin_run
from digitcli.bulk.manifest import open_manifest

if __name__ == "__main__":
    manifest, out, *scheduler = sys.argv[1:]
    config = ReaderConfig().with_identity()
    done = begin_run(out, manifest, config)
    left = [portion for portion in range(open_manifest(manifest).portions) if portion not in done]
    dask.config.set({"distributed.scheduler.no-workers-timeout": "1 minute"})  # else it waits for ever
    with Client(*scheduler) as client:
        tasks = [client.submit(read_portion, manifest, portion, out, config, retries=3) for portion in left]
        for _, result in as_completed(tasks, with_results=True):
            print(result.portion, result.by_status)
