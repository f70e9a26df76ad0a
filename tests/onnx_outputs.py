"""Running models of ONNX, for the tests of the conversions."""

import numpy as np
import onnxruntime

N_ROWS = 10_000
RTOL = {"float32": 1e-5, "float64": 1e-9}


def outputs(model, feed):
    """The outputs of onnxruntime by name."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, feed), strict=True))


def assert_agree(got, expected, rtol=1e-5):
    """Relative to the largest output of the row, or to the usual size if the row is smaller.

    The usual size is the root mean square of all outputs. Where the terms of a sum cancel, a row
    is much smaller than what it was computed from.
    """
    assert got.shape == expected.shape
    usual = np.sqrt(np.mean(np.square(expected, dtype=np.float64)))
    size = np.maximum(np.abs(expected).max(axis=1, keepdims=True), usual)
    assert (np.abs(got - expected) / size).max() <= rtol


def assert_same_labels(labels, expected, probabilities):
    """The same labels, but where the two largest probabilities are the same up to rounding."""
    largest = np.sort(probabilities, axis=1)[:, -2:]
    is_clear = largest[:, -1] - largest[:, 0] > 1e-5
    assert is_clear.mean() > 0.99
    np.testing.assert_array_equal(labels[is_clear], expected[is_clear])
