"""`fastmlp evaluate`: predictions beside the true values of a table."""

import json
from contextlib import closing

import numpy as np

from fastmlp._cli.errors import CommandError, listed
from fastmlp._cli.models import is_classifier, kinds_of_columns, predictor, table_for
from fastmlp._cli.remarks import bar_of_bytes, remark
from fastmlp._cli.replacing import check_place
from fastmlp._cli.scores import (
    calibration_bins,
    confusion,
    judged_probabilities,
    scores_of_classes,
    scores_of_numbers,
)
from fastmlp._cli.tables import check_columns, open_rows, worked_ahead
from fastmlp._cli.targets import target_for, targets_of

COVERAGE = 0.9


def run(options):
    """Evaluate a model on a table."""
    if options.plot is not None:
        check_place(options.plot)
    model = predictor(options.model)
    with open_rows(options, options.data) as rows:
        kinds = kinds_of_columns(model, rows)
        target = target_column(options, rows, kinds, model)
        y, outputs = predicted_rows(options, model, rows, kinds, target)
    evaluated = evaluated_classes if is_classifier(model) else evaluated_numbers
    facts = {"model": options.model, "table": rows.name, "target": target, "rows": len(y)}
    facts |= evaluated(model, y, outputs)
    if options.plot is not None:
        draw(options.plot, model, y, outputs, facts)
    if options.json:
        print(json.dumps(facts))
    else:
        print_facts(facts)


def target_column(options, rows, kinds, model):
    """Return the name of the column with the true values."""
    if options.target is not None:
        check_columns(rows, [options.target], "target")
        return options.target
    if getattr(model, "target_name_", None) in rows.names:
        return model.target_name_
    others = [name for name in rows.names if name not in kinds]
    if len(others) != 1:
        found = f"are {listed(others)}" if others else "are none"
        raise CommandError(
            f"{rows.name}: add --target COLUMN: the columns that the model does not read {found}"
        )
    remark(options, f"the target is {others[0]!r}, the only column that the model does not read")
    return others[0]


def predicted_rows(options, model, rows, kinds, target):
    """Return the true values of all rows, and the probabilities or predictions."""
    pairs = []
    n_bytes = rows.blocks.n_bytes if rows.dialect else None
    with (
        bar_of_bytes(options, n_bytes) as advance,
        closing(worked_ahead(read(rows, kinds, target, model))) as pieces,
    ):
        for frame, y, n_bytes in pieces:
            pairs.append((y, outputs_for(model, table_for(model, frame))))
            advance(n_bytes)
    if not pairs:
        raise CommandError(f"{rows.name}: there are no rows, only the names of the columns")
    y, outputs = zip(*pairs, strict=True)
    return np.concatenate(y), np.concatenate(outputs)


def read(rows, kinds, target, model):
    """Yield (columns for the model, true values, number of bytes) of each piece."""
    of_target = target_for(model)
    for piece in rows.pieces():
        y = targets_of(rows, piece, target, of_target)
        if of_target.is_classification:
            check_classes(rows, piece, y, target, model.classes_)
        n_bytes = len(piece.content) if isinstance(piece.content, bytes) else 0
        yield rows.frame(piece, kinds), y, n_bytes


def check_classes(rows, piece, y, target, classes):
    """Raise an error at the first true value that is no class of the model."""
    is_known = np.isin(y, classes)
    if not is_known.all():
        row = int(is_known.argmin())
        raise CommandError(
            f"{rows.place(piece, row)}: column {target!r}: {y.tolist()[row]!r} is no class of the "
            f"model, which are {listed(classes.tolist())}"
        )


def outputs_for(model, X):
    """Return the probabilities, or the predictions and the ends of their intervals as columns."""
    if is_classifier(model):
        probabilities = model.predict_proba(X)
        if not np.allclose(probabilities.sum(axis=1), 1):
            raise CommandError("models of several labels for each row are not evaluated")
        return probabilities
    predictions = model.predict(X)
    if predictions.ndim > 1:
        raise CommandError("models of several targets are not evaluated")
    if not hasattr(model, "predict_interval"):
        return predictions[:, np.newaxis]
    return np.column_stack([predictions, model.predict_interval(X, COVERAGE)])


def evaluated_classes(model, y, probabilities):
    """Return what there is to say about probabilities."""
    codes = np.searchsorted(model.classes_, y)
    judged = judged_probabilities(codes, probabilities)
    classes = model.classes_.tolist()
    return {
        "scores": scores_of_classes(codes, probabilities),
        "classes": classes,
        "confusion": confusion(codes, probabilities),
        "calibration_of": f"probability of {classes[1]}"
        if len(classes) == 2
        else "probability of the predicted class",
        "calibration": calibration_bins(*judged),
    }


def evaluated_numbers(model, y, outputs):
    """Return what there is to say about predicted numbers."""
    interval = outputs[:, 1:] if outputs.shape[1] == 3 else None
    return {"scores": scores_of_numbers(y, outputs[:, 0], interval)}


def draw(path, model, y, outputs, facts):
    """Draw the plot."""
    from fastmlp._cli.plots import plot_of_classes, plot_of_numbers, write_plot

    figure = plot_of_classes(facts) if is_classifier(model) else plot_of_numbers(y, outputs, facts)
    write_plot(figure, path)


def print_facts(facts):
    """Print the scores and tables."""
    print(f"{facts['rows']} rows of {facts['table']}, target {facts['target']!r}\n")
    for name, score in facts["scores"].items():
        print(f"{name:26}{'-' if score is None else f'{score:.6g}'}")
    if "confusion" in facts:
        print_confusion(facts["classes"], facts["confusion"])
        print_calibration(facts)


def print_confusion(classes, matrix):
    """Print the confusion matrix with its labels."""
    labels = [str(label) for label in classes]
    numbers = [[str(n) for n in row] for row in matrix]
    widths = [max(len(label), *(len(row[k]) for row in numbers)) for k, label in enumerate(labels)]
    corner = "true, predicted"
    first = max(map(len, [corner, *labels]))
    print(f"\n{corner:{first}}", *map("{:>{}}".format, labels, widths), sep="  ")
    for label, row in zip(labels, numbers, strict=True):
        print(f"{label:{first}}", *map("{:>{}}".format, row, widths), sep="  ")


def print_calibration(facts):
    """Print how often what has a probability is true."""
    print(f"\n{facts['calibration_of']}: is it true as often?\n")
    print(f"{'between':>12}{'rows':>10}{'mean':>10}{'true':>10}")
    for bin in facts["calibration"]:
        between = f"{bin['from']:.1f} - {bin['to']:.1f}"
        print(f"{between:>12}{bin['rows']:>10}{bin['probability']:>10.4f}{bin['share']:>10.4f}")
