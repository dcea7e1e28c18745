"""Read pictures by Spark: `python examples/engines/spark.py PICTURES OUT`.

Spark leaves empty files out; portions of a manifest do not.
"""

import sys

from pyspark.sql import SparkSession

from digitcli import BatchReader

COLUMNS = "file string, index long, page int, status string, reason string, text string, confidence double"

if __name__ == "__main__":
    pictures, out = sys.argv[1:]
    spark = SparkSession.builder.master("local[2]").getOrCreate()
    rows = spark.read.format("binaryFile").option("recursiveFileLookup", "true").load(pictures)
    rows = rows.selectExpr("path", "content as bytes").repartition(8)
    names = [column.split()[0] for column in COLUMNS.split(", ")]
    read = BatchReader()
    read_all = rows.mapInArrow(lambda batches: (read(batch).select(names) for batch in batches), COLUMNS)
    read_all.write.parquet(out)
