"""Mutated model files: `python tests/files/mutations.py 10000` loads so many, and predicts.

Each is a golden file with bytes flipped, cut or added, or with a field, a name or an entry of a
tensor edited. `load` may raise a `ModelFileError`; what it returns must predict, or raise a
ValueError. Anything else is a fault, and so is more memory than ten times the file.
"""

import argparse
import json
import random
import resource
import signal
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np

import fastmlp

GOLDEN = Path(__file__).parent / "golden"
SECONDS_OF_HANG = 10
VALUES = (
    None, True, False, 0, 1, 2, 3, -1, 2**31, 2**62, 2**63, 2**70, -(2**65), 10**400, 0.5, 1e308,
    -0.0, "", "x", "nan", "float32", "float64", "relu", "\ud800",
    [], {}, [0], [1, 2, 3], ["a"], [[]], {"tuple": []}, {"a": 1}, {"float": "inf"},
    {"array": ["<f8", [3], [1.0]]}, {"dict": [[1]]},
)  # fmt: skip


def split(data):
    """Return the header as an object, the fields of the model, and the bytes of the tensors."""
    n = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + n])
    return header, json.loads(header["__metadata__"]["fastmlp"]), data[8 + n :]


def joined(header, tree, tensors):
    """Return the bytes of a file, the inverse of `split`."""
    header = header | {"__metadata__": {"fastmlp": json.dumps(tree)}}
    text = json.dumps(header).encode()
    text = text.ljust(-(-(8 + len(text)) // 64) * 64 - 8)
    return len(text).to_bytes(8, "little") + text + tensors


def places(tree, place=()):
    """Return the place of every value in an object of JSON: a tuple of names and indices."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree)
    found = []
    for key, value in items:
        found.append((*place, key))
        if isinstance(value, dict | list):
            found += places(value, (*place, key))
    return found


def replaced(tree, place, value):
    """Return a copy of the object with another value at a place."""
    tree = json.loads(json.dumps(tree))
    node = tree
    for key in place[:-1]:
        node = node[key]
    node[place[-1]] = value
    return tree


def removed(tree, place):
    tree = json.loads(json.dumps(tree))
    node = tree
    for key in place[:-1]:
        node = node[key]
    del node[place[-1]]
    return tree


def mutated(data, source):
    """Return the file's bytes with a random change."""
    kind = source.randrange(8)
    if kind == 0:
        return data[: source.randrange(len(data))]
    if kind == 1:
        return data + source.randbytes(source.choice([1, 8, 100]))
    if kind in (2, 3):  # more often where the header is
        n = len(data) if kind == 2 else min(len(data), 20_000)
        changed = bytearray(data)
        for _ in range(source.choice([1, 1, 2, 5])):
            changed[source.randrange(n)] = source.randrange(256)
        return bytes(changed)
    header, tree, tensors = split(data)
    if kind == 4:
        names = [name for name in header if name != "__metadata__"]
        a, b = source.choice(names), source.choice(names)
        if source.random() < 0.5:
            header[a], header[b] = header[b], header[a]
        else:
            header[a] = replaced(header[a], source.choice(places(header[a])), source.choice(VALUES))
        return joined(header, tree, tensors)
    place = source.choice(places(tree))
    if kind == 5:
        return joined(header, removed(tree, place), tensors)
    node = tree
    for key in place:
        node = node[key]
    if kind == 6 and isinstance(node, int | float) and not isinstance(node, bool):
        value = source.choice([node + 1, node - 1, -node, node * 2, node * 1000, node + 0.5])
    else:
        value = source.choice(VALUES)
    return joined(header, replaced(tree, place, value), tensors)


def rows_for(model):
    """Return a few rows that a model of a golden file could read."""
    names = getattr(model, "feature_names_in_", None)
    if isinstance(model, fastmlp.Network):
        return np.zeros((3, min(model.layer_sizes[0], 1000)), np.float32)
    X = np.linspace(-2, 2, 3 * model.n_features_in_).reshape(3, -1)
    if names is None:
        return X
    import pandas as pd

    rows = pd.DataFrame(X, columns=names)
    for column in names:
        if "kind" in str(column):
            rows[column] = ["a", "b", None]
        if "day" in str(column):
            rows[column] = pd.to_datetime(["2020-01-01", "2021-05-06", None])
    return rows


def try_one(path):
    """Load a file and predict. Return whether it could be loaded."""
    try:
        model = fastmlp.load(path)
    except fastmlp.ModelFileError:
        return False
    try:
        rows = rows_for(model)
        if isinstance(model, fastmlp.Network):
            model.output(rows)
        else:
            model.predict(rows)
    except (ValueError, TypeError):
        pass
    return True


def run(n_files, seed, paths=None):
    """Try mutated files. Return how many could be loaded."""
    source = random.Random(seed)
    originals = [path.read_bytes() for path in paths or sorted(GOLDEN.rglob("*.safetensors"))]
    n_loaded = 0
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        np.seterr(all="ignore")
        path = Path(folder, "mutated.safetensors")
        for i in range(n_files):
            data = mutated(source.choice(originals), source)
            path.write_bytes(data)
            signal.alarm(SECONDS_OF_HANG)
            try:
                n_loaded += try_one(path)
            except BaseException:
                kept = Path(tempfile.gettempdir(), f"fault-{seed}-{i}.safetensors")
                kept.write_bytes(data)
                print(f"file {i} of seed {seed} is kept as {kept}", file=sys.stderr)
                raise
            signal.alarm(0)
    return n_loaded


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("n_files", type=int)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    run(100, arguments.seed)  # everything is imported and allocated once
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    n_loaded = run(arguments.n_files, arguments.seed)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(f"{arguments.n_files} files, {n_loaded} could be loaded; {grown:.0f} MB more at the peak")


if __name__ == "__main__":
    main()
