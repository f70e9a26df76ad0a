"""Fits of fastmlp beside libraries with OpenMP: `python beside_openmp.py torch fastmlp ...`.

It imports the named packages in this order. Then it fits with each of them in turn, and after each
fit compares fastmlp's bits, here and in a forked child, with those before. It prints their digest.
"""

import hashlib
import importlib
import os
import signal
import sys
import warnings

ORDER = sys.argv[1:]
for package in ORDER:
    importlib.import_module(package)

import numpy as np  # noqa: E402

import fastmlp  # noqa: E402

SECONDS_OF_HANG = 60
RNG = np.random.RandomState(0)
X = RNG.standard_normal((5000, 20)).astype("float32")
Y = X[:, 0] * X[:, 1] + X[:, 2]
FEW = slice(0, 80)


def digest_of_fastmlp():
    """Digest what two fits compute: a network in two threads, and an ensemble."""
    network = fastmlp.MLPRegressor(
        hidden_layer_sizes=(64, 64), max_iter=3, random_state=0, n_threads=2
    )
    ensemble = fastmlp.TabularMLPRegressor(n_members=2, random_state=0)
    answers = network.fit(X, Y).predict(X), ensemble.fit(X[FEW], Y[FEW]).predict(X)
    return hashlib.sha256(b"".join(answer.tobytes() for answer in answers)).hexdigest()


def fit_torch():
    import torch

    torch.set_num_threads(2)
    rows, targets = torch.from_numpy(X), torch.from_numpy(Y)
    network = torch.nn.Sequential(torch.nn.Linear(20, 64), torch.nn.ReLU(), torch.nn.Linear(64, 1))
    solver = torch.optim.Adam(network.parameters())
    for _ in range(3):
        solver.zero_grad()
        torch.nn.functional.mse_loss(network(rows)[:, 0], targets).backward()
        solver.step()


def fit_sklearn():
    from sklearn.ensemble import HistGradientBoostingRegressor

    HistGradientBoostingRegressor(max_iter=2, max_leaf_nodes=4).fit(X, Y)


def fit_lightgbm():
    import lightgbm

    lightgbm.LGBMRegressor(n_estimators=2, num_leaves=4, n_jobs=2, verbose=-1).fit(X, Y)


def fit_xgboost():
    import xgboost

    xgboost.XGBRegressor(n_estimators=2, max_depth=2, n_jobs=2).fit(X, Y)


FITS = {
    "fastmlp": digest_of_fastmlp,
    "torch": fit_torch,
    "sklearn": fit_sklearn,
    "lightgbm": fit_lightgbm,
    "xgboost": fit_xgboost,
}


def digest_of_child():
    """Fit in a forked child, which is killed if it hangs."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        signal.alarm(SECONDS_OF_HANG)
        try:
            os.write(writing, digest_of_fastmlp().encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        digest = pipe.read()
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code == 0, f"the child hangs or died: {code}"
    return digest


def main():
    warnings.simplefilter("ignore")  # of convergence, and of forks of a process with threads
    digests = set()
    for name in ORDER:
        FITS[name]()
        digests |= {digest_of_fastmlp(), digest_of_child()}
    print(*digests)


if __name__ == "__main__":
    main()
