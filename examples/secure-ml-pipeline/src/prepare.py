"""Splits the ingested census rows by year: 2015 to learn from, 2016 held out.

in:  $SEAWORTHY_INPUTS/raw/*.parquet
out: $SEAWORTHY_OUTPUTS/train/train.csv, $SEAWORTHY_OUTPUTS/holdout/holdout.csv, without `id` and `year`, ordered by id
"""

import json
import os
import pathlib

import duckdb

inputs = pathlib.Path(os.environ["SEAWORTHY_INPUTS"])
outputs = pathlib.Path(os.environ["SEAWORTHY_OUTPUTS"])
params = json.loads(pathlib.Path(os.environ["SEAWORTHY_PARAMS"]).read_text() or "null") or {}
years = {"train": params.get("train_year", 2015), "holdout": params.get("holdout_year", 2016)}

# one thread and an explicit order: the same rows give the same bytes
db = duckdb.connect(config={"threads": 1})
for name, year in years.items():
    folder = outputs / name
    folder.mkdir(parents=True, exist_ok=True)
    query = f"SELECT * EXCLUDE (id, year) FROM read_parquet('{inputs / 'raw'}/*.parquet') WHERE year = {int(year)} ORDER BY id"
    rows = db.execute(f"COPY ({query}) TO '{folder / name}.csv' (FORMAT csv, HEADER)").fetchone()[0]
    if rows == 0:
        raise SystemExit(f"no rows of {year}: nothing to write for `{name}`")
    print(f"{name}: {rows} rows of {year}")
