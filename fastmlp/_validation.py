"""Validation rows: a part set aside, or the user's own; their loss and score after every epoch."""

import numpy as np
from sklearn.metrics import check_scoring
from sklearn.model_selection import train_test_split
from sklearn.utils import _safe_indexing

FEWEST_ROWS = 2


def set_aside(estimator, X, y, data, random_state):
    """Split the rows as scikit-learn does.

    Parameters
    ----------
    X, y
        The rows in the user's terms, which are those of a scorer.
    data : Data
        The rows in the network's terms.

    Returns
    -------
    order : ndarray of intp
        The rows to train on.
    validate : callable
        () -> (loss, score) of the others.
    """
    if estimator.validation_fraction == 0:
        raise ValueError("validation_fraction must be > 0 with early_stopping=True, got 0")
    network = estimator._network
    of_labels = network.loss in ("binary_log_loss", "logistic_squared_error")
    is_binary = of_labels and estimator.n_outputs_ == 1
    order, rows = train_test_split(
        np.arange(data.n_rows),
        random_state=random_state,
        test_size=estimator.validation_fraction,
        stratify=data.y.astype(bool) if is_binary else None,
    )
    if len(rows) < FEWEST_ROWS:
        raise ValueError(
            "The validation set is too small. Increase 'validation_fraction' "
            f"(now {estimator.validation_fraction}) or the size of your dataset."
        )
    for some, what in ((rows, "that early_stopping sets aside"), (order, "that are left")):
        if not data.sample_weight[some].any():
            raise ValueError(
                f"sample_weight (times class_weight) must not be 0 for all {len(some)} rows "
                f"{what}: give other weights, another validation_fraction, or X_val and y_val"
            )
    if estimator.scoring is None:
        return order, by_output(estimator, data, rows)
    weight = data.sample_weight[rows].astype(np.float64)
    if (weight == 1).all():  # a scorer need not take weights where there are none
        weight = None
    return order, by_scorer(estimator, data, rows, _safe_indexing(X, rows), y[rows], weight)


def by_output(estimator, data, rows):
    """() -> (loss, score) of some rows of the data; the score is the estimator's own."""
    y = data.y[rows]
    weight = data.sample_weight[rows].astype(np.float64)  # sums of large ones are finite

    def validate():
        output, loss = estimator._network._evaluate(data, rows)
        return loss, estimator._score_output(y, output, weight)

    return validate


def by_scorer(estimator, data, rows, X, y, sample_weight):
    """() -> (loss, score) of some rows of the data, which are X and y in the user's terms."""
    scorer = check_scoring(estimator, scoring=estimator.scoring)
    weight = {} if sample_weight is None else {"sample_weight": sample_weight}

    def validate():
        output, loss = estimator._network._evaluate(data, rows)
        if not np.isfinite(output).all():  # of which a scorer might make a class
            return loss, np.nan
        return loss, scorer(estimator, X, y, **weight)

    return validate
