"""What every peer trains: the networks, their data, their settings and their first weights."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

N_ROWS = 20_000
SEED = 0

ACTIVATIONS = ("relu", "tanh", "logistic")

# The settings of SGD (with Nesterov's momentum), of Adam and of the L2 penalty, scikit-learn's
# defaults. The penalty adds ALPHA * W / batch_size to the gradient of the weights and leaves the
# biases alone.
LEARNING_RATE = 1e-3
MOMENTUM = 0.9
BETA_1 = 0.9
BETA_2 = 0.999
EPSILON = 1e-8
ALPHA = 1e-4


@dataclass(frozen=True)
class Workload:
    """A network, trained on mini-batches.

    `n_epochs` make up one turn, enough of them that the constant cost of a call of `fit` is a
    small part of it. `activation` is one of ACTIVATIONS, `solver` 'adam' or 'sgd'.
    """

    name: str
    layer_sizes: tuple[int, ...]
    batch_size: int
    n_epochs: int
    task: str = "classification"
    activation: str = "relu"
    solver: str = "adam"
    n_rows: int = N_ROWS

    @property
    def network(self):
        """The layer sizes as people write them: ``784-100-10``."""
        return "-".join(map(str, self.layer_sizes))

    @property
    def operations_of_row(self):
        """Of the products of a training step: three for a layer, two for the first."""
        products = [2 * n_in * n_out for n_in, n_out in pairwise(self.layer_sizes)]
        return 3 * sum(products) - products[0]


WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload("tiny", (10, 32, 32, 1), 32, n_epochs=20, task="regression"),
        Workload("small", (64, 100, 10), 32, n_epochs=10),
        Workload("default", (784, 100, 10), 200, n_epochs=10),
        Workload("mid", (784, 256, 128, 10), 128, n_epochs=4),
        Workload("large", (784, 1024, 1024, 10), 512, n_epochs=2),
        Workload("mnist", (784, 100, 10), 200, n_epochs=20),
    )
}


def random_data(workload):
    """Random rows with targets from a random teacher network plus noise.

    Returns
    -------
    X : float32 array of shape (n_rows, n_inputs)
    y : array of shape (n_rows,), float32 values or integer classes
    """
    n_inputs, *_, n_outputs = workload.layer_sizes
    n_hidden = 16
    generator = np.random.default_rng(SEED)
    X = generator.standard_normal((workload.n_rows, n_inputs), dtype=np.float32)
    to_hidden = generator.standard_normal((n_inputs, n_hidden)) * 2 / np.sqrt(n_inputs)
    to_output = generator.standard_normal((n_hidden, n_outputs)) / np.sqrt(n_hidden)
    targets = np.tanh(X @ to_hidden) @ to_output
    targets += 0.1 * generator.standard_normal(targets.shape)
    if workload.task == "regression":
        return X, targets[:, 0].astype(np.float32)
    return X, targets.argmax(axis=1)


def mnist_data(path):
    """MNIST from an npz file with ``x_train``, ``y_train``, ``x_test`` and ``y_test``.

    Returns
    -------
    X, y, X_test, y_test : pixels as float32 in [0, 1], one row an image, and integer classes
    """
    with np.load(path) as arrays:
        X, X_test = (
            arrays[name].reshape(len(arrays[name]), -1).astype(np.float32) / 255
            for name in ("x_train", "x_test")
        )
        y, y_test = (arrays[name].astype(np.int64) for name in ("y_train", "y_test"))
    return X, y, X_test, y_test


def initial_parameters(layer_sizes):
    """Glorot's uniform weights and biases in scikit-learn's order of drawing.

    Returns
    -------
    list of (W, b), float32, W of shape (n_in, n_out)
    """
    generator = np.random.RandomState(SEED)
    parameters = []
    for n_in, n_out in pairwise(layer_sizes):
        bound = np.sqrt(6 / (n_in + n_out))
        W = generator.uniform(-bound, bound, (n_in, n_out)).astype(np.float32)
        b = generator.uniform(-bound, bound, n_out).astype(np.float32)
        parameters.append((W, b))
    return parameters


def loss(task, predictions, y):
    """Mean cross-entropy, or half the mean squared error, without the penalty."""
    predictions = np.asarray(predictions, dtype=np.float64).reshape(len(y), -1)
    if task == "regression":
        return float(np.mean((predictions[:, 0] - y) ** 2) / 2)
    of_true_class = predictions[np.arange(len(y)), y]
    # float32 probabilities do reach zero; scikit-learn clips them likewise.
    return float(-np.mean(np.log(np.maximum(of_true_class, np.finfo(np.float32).eps))))
