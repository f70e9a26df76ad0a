"""One thread fits an estimator while others predict by what it was."""

import functools
import threading
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

from sklearn.base import BaseEstimator

Method = TypeVar("Method", bound=Callable[..., Any])


class InTraining(NamedTuple):
    """On an estimator while it is fitted: the thread that does so, and what all others see."""

    thread: int
    published: dict


def on_published_state(method: Method) -> Method:
    """A method that reads the estimator whole, though another thread fit it meanwhile."""

    @functools.wraps(method)
    def on_published_state(self, *args, **kwargs):
        return method(self._as_published(), *args, **kwargs)

    return on_published_state  # type: ignore[return-value]


class FittedAside:
    """An estimator whose fit works on a dictionary of its own, and publishes it in the end."""

    @contextmanager
    def _aside(self):
        """Work on the estimator while other threads see it as it was; an error takes all back."""
        before = vars(self)
        if "_in_training" in before:
            raise RuntimeError(
                f"this {type(self).__name__} is being fitted: fit, partial_fit and initialize must "
                "not be called before that has ended, as by a callback or another thread (a "
                "callback may fit a clone)"
            )
        history = before.get("_history")
        n_known = history.snapshot() if history is not None else None
        try:
            self.__dict__ = before | {"_in_training": InTraining(threading.get_ident(), before)}
            yield
            del self._in_training  # from here on everybody sees what is new
        except BaseException:
            # scikit-learn ends its callbacks by these, after us
            for name in ("_callback_fit_ctx", "_skl_callbacks_to_teardown"):
                if name in vars(self):
                    before[name] = vars(self)[name]
            self.__dict__ = before
            if history is not None:
                history.restore(n_known)
            raise

    def _as_published(self):
        """The estimator of this moment, whole, whatever another thread makes of it meanwhile.

        In the thread that fits it, and so in callbacks, it is the one in training.
        """
        attributes = self.__dict__
        if "_in_training" in attributes:
            training = attributes["_in_training"]
            if training.thread != threading.get_ident():
                attributes = training.published
        whole = object.__new__(self.__class__)
        whole.__dict__ = attributes
        return whole

    def __getstate__(self):
        state = BaseEstimator.__getstate__(self._as_published())
        return {name: state[name] for name in state if name != "_in_training"}
