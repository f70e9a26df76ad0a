"""Decorators of methods: scikit-learn checks the parameters; only some solvers have the method."""

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from fastmlp._estimators.sklearn_private import _fit_context

Method = TypeVar("Method", bound=Callable[..., Any])


def checks_parameters(method: Method) -> Method:
    """A method that fits: scikit-learn checks the parameters before it."""
    decorated: Method = _fit_context(prefer_skip_nested_validation=True)(method)
    return decorated


class NoPartialFit(AttributeError, ValueError):
    """There is no partial_fit with early stopping: so says hasattr, and so does its call."""


class _MiniBatchOnly:
    """A method that is there only for an estimator that learns from one mini-batch by itself."""

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


if TYPE_CHECKING:  # to whom the method is there

    def mini_batch_only(method: Method) -> Method:
        return method

else:
    mini_batch_only = _MiniBatchOnly
