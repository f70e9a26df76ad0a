"""Many networks on a cluster of Dask: an ensemble for tables, and a grid search
=============================================================================

To run it::

    pip install ".[distributed]"
    python cluster_dask.py                       # two processes of this machine
    python cluster_dask.py tcp://scheduler:8786  # a cluster that is there

The models are those of a fit without a cluster, bit for bit.
"""

import sys
import time

import numpy as np
from distributed import Client, LocalCluster
from sklearn.datasets import load_diabetes
from sklearn.model_selection import GridSearchCV

from fastmlp import MLPRegressor, TabularMLPRegressor, distributed

X, y = load_diabetes(return_X_y=True)
X, y = X / X.std(axis=0), y / y.std()
GRID = {"alpha": [1e-3, 1e-1, 1.0], "hidden_layer_sizes": [(20,), (50,)]}


def fits():
    """Fit an ensemble and a search, and return what they predict."""
    ensemble = TabularMLPRegressor(n_members=8, random_state=0).fit(X, y)
    network = MLPRegressor(learning_rate_init=0.01, early_stopping=True, random_state=0)
    search = GridSearchCV(network, GRID, cv=3).fit(X, y)
    return ensemble.predict(X), search.cv_results_["mean_test_score"]


def seconds_of(fit):
    began = time.perf_counter()
    result = fit()
    return time.perf_counter() - began, result


def main(address=None):
    seconds, alone = seconds_of(fits)
    print(f"one process: {seconds:.1f} s")
    # One thread for each worker: several small networks at a time need no more.
    cluster = address or LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)
    with Client(cluster) as client, distributed.dask():
        seconds, together = seconds_of(fits)
        print(f"{sum(client.nthreads().values())} workers: {seconds:.1f} s")
    same = all(np.array_equal(*pair) for pair in zip(alone, together, strict=True))
    print("the same results, bit for bit" if same else "the results differ")
    if address is None:
        cluster.close()


if __name__ == "__main__":
    main(*sys.argv[1:])

# %%
# On two cores of a server CPU it prints:
#
# .. code-block:: none
#
#    one process: 1.6 s
#    2 workers: 1.8 s
#    the same results, bit for bit
