"""Read pictures as a step of a Ray Data pipeline: `python examples/engines/ray_data.py PICTURES OUT`."""

import sys

import ray

from digitcli import BatchReader

if __name__ == "__main__":
    pictures, out = sys.argv[1:]
    rows = ray.data.read_binary_files(pictures, include_paths=True)
    read = rows.map_batches(BatchReader, concurrency=2, batch_size=64, batch_format="pyarrow")
    read.write_parquet(out)
