"""CatBoost, which takes missing numbers as they are; a missing category has to be a string."""

from catboost import CatBoostClassifier, CatBoostRegressor

from peers.tables.columns import with_missing_as_category
from peers.tables.estimator import EstimatorPeer


class Peer(EstimatorPeer):
    """The arguments keep it from printing and from writing files."""

    classifier = CatBoostClassifier
    regressor = CatBoostRegressor
    arguments = {"verbose": False, "allow_writing_files": False}

    def learn_columns(self, table):
        self.categorical = table.categorical

    def prepared(self, X):
        return with_missing_as_category(X, self.categorical)

    def fit_estimator(self, X, table):
        self.estimator.fit(X, table.y, cat_features=self.categorical)
