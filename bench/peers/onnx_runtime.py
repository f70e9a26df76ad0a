"""ONNX Runtime, which only predicts: with the first weights, since their values cost no time."""

import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from workloads import initial_parameters


def network_as_onnx(workload):
    """A serialised chain of Gemm and Relu, with Softmax at the end of a classifier."""
    nodes, initializers = [], []
    tensor = "X"
    last = len(workload.layer_sizes) - 2
    for layer, (W, b) in enumerate(initial_parameters(workload.layer_sizes)):
        weights, biases, weighted = f"W{layer}", f"b{layer}", f"z{layer}"
        initializers += [numpy_helper.from_array(W, weights), numpy_helper.from_array(b, biases)]
        nodes.append(helper.make_node("Gemm", [tensor, weights, biases], [weighted]))
        tensor = weighted
        if layer < last:
            tensor = f"a{layer}"
            nodes.append(helper.make_node("Relu", [weighted], [tensor]))
        elif workload.task == "classification":
            tensor = "probabilities"
            nodes.append(helper.make_node("Softmax", [weighted], [tensor], axis=1))
    sizes = workload.layer_sizes
    graph = helper.make_graph(
        nodes,
        workload.name,
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, ["rows", sizes[0]])],
        [helper.make_tensor_value_info(tensor, TensorProto.FLOAT, ["rows", sizes[-1]])],
        initializers,
    )
    # Versions that every ONNX Runtime since 1.14 reads, whatever the newest of the format is.
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return model.SerializeToString()


class Peer:
    """No options; the threads of a default session."""

    def prepare(self, workload, X, y):
        self.session = onnxruntime.InferenceSession(
            network_as_onnx(workload), providers=["CPUExecutionProvider"]
        )

    def predict(self, X):
        (predictions,) = self.session.run(None, {"X": X})
        return predictions
