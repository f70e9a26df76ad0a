"""What may be inspected."""

from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from fastmlp._estimators.base import BaseMLP


def check_estimator(estimator):
    if not isinstance(estimator, BaseMLP):
        raise TypeError(
            "estimator must be an MLPClassifier or MLPRegressor of fastmlp (that of a pipeline is "
            f"pipeline[-1], that of a search best_estimator_), got {estimator!r}"
        )


def check_trained(estimator):
    """Raise unless an estimator has been trained for an epoch."""
    check_estimator(estimator)
    check_is_fitted(estimator)
    if not estimator.history_:
        raise NotFittedError(
            f"This {type(estimator).__name__} has its first weights and no epoch yet: call fit or "
            "partial_fit"
        )
