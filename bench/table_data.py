"""The tables of bench/tabular.py: those of a folder, those of scikit-learn, and generated ones."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_wine
from sklearn.model_selection import train_test_split

TEST_SHARE = 0.25

OF_SCIKIT_LEARN = {
    "digits": (load_digits, "classification"),
    "breast_cancer": (load_breast_cancer, "classification"),
    "diabetes": (load_diabetes, "regression"),
    "wine": (load_wine, "classification"),
}


@dataclass(frozen=True)
class Table:
    """A data frame with columns of float64 and of categories (strings), and the targets.

    `y` is the index of the class, or a number for regression.
    """

    task: str
    X: pd.DataFrame
    y: np.ndarray

    @property
    def categorical(self):
        """The names of the columns of categories."""
        return list(self.X.select_dtypes("category").columns)

    def split(self, seed):
        """The tables of the rows to train on and of those to test."""
        rows = np.arange(len(self.y))
        stratify = self.y if self.task == "classification" else None
        parts = train_test_split(rows, test_size=TEST_SHARE, random_state=seed, stratify=stratify)
        return [self.rows(part) for part in parts]

    def rows(self, rows):
        """The table of these rows."""
        return Table(self.task, self.X.iloc[rows].reset_index(drop=True), self.y[rows])


def names_of_folder(folder):
    """The names of the tables of a folder, the small ones first."""
    about = descriptions(folder)
    return sorted(about, key=lambda name: about[name]["rows"])


def descriptions(folder):
    return json.loads((Path(folder) / "tables.json").read_text(encoding="utf-8"))


def load(name, folder=None):
    """A table of scikit-learn or, if it has none of that name, of the folder.

    The folder has a file ``NAME.csv.gz`` for each table, whose last column is ``target``, and
    ``tables.json``: for each name 'task', 'rows', and the columns that are 'numeric' and those that
    are 'categorical'.
    """
    if name in OF_SCIKIT_LEARN:
        function, task = OF_SCIKIT_LEARN[name]
        X, y = function(return_X_y=True, as_frame=True)
        return Table(task, X.astype(np.float64), y.to_numpy())
    about = descriptions(folder)[name]
    categorical = about["categorical"]
    # A category may be called "None" or "NA": only an empty string is a missing one.
    frame = pd.read_csv(
        Path(folder) / f"{name}.csv.gz",
        dtype=dict.fromkeys(categorical, str),
        keep_default_na=False,
        na_values={name: [""] for name in categorical}
        | {name: ["", "NA", "NaN", "nan"] for name in about["numeric"]},
    )
    types = dict.fromkeys(about["numeric"], np.float64) | dict.fromkeys(categorical, "category")
    X = frame[list(types)].astype(types)
    if about["task"] == "classification":
        return Table(about["task"], X, pd.factorize(frame["target"], sort=True)[0])
    return Table(about["task"], X, frame["target"].to_numpy(np.float64))


def generated(n_rows, n_numbers=6, n_categories=8):
    """A table of two classes: normal numbers, and categories of 2 to 16 values.

    The log odds are smooth in the numbers, and have a term for each category and for pairs of both.
    """
    rng = np.random.default_rng(0)
    numbers = rng.standard_normal((n_rows, n_numbers))
    log_odds = 2 * np.sin(numbers[:, 0]) + numbers[:, 1] * numbers[:, 2]
    columns = {f"number {j}": numbers[:, j] for j in range(n_numbers)}
    for j in range(n_categories):
        effects = rng.standard_normal(2 * (j + 1))
        codes = rng.integers(len(effects), size=n_rows)
        log_odds += effects[codes] * (1 + numbers[:, j % n_numbers]) / 2
        values = np.array([f"value {code}" for code in range(len(effects))])
        columns[f"category {j}"] = pd.Categorical(values[codes])
    y = rng.random(n_rows) < 1 / (1 + np.exp(-log_odds))
    return Table("classification", pd.DataFrame(columns), y.astype(np.int64))
