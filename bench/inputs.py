"""Time the input layer: steps and predictions with it, beside plain inputs of the same number.

python bench/inputs.py
python bench/inputs.py --json bench/results/zen4/inputs.json   # for bench/pages.py
"""

import argparse
import time
from pathlib import Path

import numpy as np
import report

from fastmlp import InputLayer, Network
from fastmlp._engine.checks import check_data
from fastmlp._training.descent import Descent

N_ROWS, BATCH_SIZE, ROUNDS = 20_480, 256, 7
N_NUMBERS, N_CATEGORIES, N_VALUES = 14, 8, 200
HIDDEN = (256, 256, 256)

EDGES = [np.linspace(-2, 2, 17)] * N_NUMBERS
CODED = {"categorical_features": range(N_CATEGORIES), "n_categories": [N_VALUES] * N_CATEGORIES}

LAYERS = {
    "cosines": InputLayer(numeric_embedding="cosine"),
    "PBLD": InputLayer(numeric_embedding="pbld"),
    "PBLD, scales": InputLayer(numeric_embedding="pbld", scaling=True),
    "bins": InputLayer(numeric_embedding="piecewise_linear", bin_edges=EDGES),
    "one-hot codes": InputLayer(**CODED, one_hot_max_size=N_VALUES),
    "embeddings": InputLayer(**CODED),
}


def rows_for(layer):
    rng = np.random.default_rng(0)
    if layer.categorical_features is None:
        return rng.standard_normal((N_ROWS, N_NUMBERS)).astype(np.float32)
    return rng.integers(0, N_VALUES, (N_ROWS, N_CATEGORIES)).astype(np.float32)


class Contestant:
    """A network with or without an input layer, and its best times so far."""

    def __init__(self, X, layer, n_threads):
        self.X = X
        self.network = Network(
            [X.shape[1], *HIDDEN, 2], "silu", "log_loss", input_layer=layer, random_state=0,
            n_threads=n_threads,
        )  # fmt: skip
        self.data = check_data(X, np.arange(N_ROWS) % 2, None, self.network)
        self.descent = Descent(self.network, "adam", {})
        self.order = np.random.default_rng(1).permutation(N_ROWS)
        self.step = self.row = np.inf

    def run(self):
        began = time.perf_counter()
        self.descent.epoch(self.data, self.order, BATCH_SIZE)
        self.step = min(self.step, (time.perf_counter() - began) * BATCH_SIZE / N_ROWS)
        began = time.perf_counter()
        self.network.output(self.X)
        self.row = min(self.row, (time.perf_counter() - began) / N_ROWS)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, metavar="PATH", help="keep the table")
    given = parser.parse_args()
    lines = []
    for name, layer in LAYERS.items():
        X = rows_for(layer)
        for n_threads in (1, 2):
            ours = Contestant(X, layer, n_threads)
            # A one-hot column costs as much as one number.
            n_inputs = int(ours.network.parameters.layers["n_out"][0])
            plain_rows = np.random.default_rng(0).standard_normal((N_ROWS, n_inputs))
            plain = Contestant(plain_rows.astype(np.float32), None, n_threads)
            for _ in range(ROUNDS):  # turn about
                ours.run()
                plain.run()
            lines.append([
                name, str(n_inputs), str(n_threads), f"{1e6 * ours.step:.0f}",
                f"{ours.step / plain.step:.2f}", f"{1e9 * ours.row:.0f}",
                f"{ours.row / plain.row:.2f}",
            ])  # fmt: skip
    heads = ["inputs from", "number", "threads", "step, us", "over plain", "prediction, ns a row",
             "over plain"]  # fmt: skip
    print(report.table(heads, lines))
    if given.json:
        report.keep(given.json, {"times": (heads, lines)})


if __name__ == "__main__":
    main()
