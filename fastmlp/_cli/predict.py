"""`fastmlp predict`: predictions for the rows of a table, a piece at a time."""

from contextlib import closing

import numpy as np
import polars as pl

from fastmlp._cli.errors import CommandError, listed
from fastmlp._cli.formats import format_to_write
from fastmlp._cli.models import is_classifier, is_tabular, kinds_of_columns, predictor, table_for
from fastmlp._cli.remarks import bar_of_bytes
from fastmlp._cli.sinks import STANDARD_OUTPUT, open_sink
from fastmlp._cli.tables import check_columns, open_rows, worked_ahead


def run(options):
    """Predict the rows of the input and write them to the output."""
    format = output_format(options)
    model = predictor(options.model)
    check_outputs(options, model)
    with open_rows(options, options.data) as rows:
        write_predictions(options, model, rows, format)


def write_predictions(options, model, rows, format):
    """Predict all rows and write them to the output."""
    kinds = kinds_of_columns(model, rows)
    kept = rows.names if options.with_input else options.keep
    check_columns(rows, kept, "column")
    nothing = empty_predictions(model, options)
    check_names(kept, nothing, rows.name)
    dialect = rows.dialect if format == "csv" else None
    is_piped = options.output == STANDARD_OUTPUT
    n_bytes = rows.blocks.n_bytes if rows.dialect else None
    with (
        bar_of_bytes(options, n_bytes, is_shown=not is_piped) as advance,
        open_sink(options.output, format, dialect) as sink,
        closing(worked_ahead(read(rows, kinds, kept))) as frames,
    ):
        n_rows = 0
        for frame, copied, n_bytes in frames:
            sink.write(pl.DataFrame(copied.get_columns() + predictions(model, frame, options)))
            n_rows += len(frame)
            advance(n_bytes)
        if not n_rows:
            sink.write(pl.DataFrame([*(pl.Series(name, [], pl.String) for name in kept), *nothing]))


def output_format(options):
    """Return the format of the output."""
    if options.json:
        return "jsonl"
    return options.output_format or format_to_write(options.output)


def check_outputs(options, model):
    """Raise an error if the model does not have what the options ask for."""
    name = type(model).__name__
    if options.proba and not hasattr(model, "predict_proba"):
        raise CommandError(f"--proba: {options.model} holds a {name}, which has no probabilities")
    if options.interval and not hasattr(model, "predict_interval"):
        raise CommandError(f"--interval: {options.model} holds a {name}, which has no intervals")


def check_names(kept, outputs, name):
    """Raise an error if columns that are copied have the names of predictions."""
    both = [column.name for column in outputs if column.name in set(kept)]
    if both:
        raise CommandError(
            f"{name}: the columns {listed(both)} cannot be copied: their names are those of "
            "predictions"
        )


def read(rows, kinds, kept):
    """Yield (columns for the model, columns to be copied, number of bytes) of each piece."""
    for piece in rows.pieces():
        frame = rows.frame(piece, kinds)
        copied = rows.strings(piece, kept) if kept else pl.DataFrame()
        n_bytes = len(piece.content) if isinstance(piece.content, bytes) else 0
        yield frame, copied, n_bytes


def predictions(model, frame, options):
    """Return the columns of predictions for a frame."""
    X = table_for(model, frame)
    if is_tabular(model) and is_classifier(model):
        probabilities = model.predict_proba(X)
        # as `predict` does, but without a string for each row
        columns = [classes_of(model).gather(probabilities.argmax(axis=1))]
    else:
        probabilities = model.predict_proba(X) if options.proba else None
        columns = columns_of(model.predict(X))
    if options.proba:
        columns += map(pl.Series, names_of_probabilities(model), probabilities.T)
    if options.interval:
        lower, upper = model.predict_interval(X, options.interval).T
        columns += [pl.Series("lower", lower), pl.Series("upper", upper)]
    return columns


def columns_of(values):
    """Return predictions of one or two dimensions as columns."""
    values = np.asarray(values)
    if values.ndim == 1:
        return [pl.Series("prediction", values.tolist())]
    return [pl.Series(f"prediction {j}", column) for j, column in enumerate(values.T)]


def classes_of(model):
    """Return the classes as a column."""
    return pl.Series("prediction", model.classes_.tolist())


def names_of_probabilities(model):
    return [f"probability of {label}" for label in model.classes_.tolist()]


def empty_predictions(model, options):
    """Return the columns of predictions for no rows."""
    of_classes = classes_of(model) if is_classifier(model) else pl.Series("prediction", [0.0])
    names = names_of_probabilities(model) if options.proba else []
    names += ["lower", "upper"] if options.interval else []
    return [of_classes.clear(), *(pl.Series(name, [], pl.Float64) for name in names)]
