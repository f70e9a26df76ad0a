"""The ensemble of the estimators for tables in the operators of ONNX."""

import numpy as np

from fastmlp._onnx.network import add_network
from fastmlp._onnx.table import add_inputs
from fastmlp._tabular.distillation import Student
from fastmlp._tabular.selection import SMALLEST_PROBABILITY


def add_ensemble(graph, ensemble, sources):
    """Add the outputs of an ensemble for the columns of a table, in float64.

    Parameters
    ----------
    graph : Graph
    ensemble : Ensemble or Student
    sources : Sources

    Returns
    -------
    str
    """
    if not isinstance(ensemble, Student):
        return _mean_output(graph, ensemble, sources)
    outputs = _mean_output(graph, ensemble.ensemble, sources)
    outputs = graph.add("Mul", outputs, np.array(ensemble.scale))
    return outputs if ensemble.is_regression else graph.add("Softmax", outputs, axis=1)


def _mean_output(graph, ensemble, sources):
    """Add the weighted mean of the networks."""
    with graph.within("table"):
        x = add_inputs(graph, sources, ensemble.encoder, ensemble.maps, ensemble.parts[0].settings)
    outputs = []
    for number, part in enumerate(ensemble.parts):
        with graph.within(f"member{number}"):
            output = graph.cast(add_network(graph, part.network, x), np.float64)
            outputs.append(graph.add("Mul", output, np.array(part.weight)))
    return outputs[0] if len(outputs) == 1 else graph.add("Sum", *outputs)


def add_probabilities(graph, ensemble, sources, temperature):
    """Add the probabilities of the ensemble's outputs: see `at_temperature`."""
    outputs = add_ensemble(graph, ensemble, sources)
    powers = graph.add("Max", outputs, np.array(SMALLEST_PROBABILITY))
    powers = graph.add("Pow", powers, np.array(1 / temperature))
    total = graph.add("ReduceSum", powers, np.array([1]), keepdims=1)
    return graph.add("Div", powers, total)


def add_prediction(graph, ensemble, sources, scale):
    """Add the prediction of a regressor: see `Scale.predictions`."""
    outputs = graph.add("Mul", add_ensemble(graph, ensemble, sources), np.array(scale.std))
    outputs = graph.add("Add", outputs, np.array(scale.mean))
    return graph.add("Clip", outputs, np.array(scale.smallest), np.array(scale.largest))
