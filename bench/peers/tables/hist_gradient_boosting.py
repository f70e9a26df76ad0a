"""scikit-learn's gradient boosting, which takes categories and missing values as they are."""

from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.preprocessing import OrdinalEncoder

from peers.tables.estimator import EstimatorPeer

MOST_CATEGORIES = 255  # more are an error


class Peer(EstimatorPeer):
    """Columns with too many categories are numbered."""

    classifier = HistGradientBoostingClassifier
    regressor = HistGradientBoostingRegressor

    def learn_columns(self, table):
        self.encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
        self.numbered = [
            name for name in table.categorical if table.X[name].nunique() > MOST_CATEGORIES
        ]
        self.encoder.fit(table.X[self.numbered])

    def prepared(self, X):
        codes = self.encoder.transform(X[self.numbered])
        return X.assign(**dict(zip(self.numbered, codes.T, strict=True)))
