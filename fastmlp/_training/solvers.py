"""The mini-batch solvers: what Python has to know about each, beside the core's table.

The functions that move the parameters are in `_simd/solvers.h`.
"""

from typing import Any, NamedTuple

from fastmlp import _core
from fastmlp._engine.options import Flag, Number


class Row(NamedTuple):
    """Properties of a solver.

    Attributes
    ----------
    options : dict
        ``solver_params``: the name of each option, and what it may be.
    weight_decay : float
        Used if the estimator's ``weight_decay`` is None.
    is_full_batch : bool
        Whether the solver takes all rows at a time, and steps of its own size.
    """

    options: dict[str, Any] = {}
    weight_decay: float = 0.0
    is_full_batch: bool = False


AMSGRAD = {"amsgrad": Flag(False)}

SOLVERS = dict.fromkeys(_core.SOLVERS, Row()) | {
    "adam": Row(AMSGRAD),
    "adamw": Row(AMSGRAD, weight_decay=0.01),
    "nadam": Row({"momentum_decay": Number(0.004, "[0, inf)")}),
    "rmsprop": Row({"rho": Number(0.99, "[0, 1)")}),
    "adadelta": Row({"rho": Number(0.9, "[0, 1)")}),
    "rprop": Row(
        {
            "eta_minus": Number(0.5, "(0, 1)"),
            "eta_plus": Number(1.2, "(1, inf)"),
            "smallest_step": Number(1e-6, "(0, inf)"),
            "largest_step": Number(50.0, "(0, inf)"),
        },
        is_full_batch=True,
    ),
}

# The fit by SciPy, which has no options of this kind.
LBFGS = Row(is_full_batch=True)


def solver_row(name):
    """Return the properties of a solver, 'lbfgs' included."""
    return LBFGS if name == "lbfgs" else SOLVERS[name]
