"""What an estimator predicts in the operators of ONNX: labels, probabilities and values."""

import numpy as np

from fastmlp._engine.network import Network
from fastmlp._estimators.classifier import MLPClassifier
from fastmlp._estimators.regressor import MLPRegressor
from fastmlp._onnx.network import add_network
from fastmlp._onnx.tabular import add_prediction, add_probabilities
from fastmlp._tabular.classifier import TabularMLPClassifier
from fastmlp._tabular.regressor import TabularMLPRegressor

CLASSIFIERS = (MLPClassifier, TabularMLPClassifier)
REGRESSORS = (MLPRegressor, TabularMLPRegressor)
FOR_TABLES = (TabularMLPClassifier, TabularMLPRegressor)


def network_of(model):
    """Return the network of a model that is not for tables."""
    return model if isinstance(model, Network) else model.__network__()


def is_multilabel(model):
    """Whether a classifier predicts an indicator matrix."""
    if isinstance(model, TabularMLPClassifier):
        return False
    network = network_of(model)
    is_binary = network.layer_sizes[-1] < len(model.classes_)
    return not (network.passes.loss.row.is_of_classes or is_binary)


def n_outputs_of(model):
    """Return the number of columns of the probabilities or values."""
    if isinstance(model, CLASSIFIERS):
        return len(model.classes_)
    return 1 if isinstance(model, TabularMLPRegressor) else network_of(model).layer_sizes[-1]


def dtype_of_outputs(model):
    """Return the dtype of the probabilities or values."""
    return np.dtype(np.float64) if isinstance(model, FOR_TABLES) else network_of(model).dtype


def add_values(graph, model, source, *, is_wide=False):
    """Add the values that a regressor or a network predicts, or a classifier's probabilities.

    Parameters
    ----------
    graph : Graph
    model : Network or fitted estimator
    source : str or Sources
        X in the dtype of the network, or the columns of the table.
    is_wide : bool, default=False
        Whether rows are in float64, though the network is not.

    Returns
    -------
    str
    """
    if isinstance(model, TabularMLPClassifier):
        return add_probabilities(graph, model.__ensemble__(), source, model.temperature_)
    if isinstance(model, TabularMLPRegressor):
        return add_prediction(graph, model.__ensemble__(), source, model.__scale__())
    network = network_of(model)
    output = add_network(graph, network, source, is_wide=is_wide)
    if not isinstance(model, MLPClassifier) or network.layer_sizes[-1] == len(model.classes_):
        return output
    dtype = np.float64 if is_wide else network.dtype  # of two classes, the second one's
    return graph.add("Concat", graph.add("Sub", np.array(1, dtype), output), output, axis=1)


def add_label(graph, model, probabilities, dtype, result, *, as_index=False):
    """Add the label of the most probable class, or an indicator matrix, as int64 or a string.

    Parameters
    ----------
    graph : Graph
    model : fitted classifier
    probabilities : str
    dtype : numpy.dtype
        That of the probabilities.
    result : str
        The name of the output.
    as_index : bool, default=False
        Whether classes are given by their index.
    """
    if is_multilabel(model):
        is_there = graph.add("Greater", probabilities, np.array(0.5, dtype))
        return graph.add("Cast", is_there, to=graph.type_of(np.int64), result=result)
    index = graph.add("ArgMax", probabilities, axis=1, keepdims=0)
    if as_index:
        return graph.add("Identity", index, result=result)
    return graph.add("Gather", labels_of(model), index, axis=0, result=result)


def labels_of(model):
    """Return the labels of a classifier as an array of int64 or of objects, which are strings."""
    classes = np.asarray(model.classes_)
    if classes.dtype.kind in "OUST":
        return classes.astype(object)
    others = [c for c in classes.tolist() if c != int(c) or not -(2**63) <= c < 2**63]
    if others:
        raise ValueError(f"labels in ONNX are strings or whole numbers below 2^63, got {others}")
    return classes.astype(np.int64)
