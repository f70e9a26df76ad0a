"""Sparse rows: 20,000 x 50,000 with 50 numbers a row, beside scikit-learn; time and memory.

python bench/sparse.py
"""

import resource
import subprocess
import sys
import time
import warnings

import numpy as np
import scipy.sparse
from sklearn.exceptions import ConvergenceWarning

N_ROWS, N_COLUMNS, N_IN_ROW = 20_000, 50_000, 50
N_EPOCHS = 2
CONTESTANTS = ("fastmlp", "scikit-learn")


def problem():
    """CSR rows in float32 and two classes of them."""
    rng = np.random.default_rng(0)
    columns = rng.integers(0, N_COLUMNS, N_ROWS * N_IN_ROW)
    values = rng.standard_normal(len(columns), dtype=np.float32)
    beginnings = np.arange(0, len(columns) + 1, N_IN_ROW)
    X = scipy.sparse.csr_matrix((values, columns, beginnings), shape=(N_ROWS, N_COLUMNS))
    X.sum_duplicates()
    return X, (X @ rng.standard_normal(N_COLUMNS) > 0).astype(int)


def peak_memory():
    """Of this process so far, in MiB (Linux counts in KiB, macOS in bytes)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (
        1024 if sys.platform != "darwin" else 2**20
    )


def measure(name):
    """Print seconds an epoch, MiB above the data and the loss reached."""
    if name == "fastmlp":
        from fastmlp import MLPClassifier
    else:
        from sklearn.neural_network import MLPClassifier
    X, y = problem()
    before = peak_memory()
    classifier = MLPClassifier((100,), max_iter=N_EPOCHS, random_state=0)
    warnings.simplefilter("ignore", ConvergenceWarning)
    began = time.perf_counter()
    classifier.fit(X, y)
    seconds = (time.perf_counter() - began) / N_EPOCHS
    memory = peak_memory() - before
    print(f"{name:14} {seconds:8.3f} s an epoch {memory:8.0f} MiB   loss {classifier.loss_:.4f}")


if __name__ == "__main__":
    for name in sys.argv[1:]:
        measure(name)
    for name in CONTESTANTS if len(sys.argv) == 1 else ():
        subprocess.run([sys.executable, __file__, name], check=True)  # its peak is a process's
