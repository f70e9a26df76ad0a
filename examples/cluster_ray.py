"""Many networks on a cluster of Ray: an ensemble for tables
=========================================================

To run it::

    pip install ".[distributed]"
    python cluster_ray.py            # the processors of this machine
    python cluster_ray.py auto       # the cluster that this machine belongs to

The model is that of a fit without a cluster, bit for bit.
"""

import sys
import time

import numpy as np
import ray
from sklearn.datasets import load_diabetes

from fastmlp import TabularMLPRegressor, distributed

X, y = load_diabetes(return_X_y=True)


def fit():
    """Fit an ensemble and return what it predicts, with the seconds that it took."""
    began = time.perf_counter()
    predicted = TabularMLPRegressor(n_members=8, random_state=0).fit(X, y).predict(X)
    return predicted, time.perf_counter() - began


def main(address=None):
    alone, seconds = fit()
    print(f"one process: {seconds:.1f} s")
    ray.init(address, include_dashboard=None if address else False, log_to_driver=False)
    with distributed.ray():
        together, seconds = fit()
    n_cpus = int(ray.cluster_resources()["CPU"])
    print(f"{n_cpus} workers, with the time to start them: {seconds:.1f} s")
    same = np.array_equal(alone, together)
    print("the same results, bit for bit" if same else "the results differ")
    ray.shutdown()


if __name__ == "__main__":
    main(*sys.argv[1:])

# %%
# On two cores of a server CPU it prints:
#
# .. code-block:: none
#
#    one process: 0.3 s
#    2 workers, with the time to start them: 2.6 s
#    the same results, bit for bit
