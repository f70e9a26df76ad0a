"""Base class of the estimators for tables."""

import os
from abc import ABCMeta, abstractmethod
from contextlib import closing
from datetime import timedelta
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, is_regressor
from sklearn.metrics import check_scoring, get_scorer_names
from sklearn.model_selection import check_cv
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from fastmlp._distributed.ranks import current_ranks
from fastmlp._engine.layout import ceil_div
from fastmlp._engine.warnings import warn
from fastmlp._estimators.concurrency import FittedAside
from fastmlp._estimators.methods import checks_parameters
from fastmlp._estimators.sklearn_private import Interval, StrOptions
from fastmlp._estimators.types import Array, ArrayLike, MatrixLike
from fastmlp._tabular.checkpoints import MemberCheckpoints
from fastmlp._tabular.columns import Category
from fastmlp._tabular.distillation import distilled
from fastmlp._tabular.ensemble import Ensemble, KnownOutputs, Part
from fastmlp._tabular.findings import Facts, n_values_of
from fastmlp._tabular.inputs import InputMaps
from fastmlp._tabular.member import Deadline
from fastmlp._tabular.progress import progress_of_members
from fastmlp._tabular.saving import SavesTable
from fastmlp._tabular.selection import greedy_selection
from fastmlp._tabular.settings import Plan, draw_settings, realmlp
from fastmlp._tabular.shared import SharedDeadline, shared_task
from fastmlp._tabular.splits import checked_split, evenly
from fastmlp._tabular.table import TableEncoder
from fastmlp._tabular.training import (
    Candidate,
    Split,
    Task,
    interrupt_ends,
    shares_of_threads,
    train_candidates,
)
from fastmlp._tabular.weights import check_length, checked_weight

N_FOLDS = 5
MOST_ROWS_IN_FOLD = 50_000  # more would take time and make no better selection
FEWEST_ROWS = 4
VALIDATION_FRACTION = 0.2

FITTED_ATTRIBUTES = (
    "_ensemble", "_facts", "_n_outputs", "_scale", "_residuals", "classes_", "temperature_",
    "leaderboard_", "n_features_in_", "feature_names_in_", "target_name_",
)  # fmt: skip


class BaseTabularMLP(SavesTable, FittedAside, BaseEstimator, metaclass=ABCMeta):
    """Base class of TabularMLPClassifier and TabularMLPRegressor."""

    _parameter_constraints: dict = {
        "n_members": [Interval(Integral, 1, None, closed="left"), None],
        "members": [StrOptions({"ensemble", "realmlp"})],
        "refit_single": ["boolean"],
        "max_seconds": [Interval(Real, 0, None, closed="neither"), None],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither"), None],
        "cv": [Interval(Integral, 2, None, closed="left"), "cv_object"],
        "metric": [StrOptions(set(get_scorer_names())), callable, None],
        "categorical_features": ["array-like", StrOptions({"from_dtype"}), None],
        "n_jobs": [
            Interval(Integral, 1, None, closed="left"),
            Interval(Integral, None, -1, closed="right"),
            None,
        ],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    n_features_in_: int
    feature_names_in_: Array
    target_name_: str
    leaderboard_: dict[str, list[Any]]

    # Implemented by subclasses -------------------------------------------------------------------

    @abstractmethod
    def _checked_targets(self, y, name):
        """Return y or y_val as an array of shape (n_rows,) after validation."""

    @abstractmethod
    def _learn_targets(self, y, weight):
        """Learn from the targets of the training rows what encoding and decoding needs."""

    @abstractmethod
    def _encode_targets(self, y, name):
        """Return y or y_val as numbers for the networks."""

    @abstractmethod
    def _decode_targets(self, targets):
        """Return the y that these numbers stand for."""

    @abstractmethod
    def _order_for_parts(self, targets, random_state):
        """Return the rows in a random order, with equal classes side by side."""

    @abstractmethod
    def _losses(self, targets, outputs, weight):
        """Return what of the outputs counts for the loss, and the function of the losses.

        ``outputs`` are those of several networks, of shape (n_networks, n_rows, n_outputs).
        """

    @abstractmethod
    def _constant_output(self, task):
        """Return the output of a network that does not look at X."""

    @abstractmethod
    def _calibrate(self, targets, outputs, weight):
        """Learn from the ensemble's outputs for rows that its networks have not seen."""

    @abstractmethod
    def _write_targets(self, parts):
        """Add what was learned of the targets, and the calibration, to the parts of a file."""

    @abstractmethod
    def _read_targets(self, fields, n_outputs):
        """Take over what `_write_targets` has written, for networks with so many outputs."""

    def _class_weight_of_rows(self, y):
        """Return the class weight of each row, or None without class weights."""
        return None

    # Training ------------------------------------------------------------------------------------

    @checks_parameters
    def fit(
        self,
        X: MatrixLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        X_val: MatrixLike = None,
        y_val: ArrayLike | None = None,
        sample_weight_val: ArrayLike | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
        checkpoint_every: int | timedelta | None = None,
        resume: str | os.PathLike[str] | None = None,
    ) -> Self:
        """Fit the ensemble to a table.

        Parameters
        ----------
        X : data frame, array-like or sparse matrix of shape (n_samples, n_features)
            The table: a data frame of pandas, polars or pyarrow, or an array. It may have missing
            values, strings, categories, truth values and dates.
        y : array-like of shape (n_samples,)
            The targets: class labels, or numbers for regression.
        sample_weight : array-like of shape (n_samples,), default=None
            Sample weights, which must not be negative. Rows of weight 0 are left out. A row of
            weight 2 counts as much as two rows, but it is in one fold and in one mini-batch.
        X_val, y_val, sample_weight_val : like X, y and sample_weight, default=None
            Rows for early stopping, selection and calibration. By default, they are taken from X;
            see ``validation_fraction`` and ``cv``, which have no effect otherwise.
        checkpoint : path-like, default=None
            A file to which the networks are written now and then. At any moment, the old file or
            the new one is whole. In the end it is a model file of the estimator.
        checkpoint_every : int or datetime.timedelta, default=None
            Number of trained networks between two checkpoints, or the time. None means 30
            seconds.
        resume : path-like, default=None
            A checkpoint of a fit to the same data with the same parameters, from which this fit
            goes on as if it had never stopped, bit for bit. Networks that are in the file are not
            trained again. ``n_jobs``, ``verbose`` and ``max_seconds``, which counts from the first
            beginning, may differ.

        Returns
        -------
        self
            Fitted estimator.

        Raises
        ------
        ValueError, TypeError
            If X, y, sample_weight or a parameter is invalid, or if ``resume`` is a checkpoint of a
            fit to other data or with other parameters. The estimator is then left unchanged.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from fastmlp import TabularMLPClassifier
        >>> X, y = load_iris(return_X_y=True)
        >>> model = TabularMLPClassifier(n_members=3, random_state=0).fit(X, y)
        >>> len(model.leaderboard_['loss'])
        3
        """
        with self._aside():
            for name in FITTED_ATTRIBUTES:
                vars(self).pop(name, None)
            asked = checkpoint, checkpoint_every, resume
            checkpoints = MemberCheckpoints.of_all_ranks(self, *asked)
            validation = (X_val, y_val, sample_weight_val)
            return self._fit(X, y, sample_weight, validation, checkpoints)

    def _fit(self, X, y, sample_weight, validation, checkpoints):
        seconds, ranks = self.max_seconds, current_ranks()
        if seconds is not None:
            seconds -= checkpoints.seconds_before
        deadline = Deadline(seconds) if ranks is None else SharedDeadline(seconds, ranks)
        random_state = checkpoints.random_state(check_random_state(self.random_state))
        rows = X, y, sample_weight, validation
        if ranks is None:
            encoder, task = self._task(*rows, random_state)
        else:
            is_own = self.random_state is not None
            random_state = ranks.same_generator(random_state, is_own=is_own)
            encoder, task = shared_task(self, ranks, *rows, random_state)
        n_rows = np.count_nonzero(task.all_weight)
        candidates = self._candidates(n_rows, random_state)
        scale = self._scale if is_regressor(self) else self.classes_.tolist()
        checkpoints.begin(task, candidates, encoder, scale)
        if checkpoints.is_finished:
            vars(self).update(_fitted(type(self)._read(checkpoints.fields)))
            return self
        display = progress_of_members(self.verbose, deadline)
        with interrupt_ends(deadline), closing(display):
            train_candidates(
                task, candidates, Plan.of(n_rows), self.n_jobs, deadline, display, checkpoints
            )
        candidates.sort(key=lambda candidate: candidate.loss)
        members = (member for candidate in candidates for member in candidate.members.values())
        if not any(np.isfinite(member.loss) for member in members):
            raise ValueError("y or X has numbers that are too large: no network has a finite loss")
        self._select(task, encoder, candidates, is_cut_short=deadline.is_over)
        if self.refit_single and not deadline.is_over:
            self._distil(task, candidates[0].seed, deadline)
        if deadline.was_brought_forward:
            warn("Training interrupted by user.")
        elif not deadline.is_over:
            checkpoints.finish()
        return self

    def _task(self, X, y, sample_weight, validation, random_state):
        """Return the encoder and the task for rows of this process."""
        encoder, encoded, targets, weight = self._learn_table(X, y, sample_weight)
        if all(part is None for part in validation):
            splits = self._splits(targets, weight, random_state)
        else:
            n_training = len(targets)
            encoded, targets, weight = self._with_validation_rows(
                encoder, encoded, targets, weight, validation
            )
            rows = np.flatnonzero(weight > 0)
            splits = [Split(rows[rows < n_training], rows[rows >= n_training])]
        encoded = encoded.joined()  # the first copy is not needed any more
        maps = InputMaps(encoded, encoder.cardinalities)
        return encoder, Task(
            maps, encoded, targets, weight, splits, self._n_outputs,
            is_regression=is_regressor(self),
        )  # fmt: skip

    def _distil(self, task, seed, deadline):
        """Put one network in the place of the ensemble, if there is time.

        The calibration stays that of the ensemble: there are no rows for another one, as each has
        been seen by some network that this one has learned from.
        """
        _, n_threads = shares_of_threads(1, 1)
        with interrupt_ends(deadline):
            student = distilled(task, self._ensemble, seed, deadline, n_threads)
        if not deadline.is_over:  # or else it has not learned all that it could
            self._ensemble = student

    def _learn_table(self, X, y, sample_weight):
        """Return the encoder, and the encoded rows with targets and weights."""
        self._check_y_is_given(y)
        encoder = self._encoder()
        encoded = encoder.fit_transform(X)
        self._take_names(encoder, y)
        y = self._checked_targets(y, "y")
        check_length("y", y, "X", encoded.n_rows)
        weight = checked_weight(sample_weight, len(y))
        self._learn_targets(y, weight)
        of_class = self._class_weight_of_rows(y)
        if of_class is not None:
            weight = checked_weight(weight * of_class, len(y), "class_weight")
        return encoder, encoded, self._encode_targets(y, "y"), weight

    def _encoder(self):
        return TableEncoder(self.categorical_features, "robust", owner=type(self).__name__)

    def _take_names(self, encoder, y):
        """Set the attributes of the features and of the target."""
        for name in ("n_features_in_", "feature_names_in_"):
            if hasattr(encoder, name):
                setattr(self, name, getattr(encoder, name))
        if isinstance(getattr(y, "name", None), str):
            self.target_name_ = y.name

    def _check_y_is_given(self, y):
        if y is None:
            raise ValueError(
                f"This {type(self).__name__} estimator requires y to be passed, but the target y "
                "is None."
            )

    def _with_validation_rows(self, encoder, encoded, targets, weight, validation):
        """Return the rows, targets and weights with those of the validation set behind them."""
        X_val, y_val, weight_val = validation
        if X_val is None or y_val is None:
            missing = "X_val" if X_val is None else "y_val"
            raise ValueError(f"X_val and y_val must be given together, got no {missing}")
        try:
            rows = encoder.transform(X_val)
        except (TypeError, ValueError) as error:
            raise type(error)(f"X_val: {error}") from error
        y_val = self._checked_targets(y_val, "y_val")
        check_length("y_val", y_val, "X_val", rows.n_rows)
        others = self._encode_targets(y_val, "y_val")
        weight_val = checked_weight(weight_val, len(others), "sample_weight_val")
        return (
            encoded.followed_by(rows), np.append(targets, others), np.append(weight, weight_val),
        )  # fmt: skip

    def _splits(self, targets, weight, random_state):
        """Return the splits of the rows of positive weight into training and selection rows."""
        if self.cv is not None and not isinstance(self.cv, Integral):
            return self._splits_of_iterable(targets, weight)
        rows = np.flatnonzero(weight > 0)
        n_rows = len(rows)
        if n_rows < FEWEST_ROWS:
            raise ValueError(
                f"X must have at least {FEWEST_ROWS} rows of positive weight, some to train on and "
                f"some to select by, got n_samples = {n_rows}"
            )
        if self.cv is not None and self.cv > n_rows:
            raise ValueError(
                f"cv must be at most the number of rows of positive weight, {n_rows}, got {self.cv}"
            )
        order = rows[self._order_for_parts(targets[rows], random_state)]
        fraction, n_folds = self._shape_of_splits(n_rows)
        if fraction:
            part, n_splits = evenly(n_rows, fraction), 1
        else:
            part, n_splits = np.arange(n_rows) % n_folds, self._n_splits(n_rows, n_folds)
        folds = (np.sort(order[part == k]) for k in range(n_splits))
        return [Split(np.setdiff1d(rows, fold, assume_unique=True), fold) for fold in folds]

    def _shape_of_splits(self, n_rows):
        """Return the fraction of the rows that are set aside, or 0, and the number of folds."""
        if self.cv is None and (self.validation_fraction or self.members != "ensemble"):
            return self.validation_fraction or VALIDATION_FRACTION, 1
        n_folds = self.cv or max(N_FOLDS, ceil_div(n_rows, MOST_ROWS_IN_FOLD))
        return 0, min(n_folds, n_rows)

    def _n_splits(self, n_rows, n_folds):
        """Return how many of the folds are set aside in turn."""
        return n_folds if self.cv else min(n_folds, Plan.of(n_rows).n_splits)

    def _splits_of_iterable(self, targets, weight):
        """Return the splits that ``cv`` gives, without the rows of weight 0."""
        no_columns, y = np.zeros((len(targets), 0)), self._decode_targets(targets)
        try:
            pairs = list(check_cv(self.cv).split(no_columns, y))
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"cv must be an int, or give pairs of training and selection rows: {error}"
            ) from error
        if not pairs:
            raise ValueError("cv must give at least one pair of training and selection rows")
        return [checked_split(*pair, weight) for pair in pairs]

    def _candidates(self, n_rows, random_state):
        """Return the untrained candidates."""
        if self.members == "realmlp":
            settings = realmlp(is_regression=is_regressor(self))
            return [Candidate(settings, int(random_state.randint(2**31 - 1)))]
        n_members = int(self.n_members or Plan.of(n_rows).n_members)
        seeds = random_state.randint(2**31 - 1, size=n_members)
        return [
            Candidate(draw_settings(np.random.RandomState(seed), n_rows), int(seed))
            for seed in seeds
        ]

    def _select(self, task, encoder, candidates, *, is_cut_short):
        """Select the ensemble from the trained candidates, and calibrate it."""
        parts, outputs, known = [], [], []
        weight_of = dict.fromkeys(candidates, 0.0)
        for k in range(len(task.splits)):
            trained = [c for c in candidates if k in c.members and np.isfinite(c.members[k].loss)]
            if not trained:  # the time was over
                continue
            networks = [candidate.members[k].finish() for candidate in trained]
            of_split = np.stack([task.selection_outputs(candidate, k) for candidate in trained])
            shares = self._shares(*task.selection(k), of_split)
            outputs.append(np.tensordot(shares, of_split, 1))
            known.append(task.selection(k))
            for candidate, share, network in zip(trained, shares.tolist(), networks, strict=True):
                if share > 0:
                    parts.append(Part(candidate.settings, share, network))
                    weight_of[candidate] += share
        parts = [part._replace(weight=part.weight / len(known)) for part in parts]
        task.maps.forget_rows()
        self._ensemble = Ensemble(encoder, task.maps, parts)
        targets, weight = map(np.concatenate, zip(*known, strict=True))
        of_rows = targets, np.concatenate(outputs), weight
        self._calibrate(*of_rows)
        self._facts = self._learned_facts(task, encoder, *of_rows, is_cut_short=is_cut_short)
        self.leaderboard_ = {
            "settings": [candidate.settings._asdict() for candidate in candidates],
            "loss": [candidate.loss for candidate in candidates],
            "weight": [weight_of[candidate] / len(outputs) for candidate in candidates],
            "n_epochs": [candidate.n_epochs for candidate in candidates],
            "seconds": [candidate.seconds for candidate in candidates],
        }

    def _learned_facts(self, task, encoder, targets, outputs, weight, *, is_cut_short):
        constant = np.broadcast_to(self._constant_output(task), outputs.shape)
        counted, losses = self._losses(targets, np.stack([outputs, constant]), weight)
        loss, constant_loss = losses(counted).tolist()
        return Facts(
            n_rows=np.count_nonzero(task.all_weight),
            loss=loss,
            constant_loss=constant_loss,
            is_cut_short=is_cut_short,
            n_values=n_values_of(encoder),
        )

    def __findings__(self) -> list[tuple[str, str, str]]:
        """Return (name, what, remedy) of each problem of the fit, for `diagnose`."""
        check_is_fitted(self)
        return self._facts.findings()

    def _shares(self, targets, weight, outputs):
        """Return the share of each network in the ensemble, by its outputs for some rows."""
        if self.metric is None:
            counted, losses = self._losses(targets, outputs, weight)
            return greedy_selection(losses, counted)
        scorer, y = check_scoring(self, scoring=self.metric), self._decode_targets(targets)
        # Not all scorers support sample weights.
        weights = {} if (weight == 1).all() else {"sample_weight": weight}

        def loss(outputs):
            try:
                score = scorer(self._with_outputs(outputs), None, y, **weights)
            # An AttributeError, if it needs predict_proba.
            except (TypeError, ValueError, AttributeError) as error:
                raise ValueError(f"metric={self.metric!r} has failed: {error}") from error
            if not isinstance(score, Real):
                raise TypeError(f"metric must return a number, got {score!r}")
            return -score

        return greedy_selection(lambda means: [loss(mean) for mean in means], outputs)

    def _with_outputs(self, outputs):
        """Return an estimator that predicts from known outputs."""
        twin = object.__new__(type(self))
        vars(twin).update(vars(self), _ensemble=KnownOutputs(outputs))
        return twin

    def __ensemble__(self):
        """Return the fitted ensemble, for what reads it without rows."""
        check_is_fitted(self)
        return self._ensemble

    def _outputs(self, X):
        check_is_fitted(self)
        return self._ensemble.outputs(X)

    def __sklearn_is_fitted__(self):
        return "_ensemble" in vars(self)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.allow_nan = True
        tags.input_tags.categorical = True
        return tags


def _fitted(estimator):
    """Return what a fit has set."""
    return {name: vars(estimator)[name] for name in FITTED_ATTRIBUTES if name in vars(estimator)}


def learned_columns(model):
    """Return what a fitted estimator for tables has learned about each column.

    Returns
    -------
    list of dict
        The 'name', the 'kind' of the training values and, of a category, the number of 'values'.
    """
    check_is_fitted(model)
    return [
        {"name": column.name, "kind": column.kind}
        | ({"values": len(column.values)} if isinstance(column, Category) else {})
        for column in model._ensemble.encoder.columns
    ]


def n_weights(model):
    """Return the number of weights of all networks of a fitted estimator for tables."""
    check_is_fitted(model)
    return sum(part.network.parameters.n_weights for part in model._ensemble.parts)
