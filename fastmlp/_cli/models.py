"""Model files: reading, writing, and what a model knows about its columns."""

import fastmlp
from fastmlp._cli.errors import CommandError, in_one_line, listed, reason
from fastmlp._cli.replacing import named_errors
from fastmlp._tabular.base import BaseTabularMLP, learned_columns


def load_model(path):
    """Return the estimator of a model file."""
    try:
        return fastmlp.load(path)
    except fastmlp.ModelFileError as error:
        raise CommandError(in_one_line(error)) from error
    except OSError as error:
        raise CommandError(f"{path}: {reason(error)}") from error


def save_model(model, path):
    """Write a model file. If this fails, an old file of that name stays as it is."""
    with named_errors(path):
        model.save(path)


def predictor(path):
    """Return the estimator of a model file, which must be able to predict."""
    model = load_model(path)
    if not hasattr(model, "predict"):
        raise CommandError(
            f"{path}: this is a {type(model).__name__}, which has no method predict: save an "
            "estimator"
        )
    return model


def is_classifier(model):
    """Whether a model predicts classes."""
    return hasattr(model, "classes_")


def is_tabular(model):
    """Whether a model is an estimator for tables."""
    return isinstance(model, BaseTabularMLP)


def kinds_of_columns(model, rows):
    """Return the columns that a model reads from a table, with their kinds.

    Columns have names if the model knows any; otherwise, they are all columns of the table, in
    their order.
    """
    names = getattr(model, "feature_names_in_", None)
    n_columns = model.n_features_in_
    kinds = ["numbers"] * n_columns
    if is_tabular(model):
        kinds = [column["kind"] for column in learned_columns(model)]
    if names is None:
        if len(rows.names) != n_columns:
            raise CommandError(
                f"{rows.name}: the model was trained on {n_columns} columns without names, but the "
                f"file has {len(rows.names)}"
            )
        names = rows.names
    absent = [name for name in names if name not in set(rows.names)]
    if absent:
        raise CommandError(
            f"{rows.name}: no column {listed(absent)}, which the model was trained on; the columns "
            f"are {listed(rows.names)}"
        )
    return dict(zip(names, kinds, strict=True))


def table_for(model, frame):
    """Return a frame as the model reads it: an array if it has been trained without names."""
    return frame if hasattr(model, "feature_names_in_") else frame.to_numpy()
