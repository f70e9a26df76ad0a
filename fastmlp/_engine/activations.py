"""The activations: what Python has to know about each, beside the core's table.

The functions and their derivatives are in `_simd/elementwise.h`.
"""

from typing import NamedTuple

from fastmlp import _core


class Row(NamedTuple):
    """Properties of an activation.

    Attributes
    ----------
    limits : tuple of float or None
        The ends of the range of an activation that saturates at both of them.
    init_scale : float
        With ``init=None``, the first weights are uniform in +-sqrt(init_scale / (n_in + n_out)),
        as in scikit-learn.
    """

    limits: tuple[float, float] | None = None
    init_scale: float = 6.0


ACTIVATIONS = dict.fromkeys(_core.ACTIVATIONS, Row()) | {
    "logistic": Row(limits=(0.0, 1.0), init_scale=2.0),
    "tanh": Row(limits=(-1.0, 1.0)),
    "softsign": Row(limits=(-1.0, 1.0)),
}
