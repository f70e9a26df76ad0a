"""`Streams`: fits to rows that do not fit in memory."""

import os
import time
from datetime import timedelta
from numbers import Integral
from typing import Any, Self

import numpy as np
from sklearn.base import RegressorMixin, is_classifier
from sklearn.utils.class_weight import compute_sample_weight

from fastmlp import _core
from fastmlp._distributed.ranks import current_ranks
from fastmlp._engine.checks import as_numbers, check_targets
from fastmlp._engine.initializers import start_at_mean
from fastmlp._engine.rows import Data, Features
from fastmlp._estimators.callbacks import Callbacks, check_callbacks
from fastmlp._estimators.checkpoints import EpochCheckpoints
from fastmlp._estimators.methods import tears_down_callbacks
from fastmlp._estimators.parameters import check_combinations
from fastmlp._estimators.scale import warn_of_scale, warn_of_scale_of_targets
from fastmlp._estimators.sources import open_source
from fastmlp._estimators.stream_cache import cached
from fastmlp._estimators.streamed_rows import WHOLE, Aside, FirstPass, StreamedRows
from fastmlp._estimators.targets import balanced_weights
from fastmlp._estimators.types import ArrayLike, MatrixLike, Sequence
from fastmlp._estimators.validation import Part, Validation
from fastmlp._training.solvers import solver_row

BUFFER_ROWS = 100_000


class Streams:
    """Mixin with `fit_stream`."""

    def fit_stream(
        self,
        source: Any,
        target: str | Sequence[str] | None = None,
        *,
        features: Sequence[str] | None = None,
        sample_weight: str | None = None,
        buffer_rows: int = BUFFER_ROWS,
        cache_dir: str | os.PathLike[str] | None = None,
        X_val: MatrixLike | None = None,
        y_val: ArrayLike | None = None,
        sample_weight_val: ArrayLike | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
        checkpoint_every: int | timedelta | None = None,
        resume: str | os.PathLike[str] | None = None,
    ) -> Self:
        """Fit the network to rows that are read anew for every epoch.

        A first pass counts the rows, finds the classes and checks the numbers. Then a thread reads
        ahead while the network is trained. Every row is used once in an epoch. Two buffers are in
        memory, and what the library that reads the files needs. To scale the features, pass a
        pipeline to `fastmlp.fit_stream`.

        Parameters
        ----------
        source : path-like, list of path-like, pyarrow.dataset.Dataset or callable
            A file, or a folder of files, of Parquet, Arrow or CSV; a dataset of pyarrow; a folder
            of arrays ``X*.npy``, ``y*.npy`` and perhaps ``sample_weight*.npy``, which belong
            together in the order of their names; or a function that gives batches (X, y) or
            (X, y, sample_weight), the same rows whenever it is called.
        target : str or list of str, default=None
            The column of y in a table, or several.
        features : list of str, default=None
            The columns of X in a table. None takes all columns that are neither a target nor the
            weight.
        sample_weight : str, default=None
            The column of the sample weights in a table.
        buffer_rows : int, default=100_000
            Number of rows in each of the two buffers. Between epochs, the order of the parts of
            the source (row groups of Parquet, other files, 65,536 rows of an array) is shuffled,
            and then the rows within a buffer. ``shuffle=False`` keeps the order.
        cache_dir : path-like, default=None
            A folder with room for all rows as decoded numbers. The first pass copies them to a
            temporary file in it, and the epochs read that instead of decoding the source again,
            with the same results. A function is called once then.
        X_val, y_val, sample_weight_val : as in `fit`, default=None
            Validation set. Without it, ``early_stopping`` sets rows aside, at most as many as a
            buffer has, and keeps them in memory.
        checkpoint, checkpoint_every, resume : as in `fit`, default=None
            Checkpoints.

        Returns
        -------
        self
            Fitted estimator. With ``shuffle=False``, the weights are those of `fit`, bit for bit.

        Raises
        ------
        ValueError, TypeError
            If the source, a parameter or a row is invalid, or as in `fit`. The estimator is then
            left unchanged. The method is not available for 'lbfgs' and 'rprop'.
        OSError
            If ``cache_dir`` has no room for the rows. The estimator is then left unchanged.

        Examples
        --------
        >>> import numpy as np
        >>> from fastmlp import MLPRegressor
        >>> def batches():
        ...     for seed in range(10):
        ...         X = np.random.RandomState(seed).randn(200, 2)
        ...         yield X, X[:, 0] - X[:, 1]
        >>> regressor = MLPRegressor(learning_rate='cosine', max_iter=20, random_state=0)
        >>> regressor.fit_stream(batches).t_
        40000
        """
        opened = open_source(source, target, features, sample_weight)
        validation = (X_val, y_val, sample_weight_val)
        with cached(opened, cache_dir) as rows:
            return self._fit_stream(
                rows, buffer_rows, validation, (checkpoint, checkpoint_every, resume)
            )

    @tears_down_callbacks
    def _fit_stream(self, source, buffer_rows, validation, checkpointing, transform=None):
        """Fit to a source, whose X is transformed first if it comes from a pipeline."""
        began = time.perf_counter()
        check_buffer_rows(buffer_rows)
        ranks = current_ranks()
        if ranks is not None:
            with self._aside():
                return self._fit_stream_shared(
                    ranks, source, buffer_rows, validation, checkpointing, transform
                )
        with self._aside():
            self._validate_params()
            check_callbacks(self.callbacks)
            check_combinations(self)
            self._check_stream()
            checkpoints = EpochCheckpoints(self, *checkpointing)
            continues = self.warm_start and "_network" in vars(self)
            attributes = ["stop_reason_"] if continues else self._training_attributes
            self._forget([*attributes, "_checked_parameters"])
            random_state = checkpoints.random_state(self._random_state(continues))
            has_own = validation[0] is not None or validation[1] is not None
            inputs = Inputs(source, transform or np.asarray, self._arithmetic(continues))
            known = FirstPass(
                source,
                inputs.check,
                self._rows_aside(random_state) if not has_own else Aside(0, 0),
                buffer_rows,
                are_classes=is_classifier(self),
                has_checksums=checkpoints.is_asked,
            )
            names = source.names if transform is None else None
            convert = self._prepare_stream(known, inputs, names, random_state, continues)
            validate = self._validation_of_stream(known, convert, validation, transform)
            names = ("X", "y", "sample_weight")
            checkpoints.check(validate, **dict(zip(names, known.checksums, strict=False)))
            X, y, weight = convert(known.sample)
            shuffled = random_state if self.shuffle else None
            sample = Data(Features(X), y, weight)
            rows = StreamedRows(source, convert, known, int(buffer_rows), shuffled, sample)
            if rows.n_rows == 0:
                raise ValueError("source must have rows to train on, but all are set aside")
            callbacks = Callbacks(self, None, None, None, self._fitted_attributes)
            # The first pass may be a large part of the time.
            seconds_before = checkpoints.seconds_before + time.perf_counter() - began
            self._with_hooks(
                lambda hooks: self._train(rows, validate, hooks, random_state, checkpoints),
                callbacks, random_state, self.max_iter, seconds_before,
            )  # fmt: skip
            return self

    def _check_stream(self):
        """Raise an error for parameters that need all rows in memory."""
        if solver_row(self.solver).is_full_batch:
            raise ValueError(
                f"fit_stream needs a solver that takes mini-batches, got solver={self.solver!r}"
            )
        if self.input_layer is not None and isinstance(self.input_layer.n_categories, str):
            raise ValueError(
                "fit_stream needs the numbers of categories: input_layer must have n_categories as "
                f"a list, got {self.input_layer.n_categories!r}"
            )

    def _rows_aside(self, random_state):
        """Return which rows early stopping sets aside."""
        if not self.early_stopping:
            return Aside(0, 0)
        if self.validation_fraction == 0:
            raise ValueError("validation_fraction must be > 0 with early_stopping=True, got 0")
        seed = int(random_state.randint(1, 2**62, dtype=np.int64))
        return Aside(seed, int(self.validation_fraction * WHOLE))

    def _prepare_stream(self, known, inputs, names, random_state, continues):
        """Create or copy the network. Return the function that converts a batch for it."""
        dtype, sample = self._arithmetic(continues), known.sample
        X = inputs(sample.X)
        self._set_features_of_stream(X.shape[1], names, continues)
        labels = known.labels
        # Each of them three times, or they could be the numbers of a regression.
        targets = sample.y if labels is None else np.tile(labels, 3)
        self._encode_targets(targets, classes_are_known=continues)
        sizes = (X.shape[1], *self._check_hidden_layer_sizes(), self.n_outputs_)
        if continues:
            self._check_structure(sizes, dtype)
            self._network = self._network.copy()
        else:
            self._build(sizes, dtype, random_state, X)
        self._network.n_threads = self.n_threads
        convert = Conversion(self, inputs, self._class_weight_of_stream(known))
        _, y, _ = convert(sample)
        self._network.passes.check_columns(X)
        names = getattr(self, "feature_names_in_", None)
        layer = self._network.input_layer
        self._feature_sizes = warn_of_scale(
            X, names, () if layer is None else layer.categorical_features
        )
        loss = self._network.passes.loss
        if isinstance(self, RegressorMixin):
            self._target_sizes = warn_of_scale_of_targets(y, loss)
            if loss.row.power and not continues:
                mean = Data(None, np.atleast_2d(known.mean), np.ones(1))
                start_at_mean(self._network, mean, np.zeros(1, np.intp))
        return convert

    def _set_features_of_stream(self, n_features, names, continues):
        """Set the attributes of the features, or compare with those of the last fit."""
        known = vars(self).get("feature_names_in_")
        if not continues:
            self.n_features_in_ = n_features
            vars(self).pop("feature_names_in_", None)
            if names is not None:
                self.feature_names_in_ = np.array(names, dtype=object)
        elif n_features != self.n_features_in_:
            raise ValueError(
                f"X has {n_features} features, but {type(self).__name__} is expecting "
                f"{self.n_features_in_} features as input"
            )
        elif known is not None and names is not None and known.tolist() != names:
            raise ValueError(
                f"source must have the features of the last fit in their order, {known.tolist()}, "
                f"got {names}"
            )

    def _class_weight_of_stream(self, known):
        """Return the class weights, those of 'balanced' as a dict."""
        given = vars(self).get("class_weight")
        if not isinstance(given, str):
            return given
        if known.labels is None:
            raise ValueError("class_weight='balanced' of fit_stream needs a y of one dimension")
        return balanced_weights(known.counts)

    def _validation_of_stream(self, known, convert, validation, transform):
        """Return the validation of an own set, or of the rows that are set aside, or None."""
        X_val, y_val, weight_val = validation
        if X_val is not None or y_val is not None:
            if X_val is not None and transform is not None:
                X_val = transform(X_val)
            return self._validation_of_own(X_val, y_val, weight_val)
        if weight_val is not None:
            raise ValueError("sample_weight_val needs X_val and y_val")
        if not known.aside.limit:
            return None
        kept = known.rows_aside
        if len(kept.X) < 2:
            raise ValueError(
                "The validation set is too small. Increase 'validation_fraction' "
                f"(now {self.validation_fraction}) or the number of rows."
            )
        X, y, weight = convert(kept)
        data = Data(Features(X), y, weight)
        has_weights = kept.weight is not None or vars(self).get("class_weight") is not None
        weight = weight if has_weights else None
        return Validation(self, [Part(data, np.arange(len(X)), X, kept.y, weight)])


class Inputs:
    """Converts X of batches for a network: transformed, and in its dtype."""

    def __init__(self, source, transform, dtype):
        self._source, self._transform, self._dtype = source, transform, dtype

    def __call__(self, X):
        return as_numbers(self._transform(X), self._dtype)

    def check(self, X, first):
        """Raise an error unless the rows, of which the first has this number, are finite."""
        X = self(X)
        if _core.largest_of(X) < np.inf:
            return
        i, j = np.argwhere(~np.isfinite(X))[0].tolist()
        names = self._source.names
        column = j if names is None or len(names) != X.shape[1] else names[j]
        raise ValueError(
            f"X must be finite in {self._dtype.name}, but column {column!r} has {X[i, j]} in row "
            f"{first + i}"
        )


class Conversion:
    """Converts batches for the network of an estimator: X, y and the weights."""

    def __init__(self, estimator, inputs, class_weight):
        self._estimator, self._inputs, self._class_weight = estimator, inputs, class_weight

    def __call__(self, batch):
        network = self._estimator._network
        X = self._inputs(batch.X)
        encoded = self._encoded(batch.y)
        y = check_targets(encoded, len(X), network.passes.loss, network.dtype)
        weight = np.ones(len(X)) if batch.weight is None else batch.weight
        weight = weight.astype(network.dtype)
        if self._class_weight is not None:
            weight = weight * compute_sample_weight(self._class_weight, batch.y)
        return X, y, weight.astype(network.dtype, copy=False)

    def _encoded(self, y):
        """Return the targets as numbers. A batch may have labels that each occur once."""
        estimator = self._estimator
        if not is_classifier(estimator) or y.ndim > 1:
            return estimator._encode_validation_targets(y)
        classes = estimator.classes_
        if classes.dtype.kind == "i" and classes[-1] - classes[0] == len(classes) - 1:
            codes = y.astype(np.intp) - int(classes[0])  # much faster than a search
        else:
            codes = np.searchsorted(classes, y)
        is_known = classes.take(codes, mode="clip") == y
        if not is_known.all():
            unknown = y[~is_known][:3].tolist()
            raise ValueError(f"y must have the labels of the first pass, got {unknown}")
        return codes


def check_buffer_rows(buffer_rows):
    """Raise an error unless this is a number of rows."""
    is_whole = isinstance(buffer_rows, Integral) and not isinstance(buffer_rows, bool)
    if not is_whole or buffer_rows < 1:
        raise ValueError(f"buffer_rows must be a whole number >= 1, got {buffer_rows!r}")
