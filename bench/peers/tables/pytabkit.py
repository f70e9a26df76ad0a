"""The networks of pytabkit, on PyTorch: RealMLP and TabM. They refuse missing numbers."""

import logging
import warnings

import pytabkit
from sklearn.impute import SimpleImputer

from peers.tables.columns import with_missing_as_category
from peers.tables.estimator import EstimatorPeer


class Peer(EstimatorPeer):
    """`kind`: the name of the classes without their ending."""

    arguments = {"device": "cpu", "verbosity": 0}

    def __init__(self, kind):
        self.classifier = getattr(pytabkit, f"{kind}_Classifier")
        self.regressor = getattr(pytabkit, f"{kind}_Regressor")
        logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
        warnings.simplefilter("ignore")

    def learn_columns(self, table):
        self.categorical = table.categorical
        self.numbers = [name for name in table.X if name not in self.categorical]
        self.imputer = SimpleImputer(strategy="median", keep_empty_features=True)
        if self.numbers:
            self.imputer.fit(table.X[self.numbers])

    def prepared(self, X):
        X = with_missing_as_category(X, self.categorical)
        if self.numbers:
            numbers = self.imputer.transform(X[self.numbers])
            X = X.assign(**dict(zip(self.numbers, numbers.T, strict=True)))
        return X

    def fit_estimator(self, X, table):
        self.estimator.fit(X, table.y, cat_col_names=self.categorical)
