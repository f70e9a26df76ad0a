"""The interface that an estimator must have in order to be inspected."""

from typing import Any, Protocol

from numpy.typing import ArrayLike, NDArray
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

Array = NDArray[Any]


class HasHistory(Protocol):
    """An estimator that records its training history."""

    solver: str
    history_: dict[str, list[Any]]


class HasFindings(Protocol):
    """An estimator that knows what is wrong with its fit: see `BaseTabularMLP.__findings__`."""

    def __findings__(self) -> list[tuple[str, str, str]]: ...


class HasWeights(Protocol):
    """An estimator that has weights once it is fitted."""

    @property
    def coefs_(self) -> list[Array]: ...


class HasGradient(Protocol):
    """An estimator whose loss has a gradient: see `BaseMLP.__float64_network__`."""

    alpha: float
    l1: float

    def __float64_network__(
        self, X: Any, y: Any, sample_weight: ArrayLike | None
    ) -> tuple[Any, Any]: ...


def check_has(estimator, *names):
    """Raise unless the estimator or its class has attributes with these names."""
    has = [hasattr(estimator, name) or hasattr(type(estimator), name) for name in names]
    if isinstance(estimator, type) or not all(has):
        raise TypeError(
            "estimator must be an MLPClassifier or MLPRegressor of fastmlp or another with "
            f"{', '.join(names)} (that of a pipeline is pipeline[-1], that of a search "
            f"best_estimator_), got {estimator!r}"
        )


def check_trained(estimator):
    """Raise unless the estimator has been trained for at least one epoch."""
    check_has(estimator, "fit", "solver", "diagnostics")
    check_is_fitted(estimator)
    check_has(estimator, "history_")
    if not estimator.history_:
        raise NotFittedError(
            f"This {type(estimator).__name__} has its first weights and no epoch yet: call fit or "
            "partial_fit"
        )
