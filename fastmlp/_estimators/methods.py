"""Method decorators: parameter validation, and methods that only some solvers have."""

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from fastmlp._distributed.ranks import agreeing, current_ranks
from fastmlp._estimators.callbacks import with_callbacks
from fastmlp._estimators.sklearn_private import _fit_context

Method = TypeVar("Method", bound=Callable[..., Any])


def checks_parameters(method: Method) -> Method:
    """Decorate a fit method so that scikit-learn validates the parameters first."""
    decorated = _fit_context(prefer_skip_nested_validation=True)(method)

    @functools.wraps(method)
    def checked(self, *args, **kwargs):
        if current_ranks() is not None:  # all of them raise if one does
            with agreeing("with the parameters"):
                self._validate_params()
        return decorated(self, *args, **kwargs)

    return checked  # type: ignore[return-value]


def tears_down_callbacks(method: Method) -> Method:
    """Decorate a method that validates the parameters itself, for callbacks of scikit-learn."""
    decorated: Method = with_callbacks(method)
    return decorated


class NoPartialFit(AttributeError, ValueError):
    """Raised for partial_fit with early stopping.

    As an AttributeError, it makes hasattr return False.
    """


class _MiniBatchOnly:
    """A method available only if the estimator can learn from a single mini-batch."""

    def __init__(self, method):
        self._method = method
        functools.update_wrapper(self, method)

    def __get__(self, estimator, owner=None):
        if estimator is None:
            return self._method
        if estimator.solver == "lbfgs":
            raise AttributeError(
                "partial_fit is only available for stochastic optimizers. lbfgs is not stochastic."
            )
        if estimator.early_stopping:
            raise NoPartialFit(
                "partial_fit does not support early_stopping=True: one mini-batch has no "
                "validation rows"
            )
        return self._method.__get__(estimator, owner)


if TYPE_CHECKING:  # type checkers see an ordinary method

    def mini_batch_only(method: Method) -> Method:
        return method

else:
    mini_batch_only = _MiniBatchOnly
