"""Validation sets, split off or passed by the user: loss and scores after every epoch."""

from typing import Any, NamedTuple

import numpy as np
from sklearn.metrics import check_scoring
from sklearn.model_selection import train_test_split

from fastmlp._engine.rows import Data
from fastmlp._estimators.sklearn_private import _safe_indexing

FEWEST_ROWS = 2


class Part(NamedTuple):
    """A validation set: rows of the network's data, and the user's data for scorers."""

    data: Data
    rows: np.ndarray
    X: Any = None
    y: Any = None
    sample_weight: np.ndarray | None = None


def split_off_validation(estimator, X, y, data, random_state):
    """Split the rows as scikit-learn does.

    Parameters
    ----------
    X, y
        The data as passed by the user, for scorers.
    data : Data
        The same data for the network.

    Returns
    -------
    order : ndarray of intp
        The training rows.
    part : Part
        The validation rows.
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
        return order, Part(data, rows)
    weight = data.sample_weight[rows]
    if (weight == 1).all():  # do not require scorers to support sample weights
        weight = None
    return order, Part(data, rows, _safe_indexing(X, rows), y[rows], weight)


def pairs_of(X_val, y_val, weight_val):
    """Return the user's validation sets as a list of (X, y, weight), and whether it was a list.

    X_val is a list of pairs (X, y) if y_val is None.
    """
    if not (y_val is None and isinstance(X_val, list | tuple) and all(map(_is_pair, X_val))):
        if X_val is None or y_val is None:
            missing = "X_val" if X_val is None else "y_val"
            raise ValueError(
                f"X_val and y_val must be given together, got no {missing} (or X_val as a list of "
                "pairs (X, y))"
            )
        return [(X_val, y_val, weight_val)], False
    weights = [None] * len(X_val) if weight_val is None else weight_val
    if not isinstance(weights, list | tuple) or not len(weights) == len(X_val) > 0:
        raise ValueError(
            "sample_weight_val must be a list of weights or None for each of the pairs of X_val, "
            f"and X_val must have one, got {len(X_val)} pairs and {type(weights).__name__}"
        )
    return [(*pair, weight) for pair, weight in zip(X_val, weights, strict=True)], True


def _is_pair(given):
    """Whether the value is a pair (X, y) and not a row of two numbers."""
    return isinstance(given, list | tuple) and len(given) == 2 and not np.isscalar(given[0])


class Validation:
    """Measures the validation sets for the history.

    It returns a dict with 'val_loss' and 'val_score' of the last set. 'val_score' is the first
    score. If there are several scorers, each score is also included as 'val_' + name. With
    ``are_numbered``, the same values of every set are included with its number.

    Parameters
    ----------
    estimator : BaseMLP
    parts : list of Part
    are_numbered : bool
    """

    def __init__(self, estimator, parts, *, are_numbered=False):
        self.parts = parts
        self._estimator = estimator
        self._are_numbered = are_numbered
        self._names, self._scorers = _scorers(estimator)

    def _measure(self, part):
        estimator = self._estimator
        weight = {}
        if part.sample_weight is not None:
            weight = {"sample_weight": part.sample_weight.astype(float)}
        output, loss = estimator._network.passes.evaluate(part.data, part.rows)
        return self._scored(
            output, loss, part.data.y[part.rows], part.data.sample_weight[part.rows],
            lambda scorer: scorer(estimator, part.X, part.y, **weight),
        )  # fmt: skip

    def _scored(self, output, loss, y, weight, call):
        """Return the loss and the scores of an output; ``call`` calls a scorer."""
        if not np.isfinite(output).all():  # a scorer might still find a class for such rows
            scores = [np.nan] * max(1, len(self._scorers))
        elif self._scorers:
            try:
                scores = [call(scorer) for scorer in self._scorers]
            except AttributeError as error:  # such as of a scorer that needs predict_proba
                raise ValueError(
                    f"scoring={self._estimator.scoring!r} cannot be computed: {error}"
                ) from error
        else:
            # float64 keeps sums of large weights finite.
            scores = [self._estimator._score_output(y, output, weight.astype(float))]
        of_scores = {f"val_{name}": score for name, score in zip(self._names, scores, strict=False)}
        return {"val_loss": loss, "val_score": scores[0]} | of_scores

    def __call__(self):
        # No map, which would take a StopIteration of a scorer for its own end.
        measured = [self._measure(part) for part in self.parts]
        numbered = {
            f"{name}_{i}": value
            for i, of_part in enumerate(measured if self._are_numbered else ())
            for name, value in of_part.items()
        }
        return measured[-1] | numbered


def _scorers(estimator):
    """Return the names and the scorers.

    Names are only needed for a list of scorers. Without ``scoring``, both lists are empty, and the
    estimator's own score is used.
    """
    scoring = estimator.scoring
    if scoring is None:
        return [], []
    if not isinstance(scoring, list | tuple):
        return [], [check_scoring(estimator, scoring=scoring)]
    names = []
    for one in scoring:
        name = one if isinstance(one, str) else _name_of(one)
        n_before = sum(known.split("(")[0] == name for known in ["loss", "score", *names])
        names.append(f"{name}({n_before + 1})" if n_before else name)
    return names, [check_scoring(estimator, scoring=one) for one in scoring]


def _name_of(scorer):
    function = getattr(scorer, "_score_func", scorer)  # set by make_scorer
    return getattr(function, "__name__", type(function).__name__)
