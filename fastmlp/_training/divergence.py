"""The error raised when training diverges."""

import numpy as np


class Divergence(ValueError):
    """The loss, the weights or the outputs are no longer finite."""

    def __init__(self, when, dtype, remedy="A lower learning_rate_init"):
        range_of_float32 = ""
        if dtype == np.float32:
            range_of_float32 = " dtype='float64' holds numbers beyond 3e38, where float32 ends."
        super().__init__(
            "Solver produced non-finite parameter weights. The input data may contain large "
            f"values and need to be preprocessed. ({when}. {remedy}, scaled features (by "
            "sklearn.preprocessing.StandardScaler for instance), clipping of outliers and, in "
            f"regression, scaled targets usually help.{range_of_float32})"
        )


def check_finite(network, data):
    if not network.passes.is_finite_for(data.features):
        when = "The weights after the last step, or the outputs that they lead to, are not finite"
        raise Divergence(when, network.dtype)
