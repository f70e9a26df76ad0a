"""Model files: milliseconds to load a network and to predict a first row.

    python bench/files.py

The files are in the cache of the operating system. The median of the turns counts.
"""

import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np

import fastmlp

# Layer sizes with about 1, 10 and 100 MB of weights.
NETWORKS = ([100, 512, 400, 10], [1000, 1500, 700, 10], [1000, 4096, 4096, 1000])
N_TURNS = 30


def milliseconds(path, row):
    """Return the times to load, to predict a first row, and to predict it again."""
    start = time.perf_counter()
    network = fastmlp.load(path)
    loaded = time.perf_counter()
    network.output(row)
    first = time.perf_counter()
    network.output(row)
    return 1e3 * (loaded - start), 1e3 * (first - loaded), 1e3 * (time.perf_counter() - first)


def main():
    print(f"{'MB':>6}{'save':>10}{'load':>10}{'first row':>12}{'next row':>12}   milliseconds")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "network.safetensors")
        for sizes in NETWORKS:
            network = fastmlp.Network(sizes, random_state=0)
            start = time.perf_counter()
            network.save(path)
            save = 1e3 * (time.perf_counter() - start)
            row = np.ones((1, sizes[0]), np.float32)
            turns = [milliseconds(path, row) for _ in range(N_TURNS)]
            load, first, following = map(median, zip(*turns, strict=True))
            size = path.stat().st_size / 1e6
            print(f"{size:6.0f}{save:10.1f}{load:10.2f}{first:12.2f}{following:12.2f}", flush=True)


if __name__ == "__main__":
    main()
