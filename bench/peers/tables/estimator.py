"""What the peers share: a classifier or a regressor, and its predictions."""


class EstimatorPeer:
    """A peer names the two classes, and prepares columns where its library needs that."""

    classifier = None
    regressor = None
    arguments = {}

    def fit(self, table, seed):
        self.task = table.task
        estimator_class = self.classifier if table.task == "classification" else self.regressor
        self.estimator = estimator_class(random_state=seed, **self.arguments)
        self.learn_columns(table)
        self.fit_estimator(self.prepared(table.X), table)

    def learn_columns(self, table):
        """Learn what `prepared` needs."""

    def prepared(self, X):
        """The columns as the library takes them."""
        return X

    def fit_estimator(self, X, table):
        self.estimator.fit(X, table.y)

    def predict(self, X):
        X = self.prepared(X)
        if self.task == "classification":
            return self.estimator.predict_proba(X)
        return self.estimator.predict(X)
