"""`to_onnx`: models as graphs of ONNX."""

import os
from typing import Any

import numpy as np

from fastmlp._engine.network import Network
from fastmlp._onnx.columns import Input, Sources, inputs_of_table, is_one_array
from fastmlp._onnx.estimators import (
    CLASSIFIERS,
    FOR_TABLES,
    REGRESSORS,
    add_label,
    add_values,
    dtype_of_outputs,
    is_multilabel,
    labels_of,
    n_outputs_of,
    network_of,
)
from fastmlp._onnx.graph import Graph, model_of, onnx_module, write_model

MODELS = (Network, *CLASSIFIERS, *REGRESSORS)


def to_onnx(model: Any, path: str | os.PathLike[str] | None = None) -> Any:
    """Convert a network or a fitted estimator to a model of ONNX, for onnxruntime for instance.

    All is in the graph: the activations and the output of any loss, input layers, and for the
    estimators of tables the encoding of their columns and the mean of the ensemble. It consists of
    standard operators of opset 17. Only columns of strings need one more, LabelEncoder of
    ai.onnx.ml. A pipeline is converted by ``skl2onnx.to_onnx``, which knows these estimators as
    soon as fastmlp is imported.

    The rows are one input ``X`` of shape (n_rows, n_features), in the dtype of the network, or in
    double for an estimator of tables. An estimator that has learned from a data frame has one input
    for each column instead, of shape (n_rows, 1), with the name of the column:

    - numbers, and truth values as 0 and 1, are double; NaN is missing;
    - strings are strings; the empty string is missing. If it occurred in the training beside
      missing values, it is itself, and 'missing' is missing;
    - dates are seconds since 1970 in double, by the clock on the wall; durations are seconds. NaN
      is missing. For dates with a time zone, the seconds are those of UTC, and one more input,
      '<name>: UTC offset', has the seconds from there to the clock on the wall.

    The inputs have these meanings in their ``doc_string``.

    Parameters
    ----------
    model : Network, MLPClassifier, MLPRegressor, TabularMLPClassifier or TabularMLPRegressor
        The network, or a fitted estimator.
    path : path-like, default=None
        The file to write. It takes the place of an old one only when it is complete. None writes
        none.

    Returns
    -------
    onnx.ModelProto
        A classifier has the outputs ``label`` of shape (n_rows,), int64 or string, and
        ``probabilities`` of shape (n_rows, n_classes). Labels that are truth values or whole
        numbers of any type become int64. With an indicator matrix, ``label`` is one in int64. A
        regressor has the output ``variable``, and a `Network` has ``output``, both of shape
        (n_rows, n_outputs). If a column has the name of an output, that ends with ``_``.

    Raises
    ------
    ImportError
        If onnx is not installed.
    TypeError
        If the model is of another type.
    ValueError
        If ONNX cannot represent a label or the name of a column.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from fastmlp import MLPClassifier, to_onnx
    >>> X, y = load_iris(return_X_y=True)
    >>> classifier = MLPClassifier((5,), solver='lbfgs', random_state=0).fit(X, y)
    >>> [output.name for output in to_onnx(classifier).graph.output]
    ['label', 'probabilities']
    """
    if not isinstance(model, MODELS):
        raise TypeError(
            "model must be a Network, or a fitted MLPClassifier, MLPRegressor, "
            f"TabularMLPClassifier or TabularMLPRegressor, got {model!r}; a pipeline with one of "
            "them is converted by skl2onnx.to_onnx"
        )
    # Another thread may be fitting the estimator.
    converted = _converted(model if isinstance(model, Network) else model.__published__())
    if path is not None:
        write_model(converted, path)
    return converted


def _converted(model):
    """Return the model of ONNX."""
    onnx_module()
    inputs = _inputs_of(model)
    taken = [one.name for one in inputs]
    names = [_free_name(name, taken) for name in _names_of_outputs(model)]
    graph = Graph(taken=[*taken, *names])
    values = add_values(graph, model, _source_of(graph, model, inputs))
    graph.add("Identity", values, result=names[-1])
    dtype = dtype_of_outputs(model)
    n_rows = "n_rows"
    outputs = [_value_info(graph, names[-1], dtype, [n_rows, n_outputs_of(model)])]
    if isinstance(model, CLASSIFIERS):
        add_label(graph, model, names[-1], dtype, names[0])
        several = is_multilabel(model)
        shape = [n_rows, n_outputs_of(model)] if several else [n_rows]
        kind = np.int64 if several else labels_of(model).dtype
        outputs.insert(0, _value_info(graph, names[0], kind, shape))
    described = [
        _value_info(graph, one.name, one.dtype, [n_rows, one.n_columns], one.meaning)
        for one in inputs
    ]
    return model_of(graph, described, outputs, f"{type(model).__name__} of fastmlp")


def _names_of_outputs(model):
    if isinstance(model, CLASSIFIERS):
        return ["label", "probabilities"]
    return ["output" if isinstance(model, Network) else "variable"]


def _free_name(name, taken):
    while name in taken:
        name += "_"
    return name


def _inputs_of(model):
    """Return the inputs of a model, as a list of `Input`."""
    if isinstance(model, FOR_TABLES):
        return inputs_of_table(model.__ensemble__().encoder)
    network = network_of(model)
    return [Input("X", network.layer_sizes[0], network.dtype, "the features")]


def _source_of(graph, model, inputs):
    """Return what `add_values` reads: the name of X, or the columns of a table."""
    if not isinstance(model, FOR_TABLES):
        return "X"
    if is_one_array(model.__ensemble__().encoder):
        return Sources(graph, whole="X")
    return Sources(graph, single={one.name: one.name for one in inputs})


def _value_info(graph, name, dtype, shape, meaning=""):
    is_string = np.dtype(dtype).kind == "O"
    element = graph.onnx.TensorProto.STRING if is_string else graph.type_of(dtype)
    return graph.onnx.helper.make_tensor_value_info(name, element, shape, doc_string=meaning)
