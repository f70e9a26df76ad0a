"""`SharedFits`: fits to rows that lie in several processes; see `fastmlp.distributed`."""

import zlib
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import scipy.sparse
from sklearn.base import RegressorMixin, is_classifier
from sklearn.utils.class_weight import compute_class_weight, compute_sample_weight

from fastmlp._distributed.rows import MemorySlot, SlotRows
from fastmlp._distributed.slots import (
    ROWS_OF_SAMPLE,
    Rows,
    check_fills_slots,
    checksum_of,
    rows_of_slots,
    sample_of,
    seed_from,
    set_aside,
)
from fastmlp._engine.initializers import start_at_mean
from fastmlp._engine.layout import ceil_div
from fastmlp._engine.rows import Data
from fastmlp._engine.warnings import warn
from fastmlp._estimators.callbacks import Callbacks, check_callbacks
from fastmlp._estimators.checkpoints import MAY_DIFFER, checksum
from fastmlp._estimators.parameter_values import written
from fastmlp._estimators.parameters import check_combinations
from fastmlp._estimators.scale import warn_of_scale, warn_of_scale_of_targets
from fastmlp._estimators.shared_validation import (
    SharedValidation,
    SlotPart,
    as_data,
    own_validation,
    total_weight,
    validated_weight,
)
from fastmlp._estimators.targets import balanced_weights, check_labels_are_plain
from fastmlp._estimators.validation import FEWEST_ROWS
from fastmlp._training.epochs import SILENT

FEWEST_ROWS_TO_JUDGE = 20


class SharedFits:
    """Mixin that fits to the rows of several processes, which all call the same method."""

    def _fit_shared(self, ranks, X, y, sample_weight, validation, checkpoints):
        """Fit to the rows of all ranks, of which this one has given its own."""
        is_partial = checkpoints is None
        continues = (self.warm_start or is_partial) and "_network" in vars(self)
        self._forget(["stop_reason_"] if continues else self._training_attributes)
        self._forget(["_checked_parameters"])
        with ranks.agreeing(f"in {'partial_fit' if is_partial else 'fit'}"):
            random_state = self._random_state(continues)
            if not is_partial:
                random_state = checkpoints.random_state(random_state)
            shard = self._shard(X, y, sample_weight, continues)
        rows, targets, weight = shard
        names = vars(self).get("feature_names_in_")
        of_rows = {
            "the number of features of X": rows.shape[1],
            "the names of the features of X": None if names is None else names.tolist(),
            "X (sparse or not)": scipy.sparse.issparse(rows),
            "the kind of y": (targets.dtype.kind, targets.shape[1:]),
            "sample_weight (given or not)": weight is not None,
        }
        self._check_same(ranks, checkpoints, continues, **of_rows)
        warn_of_own_scale(ranks, rows)
        random_state = ranks.same_generator(random_state, is_own=self.random_state is not None)
        seed = seed_from(random_state)
        fit = SharedFit(self, ranks, shard, continues=continues, is_partial=is_partial)
        fit.build(random_state)
        random_state.randint(2)  # another fit with this generator has another seed
        validate = fit.set_aside(validation, seed)
        fit.begin(validate)
        if not is_partial:
            checkpoints.check_data(**fit.checksums())
        rows = SlotRows(ranks, fit.training, seed if self.shuffle else None, fit.sample)

        def train(hooks):
            self._train_shared(ranks, rows, validate, hooks, random_state, checkpoints)

        with ranks.fit():
            if is_partial and not self._has_hooks():
                train(SILENT)
                return self
            callbacks = Callbacks(self, X, y, sample_weight, self._fitted_attributes)
            max_iter = 1 if is_partial else self.max_iter
            seconds_before = 0.0 if is_partial else checkpoints.seconds_before
            self._with_hooks(train, callbacks, random_state, max_iter, seconds_before)
        return self

    def _shard(self, X, y, sample_weight, continues):
        """Return the validated rows of this rank: X, the user's y, and the sample weights."""
        check_callbacks(self.callbacks)
        check_combinations(self)
        rows, targets = self._validate_rows(X, y, self._arithmetic(continues), reset=not continues)
        if scipy.sparse.issparse(rows) and (self.input_dropout or self.input_noise):
            raise ValueError("input_dropout and input_noise need dense rows, got a sparse X")
        self._check_rows_of_input_layer(rows)
        if scipy.sparse.issparse(targets):
            targets = targets.toarray()
        if is_classifier(self):
            check_labels_are_plain("y", targets)
        return rows, targets, validated_weight(self, sample_weight, rows)

    def _check_same(self, ranks, checkpoints, continues, **of_rows):
        """Raise an error on all ranks if something differs that must be the same."""
        network = vars(self).get("_network") if continues else None
        # Those of an earlier fit are of no matter to a new one.
        classes = vars(self).get("classes_") if continues or checkpoints is None else None
        facts = {
            "the estimator": type(self).__name__,
            "checkpoints (asked or not)": checkpoints is not None and checkpoints.is_asked,
            "the checkpoint to go on from": checkpoints and checkpoints.seconds_before,
            "the known classes": None if classes is None else np.asarray(classes).tolist(),
        }
        before = None if network is None else checksum_of_weights(network)
        of_network = {"the weights before the fit": before}
        ranks.check_same(**facts, **comparable_parameters(self), **of_rows, **of_network)

    def _train_shared(self, ranks, rows, validate, hooks, random_state, checkpoints):
        """Train as `_train` does; all ranks agree when to stop."""

        def agreed(reason):
            # Callbacks, which only some ranks may have, can have changed parameters.
            ranks.check_same(**comparable_parameters(self))
            return ranks.agreed(reason)

        self._train(rows, validate, hooks._replace(agreed=agreed), random_state, checkpoints)


def checksum_of_weights(network):
    return zlib.crc32(network.parameters.flat)


def warn_of_own_scale(ranks, X):
    """Warn if every rank seems to have scaled its rows by itself: columns of mean 0 on each."""
    is_centered = False
    if ranks.n > 1 and not scipy.sparse.issparse(X) and len(X) >= FEWEST_ROWS_TO_JUDGE:
        step = ceil_div(len(X), ROWS_OF_SAMPLE)
        few = X[::step].astype(np.float64)
        deviations = few.std(axis=0)
        # Most tables are ruled out by some of their rows.
        may_be = np.abs(few.mean(axis=0)) <= 6 * deviations / np.sqrt(len(few))
        if may_be.all() and deviations.any():
            means = X.mean(axis=0, dtype=np.float64)
            is_centered = bool((np.abs(means) <= 1e-5 * (deviations + 1e-30)).all())
    if all(ranks.gather(is_centered)):
        warn(
            "X has columns of mean 0 on every rank: it seems that each rank has scaled its rows by "
            "itself, and so by other numbers than the others. Scale by numbers that are the same "
            "on all ranks; fastmlp.fit_stream fits the scaler of a pipeline to the rows of all."
        )


def comparable_parameters(model):
    """Return the parameters that must be the same on all ranks, as what can be compared."""
    return {
        f"parameter {name}": comparable(value)
        for name, value in model.get_params(deep=False).items()
        if name not in MAY_DIFFER
    }


@dataclass(frozen=True)
class Comparable:
    """A parameter's value as something that can be sent and compared, and shown in an error."""

    value: object
    shown: str = field(compare=False)

    def __repr__(self):
        return self.shown


def comparable(value):
    """Return a parameter's value as something that can be sent and compared."""
    if isinstance(value, np.random.RandomState):  # that of the first rank counts
        return "RandomState"
    try:
        return Comparable(written(value), repr(value))
    except TypeError:
        return type(value).__name__


class SharedFit:
    """The rows of a fit, cut into slots, and the network for them.

    Parameters
    ----------
    estimator : BaseMLP
    ranks : Ranks
    shard : (matrix, ndarray, ndarray or None)
        X, y and the sample weights of this rank.

    Attributes
    ----------
    training : list of (Data, ndarray of intp)
        The own slots, and the rows of each to train on.
    sample : Data
        Some rows of all slots, the same on all ranks.
    """

    def __init__(self, estimator, ranks, shard, *, continues, is_partial):
        self._estimator, self._ranks = estimator, ranks
        self._continues, self._is_partial = continues, is_partial
        rows, targets, weight = shard
        self._labels = None  # of all ranks, if y has one dimension
        encoded = self._encoded(targets)
        class_weight = self._known_class_weight(targets)
        with ranks.agreeing("with the weights of the classes"):
            weight = self._whole_weight(weight, class_weight, targets, encoded)
        self.has_weights = weight is not None
        weight = np.ones(len(encoded), rows.dtype) if weight is None else weight
        self._slots, self.n_rows = rows_of_slots(ranks, Rows(rows, (encoded, weight, targets)))
        check_fills_slots(ranks, self.n_rows)
        self._sample = sample_of(ranks, self._slots)

    def _encoded(self, targets):
        """Return the targets as numbers. The classes are those of all ranks."""
        model, known = self._estimator, self._continues or self._is_partial
        ranks = self._ranks
        if is_classifier(model) and targets.ndim == 1:
            of_ranks = ranks.gather(np.unique(targets))
            labels = np.unique(np.concatenate(of_ranks))
            # Each of them three times, or they could be the numbers of a regression.
            model._encode_targets(np.tile(labels, 3), classes_are_known=known)
            self._labels = labels
            return model._encode_validation_targets(targets)
        with ranks.agreeing("with the targets"):
            return model._encode_targets(targets, classes_are_known=known)

    def _known_class_weight(self, targets):
        """Return the class weights, those of 'balanced' as a dict."""
        given = vars(self._estimator).get("class_weight")
        if not isinstance(given, str):
            return given
        if targets.ndim > 1:
            raise ValueError(
                "class_weight='balanced' needs a y of one dimension within fastmlp.distributed.mpi"
            )
        counts = Counter()
        for labels, n in self._ranks.gather(np.unique(targets, return_counts=True)):
            counts.update(dict(zip(labels.tolist(), n.tolist(), strict=True)))
        return balanced_weights(counts)

    def _whole_weight(self, weight, class_weight, targets, encoded):
        """Return the weight of each row: its sample weight times its class weight."""
        if class_weight is None:
            return weight
        if self._labels is None:
            of_row = compute_sample_weight(class_weight, targets)
        else:  # a rank may have no rows of some classes
            known = self._estimator.classes_
            weights = compute_class_weight(class_weight, classes=self._labels, y=self._labels)
            of_class = np.ones(len(known))
            of_class[np.searchsorted(known, self._labels)] = weights
            of_row = of_class[encoded]
        return of_row if weight is None else weight * of_row

    def build(self, random_state):
        """Create or copy the network of the estimator, and make `Data` of the slots."""
        model, X = self._estimator, self._sample.X
        dtype = model._arithmetic(self._continues)
        sizes = (X.shape[1], *model._check_hidden_layer_sizes(), model.n_outputs_)
        if self._continues:
            model._check_structure(sizes, dtype)
            # Other threads may still predict with the original network.
            model._network = model._network.copy()
        else:
            model._build(sizes, dtype, random_state, self._with_largest_codes(X))
        model._network.n_threads = model.n_threads
        with self._ranks.agreeing("with the rows of the slots"):
            self.data = [as_data(slot, model._network) for slot in self._slots]
            self._check_weight()
        self.sample = as_data(self._sample, model._network)
        if not self._continues:
            self._ranks.check_same(**{"the initial weights": checksum_of_weights(model._network)})

    def _with_largest_codes(self, X):
        """Return the sample and a row of the largest numbers, for the numbers of categories."""
        if self._estimator.input_layer is None:
            return X
        mine = [slot.X.max(axis=0, initial=-1) for slot in self._slots]
        largest = np.max([it for of_rank in self._ranks.gather(mine) for it in of_rank], axis=0)
        return np.vstack([X, np.maximum(largest, X.max(axis=0))])

    def _check_weight(self):
        weights = [data.sample_weight for data in self.data]
        if not all(np.isfinite(weight).all() for weight in weights):
            raise ValueError("sample_weight (times class_weight) must be finite in the network")

    def set_aside(self, validation, seed):
        """Return the validation, or None; keep the rows to train on."""
        model, ranks = self._estimator, self._ranks
        everything = [np.arange(data.n_rows) for data in self.data]
        self.training = list(map(MemorySlot, self.data, everything))
        own = own_validation(model, ranks, validation)
        if own is not None:
            return own
        if not model.early_stopping or model.solver == "lbfgs":
            return None
        return SharedValidation(model, ranks, [self._part_set_aside(seed)])

    def _part_set_aside(self, seed):
        model, ranks = self._estimator, self._ranks
        if model.validation_fraction == 0:
            raise ValueError("validation_fraction must be > 0 with early_stopping=True, got 0")
        parts, training = [], []
        for number, data, rows in zip(ranks.slots, self.data, self._slots, strict=True):
            order, aside = set_aside(data.n_rows, model.validation_fraction, seed, number)
            training.append(MemorySlot(data, order))
            parts.append((data, aside, rows.others[2][aside]))
        n_aside = sum(sum(of_rank) for of_rank in ranks.gather([len(it[1]) for it in parts]))
        check_rows_aside(model, n_aside, self.n_rows)
        self.training = training
        return SlotPart(parts, has_weights=self.has_weights)

    def begin(self, validate):
        """Do what needs the rows to train on before the first step."""
        model, ranks = self._estimator, self._ranks
        network, X = model._network, self._sample.X
        totals = ranks.sum(np.array([total_weight(*slot) for slot in self.training]))
        if not totals > 0:
            raise ValueError("sample_weight must not be zero throughout")
        names, layer = getattr(model, "feature_names_in_", None), network.input_layer
        coded = () if layer is None else layer.categorical_features
        model._feature_sizes = warn_of_scale(X, names, coded)
        if not isinstance(model, RegressorMixin):
            return
        model._target_sizes = warn_of_scale_of_targets(self.sample.y, network.passes.loss)
        if network.passes.loss.row.power and not self._continues:
            sums = [weighted_sum(*slot) for slot in self.training]
            mean = ranks.sum(np.stack(sums)) / totals
            of_mean = Data(None, mean[np.newaxis], np.ones(1))
            start_at_mean(network, of_mean, np.zeros(1, np.intp))

    def checksums(self):
        """Return checksums of the rows of all slots, for checkpoints."""
        whole = {
            "X": [data.features for data in self.data],
            "y": [(data.y,) for data in self.data],
            "sample_weight": [(data.sample_weight,) for data in self.data],
            "X_val": [(order,) for _, order in self.training],
        }
        digests = {
            name: checksum_of(self._ranks, [checksum(arrays) for arrays in of_slots])
            for name, of_slots in whole.items()
        }
        return digests | {"n_slots": str(self._ranks.n_slots)}


def check_rows_aside(model, n_aside, n_rows):
    """Raise an error if early stopping sets too few or too many rows aside."""
    if n_aside < FEWEST_ROWS or n_aside == n_rows:
        raise ValueError(
            "The validation set is too small, or there are no rows left to train on. Change "
            f"'validation_fraction' (now {model.validation_fraction}) or the number of rows."
        )


def weighted_sum(data, order):
    return data.sample_weight[order].astype(np.float64) @ data.y[order].astype(np.float64)
