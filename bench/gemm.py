"""The three products of a layer, by every kernel and by BLAS: GFLOP/s, one thread.

python bench/gemm.py
python bench/gemm.py --dtype float64
"""

import argparse

import numpy as np
from threadpoolctl import threadpool_limits

from fastmlp import Network, _core

# Rows of a block, nodes before, nodes after: what the workloads of run.py are made of, and beyond.
SHAPES = (
    (32, 10, 32),
    (32, 32, 32),
    (32, 64, 100),
    (100, 784, 100),
    (64, 784, 256),
    (64, 256, 128),
    (128, 784, 1024),
    (128, 1024, 1024),
    (128, 4096, 4096),
)
EQUATIONS = {1: "a W", 3: "delta W^T", 4: "a^T delta"}
SECONDS = 0.05
ROUNDS = 5


def rate(equation, n_rows, n_in, n_out, dtype):
    """The best of several rounds, in GFLOP/s."""
    network = Network([1, n_in, n_out], "identity", dtype=dtype, random_state=0)
    model, work = network.passes.model, network.passes.workspace(n_rows)
    work.memory[...] = np.random.default_rng(0).standard_normal(work.memory.size)
    gradient = _core.Gradient(model, work, np.zeros_like(network.parameters.flat), 1.0)
    arguments = (model, work, gradient)
    once = _core.seconds_of_product(equation, *arguments, 1)
    n_times = max(1, int(SECONDS / once))
    best = min(_core.seconds_of_product(equation, *arguments, n_times) for _ in range(ROUNDS))
    return 2 * work.capacity * n_in * n_out / best / 1e9


def main():
    """Print a table of rates, and which share of the best of all each has."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dtype", choices=["float32", "float64"], default="float32")
    dtype = parser.parse_args().dtype
    names = _core.kernel_names()
    in_use = _core.kernels_in_use()
    rates = {}
    with threadpool_limits(1):
        for name in names:
            _core.use_kernels(name)
            for shape in SHAPES:
                for equation in EQUATIONS:
                    rates[name, shape, equation] = rate(equation, *shape, dtype)
    best = max(rates.values())
    print(f"{dtype}, GFLOP/s (share of the best, {best:.0f}); in use: {in_use}\n")
    print(f"{'product':12}{'rows x before x after':>24}" + "".join(f"{n:>16}" for n in names))
    for equation, text in EQUATIONS.items():
        for shape in SHAPES:
            cells = (rates[name, shape, equation] for name in names)
            print(
                f"({equation}) {text:8}{' x '.join(map(str, shape)):>24}"
                + "".join(f"{cell:8.1f} ({cell / best:4.0%})" for cell in cells)
            )


if __name__ == "__main__":
    main()
