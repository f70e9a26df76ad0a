"""scikit-learn, in the precision of the data, with as many threads as its BLAS takes."""

from sklearn.neural_network import MLPClassifier, MLPRegressor

from peers.estimator import EstimatorPeer


class Peer(EstimatorPeer):
    """No options."""

    classifier = MLPClassifier
    regressor = MLPRegressor
