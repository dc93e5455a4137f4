"""Makes data/raw/ from the public wheel nannyml 0.13.1: 20,000 rows of 2015 and 20,000 of 2016.

in:  the wheel (python make.py nannyml-0.13.1-py3-none-any.whl); pinned below by SHA-256
out: raw/employment_MA_2015.parquet, raw/employment_MA_2016.parquet beside this file

    pip download --no-deps nannyml==0.13.1
    pip install duckdb==2.0.0
    python make.py nannyml-0.13.1-py3-none-any.whl

Which rows: those whose sha256("seaworthy-2026:<id>") is smallest. The choice depends on nothing but the id, so it is the same
with every version of every library. The columns that hold somebody else's model (prediction, predicted_probability) are dropped;
the census codes, stored upstream as text, become integers; nothing else is changed, no row is repaired or reordered by value.
"""

import hashlib
import pathlib
import sys
import tempfile
import zipfile

import duckdb

WHEEL_SHA256 = "cf5f4a33489834ae6773cb1baa33a0f98c0a3ee6ed9b43049478b25ce22fe869"
ROWS_PER_YEAR = 20_000
SEED = "seaworthy-2026"
HERE = pathlib.Path(__file__).resolve().parent
MEMBERS = [f"nannyml/datasets/data/employment_MA_{part}.pq" for part in ("reference", "analysis", "analysis_target")]
CODES = "SCHL MAR RELP DIS ESP CIT MIG MIL ANC NATIVITY DEAR DEYE DREM SEX RAC1P".split()


def rank(row_id: int) -> str:
    return hashlib.sha256(f"{SEED}:{row_id}".encode()).hexdigest()


def main(wheel: str) -> None:
    if hashlib.sha256(pathlib.Path(wheel).read_bytes()).hexdigest() != WHEEL_SHA256:
        sys.exit(f"{wheel} is not the wheel this script was written for (sha256 {WHEEL_SHA256})")
    columns = ", ".join(["id", "CAST(AGEP AS INTEGER) AS AGEP"] + [f"CAST({c} AS INTEGER) AS {c}" for c in CODES])
    tail = "CAST(employed AS INTEGER) AS employed, CAST(year AS INTEGER) AS year"
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(wheel) as archive:
        reference, analysis, target = (archive.extract(member, folder) for member in MEMBERS)
        db = duckdb.connect(config={"threads": 1})
        db.execute(f"CREATE TABLE everything AS SELECT {columns}, {tail} FROM read_parquet('{reference}')")
        db.execute(f"INSERT INTO everything SELECT {columns}, {tail} FROM read_parquet('{analysis}') AS features JOIN read_parquet('{target}') AS labels USING (id)")
        (HERE / "raw").mkdir(exist_ok=True)
        for year in (2015, 2016):
            ids = [row[0] for row in db.execute("SELECT id FROM everything WHERE year = ?", [year]).fetchall()]
            chosen = sorted(ids, key=rank)[:ROWS_PER_YEAR]
            db.execute("CREATE OR REPLACE TABLE chosen (id BIGINT)")
            db.execute("INSERT INTO chosen SELECT unnest(?)", [chosen])
            out = HERE / "raw" / f"employment_MA_{year}.parquet"
            db.execute(
                f"COPY (SELECT * FROM everything SEMI JOIN chosen USING (id) WHERE year = {year} ORDER BY id) "
                f"TO '{out}' (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 20000)"
            )
            print(out.name, hashlib.sha256(out.read_bytes()).hexdigest(), out.stat().st_size, "bytes")


if __name__ == "__main__":
    main(sys.argv[1])
