"""fastmlp itself."""

from fastmlp import MLPClassifier, MLPRegressor
from peers.estimator import EstimatorPeer


class Peer(EstimatorPeer):
    """`n_threads` and `dtype` may be given as options."""

    classifier = MLPClassifier
    regressor = MLPRegressor
