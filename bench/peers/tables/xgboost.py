"""XGBoost, which takes categories and missing values as they are."""

from xgboost import XGBClassifier, XGBRegressor

from peers.tables.columns import with_plain_names
from peers.tables.estimator import EstimatorPeer


class Peer(EstimatorPeer):
    """Categories have to be allowed."""

    classifier = XGBClassifier
    regressor = XGBRegressor
    arguments = {"enable_categorical": True}

    def prepared(self, X):
        return with_plain_names(X)
