"""Golden files: `python tests/files/golden.py` writes those of this version, with predictions.

Files of released versions must load for ever, so never write a folder anew that is released.
"""

import json
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import fastmlp

FOLDER = Path(__file__).parent / "golden"


def table(n_rows=120):
    """Return a table with columns of every kind, and numbers that depend on them."""
    rng = np.random.RandomState(0)
    frame = pd.DataFrame(
        {
            "size": rng.standard_normal(n_rows).round(3),
            "kind": rng.choice(["a", "b", "c"], n_rows),
            "day": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.randint(0, 9000, n_rows), "h"),
            "flag": rng.random_sample(n_rows) < 0.5,
        }
    )
    frame.loc[::9, "size"] = np.nan
    frame.loc[::11, "kind"] = None
    return frame, frame["size"].fillna(0) + (frame["kind"] == "b") + 0.5 * frame["flag"]


def rows():
    """Return the rows that each model predicts for, by name."""
    rng = np.random.RandomState(1)
    X = rng.standard_normal((60, 4)).round(3)
    codes = X.copy()
    codes[:, 1], codes[:, 3] = rng.randint(0, 3, 60), rng.randint(0, 20, 60)
    names = ("classifier", "quantiles", "bins", "pipeline")
    tables = dict.fromkeys(("table-classifier", "table-regressor"), table()[0])
    return {"network": codes, **dict.fromkeys(names, X), **tables}


def models():
    """Return the models by name."""
    rng = np.random.RandomState(0)
    X = rows()["classifier"]
    y = X[:, 0] + X[:, 1] ** 2
    labels = np.where(y > 1, "high", np.where(y < 0, "low", "middle"))
    inputs = fastmlp.InputLayer([1, 3], [3, 20], numeric_embedding="pbld", scaling=True)
    network = fastmlp.Network(
        [4, 5, 5, 1, 2], ["tanh", "gelu", "relu"], "huber", layer_norm=True, residual=True,
        learned_activation=True, input_layer=inputs, random_state=0,
        connections=[None, rng.random_sample((5, 5)) < 0.5, None, None],
    )  # fmt: skip
    classifier = fastmlp.MLPClassifier((6,), max_iter=20, random_state=0)
    regressor = fastmlp.MLPRegressor(
        "quantile", (5, 3), loss_params={"quantiles": (0.1, 0.9)}, solver="adamw", averaging=0.9,
        dropout=0.1, max_iter=10, random_state=0, dtype="float64",
    )  # fmt: skip
    bins = fastmlp.MLPRegressor(
        "squared_error", (4,), max_iter=5, random_state=0,
        input_layer=fastmlp.InputLayer(numeric_embedding="piecewise_linear", n_bins=4),
    )  # fmt: skip
    frame, target = table()
    of_table = {"n_members": 2, "validation_fraction": 0.3, "random_state": 2}
    return {
        "network": network,
        "classifier": classifier.fit(X, labels),
        "quantiles": regressor.fit(X, y),
        "bins": bins.fit(X, y),
        "pipeline": make_pipeline(StandardScaler(), clone(classifier)).fit(X, labels),
        "table-classifier": fastmlp.TabularMLPClassifier(**of_table).fit(frame, target > 0.7),
        "table-regressor": fastmlp.TabularMLPRegressor(**of_table, refit_single=True).fit(
            frame, target
        ),
    }


def outputs(model, X):
    """Return what a model predicts for the first rows, as numbers."""
    if isinstance(model, fastmlp.Network):
        return model.output(X[:5]).tolist()
    method = "predict_proba" if hasattr(model, "predict_proba") else "predict"
    return getattr(model, method)(X[:5]).tolist()


def main():
    folder = FOLDER / fastmlp.__version__
    folder.mkdir(parents=True, exist_ok=True)
    warnings.simplefilter("ignore")
    expected = {}
    for name, model in models().items():
        if name == "quantiles":
            model.save(folder / f"{name}.safetensors", training_state=True)
        else:
            fastmlp.save(model, folder / f"{name}.safetensors")
        expected[name] = outputs(model, rows()[name])
    (folder / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
