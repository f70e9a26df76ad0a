"""Options that belong to one choice, as the `delta` of Huber's loss: what there is, what it may be.

An option is a row in one of the tables below; `filled` checks what a user has given and adds the
defaults.
"""

from numbers import Integral, Real

import numpy as np


class Number:
    """A number of an interval, written as in mathematics: ``Number(0.5, '[0, 1)')``."""

    def __init__(self, default, interval, kind=Real):
        self.default = default
        self._interval = interval
        self._kind = kind
        self._low, self._high = map(float, interval[1:-1].split(","))

    def __str__(self):
        return f"{'a whole number' if self._kind is Integral else 'a number'} in {self._interval}"

    def admits(self, value):
        if not isinstance(value, self._kind) or isinstance(value, bool):
            return False
        above = value >= self._low if self._interval[0] == "[" else value > self._low
        return above and (value <= self._high if self._interval[-1] == "]" else value < self._high)


class Flag:
    """True or False."""

    def __init__(self, default):
        self.default = default

    def __str__(self):
        return "True or False"

    def admits(self, value):
        return isinstance(value, (bool, np.bool_))


class Quantiles:
    """A quantile, or several in ascending order."""

    default = 0.5

    def __str__(self):
        return "a number in (0, 1) or an ascending list of them"

    def admits(self, value):
        one = Number(0.5, "(0, 1)")
        if not isinstance(value, list | tuple | np.ndarray):
            return one.admits(value)
        several = list(value)
        ascending = all(one.admits(q) for q in several) and sorted(set(several)) == several
        return bool(several) and ascending


LOSS_PARAMS = {
    "log_loss": {"label_smoothing": Number(0.0, "[0, 1)")},
    "binary_log_loss": {"label_smoothing": Number(0.0, "[0, 1)")},
    "huber": {"delta": Number(1.0, "(0, inf)")},
    "quantile": {"quantiles": Quantiles()},
    "tweedie": {"power": Number(1.5, "(1, 2)")},
}

SOLVER_PARAMS = {
    "adam": {"amsgrad": Flag(False)},
    "adamw": {"amsgrad": Flag(False)},
    "nadam": {"momentum_decay": Number(0.004, "[0, inf)")},
    "rmsprop": {"rho": Number(0.99, "[0, 1)")},
    "adadelta": {"rho": Number(0.9, "[0, 1)")},
    "rprop": {
        "eta_minus": Number(0.5, "(0, 1)"),
        "eta_plus": Number(1.2, "(1, inf)"),
        "smallest_step": Number(1e-6, "(0, inf)"),
        "largest_step": Number(50.0, "(0, inf)"),
    },
}


def filled(argument, choice, given, table):
    """The options of a choice: those given, and the defaults of the others.

    Parameters
    ----------
    argument : str
        The name under which they have been given, for messages.
    choice : str
        To which they belong: a key of the table, or one that has no options.
    given : dict or None
    table : dict of dict
        choice: name: `Number` or the like.
    """
    options = table.get(choice, {})
    if given is not None and not isinstance(given, dict):
        raise TypeError(f"{argument} must be a dict or None, got {given!r}")
    for name, value in (given or {}).items():
        if name not in options:
            known = f"takes {sorted(options)}" if options else "takes none"
            raise ValueError(f"{argument}: {choice!r} {known}, got {name!r}")
        if not options[name].admits(value):
            raise ValueError(f"{argument}[{name!r}] must be {options[name]}, got {value!r}")
    return {name: option.default for name, option in options.items()} | (given or {})
