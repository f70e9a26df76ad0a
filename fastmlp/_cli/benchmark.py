"""`fastmlp benchmark`: times on this machine beside scikit-learn's models, on a small table."""

import json
import time
import warnings

import numpy as np
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from fastmlp import TabularMLPClassifier, __version__

N_NUMBERS, N_CATEGORIES, N_VALUES = 8, 2, 6
SECONDS_OF_PREDICTIONS = 0.5


def run(options):
    """Time the models and print the table."""
    X, y = table_of_benchmark(options.rows)
    rows = train_test_split(X, y, test_size=0.25, random_state=0, stratify=y)
    figures = {name: figures_of(model, *rows) for name, model in models().items()}
    if options.json:
        print(json.dumps({"fastmlp": __version__, "rows": options.rows, "models": figures}))
        return
    print(
        f"{options.rows} rows, three quarters of them to train on; {N_NUMBERS} columns of numbers, "
        f"{N_CATEGORIES} of categories; two classes\n"
    )
    print(f"{'':24}seconds of fit   rows predicted a second   log loss   wrong answers")
    for name, row in figures.items():
        print(
            f"{name:24}{row['seconds_of_fit']:14.2f}{row['rows_a_second']:26,.0f}"
            f"{row['log_loss']:11.4f}{row['error']:16.1%}"
        )


def table_of_benchmark(n_rows):
    """Return a table of numbers and codes of categories, and two classes.

    The classes follow a sum of smooth and of stepwise functions, with noise. They are numbers,
    because scikit-learn's MLP before version 1.9 fails with strings if it stops early.
    """
    rng = np.random.default_rng(0)
    numbers = rng.normal(size=(n_rows, N_NUMBERS))
    codes = rng.integers(0, N_VALUES, (n_rows, N_CATEGORIES))
    effects = rng.normal(size=(N_CATEGORIES, N_VALUES))
    score = numbers[:, 0] * numbers[:, 1] + np.sin(2 * numbers[:, 2]) + (numbers[:, 3] > 0.5)
    score += effects[0, codes[:, 0]] + effects[1, codes[:, 1]] + 0.5 * rng.normal(size=n_rows)
    X = np.column_stack([numbers, codes])
    return X, (score > np.median(score)).astype(int)


def models():
    """Return the models with their usual settings."""
    coded = list(range(N_NUMBERS, N_NUMBERS + N_CATEGORIES))
    prepared = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), coded), remainder=StandardScaler()
    )
    return {
        "fastmlp": TabularMLPClassifier(categorical_features=coded, random_state=0),
        "HistGradientBoosting": HistGradientBoostingClassifier(
            categorical_features=coded, random_state=0
        ),
        "scikit-learn MLP": make_pipeline(
            prepared, MLPClassifier(early_stopping=True, random_state=0)
        ),
    }


def figures_of(model, X_train, X_test, y_train, y_test):
    """Return the times and errors of a model."""
    began = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(X_train, y_train)
    seconds = time.perf_counter() - began
    n_rows, began = 0, time.perf_counter()
    while (spent := time.perf_counter() - began) < SECONDS_OF_PREDICTIONS or not n_rows:
        probabilities = model.predict_proba(X_test)
        n_rows += len(X_test)
    wrong = model.classes_[probabilities.argmax(axis=1)] != y_test
    return {
        "seconds_of_fit": seconds,
        "rows_a_second": n_rows / spent,
        "log_loss": float(log_loss(y_test, probabilities)),
        "error": float(wrong.mean()),
    }
