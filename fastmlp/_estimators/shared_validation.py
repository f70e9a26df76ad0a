"""`SharedValidation`: validation sets whose rows lie in several processes."""

from typing import Any, NamedTuple

import numpy as np
import scipy.sparse

from fastmlp._distributed.slots import Rows, rows_of_slots
from fastmlp._distributed.tree import sum_of_slots
from fastmlp._engine.checks import check_targets
from fastmlp._engine.rows import Data, Features
from fastmlp._estimators.validation import Validation, pairs_of


class SlotPart(NamedTuple):
    """A validation set: for each of the own slots the data, the rows, and the user's targets."""

    slots: Any
    has_weights: bool


class SharedValidation(Validation):
    """Measures the validation sets of all ranks.

    Every rank computes the outputs and the loss for its own rows, and the first one the scores.
    Scorers need X: its rows are collected on the first rank, once.

    Parameters
    ----------
    estimator : BaseMLP
    ranks : Ranks
    parts : list of SlotPart
    are_numbered : bool
    """

    def __init__(self, estimator, ranks, parts, *, are_numbered=False):
        super().__init__(estimator, parts, are_numbered=are_numbered)
        self._ranks = ranks
        self._wholes = {id(part): self._collected(part) for part in parts}
        for part in parts:
            total = ranks.sum(np.array([total_weight(*slot[:2]) for slot in part.slots]))
            if not total > 0:
                raise ValueError("the weights of a validation set must not be zero throughout")

    def _collected(self, part):
        """Return all rows of a set on the first rank, with X only for scorers; or else None."""
        mine = []
        for data, rows, targets in part.slots:
            if not len(rows):
                continue
            X = np.zeros((len(rows), 0))
            if self._scorers:
                X = data.features.as_matrix(self._estimator.n_features_in_)[rows]
            mine.append(Rows(X, (data.y[rows], data.sample_weight[rows], targets)))
        of_ranks = self._ranks.gather_at_first(mine)
        slots = [slot for of_rank in of_ranks for slot in of_rank]
        return Rows.joined(slots) if slots else None

    def _measure(self, part):
        passes = self._estimator._network.passes
        mine = []
        for data, rows, _ in part.slots:
            output, loss = np.empty((0, passes.n_outputs)), 0.0
            if len(rows):
                output, loss = passes.evaluate(data, rows, scale=1.0)
            mine.append((output, loss, total_weight(data, rows)))
        received = self._ranks.gather_at_first(mine)
        measured = None
        with self._ranks.agreeing("with the scores of the validation sets"):
            if received:
                slots = [slot for of_rank in received for slot in of_rank]
                outputs, losses, totals = zip(*slots, strict=True)
                loss = sum_of_slots(np.array(losses)) / sum_of_slots(np.array(totals))
                measured = self._scored_at_first(part, np.concatenate(outputs), loss)
        return self._ranks.of_first(measured)

    def _scored_at_first(self, part, output, loss):
        whole, nameless = self._wholes[id(part)], without_names(self._estimator)
        y, weight, targets = whole.others
        weights = {"sample_weight": weight.astype(float)} if part.has_weights else {}
        return self._scored(
            output, loss, y, weight, lambda scorer: scorer(nameless, whole.X, targets, **weights)
        )


def own_validation(model, ranks, validation):
    """Return the validation of sets of which every rank has given a part, or None without any."""
    X_val, y_val, weight_val = validation
    with ranks.agreeing("with the validation sets"):
        has_own = X_val is not None or y_val is not None
        if weight_val is not None and not has_own:
            raise ValueError("sample_weight_val needs X_val and y_val")
        several, are_pairs = pairs_of(*validation) if has_own else ([], False)
    ranks.check_same(**{"the number of validation sets": len(several)})
    if not has_own:
        return None
    parts = [_own_part(model, ranks, *one) for one in several]
    return SharedValidation(model, ranks, parts, are_numbered=are_pairs)


def _own_part(model, ranks, X_val, y_val, weight_val):
    with ranks.agreeing("with X_val, y_val and sample_weight_val"):
        dtype = model._network.dtype
        X, y = model._validate_rows(X_val, y_val, dtype, reset=False)
        y = y.toarray() if scipy.sparse.issparse(y) else y
        weight = validated_weight(model, weight_val, X)
        weight = np.ones(X.shape[0], dtype) if weight is None else weight
        rows = Rows(X, (model._encode_validation_targets(y), weight, y))
    ranks.check_same(**{"sample_weight_val (given or not)": weight_val is not None})
    slots, _ = rows_of_slots(ranks, rows)
    with ranks.agreeing("with the rows of X_val"):
        parts = [_part_of(slot, model._network) for slot in slots]
    return SlotPart(parts, has_weights=weight_val is not None)


def validated_weight(model, sample_weight, X):
    """Return the sample weights after validation. Those of one rank may all be 0."""
    if sample_weight is None or np.any(sample_weight):
        return model._validate_weight(sample_weight, X)
    return np.zeros(len(model._validate_weight(np.ones_like(sample_weight), X)), X.dtype)


def _part_of(slot, network):
    """Return the rows of a slot for a validation set. There may be none."""
    n = len(slot.others[0])
    return as_data(slot, network) if n else None, np.arange(n), slot.others[2]


def as_data(rows, network):
    """Return `Data` for the network, of rows with targets and weights, after validation."""
    X, (y, weight, _) = rows
    network.passes.check_columns(X)
    if not scipy.sparse.issparse(X):
        X = np.require(X, requirements=["C", "A"])
    y = check_targets(y, len(y), network.passes.loss, network.dtype)
    return Data(Features.of(X), y, np.ascontiguousarray(weight, dtype=network.dtype))


def total_weight(data, rows):
    """Return the sum of the weights of some rows of a slot, which may have none."""
    return data.sample_weight[rows].sum(dtype=np.float64) if len(rows) else 0.0


def without_names(estimator):
    """Return a view of an estimator for arrays: X has lost the names of its columns."""
    view = estimator._as_published()
    view.__dict__ = {name: it for name, it in vars(view).items() if name != "feature_names_in_"}
    return view
