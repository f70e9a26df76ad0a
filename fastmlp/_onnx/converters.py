"""The converters of the estimators for skl2onnx, which is imported when it calls them.

As in skl2onnx, the outputs are of float64 if an input is, and otherwise of float32.
"""

from importlib import import_module

import numpy as np

from fastmlp._onnx.columns import Sources, inputs_of_table, is_one_array
from fastmlp._onnx.estimators import (
    FOR_TABLES,
    add_label,
    add_values,
    dtype_of_outputs,
    is_multilabel,
    labels_of,
    n_outputs_of,
    network_of,
)
from fastmlp._onnx.graph import ML_DOMAIN, ML_OPSET, OPSET, Graph


def tensor_type(kind):
    """Return the class of a type of skl2onnx: 'Double', 'Float', 'Int64' or 'String'."""
    return getattr(import_module("skl2onnx.common.data_types"), f"{kind}TensorType")


def shape_of_classifier(operator):
    """Set the types of the label and of the probabilities."""
    model, n_rows = _model_of(operator), operator.inputs[0].get_first_dimension()
    is_string = not _is_by_index(operator) and labels_of(model).dtype.kind == "O"
    kind, shape = "String" if is_string else "Int64", [n_rows]
    if is_multilabel(model):
        kind, shape = "Int64", [n_rows, n_outputs_of(model)]
    operator.outputs[0].set_type(tensor_type(kind)(shape))
    _set_type_of_values(operator, operator.outputs[1])


def shape_of_regressor(operator):
    """Set the type of the predicted values."""
    _set_type_of_values(operator, operator.outputs[0])


def convert_classifier(scope, operator, container):
    """Add the label and the probabilities of a classifier to the graph of skl2onnx."""
    model = _model_of(operator)
    label, probabilities = (variable.full_name for variable in operator.outputs)
    graph, values = _values(scope, operator, container)
    to = graph.type_of(_dtype_of_values(operator))
    graph.add("Cast", values, to=to, result=probabilities)
    computed_in = np.dtype(np.float64) if _is_wide(operator) else dtype_of_outputs(model)
    add_label(graph, model, values, computed_in, label, as_index=_is_by_index(operator))
    _hand_over(graph, container)


def convert_regressor(scope, operator, container):
    """Add the predicted values of a regressor to the graph of skl2onnx."""
    graph, values = _values(scope, operator, container)
    to = graph.type_of(_dtype_of_values(operator))
    graph.add("Cast", values, to=to, result=operator.outputs[0].full_name)
    _hand_over(graph, container)


def _model_of(operator):
    """Return the estimator, which another thread may be fitting."""
    return operator.raw_operator.__published__()


def _is_wide(operator):
    """Whether a row has a number of float64."""
    return any(isinstance(variable.type, tensor_type("Double")) for variable in operator.inputs)


def _is_by_index(operator):
    """Whether labels are indices: option ``nocl``."""
    options = operator.scope_inst.get_options(operator.raw_operator, {"nocl": False}, fail=False)
    return bool(options and options["nocl"])


def _dtype_of_values(operator):
    """Return the dtype of probabilities or values; ZipMap, of option ``zipmap``, takes float32."""
    is_mapped = any(
        other.type == "SklearnZipMap" and operator.outputs[-1] in other.inputs
        for other in operator.scope_inst.operators.values()
    )
    return np.dtype(np.float64 if _is_wide(operator) and not is_mapped else np.float32)


def _set_type_of_values(operator, variable):
    n_rows = operator.inputs[0].get_first_dimension()
    is_double = _dtype_of_values(operator) == np.float64
    kind = tensor_type("Double" if is_double else "Float")
    variable.set_type(kind([n_rows, n_outputs_of(_model_of(operator))]))


def _values(scope, operator, container):
    """Return a graph that computes the values of an estimator, and their name."""
    model = _model_of(operator)
    if container.target_opset < OPSET:
        raise ValueError(
            f"{type(model).__name__} needs target_opset >= {OPSET}, got {container.target_opset}"
        )
    graph = Graph(prefix=f"{scope.get_unique_operator_name('fastmlp')}/")
    if isinstance(model, FOR_TABLES):
        return graph, add_values(graph, model, _columns(graph, model, operator.inputs))
    dtype = network_of(model).dtype
    x = graph.side_by_side([graph.cast(one.full_name, dtype) for one in operator.inputs])
    return graph, add_values(graph, model, x, is_wide=_is_wide(operator))


def _columns(graph, model, variables):
    """Return the columns of a table: the inputs by their names, or those of one matrix."""
    encoder = model.__ensemble__().encoder
    if is_one_array(encoder):
        parts = [graph.cast(one.full_name, np.float64) for one in variables]
        return Sources(graph, whole=graph.side_by_side(parts))
    needed = inputs_of_table(encoder)
    names = [one.name for one in needed]
    if len(variables) == 1 and [variables[0].raw_name] != names:
        matrix = variables[0].full_name
        given = {name: graph.columns(matrix, [j]) for j, name in enumerate(names)}
        types = dict.fromkeys(given, variables[0].type)
    else:
        given = {variable.raw_name: variable.full_name for variable in variables}
        types = {variable.raw_name: variable.type for variable in variables}
    single = {}
    for one in needed:
        if one.name not in given:
            raise ValueError(f"there is no input {one.name!r} among {list(given)}")
        is_string = isinstance(types[one.name], tensor_type("String"))
        if is_string != (one.dtype is object):
            needs = "strings" if one.dtype is object else "numbers"
            raise ValueError(f"the input {one.name!r} must hold {needs}, got {types[one.name]}")
        value = given[one.name]
        single[one.name] = value if is_string else graph.cast(value, np.float64)
    return Sources(graph, single=single)


def _hand_over(graph, container):
    """Put the nodes and constants into the graph of skl2onnx."""
    container.nodes.extend(graph.nodes)
    container.initializers.extend(graph.constants)
    container.node_domain_version_pair_sets.add(("", OPSET))
    if any(node.domain == ML_DOMAIN for node in graph.nodes):
        container.node_domain_version_pair_sets.add((ML_DOMAIN, ML_OPSET))
