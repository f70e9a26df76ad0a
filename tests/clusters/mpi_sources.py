"""Run by mpiexec: streams and tables whose rows are divided among the ranks.

    mpiexec -n 2 python mpi_sources.py FOLDER

Rank 0 prints what came of each fit as JSON.
"""

import hashlib
import json
import sys
import warnings
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from mpi4py import MPI
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import fastmlp
from fastmlp import MLPClassifier, MLPRegressor, TabularMLPClassifier, TabularMLPRegressor
from fastmlp._tabular.checkpoints import MemberCheckpoints

FEATURES = ["a", "b", "c"]
N_FILES, ROWS_OF_FILE, ROWS_OF_GROUP = 4, 501, 120
NETWORK = {"hidden_layer_sizes": (8,), "max_iter": 3, "batch_size": 50, "random_state": 0}
TABLE = {"n_members": 2, "random_state": 0}


def frame_of_file(i):
    """The rows of a file. One of them lacks a label."""
    rng = np.random.RandomState(i)
    frame = pd.DataFrame(rng.standard_normal((ROWS_OF_FILE, 3)) * [1, 5, 1] + [0, 9, 0])
    frame.columns = FEATURES
    label = np.array(["low", "mid", "top"])[np.digitize(frame.a * frame.c, [-0.3, 0.3])]
    frame["label"] = np.where((i == 2) & (label == "top"), "mid", label)
    frame["price"] = np.exp(0.3 * frame.a)
    frame["weight"] = rng.uniform(0.1, 1, ROWS_OF_FILE)
    return frame


def write_files(folder):
    for i in range(N_FILES):
        frame = frame_of_file(i)
        frame.to_parquet(folder / f"rows{i}.parquet", row_group_size=ROWS_OF_GROUP)
        frame.to_csv(folder / f"rows{i}.csv", index=False)


def table(n_rows=401):
    """A table with columns of all kinds, and a category that the last rows alone have."""
    rng = np.random.RandomState(0)
    frame = pd.DataFrame({"number": rng.standard_normal(n_rows)})
    frame["holes"] = np.where(
        rng.uniform(size=n_rows) < 0.1, np.nan, 1e3 * rng.uniform(size=n_rows)
    )
    frame["word"] = np.where(np.arange(n_rows) < n_rows - 9, rng.choice([*"xyz"], n_rows), "rare")
    days = rng.randint(0, 900, n_rows)
    frame["date"] = pd.Timestamp("2020-01-01") + pd.to_timedelta(days, "D")
    frame["truth"] = rng.uniform(size=n_rows) < 0.3
    frame["code"] = pd.Categorical(rng.randint(0, 5, n_rows))
    frame["empty"] = np.nan
    y = frame.number + frame.holes.fillna(0) / 500 + (frame.word == "x") + frame.truth
    return frame, y.to_numpy()


def checksum(arrays):
    return hashlib.md5(b"".join(np.ascontiguousarray(it).tobytes() for it in arrays)).hexdigest()


def of_network(model):
    """What must be the same of a network: weights, losses, scores."""
    history = [model.loss_curve_, model.history_.get("val_score"), model.t_]
    return [checksum([*model.coefs_, *model.intercepts_]), repr(history)]


def of_table(model, frame):
    board = model.leaderboard_
    losses = [board["loss"], board["weight"], board["n_epochs"]]
    return [checksum([model.predict(frame).astype("U")]), repr(losses)]


def streams(comm, folder):
    """Give the name and the outcome of every fit to sources."""
    per_rank = slice(comm.rank * N_FILES // comm.size, (comm.rank + 1) * N_FILES // comm.size)
    parquet = [folder / f"rows{i}.parquet" for i in range(N_FILES)][per_rank]
    csv = [folder / f"rows{i}.csv" for i in range(N_FILES)][per_rank]
    options = {"features": FEATURES, "buffer_rows": 400}

    def classifier(source, more=None, **parameters):
        model = MLPClassifier(**NETWORK, **parameters)
        return of_network(model.fit_stream(source, "label", **options, **(more or {})))

    yield "parquet", classifier(parquet)
    yield "csv", classifier(csv)
    yield "in order", classifier(parquet, shuffle=False)
    yield "weights", classifier(parquet, {"sample_weight": "weight"}, class_weight="balanced")
    yield "early stopping", classifier(parquet, early_stopping=True)
    frame = frame_of_file(7).iloc[:9]
    mine = np.array_split(np.arange(len(frame)), comm.size)[comm.rank]
    X_val, y_val = frame[FEATURES].iloc[mine], frame.label.iloc[mine]
    yield "own validation", classifier(parquet, {"X_val": X_val, "y_val": y_val})
    model = MLPRegressor(loss="poisson", early_stopping=True, scoring="r2", **NETWORK)
    yield "poisson", of_network(model.fit_stream(parquet, "price", **options))

    def batches(size):
        for i in range(per_rank.start, per_rank.stop):
            frame = frame_of_file(i)
            for start in range(0, len(frame), size):
                rows = slice(start, start + size)
                yield frame[FEATURES].to_numpy()[rows], frame.price.to_numpy()[rows]

    def regressor(size, more, **parameters):
        model = MLPRegressor(**NETWORK, **parameters)
        return of_network(model.fit_stream(partial(batches, size), **more))

    yield "function", regressor(1000, {})
    # Resumed with batches that are cut in another way.
    file = folder / f"function{comm.size}.safetensors"
    more = {"checkpoint": file, "checkpoint_every": 1}
    regressor(97, more, callbacks=lambda model, state: state.epoch == 2)
    yield "function, resumed", regressor(211, {"resume": file})
    pipeline = make_pipeline(StandardScaler(), MLPClassifier(**NETWORK))
    fastmlp.fit_stream(pipeline, parquet, "label", **options)
    yield "pipeline", [*of_network(pipeline[-1]), repr(pipeline[0].mean_.tolist())]
    file = folder / f"checkpoint{comm.size}.safetensors"
    more = {"checkpoint": file, "checkpoint_every": 1}
    classifier(parquet, more, callbacks=lambda model, state: state.epoch == 2)
    yield "resumed", classifier(parquet, {"resume": file})


def tables(comm, checkpoint):
    """Give the name and the outcome of every fit to tables."""
    X, y = table()
    labels = np.array(["low", "mid", "top"])[np.digitize(y, [0.5, 2])]
    weight = np.random.RandomState(1).uniform(0, 2, len(X))
    cuts = np.sort(np.random.RandomState(comm.size).randint(0, len(X), comm.size - 1))
    bounds = [0, *cuts, len(X)]
    mine = slice(bounds[comm.rank], bounds[comm.rank + 1])
    part = np.array_split(np.arange(80), comm.size)[comm.rank]

    def fitted(model, y, *weight, **options):
        model.fit(X[mine], y[mine], *(it[mine] for it in weight), **options)
        return of_table(model, X)

    yield "classifier", fitted(TabularMLPClassifier(class_weight="balanced", **TABLE), labels)
    yield "regressor", fitted(TabularMLPRegressor(cv=2, **TABLE), y, weight)
    yield "plain", fitted(TabularMLPRegressor(**TABLE), y)
    yield "resumed", fitted(TabularMLPRegressor(**TABLE), y, resume=checkpoint)
    single = TabularMLPRegressor(refit_single=True, validation_fraction=0.2, **TABLE)
    yield "single", fitted(single, y)
    own = {"X_val": X.iloc[part], "y_val": labels[part]}
    yield "own validation", fitted(TabularMLPClassifier(metric="accuracy", **TABLE), labels, **own)


class Stop(Exception):
    """Raised to stop an ensemble."""


def write_checkpoint(file):
    """Write the checkpoint of a fit of one process to a table that is stopped after a network."""
    X, y = table()
    end_member = MemberCheckpoints.end_member

    def end(self, candidate, k):
        end_member(self, candidate, k)
        raise Stop

    MemberCheckpoints.end_member = end
    with fastmlp.distributed.mpi(MPI.COMM_SELF), suppress(Stop):
        TabularMLPRegressor(**TABLE).fit(X, y, checkpoint=file, checkpoint_every=1)
    MemberCheckpoints.end_member = end_member


def main(folder):
    comm = MPI.COMM_WORLD
    file = folder / "table.safetensors"
    if comm.rank == 0:
        write_files(folder)
        write_checkpoint(file)
    comm.Barrier()
    with fastmlp.distributed.mpi(comm):
        outcomes = dict(streams(comm, folder))
        outcomes |= {f"table: {name}": outcome for name, outcome in tables(comm, file)}
    of_all = comm.gather(outcomes)
    if comm.rank == 0:
        assert all(outcomes == of_all[0] for outcomes in of_all)
        print(json.dumps(outcomes))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(Path(sys.argv[1]))
