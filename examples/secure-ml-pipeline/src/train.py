"""Trains a gradient-boosted forest on the prepared rows and writes it as ONNX.

in:  $SEAWORTHY_INPUTS/train/train.csv (columns: features, then the label `employed`), $SEAWORTHY_PARAMS (optional overrides)
out: $SEAWORTHY_OUTPUTS/model/model.onnx: input `features` float32 [n, columns], outputs `label` and `probabilities`;
     metadata `feature_names` is the JSON list of the columns in the order of the input
"""

import json
import os
import pathlib

import numpy as np
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.ensemble import GradientBoostingClassifier

inputs = pathlib.Path(os.environ["SEAWORTHY_INPUTS"])
outputs = pathlib.Path(os.environ["SEAWORTHY_OUTPUTS"])
overrides = json.loads(pathlib.Path(os.environ["SEAWORTHY_PARAMS"]).read_text() or "null") or {}
params = {"n_estimators": 120, "max_depth": 4, "learning_rate": 0.1, "min_samples_leaf": 20, "random_state": 2026} | overrides

LABEL = "employed"
path = inputs / "train" / "train.csv"
columns = path.open(encoding="utf-8").readline().strip().split(",")
table = np.loadtxt(path, delimiter=",", skiprows=1, dtype=np.float32)
label = columns.index(LABEL)
features = [name for name in columns if name != LABEL]
x, y = np.delete(table, label, axis=1), table[:, label].astype(np.int64)

model = GradientBoostingClassifier(**params).fit(x, y)

onnx_model = to_onnx(
    model,
    initial_types=[("features", FloatTensorType([None, len(features)]))],
    options={id(model): {"zipmap": False}},
)
metadata = onnx_model.metadata_props.add()
metadata.key, metadata.value = "feature_names", json.dumps(features)

(outputs / "model").mkdir(parents=True, exist_ok=True)
(outputs / "model" / "model.onnx").write_bytes(onnx_model.SerializeToString(deterministic=True))
print(f"trained on {len(y)} rows with {len(features)} features: {json.dumps(params)}")
