"""Callbacks after every epoch: plain functions, and scikit-learn's callbacks if available."""

from contextlib import contextmanager

try:  # scikit-learn 1.9
    from sklearn.callback import CallbackSupportMixin, FitCallback, with_callbacks
except ImportError:

    class CallbackSupportMixin:
        """Placeholder for older versions of scikit-learn."""

    FitCallback = None

    def with_callbacks(method):
        return method


def is_of_scikit_learn(callback):
    return FitCallback is not None and isinstance(callback, FitCallback)


def check_callbacks(callbacks):
    """Return the callbacks as a list; raise if one of them is invalid."""
    if callbacks is None:
        return []
    given = callbacks if isinstance(callbacks, list | tuple) else [callbacks]
    for callback in given:
        if isinstance(callback, type) or not (callable(callback) or is_of_scikit_learn(callback)):
            raise TypeError(
                "callbacks must be functions f(estimator, state) or callbacks of scikit-learn, "
                f"got {callback!r}"
            )
    return list(given)


class Callbacks:
    """The callbacks of a fit. They are called in every epoch and may end the training."""

    def __init__(self, estimator, X, y, sample_weight, fitted_attributes):
        self._estimator = estimator
        self._functions = [
            callback
            for callback in check_callbacks(estimator.callbacks)
            if not is_of_scikit_learn(callback)
        ]
        self._arguments = {
            "estimator": estimator,
            "X": X,
            "y": y,
            "metadata": None if sample_weight is None else {"sample_weight": sample_weight},
            "reconstruction_attributes": fitted_attributes,
        }
        self._fit = self._epoch = None

    @contextmanager
    def of_fit(self, max_iter):
        """Call scikit-learn's hooks at the beginning and end of a fit."""
        if not getattr(self._estimator, "_skl_callbacks", None):
            yield
            return
        self._fit = self._estimator._init_callback_context(max_subtasks=max_iter)
        self._fit.call_on_fit_task_begin(**self._arguments)
        yield
        self._fit.call_on_fit_task_end(**self._arguments)

    def begin_epoch(self):
        if self._fit is not None:
            self._epoch = self._fit.subcontext(task_name="epoch")
            self._epoch.call_on_fit_task_begin(**self._arguments)

    def end_epoch(self, epoch):
        stop = any([function(self._estimator, epoch) for function in self._functions])
        if self._fit is not None:
            stop |= bool(self._epoch.call_on_fit_task_end(**self._arguments))
        return stop


@contextmanager
def with_scikit_learn_callbacks(estimator):
    """Temporarily register scikit-learn's callbacks among ``estimator.callbacks``.

    They are registered with set_callbacks, in addition to those already there.
    """
    theirs = [c for c in check_callbacks(estimator.callbacks) if is_of_scikit_learn(c)]
    if not theirs:
        yield
        return
    before = list(getattr(estimator, "_skl_callbacks", []))
    estimator.set_callbacks(*before, *theirs)
    try:
        yield
    finally:
        estimator.set_callbacks(*before)
