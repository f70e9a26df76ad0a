"""Many fits at once, in threads: how much two cores gain where each takes one.

python bench/together.py
"""

import time
import warnings

from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from workloads import WORKLOADS, random_data

from fastmlp import MLPClassifier, MLPRegressor

N_ROUNDS = 5
N_EPOCHS = {"tiny": 200, "small": 60, "default": 10}


def seconds(search, X, y, n_jobs):
    """Of a whole search."""
    from joblib import parallel_config

    began = time.perf_counter()
    with parallel_config(backend="threading", n_jobs=n_jobs):
        search.fit(X, y)
    return time.perf_counter() - began


def main():
    """Print for each workload the seconds in one thread and in two."""
    warnings.simplefilter("ignore", ConvergenceWarning)
    for name, n_epochs in N_EPOCHS.items():
        workload = WORKLOADS[name]
        X, y = random_data(workload)
        estimator = MLPRegressor if workload.task == "regression" else MLPClassifier
        model = estimator(
            hidden_layer_sizes=workload.layer_sizes[1:-1], batch_size=workload.batch_size,
            max_iter=n_epochs, n_iter_no_change=n_epochs, random_state=0, n_threads=1,
        )  # fmt: skip
        search = GridSearchCV(model, {"alpha": [1e-4, 1e-3, 1e-2, 1e-1]}, cv=2, refit=False)
        alone, together = (
            min(seconds(search, X, y, n_jobs) for _ in range(N_ROUNDS)) for n_jobs in (1, 2)
        )
        print(
            f"{name:8} 8 fits: {alone:6.2f} s one after the other, "
            f"{together:6.2f} s two at a time: {alone / together:.2f} times as fast"
        )


if __name__ == "__main__":
    main()
