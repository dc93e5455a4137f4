"""Makes the variants' files: folders to be copied over the example.

in:  ../data/raw, ../seaworthy.yaml, ../src/train.py; an honest model.onnx (for laundered-model)
out: batch-at-bound/ batch-just-over/ poisoned-batch/ changed-input/ worse-model/ laundered-model/

    pip install duckdb==2.0.0
    python make.py path/to/model.onnx

Rows are picked by the smallest sha256("seaworthy-2026:<purpose>:<id>"): nothing random.
"""

import hashlib
import pathlib
import shutil
import sys

import duckdb

HERE = pathlib.Path(__file__).resolve().parent
EXAMPLE = HERE.parent
NAME = {year: f"data/raw/employment_MA_{year}.parquet" for year in (2015, 2016)}


def pick(ids: list[int], purpose: str, count: int) -> list[int]:
    return sorted(ids, key=lambda i: hashlib.sha256(f"seaworthy-2026:{purpose}:{i}".encode()).hexdigest())[:count]


def change(variant: str, year: int, count: int, where: str, assignment: str) -> None:
    """Writes the year's file with `assignment` applied to `count` of the rows that satisfy `where`."""
    db = duckdb.connect(config={"threads": 1})
    db.execute(f"CREATE TABLE batch AS SELECT * FROM read_parquet('{EXAMPLE / NAME[year]}')")
    ids = [row[0] for row in db.execute(f"SELECT id FROM batch WHERE {where}").fetchall()]
    db.execute("CREATE TABLE chosen (id BIGINT)")
    db.execute("INSERT INTO chosen SELECT unnest(?)", [pick(ids, variant.removesuffix("-at-bound").removesuffix("-just-over"), count)])
    db.execute(f"UPDATE batch SET {assignment} WHERE id IN (SELECT id FROM chosen)")
    out = HERE / variant / NAME[year]
    out.parent.mkdir(parents=True, exist_ok=True)
    db.execute(f"COPY (SELECT * FROM batch ORDER BY id) TO '{out}' (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 20000)")
    print(f"{variant}: {count} of {len(ids)} rows: {assignment}")


def main(model: str) -> None:
    # an age that no person has: 100 of 40,000 rows is the bound (0.25 %), 101 is past it
    change("batch-at-bound", 2015, 100, "true", "AGEP = 999")
    change("batch-just-over", 2015, 101, "true", "AGEP = 999")
    # 5 % of the training year: people at work turned into people without, under codes that the Bureau's dictionary does not have:
    # the crude end of poisoning, which a declared schema sees
    change("poisoned-batch", 2015, 1000, "employed = 1", "RAC1P = 0, SCHL = 99, employed = 0")
    # one label of one person, valid by every schema: only the digest can tell
    change("changed-input", 2016, 1, "employed = 1", "employed = 0")

    settings = (EXAMPLE / "seaworthy.yaml").read_text()
    anchor = "    inputs: [preprocess/train]\n"
    assert settings.count(anchor) == 1
    weak = anchor + "    params: {n_estimators: 12, max_depth: 2}\n"
    (HERE / "worse-model").mkdir(exist_ok=True)
    (HERE / "worse-model" / "seaworthy.yaml").write_text(settings.replace(anchor, weak))

    folder = HERE / "laundered-model" / "src"
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(model, folder / "lookup.dat")
    (folder / "train.py").write_text(
        '"""Pretends to train: hands out weights that were made elsewhere."""\n\n'
        "import os\nimport pathlib\n\n"
        'folder = pathlib.Path(os.environ["SEAWORTHY_OUTPUTS"]) / "model"\n'
        "folder.mkdir(parents=True, exist_ok=True)\n"
        '(folder / "model.onnx").write_bytes(pathlib.Path("lookup.dat").read_bytes())\n'
        'print("trained on 20000 rows with 16 features")\n'
    )


if __name__ == "__main__":
    main(sys.argv[1])
