"""`fit_stream`: pipelines that are fitted to rows that do not fit in memory."""

from functools import partial
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.pipeline import Pipeline

from fastmlp._distributed.ranks import current_ranks, heed_others
from fastmlp._estimators.sources import open_source
from fastmlp._estimators.stream_cache import cached
from fastmlp._estimators.streams import BUFFER_ROWS, Streams, check_buffer_rows

OPTIONS = (
    "X_val", "y_val", "sample_weight_val", "checkpoint", "checkpoint_every", "resume",
)  # fmt: skip


def fit_stream(
    model: Any,
    source: Any,
    target: Any = None,
    *,
    features: Any = None,
    sample_weight: Any = None,
    buffer_rows: int = BUFFER_ROWS,
    cache_dir: Any = None,
    **options: Any,
) -> Any:
    """Fit a pipeline, or an estimator, to rows that are read anew for every epoch.

    Each step before the network is fitted in a pass over the source, by ``partial_fit``. Then the
    network is fitted to the transformed rows as by the method ``fit_stream``.

    Parameters
    ----------
    model : Pipeline, MLPClassifier or MLPRegressor
        A pipeline whose last step is one of ours. Its other steps need ``partial_fit``, as
        StandardScaler, MinMaxScaler and MaxAbsScaler have it, or nothing to learn.
    source : path-like, list of path-like, pyarrow.dataset.Dataset or callable
        Where the rows come from. This and the next five are those of the method ``fit_stream``.
    target : str or list of str, default=None
        The column of y in a table, or several.
    features : list of str, default=None
        The columns of X in a table. None takes all others.
    sample_weight : str, default=None
        The column of the sample weights in a table.
    buffer_rows : int, default=100_000
        Number of rows in each of the two buffers.
    cache_dir : path-like, default=None
        A folder for the decoded rows.
    **options
        The other arguments of the method: ``X_val``, ``y_val``, ``sample_weight_val``,
        ``checkpoint``, ``checkpoint_every`` and ``resume``. The pipeline transforms ``X_val``.

    Returns
    -------
    model
        The fitted model.

    Raises
    ------
    ValueError, TypeError
        If a step cannot be fitted to batches, or as the method does. The model is then left
        unchanged.

    Examples
    --------
    >>> import numpy as np
    >>> from fastmlp import MLPRegressor, fit_stream
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> def batches():
    ...     for seed in range(10):
    ...         X = 1000 + 50 * np.random.RandomState(seed).randn(200, 2)
    ...         yield X, X[:, 0] > X[:, 1]
    >>> network = MLPRegressor(learning_rate='cosine', max_iter=20, random_state=0)
    >>> model = fit_stream(make_pipeline(StandardScaler(), network), batches)
    >>> model[0].mean_.round(-1)
    array([1000., 1000.])
    """
    if isinstance(model, Streams):
        return model.fit_stream(
            source, target, features=features, sample_weight=sample_weight,
            buffer_rows=buffer_rows, cache_dir=cache_dir, **options,
        )  # fmt: skip
    if not (isinstance(model, Pipeline) and isinstance(model.steps[-1][1], Streams)):
        raise TypeError(
            "model must be an MLPClassifier, an MLPRegressor or a Pipeline that ends with one of "
            f"them, got {model!r}"
        )
    unknown = [name for name in options if name not in OPTIONS]
    if unknown:
        raise TypeError(f"fit_stream takes no argument {unknown[0]!r}, only {OPTIONS}")
    check_buffer_rows(buffer_rows)
    opened = open_source(source, target, features, sample_weight)
    steps = Steps(model.steps[:-1])
    validation = [options.get(name) for name in OPTIONS[:3]]
    checkpointing = [options.get(name) for name in OPTIONS[3:]]
    last = model.steps[-1][1]
    with cached(opened, cache_dir) as rows:
        steps.fit(rows)
        last._fit_stream(rows, buffer_rows, validation, checkpointing, steps.transform)
    model.steps[:-1] = steps.fitted()
    return model


class Steps:
    """The steps of a pipeline before the network: clones that are fitted to batches."""

    def __init__(self, steps):
        self.steps = [(name, step if is_passthrough(step) else clone(step)) for name, step in steps]
        for name, step in self.steps:
            if not (is_passthrough(step) or hasattr(step, "partial_fit") or is_stateless(step)):
                raise TypeError(
                    f"step {name!r} of the pipeline cannot be fitted to batches: it must have "
                    f"partial_fit, as StandardScaler has, got {step!r}"
                )

    def fit(self, source):
        """Fit each step in a pass over the source, or over those of all ranks in turn."""
        ranks = current_ranks()
        for i, (name, step) in enumerate(self.steps):
            if is_passthrough(step):
                continue
            if ranks is None:
                self._learn(step, source, self.steps[:i])
            else:
                learn = partial(self._learn, source=source, before=self.steps[:i])
                self.steps[i] = name, ranks.in_turn(step, learn)
        self._names = source.names

    def _learn(self, step, source, before):
        for unit in source.units:
            for batch in source.read(unit):
                heed_others()
                if len(batch.X):
                    _learn(step, transformed(batch.X, before))
                    if is_stateless(step):
                        break

    def transform(self, X):
        """Return the rows as the network reads them."""
        if self._names is not None and [*getattr(X, "columns", self._names)] != self._names:
            raise ValueError(f"X_val must have the columns {self._names}, got {[*X.columns]}")
        return np.asarray(transformed(np.asarray(X), self.steps))

    def fitted(self):
        """Return the steps, the first of which knows the names of the features."""
        first = self.steps[0][1] if self.steps else None
        if self._names is not None and not is_passthrough(first):
            first.feature_names_in_ = np.array(self._names, dtype=object)
        return self.steps


def transformed(X, steps):
    for _, step in steps:
        X = X if is_passthrough(step) else step.transform(X)
    return X


def _learn(step, X):
    if is_stateless(step):
        step.fit(X)
    else:
        step.partial_fit(X)


def is_passthrough(step):
    return step is None or (isinstance(step, str) and step == "passthrough")


def is_stateless(step):
    """Whether the step learns nothing, as FunctionTransformer and Normalizer."""
    return not step.__sklearn_tags__().requires_fit
