"""fastmlp's ensembles for tables."""

from fastmlp import TabularMLPClassifier, TabularMLPRegressor
from peers.tables.estimator import EstimatorPeer


class Peer(EstimatorPeer):
    """Takes the arguments of the estimators."""

    classifier = TabularMLPClassifier
    regressor = TabularMLPRegressor

    def __init__(self, **arguments):
        self.arguments = arguments

    def predict_interval(self, X, coverage):
        return self.estimator.predict_interval(X, coverage)
