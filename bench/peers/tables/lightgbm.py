"""LightGBM, which takes categories and missing values as they are."""

from lightgbm import LGBMClassifier, LGBMRegressor

from peers.tables.columns import with_plain_names
from peers.tables.estimator import EstimatorPeer


class Peer(EstimatorPeer):
    """By default it would leave out the second thread of a core."""

    classifier = LGBMClassifier
    regressor = LGBMRegressor
    arguments = {"verbose": -1, "n_jobs": -1}

    def prepared(self, X):
        return with_plain_names(X)
