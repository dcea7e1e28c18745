"""Read pictures as a step of a Ray Data pipeline: `python examples/engines/ray_data.py PICTURES OUT`."""

import sys

import ray

from digitcli import BatchReader

if __name__ == "__main__":
    pictures, out = sys.argv[1:]
    rows = ray.data.read_binary_files(pictures, include_paths=True)
    # Half a core in name: two readers on two cores would leave none for the steps before and behind them.
    read = rows.map_batches(BatchReader, concurrency=2, num_cpus=0.5, batch_size=64, batch_format="pyarrow")
    read.write_parquet(out)
