"""Options that apply to a single choice, such as `delta` of the Huber loss.

Tables list the options with their allowed values. `with_defaults` checks the options that a user
passes and adds the defaults of the others.
"""

from numbers import Real

import numpy as np


class Number:
    """A number in an interval, which is given as a string: ``Number(0.5, '[0, 1)')``."""

    def __init__(self, default, interval):
        self.default = default
        self._interval = interval
        self._low, self._high = map(float, interval[1:-1].split(","))

    def __str__(self):
        return f"a number in {self._interval}"

    def accept(self, value):
        """Return the value as a float, or None if it is not allowed."""
        if not isinstance(value, Real) or isinstance(value, bool | np.bool_):
            return None
        try:
            value = float(value)
        except OverflowError:
            return None
        above = value >= self._low if self._interval[0] == "[" else value > self._low
        below = value <= self._high if self._interval[-1] == "]" else value < self._high
        return value if above and below else None


class Flag:
    """True or False."""

    def __init__(self, default):
        self.default = default

    def __str__(self):
        return "True or False"

    def accept(self, value):
        return bool(value) if isinstance(value, bool | np.bool_) else None


class Quantiles:
    """A quantile, or several in ascending order, stored as a tuple."""

    default = (0.5,)

    def __str__(self):
        return "a number in (0, 1) or an ascending list of them"

    def accept(self, value):
        one = Number(0.5, "(0, 1)")
        given = list(value) if isinstance(value, list | tuple) or np.ndim(value) == 1 else [value]
        several = [one.accept(quantile) for quantile in given]
        if not several or None in several or sorted(set(several)) != several:
            return None
        return tuple(several)


def with_defaults(argument, choice, given, options):
    """Check the given options of a choice and add the defaults of the others.

    Parameters
    ----------
    argument : str
        The argument through which the options were passed, for error messages.
    choice : str
        The choice to which the options apply, for error messages.
    given : dict or None
        The options that were passed. It is not modified.
    options : dict
        All options of the choice: name: `Number`, `Flag` or `Quantiles`.

    Returns
    -------
    dict
        name: value, for all options.
    """
    if given is not None and not isinstance(given, dict):
        raise TypeError(f"{argument} must be a dict or None, got {given!r}")
    result = {name: option.default for name, option in options.items()}
    for name, value in (given or {}).items():
        if name not in options:
            known = f"takes {sorted(options)}" if options else "takes none"
            raise ValueError(f"{argument}: {choice!r} {known}, got {name!r}")
        result[name] = options[name].accept(value)
        if result[name] is None:
            raise ValueError(f"{argument}[{name!r}] must be {options[name]}, got {value!r}")
    return result
