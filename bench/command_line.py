"""Time `fastmlp predict` of a large CSV file beside reading it. See bench/README.md.

python bench/command_line.py [--rows 1000000] [--rounds 3] [--json FILE]
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
import polars as pl
from report import machine

ROWS_OF_TRAINING = 20_000
MODELS = {"ensemble": [], "one network": ["--refit-single"]}

READ = "import sys, polars; polars.read_csv(sys.argv[1])"
# All that a prediction needs, besides the work.
START = "import sys, fastmlp, fastmlp._cli.predict; fastmlp.load(sys.argv[1])"


def table(n_rows):
    """Return 30 columns: 22 of numbers, 5 of strings, 2 of truth values, 1 of dates; and a target.

    A twentieth of the values of some columns is missing.
    """
    rng = np.random.default_rng(0)
    columns = {f"number_{j}": rng.normal(size=n_rows).round(4) * 10 ** (j % 4) for j in range(18)}
    columns |= {f"count_{j}": rng.integers(0, 1000, n_rows) for j in range(4)}
    for j in range(5):
        columns[f"kind_{j}"] = rng.choice([f"value {i}" for i in range(3 ** (j + 1))], n_rows)
    columns |= {f"flag_{j}": rng.random(n_rows) < 0.3 for j in range(2)}
    columns["day"] = np.datetime64("2020-01-01") + rng.integers(0, 1500, n_rows).astype("m8[D]")
    score = columns["number_0"] + columns["number_4"] + 2 * (columns["kind_0"] == "value 1")
    target = np.where(score + rng.normal(size=n_rows) > 0.3, "yes", "no")
    frame = pl.DataFrame(columns)
    missing = pl.Series(rng.random(n_rows) < 0.05)
    holes = [pl.when(~missing).then(pl.col(f"number_{j}")).alias(f"number_{j}") for j in (1, 2, 3)]
    return frame.with_columns(*holes), pl.Series("target", target)


def seconds_of(*command):
    """Return the seconds of a whole command."""
    began = time.perf_counter()
    subprocess.run([sys.executable, *map(str, command)], check=True, capture_output=True)
    return time.perf_counter() - began


def measure(folder, n_rows, n_rounds):
    """Return the median seconds of each command, interleaved."""
    data, training = folder / "new.csv", folder / "training.csv"
    frame, target = table(ROWS_OF_TRAINING)
    frame.with_columns(target).write_csv(training)
    table(n_rows)[0].write_csv(data)
    commands = {"read": ["-c", READ, data]}
    for name, options in MODELS.items():
        model = folder / name.replace(" ", "_")
        train = ["-m", "fastmlp", "train", training, "--target", "target", "--model", model]
        seconds_of(*train, "--quiet", *options)
        commands[f"start, {name}"] = ["-c", START, model]
        predict = ["-m", "fastmlp", "predict", model, data, "-o", folder / "out.csv"]
        commands[f"predict, {name}"] = predict
    seconds = {name: [] for name in commands}
    for _ in range(n_rounds):
        for name, command in commands.items():
            seconds[name].append(seconds_of(*command))
    return {name: median(turns) for name, turns in seconds.items()}, data.stat().st_size


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        seconds, n_bytes = measure(Path(folder), options.rows, options.rounds)
    print(f"{options.rows:,} rows x 30 columns, {n_bytes / 1e6:.0f} MB of CSV; whole commands\n")
    for name, turn in seconds.items():
        print(f"{name:24}{turn:8.2f} s{turn / seconds['read']:8.2f} x the time to read")
    if options.json:
        kept = {"machine": machine(), "seconds": seconds}
        options.json.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
