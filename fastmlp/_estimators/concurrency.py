"""Thread safety: an estimator can predict in other threads while one thread fits it."""

import functools
import threading
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

from sklearn.base import BaseEstimator

from fastmlp._engine.config import __version__

# Attributes of a fit under way, and those that the next fit makes anew: they are not pickled.
NOT_SAVED = ("_in_training", "_checked_parameters", "_generator")

# What a pickle says of itself, and the version of its format.
PICKLE = "_pickle"
VERSION_OF_PICKLE = 1

Method = TypeVar("Method", bound=Callable[..., Any])


class InTraining(NamedTuple):
    """The state of an estimator being fitted.

    ``thread`` is the thread that fits it. Other threads see the attributes in ``published``.
    """

    thread: int
    published: dict


def on_published_state(method: Method) -> Method:
    """Decorate a method to see a consistent estimator even if another thread is fitting it."""

    @functools.wraps(method)
    def on_published_state(self, *args, **kwargs):
        return method(self._as_published(), *args, **kwargs)

    return on_published_state  # type: ignore[return-value]


class FittedAside:
    """An estimator that is fitted in a separate attribute dictionary, published at the end."""

    @contextmanager
    def _aside(self):
        """Change the estimator while other threads see its previous state.

        If an error occurs, the previous state is restored.
        """
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
            del self._in_training  # from here on, all threads see the new state
        except BaseException:
            # scikit-learn needs these attributes afterwards to tear down its callbacks.
            for name in ("_callback_fit_ctx", "_skl_callbacks_to_teardown"):
                if name in vars(self):
                    before[name] = vars(self)[name]
            self.__dict__ = before
            if history is not None:
                history.restore(n_known)
            raise

    def _as_published(self):
        """Return a consistent view of the estimator, unaffected by a fit in another thread.

        In the thread that fits the estimator, and so in callbacks, it shows the current training
        state.
        """
        attributes = self.__dict__
        training = attributes.get("_in_training")  # once: the fit may end at any moment
        if training is not None and training.thread != threading.get_ident():
            attributes = training.published
        whole = object.__new__(self.__class__)
        whole.__dict__ = attributes
        return whole

    def __published__(self):
        """Return that view for what is outside of the estimators, such as exports."""
        return self._as_published()

    def __getstate__(self):
        state = BaseEstimator.__getstate__(self._as_published())
        state = {name: state[name] for name in state if name not in NOT_SAVED}
        return state | {PICKLE: (VERSION_OF_PICKLE, __version__)}

    def __setstate__(self, state):
        version, written_by = state.pop(PICKLE, (0, "an older version"))
        if version > VERSION_OF_PICKLE:
            raise ValueError(
                f"this pickle was written by fastmlp {written_by}, whose pickles have the format "
                f"{version}; fastmlp {__version__} reads formats up to {VERSION_OF_PICKLE}"
            )
        super().__setstate__(state)
