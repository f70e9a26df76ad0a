"""The measurements that a fit with `diagnostics` records after every epoch."""

import numpy as np

from fastmlp._engine.activations import ACTIVATIONS
from fastmlp._engine.layout import ceil_div
from fastmlp._engine.rows import Data

ROWS_TO_PROBE = 1_000

# An activation this close to an end of its range counts as saturated: its slope is almost 0.
MARGIN_OF_SATURATION = 0.01


class Probe:
    """Measures norms, dead units and saturated units of each layer on some training rows.

    Parameters
    ----------
    penalties : object
        Has the attributes ``alpha`` and ``l1``, which may change between epochs.
    network : Network
    data : Data
    order : ndarray of intp
        The training rows.
    batch_size : int
        Batch size in training, by which the penalties are divided.
    """

    def __init__(self, penalties, network, data, order, batch_size):
        order = np.sort(order[data.sample_weight[order] > 0])
        rows = order[:: ceil_div(len(order), ROWS_TO_PROBE)]
        weight = data.sample_weight[rows]
        self._data = Data(data.features.of_rows(rows), data.y[rows], weight)
        self._network = network
        self._penalties = penalties
        # `gradient_and_workspace` divides the penalties by the sum of the sample weights, but
        # training divides them by the batch size.
        self._times = float(weight.sum(dtype=np.float64)) / batch_size
        self._before = network.snapshot()

    def __call__(self):
        network = self._network
        alpha, l1 = self._penalties.alpha * self._times, self._penalties.l1 * self._times
        _, gradient, work = network.passes.gradient_and_workspace(self._data, alpha, l1)
        now = network.snapshot()
        update = now - self._before
        self._before = now
        dead, saturated = [], []
        z, f = (network.passes.in_workspace(work, it, self._data.n_rows) for it in ("z", "f"))
        for l, name in enumerate(network.activations_of_hidden):
            mix = network.mixes[l]
            active = f[l] if mix is None else z[l] + mix * (f[l] - z[l])
            dead.append(float(np.mean(~active.any(axis=0))))
            limits = ACTIVATIONS[name].limits
            if limits is not None:
                low, high = limits
                near = (f[l] < low + MARGIN_OF_SATURATION) | (f[l] > high - MARGIN_OF_SATURATION)
                saturated.append(float(np.mean(near)))
            else:
                saturated.append(0.0)
        return {
            "gradient_norm": _norms(network, gradient),
            "update_norm": _norms(network, update),
            "weight_norm": _norms(network, now),
            "dead_units": tuple(dead),
            "saturated_units": tuple(saturated),
        }


def _norms(network, flat):
    """Return the norm of each layer's weights, in a buffer with the layout of the parameters."""
    matrices = network.parameters.matrices(flat)
    return tuple(float(np.linalg.norm(W.astype(float))) for W, _ in matrices)
