"""Times of fastmlp's estimators for tables: prediction, and training on generated tables."""

import time

import numpy as np
from report import seconds_text, table
from table_data import generated

from fastmlp import MLPClassifier, TabularMLPClassifier

ROWS_OF_TRAINING = (1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 64_000)
ROWS_TO_PREDICT = (1, 10_000)
ROWS_OF_ARRAY = 4_000
SECONDS_TO_PREDICT = 1.0


def classifier(n_members):
    members = {} if n_members is None else {"n_members": n_members}
    return TabularMLPClassifier(random_state=0, **members)


def seconds_of_fit(n_rows, n_members):
    """A fit of the generated table of 14 columns."""
    rows = generated(n_rows)
    model = classifier(n_members)
    start = time.perf_counter()
    model.fit(rows.X, rows.y)
    return time.perf_counter() - start


def fastest(function):
    """The shortest seconds of a call."""
    best, end = np.inf, time.perf_counter() + SECONDS_TO_PREDICT
    while time.perf_counter() < end:
        start = time.perf_counter()
        function()
        best = min(best, time.perf_counter() - start)
    return best


def seconds_of_products(model, n_rows):
    """Calls of plain classifiers with the layers of the ensemble's networks, one after the other.

    They are what bench/run.py measures: relu, from an array of float32.
    """
    seconds, rng = {}, np.random.default_rng(0)
    networks = [part.network for part in model._ensemble.parts]
    all_sizes = [(len(net.W[0]), *net.layer_sizes[1:]) for net in networks]
    for sizes in set(all_sizes):
        X = rng.standard_normal((n_rows, sizes[0]), dtype=np.float32)
        plain = MLPClassifier(sizes[1:-1]).partial_fit(X[:1], [0], classes=range(sizes[-1]))
        seconds[sizes] = fastest(lambda plain=plain, X=X: plain.predict_proba(X))
    return sum(seconds[sizes] for sizes in all_sizes)


def predictions(n_members):
    """Calls of predict_proba for an array of 14 numbers, and for a frame of mixed columns."""
    array = generated(ROWS_OF_ARRAY + max(ROWS_TO_PREDICT), n_numbers=14, n_categories=0)
    frame = generated(ROWS_OF_ARRAY + max(ROWS_TO_PREDICT))
    for name, X, y in (
        ("array of numbers", array.X.to_numpy(), array.y),
        ("frame, numbers and categories", frame.X, frame.y),
    ):
        model = classifier(n_members).fit(X[:ROWS_OF_ARRAY], y[:ROWS_OF_ARRAY])
        n_networks = len(model._ensemble.parts)
        for n_rows in ROWS_TO_PREDICT:
            part = X[ROWS_OF_ARRAY : ROWS_OF_ARRAY + n_rows]
            seconds = fastest(lambda model=model, part=part: model.predict_proba(part))
            yield [
                name, str(n_networks), f"{n_rows:,}", seconds_text(seconds),
                f"{n_rows / seconds:,.0f}", f"{seconds_of_products(model, n_rows) / seconds:.0%}",
            ]  # fmt: skip


def lines(n_members, keep):
    """What the runner prints, one text after the other.

    `keep` is called with the tables, as bench/pages.py takes them.
    """
    seconds_of_fit(100, n_members)  # loads what the first fit loads
    yield "\nfastmlp: calls of predict_proba\n"
    heads = ["rows from", "networks", "rows", "time", "rows/s", "rate beside plain networks"]
    rows = list(predictions(n_members))
    yield table(heads, rows)
    keep({"tables": {"predict_proba": {"heads": heads, "rows": rows}}})
    seconds = {n_rows: seconds_of_fit(n_rows, n_members) for n_rows in ROWS_OF_TRAINING}
    yield "\nfastmlp: fit of a generated table of 14 columns, 8 of them categories\n"
    heads = ["rows", "seconds", "seconds per 1,000 rows"]
    rows = [[f"{n:,}", f"{s:.2f}", f"{s / n * 1_000:.3f}"] for n, s in seconds.items()]
    yield table(heads, rows)
    keep({"tables": {"fit": {"heads": heads, "rows": rows}}})
    n, s = np.log(list(seconds)), np.log(list(seconds.values()))
    yield (
        f"\nThe time grows with rows to the power of {np.polyfit(n, s, 1)[0]:.2f}; from "
        f"{ROWS_OF_TRAINING[-3]:,} rows on, {np.polyfit(n[-3:], s[-3:], 1)[0]:.2f} (linear: 1)."
    )
    for n_rows, limit in ((25_000, 20), (1_000, 3)):
        taken = seconds_of_fit(n_rows, n_members)
        verdict = "within" if taken <= limit else "NOT within"
        yield f"{n_rows:,} rows x 14 columns: {taken:.1f} s, {verdict} {limit} s."
