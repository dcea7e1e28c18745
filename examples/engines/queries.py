"""Query the results of a run with DuckDB and with Polars: `python examples/engines/queries.py RESULTS`."""

import sys

import duckdb
import polars

if __name__ == "__main__":
    parts = f"{sys.argv[1]}/*.parquet"
    print(duckdb.sql(f"select status, reason, count(*) from '{parts}' group by all"))
    print(duckdb.sql(f"select file, n.text, n.confidence from '{parts}', unnest(numbers) as each(n) limit 5"))
    doubts = polars.scan_parquet(parts).filter(polars.col("status") != "read")
    print(doubts.select("file", "reason", "text", "confidence").head(5).collect())
