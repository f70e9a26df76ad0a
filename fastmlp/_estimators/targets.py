"""Targets: validation of labels, and a score of predicted values."""

from numbers import Integral, Real

import numpy as np
import scipy.sparse
from sklearn.metrics import d2_tweedie_score
from sklearn.utils import check_consistent_length
from sklearn.utils.multiclass import check_classification_targets

# The types of labels, ordered so that each can be converted to the next.
KINDS = {"bool": bool | np.bool_, "int": Integral, "float": Real, "str": str}

MISSING = {"NoneType", "NAType"}


def sparse_format(y):
    """Return the name of the sparse class for predictions like y, or None if y is dense."""
    if not scipy.sparse.issparse(y):
        return None
    return "csr_array" if isinstance(y, scipy.sparse.sparray) else "csr_matrix"


def check_labels_are_plain(name, labels):
    """Raise for an array of Python objects other than strings.

    scikit-learn and its metrics do not accept them as labels.
    """
    if getattr(labels, "dtype", None) != np.dtype(object):
        return
    kinds = set(map(_kind_of_label, np.ravel(labels)))
    if kinds <= {"str"} or "bytes" in kinds:  # scikit-learn raises its own error for bytes
        return
    order = list(KINDS)
    plain = kinds - MISSING
    remedy = max(plain, key=order.index) if plain and plain <= set(order) else "str"
    fill = "fill what is missing, then " if kinds & MISSING else ""
    raise ValueError(
        f"Unknown label type: {name} has dtype object and holds {', '.join(sorted(kinds))}, but "
        f"labels must be numbers or strings; {fill}convert it, for instance by "
        f"{name}.astype({remedy})"
    )


def _kind_of_label(label):
    kinds = (kind for kind, types in KINDS.items() if isinstance(label, types))
    return next(kinds, type(label).__name__)


def whole_labels(y):
    """Return the sorted labels in y if they are whole numbers or booleans, or else None.

    Such labels are valid, and finding them takes a tenth of the time of scikit-learn's functions.
    """
    if y.ndim != 1 or y.dtype.kind not in "biu":
        return None
    labels = np.unique(y)
    if _may_be_measured(y, labels):
        check_classification_targets(y)  # for its warning
    return labels.astype(y.dtype.newbyteorder("="), copy=False)


def indices_of_labels(y, classes):
    """Return the index of each label in the sorted ``classes``.

    Return None if y needs scikit-learn's checks, for an error message or a warning.
    """
    if y.ndim != 1 or y.dtype.kind != classes.dtype.kind or _may_be_measured(y, classes):
        return None
    indices = classes.searchsorted(y)
    is_known = classes.take(indices, mode="clip") == y
    return indices if is_known.all() else None


def _may_be_measured(y, labels):
    """Whether scikit-learn warns that so many labels could be numbers of a regression."""
    return len(y) > 20 and len(labels) > round(0.5 * len(y))


def balanced_weights(counts):
    """Return the class weights 'balanced' as a dict, by how often each label occurs."""
    n_rows = sum(counts.values())
    return {label: n_rows / (len(counts) * count) for label, count in counts.items()}


def d2_of_deviance(y, predicted, power, sample_weight):
    """Return the fraction of the Tweedie deviance that is explained; 0 if y is constant."""
    weight = np.ones(len(y)) if sample_weight is None else np.asarray(sample_weight, np.float64)
    check_consistent_length(y, predicted, weight)
    y, predicted, weight = (
        np.asarray(numbers, np.float64)[weight > 0] for numbers in (y, predicted, weight)
    )
    if len(y) > 1 and (y == y[0]).all():
        return 0.0
    predicted = np.maximum(predicted, np.finfo(np.float64).tiny)  # exp may round to 0
    return d2_tweedie_score(y, predicted, power=power, sample_weight=weight)
