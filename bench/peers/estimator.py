"""What the two peers with scikit-learn's interface share, which is everything but the classes."""

import sys
import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from workloads import SEED


class EstimatorPeer:
    """Trains by warm-started calls of `fit`, with scikit-learn's default settings of Adam."""

    classifier = None
    regressor = None

    def __init__(self, **arguments):
        self.arguments = arguments

    def prepare(self, workload, X, y):
        self.workload = workload
        self.X, self.y = X, y

    def restart(self):
        estimator_class = self.classifier
        if self.workload.task == "regression":
            estimator_class = self.regressor
        self.estimator = estimator_class(
            hidden_layer_sizes=self.workload.layer_sizes[1:-1],
            batch_size=self.workload.batch_size,
            activation=self.workload.activation,
            solver=self.workload.solver,
            warm_start=True,
            tol=0,
            n_iter_no_change=sys.maxsize,
            # A generator, not a number, or every warm-started fit would repeat the same shuffles.
            random_state=np.random.RandomState(SEED),
            **self.arguments,
        )

    def train(self, n_epochs):
        self.estimator.set_params(max_iter=n_epochs)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            self.estimator.fit(self.X, self.y)

    def predict(self, X):
        if self.workload.task == "regression":
            return self.estimator.predict(X)
        return self.estimator.predict_proba(X)
