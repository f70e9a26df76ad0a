"""`Graph`: the nodes and constants of a graph of ONNX that is being written."""

from contextlib import contextmanager
from importlib import import_module

import numpy as np

from fastmlp._engine.config import __version__
from fastmlp._engine.whole_file import whole_file

# The smallest opset with LayerNormalization. All operators are the same in the later ones.
OPSET = 17
# The operators of machine learning: only LabelEncoder, for the columns of strings.
ML_DOMAIN, ML_OPSET = "ai.onnx.ml", 2


def onnx_module():
    """Import onnx, or say what is missing."""
    try:
        return import_module("onnx")
    except ImportError as error:
        raise ImportError('this needs onnx: pip install "fastmlp[onnx]"') from error


class Graph:
    """Nodes and constants, whose names say where they belong.

    Values are known by their names. NumPy arrays and numbers among the inputs of a node become
    constants, each of them once.

    Parameters
    ----------
    prefix : str, default=""
        The beginning of all names.
    taken : iterable of str, default=()
        Names that are in use: those of the inputs and outputs.

    Attributes
    ----------
    nodes : list of onnx.NodeProto
    constants : list of onnx.TensorProto
    """

    def __init__(self, prefix="", taken=()):
        self.onnx = onnx_module()
        self.nodes, self.constants = [], []
        self._prefix, self._taken = prefix, set(taken)
        self._name_of, self._n_of = {}, {}

    @contextmanager
    def within(self, part):
        """Put the name of a part of the model before the names of what is added."""
        before = self._prefix
        self._prefix = f"{before}{part}/"
        try:
            yield
        finally:
            self._prefix = before

    def add(self, operator, *inputs, result=None, domain="", **attributes):
        """Add a node with one output, and return its name: ``result``, or a new one."""
        output = result or self._new_name(operator)
        names = [one if isinstance(one, str) else self._constant(one) for one in inputs]
        self.nodes.append(
            self.onnx.helper.make_node(
                operator, names, [output], name=output, domain=domain, **attributes
            )
        )
        return output

    def cast(self, value, dtype):
        """Convert numbers to a dtype of NumPy."""
        return self.add("Cast", value, to=self.type_of(dtype))

    def type_of(self, dtype):
        """Return the number of an element type of ONNX."""
        return self.onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))

    def columns(self, value, indices):
        """Return some of the columns of a matrix."""
        return self.add("Gather", value, np.array(indices, np.int64), axis=1)

    def side_by_side(self, values):
        """Return matrices joined to one, or the only one as it is."""
        return values[0] if len(values) == 1 else self.add("Concat", *values, axis=1)

    def _new_name(self, label):
        name = None
        while name is None or name in self._taken:
            label_here = self._prefix + label
            n = self._n_of[label_here] = self._n_of.get(label_here, -1) + 1
            name = f"{label_here}_{n}" if n else label_here
        self._taken.add(name)
        return name

    def _constant(self, value):
        array = np.asarray(value)
        content = tuple(array.ravel()) if array.dtype == object else array.tobytes()
        key = array.dtype.str, array.shape, content
        if key not in self._name_of:
            name = self._name_of[key] = self._new_name("constant")
            self.constants.append(self._tensor(name, array))
        return self._name_of[key]

    def _tensor(self, name, array):
        if array.dtype == object:
            texts = [text.encode() for text in array.ravel()]
            return self.onnx.helper.make_tensor(
                name, self.onnx.TensorProto.STRING, array.shape, texts
            )
        return self.onnx.numpy_helper.from_array(np.array(array, order="C"), name)


def model_of(graph, inputs, outputs, title):
    """Return the checked model of a graph.

    Parameters
    ----------
    graph : Graph
    inputs, outputs : list of onnx.ValueInfoProto
    title : str
        What the model is.
    """
    onnx = graph.onnx
    opsets = [onnx.helper.make_opsetid("", OPSET)]
    if any(node.domain == ML_DOMAIN for node in graph.nodes):
        opsets.append(onnx.helper.make_opsetid(ML_DOMAIN, ML_OPSET))
    whole = onnx.helper.make_graph(graph.nodes, "fastmlp", inputs, outputs, graph.constants)
    model = onnx.helper.make_model(
        whole,
        opset_imports=opsets,
        ir_version=onnx.helper.find_min_ir_version_for(opsets),
        producer_name="fastmlp",
        producer_version=__version__,
        doc_string=title,
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def write_model(model, path):
    """Write a model to a file beside the path, which then takes its place."""
    with whole_file(path) as file:
        file.write(model.SerializeToString())
