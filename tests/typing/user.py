"""What a user writes, for type checkers: it is checked and never run.

mypy --strict tests/typing/user.py, and pyright. Each error that they must see has a comment: where
they do not see it, the comment is an error.
"""

import numpy as np
import numpy.typing as npt

import fastmlp
from fastmlp import (
    InputLayer,
    MLPClassifier,
    MLPRegressor,
    Network,
    TabularMLPClassifier,
    TabularMLPRegressor,
)

Array = npt.NDArray[np.float64]


def squared(y: npt.NDArray[np.generic], z: Array) -> tuple[Array, Array]:
    return (z**2).sum(axis=1), 2 * z


def stop_early(estimator: object, state: fastmlp.Epoch) -> bool:
    return state.loss < 0.1 and (state.val_score or 0.0) > 0.9


X = np.zeros((10, 3))
y = np.arange(10) % 2

classifier = MLPClassifier(
    (20, 10), activation=["relu", "tanh"], solver="adam", max_iter=5, dropout=[0.1, 0.2],
    callbacks=stop_early, class_weight={0: 1.0, 1: 2.0}, schedule_params={"warmup": 1},
    init="zeros", scoring=["accuracy"], n_iter_no_change=float("inf"),
    loss_params={"label_smoothing": 0.1},
)  # fmt: skip
classifier = classifier.fit(X, y, X_val=[(X, y)]).partial_fit(X, y, classes=[0, 1])
loss: float = classifier.loss_
curve: list[float] = classifier.loss_curve_
epochs: int = classifier.n_iter_
first_weight: float = float(classifier.coefs_[0][0, 0])
probabilities: npt.NDArray[np.floating] = classifier.predict_proba(X)
classifier.initialize(3, classes=["no", "yes"], multilabel=False)

table_classifier = TabularMLPClassifier(n_members=4, metric="roc_auc", max_seconds=5.0, n_jobs=2)
table_classifier = table_classifier.fit(X, y, np.ones(10), X_val=X, y_val=y)
losses: list[float] = table_classifier.leaderboard_["loss"]
temperature: float = table_classifier.temperature_
print(fastmlp.diagnose(table_classifier), table_classifier.predict_proba(X))
table_regressor = TabularMLPRegressor(categorical_features=[0], refit_single=True).fit(X, y)
ends: npt.NDArray[np.floating] = table_regressor.predict_interval(X, coverage=0.8)

regressor = MLPRegressor("quantile", 30, loss_params={"quantiles": [0.1, 0.9]}).fit(X, y)
score: float = regressor.score(X, y)
MLPRegressor(squared, [5]).fit(X, y)

network = Network([3, 4, 2], loss="log_loss", dtype=np.float64, n_threads=1)
z, a = network.forward(X)
shape: tuple[int, ...] = network.loss_and_gradients(X, y).dW[0].shape
network.params = [([[1.0], [2.0]], [0.0])]
layer = InputLayer(categorical_features=[2], n_categories=[4], numeric_embedding="pbld")
frequencies: Array = Network([3, 2], input_layer=layer).input_parameters["frequencies"]
mixes = MLPRegressor(input_layer=layer, learned_activation=True).fit(X, y).mixes_
fastmlp.to_onnx(network, "network.onnx").SerializeToString()
source: str = Network.from_torch(network.to_torch()).to_c("network.c", name="mine")
both: MLPClassifier = MLPClassifier.from_sklearn(classifier.to_sklearn())
names: list[str] = [finding.name for finding in fastmlp.diagnose(classifier)]
error: float = fastmlp.check_gradients(classifier, X, y, n_parameters=10).error
fastmlp.LossCurveDisplay.from_estimator(classifier, log_scale=True).plot()
fastmlp.show_config()

with fastmlp.distributed.mpi(None, n_slots=16, timeout=60.0):
    MLPClassifier(batch_size=4096).fit(X, y)

MLPClassifier(max_iter="many")  # type: ignore[arg-type]
MLPClassifier(solver=1)  # type: ignore[arg-type]
MLPClassifier(hidden_layer_size=5)  # type: ignore[call-arg]
MLPRegressor(alpha=None)  # type: ignore[arg-type]
Network("wide")  # type: ignore[arg-type]
network.n_threads = "two"  # type: ignore[assignment]
wrong: str = classifier.n_iter_  # type: ignore[assignment]
fastmlp.distributed.mpi(n_slots="many")  # type: ignore[arg-type]
fastmlp.check_gradients(classifier, X, y, step="small")  # type: ignore[arg-type]
