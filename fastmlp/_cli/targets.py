"""The target and the weights of a table: how they are read, and what they must hold."""

from typing import NamedTuple

import numpy as np

from fastmlp._cli.errors import CommandError
from fastmlp._cli.kinds import kind_of, strings_as
from fastmlp._cli.remarks import remark

MOST_CLASSES_OF_NUMBERS = 20


class Target(NamedTuple):
    """How a target is read.

    Attributes
    ----------
    is_classification : bool
    kind : {"strings", "numbers", "whole numbers", "truth values"}
    """

    is_classification: bool
    kind: str


def chosen_target(options, rows, piece, series):
    """Return how to read the target, by --task and by its values."""
    kind = kind_of(series)
    check_varies(rows, series)
    if kind in ("dates", "durations"):
        raise CommandError(
            f"{rows.name}: the target {series.name!r} holds {kind}; it must hold classes or numbers"
        )
    is_whole = kind == "numbers" and bool((series.drop_nulls() % 1 == 0).all())
    is_classification = options.task == "classification"
    if options.task == "auto":
        is_classification = is_of_classes(options, series, kind, is_whole)
    if not is_classification:
        return regression_target(rows, piece, series, kind)
    if kind == "truth values" and rows.dialect:
        kind = "strings"  # predictions are then spelled as in the file
    if kind == "numbers" and not is_whole:
        raise CommandError(
            f"{rows.name}: the target {series.name!r} holds fractions, which are no classes: "
            "--task regression"
        )
    return Target(True, "whole numbers" if kind == "numbers" else kind)


def is_of_classes(options, series, kind, is_whole):
    """Return whether a target looks like one of classes, and say so."""
    n_values = series.drop_nulls().n_unique()
    found = kind != "numbers" or (is_whole and n_values <= MOST_CLASSES_OF_NUMBERS)
    task, other = ("classification", "regression")[:: 1 if found else -1]
    change = f"; --task {other} changes it" if is_whole else ""
    what = "whole numbers" if is_whole else kind
    remark(options, f"{task}, as {series.name!r} holds {n_values} different {what}{change}")
    return found


def regression_target(rows, piece, series, kind):
    """Return how to read the target of a regression."""
    if kind == "strings":
        wrong = (strings_as(series, "numbers").is_null() & series.is_not_null()).arg_max()
        raise rows.wrong_value(piece, wrong, series.name, series[wrong], "numbers")
    return Target(False, kind)


def target_for(model):
    """Return how to read the target that a fitted model predicts."""
    if not hasattr(model, "classes_"):
        return Target(False, "numbers")
    kinds = {"b": "truth values", "i": "whole numbers", "u": "whole numbers", "f": "numbers"}
    return Target(True, kinds.get(model.classes_.dtype.kind, "strings"))


def targets_of(rows, piece, name, target):
    """Return the targets of a piece as an array."""
    kind = "numbers" if target.kind == "whole numbers" else target.kind
    series = rows.frame(piece, {name: kind})[name]
    check_whole(rows, piece, series, "the target")
    if target.kind == "strings":
        return np.array(series.to_list(), dtype=str)
    y = series.to_numpy()
    if target.kind == "truth values" and target.is_classification:
        return y.astype(bool)
    if target.kind == "whole numbers" and (y % 1 == 0).all() and np.abs(y).max() < 2**53:
        return y.astype(np.int64)
    return y


def weights_of(rows, piece, name):
    """Return the weights of the rows, or None without a column of weights."""
    if name is None:
        return None
    series = rows.frame(piece, {name: "numbers"})[name]
    check_whole(rows, piece, series, "the weight")
    if series.min() < 0:
        row = (series < 0).arg_max()
        raise CommandError(
            f"{rows.place(piece, row)}: column {name!r}: the weight {series[row]} is negative"
        )
    return series.to_numpy()


def check_whole(rows, piece, series, what):
    """Raise an error at the first missing value."""
    if series.null_count():
        row = series.is_null().arg_max()
        raise CommandError(
            f"{rows.place(piece, row)}: column {series.name!r}: {what} is missing; rows where it "
            f"is: {series.null_count()}"
        )


def check_varies(rows, series):
    """Raise an error if all targets are missing or equal."""
    values = series.drop_nulls().unique().to_list()
    if not values:
        raise CommandError(f"{rows.name}: all values of the target {series.name!r} are missing")
    if len(values) == 1:
        raise CommandError(
            f"{rows.name}: the target {series.name!r} has one value in all rows, {values[0]!r}: "
            "there is nothing to learn"
        )
