"""scikit-learn's MLP, behind the usual preparation of columns and of the targets."""

import warnings

from sklearn.compose import TransformedTargetRegressor, make_column_transformer
from sklearn.exceptions import ConvergenceWarning
from sklearn.impute import SimpleImputer
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from peers.tables.estimator import EstimatorPeer


class Peer(EstimatorPeer):
    """Medians for missing numbers, StandardScaler, OneHotEncoder; y is scaled too."""

    classifier = MLPClassifier
    regressor = MLPRegressor

    def fit_estimator(self, X, table):
        columns = make_column_transformer(
            (OneHotEncoder(handle_unknown="ignore"), table.categorical),
            remainder=make_pipeline(SimpleImputer(strategy="median"), StandardScaler()),
        )
        if table.task == "regression":
            self.estimator = TransformedTargetRegressor(
                self.estimator, transformer=StandardScaler()
            )
        self.estimator = make_pipeline(columns, self.estimator)
        with warnings.catch_warnings():
            # The default of 200 epochs is what is compared.
            warnings.simplefilter("ignore", ConvergenceWarning)
            self.estimator.fit(X, table.y)
