"""Read the portions of a manifest by Spark: `python spark_portions.py MANIFEST OUT [MASTER]`."""

import sys

from pyspark.sql import SparkSession

from digitcli import ReaderConfig, read_portion
from digitcli.bulk.engines import begin_run
from digitcli.bulk.manifest import open_manifest

if __name__ == "__main__":
    manifest, out, master = [*sys.argv[1:], "local[2, 4]"][:3]  # two cores, four attempts
    config = ReaderConfig().with_identity()
    done = begin_run(out, manifest, config)
    left = [portion for portion in range(open_manifest(manifest).portions) if portion not in done]
    context = SparkSession.builder.master(master).getOrCreate().sparkContext
    tasks = context.parallelize(left, len(left) or 1)
    print(tasks.map(lambda portion: read_portion(manifest, portion, out, config).by_status).collect())
