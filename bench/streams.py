"""fit_stream beside fit: seconds an epoch from arrays on disk and from Parquet, and the memory.

    python bench/streams.py

The rows fit in memory, so that both can be timed, and the files are in the cache of the operating
system: the figures are those of a disk that is fast enough. The least epoch counts.
"""

import argparse
import resource
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from fastmlp import MLPClassifier

NETWORKS = ((100,), (256, 256), (512, 512))


def write_files(folder, n_rows, n_features):
    """Write the rows as arrays and as Parquet, and return them."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n_rows, n_features), dtype=np.float32)
    y = (X[:, 0] * X[:, 1] > 0).astype(np.int64)
    (folder / "arrays").mkdir()
    np.save(folder / "arrays" / "X.npy", X)
    np.save(folder / "arrays" / "y.npy", y)
    columns = {f"x{j}": X[:, j] for j in range(n_features)} | {"label": y}
    pyarrow.parquet.write_table(pa.table(columns), folder / "rows.parquet", row_group_size=50_000)
    return X, y


def seconds_of_epoch(hidden, sources, n_turns):
    """Return the least seconds of an epoch from each source; the sources take turns."""
    least = dict.fromkeys(sources, np.inf)
    for _ in range(n_turns):
        for name, fit in sources.items():
            model = MLPClassifier(hidden, max_iter=4, random_state=0)
            fit(model)
            least[name] = min(least[name], *model.history_["seconds"])
    return least


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=400_000)
    parser.add_argument("--features", type=int, default=30)
    parser.add_argument("--turns", type=int, default=6)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        X, y = write_files(folder, options.rows, options.features)
        sources = {
            "in memory": lambda model: model.fit(X, y),
            "arrays": lambda model: model.fit_stream(folder / "arrays"),
            "Parquet": lambda model: model.fit_stream(folder / "rows.parquet", "label"),
            "Parquet, cache": lambda model: model.fit_stream(
                folder / "rows.parquet", "label", cache_dir=folder
            ),
        }
        print(f"{options.rows} rows of {options.features} columns; ms an epoch, and the speed")
        for hidden in NETWORKS:
            shown = "-".join(map(str, (options.features, *hidden, 1)))
            seconds = seconds_of_epoch(hidden, sources, options.turns)
            for source, least in seconds.items():
                speed = seconds["in memory"] / least
                print(f"{shown:16}{source:16}{1e3 * least:8.0f}{speed:8.0%}", flush=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{peak:.0f} MB at the peak, {X.nbytes / 2**20:.0f} of them the rows in memory")


if __name__ == "__main__":
    main()
