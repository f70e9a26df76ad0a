"""`fastmlp train`: trains an estimator for tables on a file and writes the model."""

import json
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
from sklearn.metrics import get_scorer_names

from fastmlp import TabularMLPClassifier, TabularMLPRegressor
from fastmlp._cli.csv_rows import is_with_comma
from fastmlp._cli.errors import CommandError
from fastmlp._cli.kinds import kind_of
from fastmlp._cli.models import save_model
from fastmlp._cli.remarks import display_of_fit, remark
from fastmlp._cli.replacing import check_place
from fastmlp._cli.tables import check_columns, open_rows
from fastmlp._cli.targets import chosen_target, targets_of, weights_of
from fastmlp._tabular.progress import shown_by


class Table(NamedTuple):
    """What a file has for a fit: the columns to learn from, the targets and the weights."""

    X: pl.DataFrame
    y: np.ndarray
    weight: np.ndarray | None


def run(options):
    """Train a model and write it."""
    began = time.perf_counter()
    check_place(options.model)
    check_metric(options.metric)
    check_roles(options)
    rows, piece = whole_table(options, options.data)
    check_columns(rows, [*options.exclude, *options.categorical], "column")
    frame = rows.found_frame(piece)
    X = columns_to_learn_from(options, rows, frame)
    target = chosen_target(options, rows, piece, frame[options.target])
    y = targets_of(rows, piece, options.target, target)
    table = Table(X, y, weights_of(rows, piece, options.sample_weight))
    kinds = {series.name: kind_of(series) for series in X.get_columns()}
    remark_about_commas(options, X)
    model = estimator(options, target.is_classification)
    validation = {}
    if options.validation is not None:
        others = validation_table(options, kinds, target)
        validation = {"X_val": others.X, "y_val": others.y, "sample_weight_val": others.weight}
    with shown_by(display_of_fit(options)):
        model.fit(table.X, table.y, table.weight, **validation)
    model.target_name_ = options.target
    save_model(model, options.model)
    show_summary(options, summary(options, model, table, kinds, time.perf_counter() - began))


def whole_table(options, path):
    """Return the rows of a file, and all of them as one piece."""
    with open_rows(options, path) as rows:
        check_columns(rows, [options.target], "target")
        if options.sample_weight is not None:
            check_columns(rows, [options.sample_weight], "column of weights")
        piece = rows.everything()
    if piece.content is None or not len(piece.content):
        raise CommandError(f"{rows.name}: there are no rows, only the names of the columns")
    return rows, piece


def check_metric(metric):
    """Raise an error if there is no scorer of this name."""
    names = get_scorer_names()
    if metric is not None and metric not in names:
        raise CommandError(f"--metric: no scorer {metric!r}; there are {', '.join(names)}")


def check_roles(options):
    """Raise an error if the target is used for something else, too."""
    others = {"--sample-weight": [options.sample_weight], "--exclude": options.exclude}
    others["--categorical"] = options.categorical
    for option, columns in others.items():
        if options.target in columns:
            raise CommandError(f"{option}: column {options.target!r} is the target")
    excluded = [name for name in options.categorical if name in options.exclude]
    if excluded:
        raise CommandError(f"--categorical: column {excluded[0]!r} is excluded")


def columns_to_learn_from(options, rows, frame):
    """Return the columns that are neither the target nor weights nor excluded."""
    others = {options.target, options.sample_weight, *options.exclude}
    names = [name for name in frame.columns if name not in others]
    if not names:
        raise CommandError(f"{rows.name}: no column is left to learn from")
    return frame.select(names)


def remark_about_commas(options, frame):
    """Say which columns of strings seem to hold numbers with a decimal comma."""
    strings = frame.select(pl.selectors.string()) if options.decimal == "." else pl.DataFrame()
    for series in strings.get_columns():
        if all(is_with_comma(value) for value in series.drop_nulls().head(100)):
            remark(
                options,
                f"column {series.name!r} seems to hold numbers with a decimal comma, and is taken "
                "as strings; --decimal , reads them as numbers",
            )


def estimator(options, is_classification):
    """Return the unfitted estimator."""
    return (TabularMLPClassifier if is_classification else TabularMLPRegressor)(
        n_members=options.members,
        refit_single=options.refit_single,
        max_seconds=options.seconds,
        metric=options.metric,
        categorical_features=options.categorical or "from_dtype",
        n_jobs=options.jobs,
        random_state=options.seed,
    )


def validation_table(options, kinds, target):
    """Return the table of --validation, its columns of the kinds of the training table."""
    rows, piece = whole_table(options, options.validation)
    check_columns(rows, list(kinds), "column")
    return Table(
        rows.frame(piece, kinds),
        targets_of(rows, piece, options.target, target),
        weights_of(rows, piece, options.sample_weight),
    )


def summary(options, model, table, kinds, seconds):
    """Return the facts of a fit, for people and for machines."""
    board = model.leaderboard_
    is_classification = hasattr(model, "classes_")
    return {
        "model": str(options.model),
        "bytes": Path(options.model).stat().st_size,
        "task": "classification" if is_classification else "regression",
        "target": options.target,
        **({"classes": model.classes_.tolist()} if is_classification else {}),
        "rows": len(table.y),
        "columns": dict(Counter(kinds.values())),
        "networks_trained": sum(n > 0 for n in board["n_epochs"]),
        "networks_used": sum(weight > 0 for weight in board["weight"]),
        "loss": board["loss"][0],
        "loss_name": "log loss" if is_classification else "mean squared error / variance",
        "findings": [what for _, what, _ in model.__findings__()],
        "seconds": round(seconds, 3),
    }


def show_summary(options, facts):
    """Print the facts of a fit."""
    if options.json:
        print(json.dumps(facts))
        return
    columns = ", ".join(f"{n} of {kind}" for kind, n in facts["columns"].items())
    lines = {
        "task": f"{facts['task']} of {facts['target']!r}",
        "table": f"{facts['rows']} rows; columns: {columns}",
        "networks": f"{facts['networks_trained']} trained, {facts['networks_used']} in the model",
        "loss": f"{facts['loss']:.4g} ({facts['loss_name']}), the best network on unseen rows",
        "seconds": f"{facts['seconds']:.1f}",
        "model": f"{facts['model']} ({facts['bytes']} bytes)",
    }
    for name, text in lines.items():
        print(f"{name:10}{text}")
    for finding in facts["findings"]:
        remark(options, finding)
