"""Streams and tables whose rows are divided among ranks: the same bits for any number of them."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler

import fastmlp
from fastmlp import MLPClassifier, TabularMLPClassifier
from fastmlp._tabular.table import TableEncoder

for library in ("pandas", "pyarrow"):
    pytest.importorskip(library)
MPI = pytest.importorskip("mpi4py.MPI")
mpi_sources = pytest.importorskip("mpi_sources")
if shutil.which("mpiexec") is None:
    pytest.skip("mpiexec is not installed", allow_module_level=True)

SCRIPT = Path(__file__).parent / "mpi_sources.py"


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """What came of all fits, for 1, 2 and 4 ranks."""
    known = {}
    for n in (1, 2, 4):
        folder = tmp_path_factory.mktemp(f"ranks{n}")
        shown = subprocess.run(
            ["mpiexec", "-n", str(n), sys.executable, "-P", SCRIPT, folder],
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert shown.returncode == 0, shown.stderr
        known[n] = json.loads(shown.stdout)
    return known


@pytest.mark.slow
def test_bits_do_not_depend_on_the_number_of_ranks(outcomes):
    assert len(outcomes[1]) == 17
    for n in (2, 4):
        assert outcomes[n] == outcomes[1]


@pytest.mark.slow
def test_a_fit_goes_on_as_if_it_had_not_stopped(outcomes):
    assert outcomes[1]["resumed"] == outcomes[1]["parquet"]
    assert outcomes[1]["function, resumed"] == outcomes[1]["function"]
    assert outcomes[1]["table: resumed"] == outcomes[1]["table: plain"]


@pytest.mark.slow
def test_a_scaler_learns_from_the_rows_of_all_ranks(outcomes):
    frames = [mpi_sources.frame_of_file(i)[mpi_sources.FEATURES] for i in range(4)]
    scaler = StandardScaler().fit(np.concatenate([frame.to_numpy() for frame in frames]))
    means = json.loads(outcomes[4]["pipeline"][-1])
    assert means == pytest.approx(scaler.mean_.tolist(), rel=1e-12)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_stream_in_order_is_the_fit_in_memory():
    frames = [mpi_sources.frame_of_file(i) for i in range(2)]
    X = np.concatenate([frame[mpi_sources.FEATURES].to_numpy() for frame in frames])
    y = np.concatenate([frame.label.to_numpy(str) for frame in frames])

    def batches():
        for first in range(0, len(X), 90):
            yield X[first : first + 90], y[first : first + 90]

    in_order = mpi_sources.NETWORK | {"shuffle": False}
    with fastmlp.distributed.mpi(MPI.COMM_SELF):
        in_memory = MLPClassifier(**in_order).fit(X, y)
        streamed = MLPClassifier(**in_order).fit_stream(batches, buffer_rows=170)
    for ours, theirs in zip(streamed.coefs_, in_memory.coefs_, strict=True):
        assert (ours == theirs).all()
    assert streamed.loss_curve_ == in_memory.loss_curve_


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_every_row_of_a_stream_is_used_once_an_epoch():
    """The mean of the target is learned exactly if every row counts once."""
    n_rows = 203
    y = np.random.RandomState(0).uniform(size=n_rows)
    seen = []

    def batches():
        seen.append(n_rows)
        for first in range(0, n_rows, 50):
            yield np.zeros((len(y[first : first + 50]), 1)), y[first : first + 50]

    options = {"solver": "sgd", "learning_rate_init": 0.5, "momentum": 0.0, "alpha": 0.0}
    options |= {"hidden_layer_sizes": (), "batch_size": n_rows, "max_iter": 100, "tol": 0.0}
    options |= {"n_iter_no_change": 1000}
    with fastmlp.distributed.mpi(MPI.COMM_SELF):
        model = fastmlp.MLPRegressor(**options, random_state=0).fit_stream(batches)
    assert model.predict([[0.0]])[0] == pytest.approx(y.mean(), rel=1e-5)
    assert model.t_ == 100 * n_rows
    assert len(seen) >= 100


def test_columns_are_learned_as_from_one_table():
    X, y = mpi_sources.table()
    labels = np.where(y > 1, "high", "low")
    with fastmlp.distributed.mpi(MPI.COMM_SELF):
        model = TabularMLPClassifier(n_members=1, random_state=0).fit(X, labels)
    plain = TableEncoder(scaling="robust")
    expected, encoded = plain.fit_transform(X), model._ensemble.encoder.transform(X)
    assert (encoded.numbers == expected.numbers).all()
    assert (encoded.codes == expected.codes).all()
    assert model.score(X, labels) > 0.9


def test_bad_tables_and_streams_are_errors():
    X, y = mpi_sources.table(60)
    with fastmlp.distributed.mpi(MPI.COMM_SELF):
        pairs = [(np.arange(30), np.arange(30, 60))]
        with pytest.raises(ValueError, match="cv must be None or a whole number"):
            TabularMLPClassifier(cv=pairs).fit(X, y > 1)
        with pytest.raises(ValueError, match="at least n_slots=8 rows"):
            TabularMLPClassifier().fit(X[:7], np.arange(7) % 2)
        with pytest.raises(ValueError, match="at least 8 rows on every rank"):
            MLPClassifier().fit_stream(lambda: iter([(np.zeros((7, 2)), np.arange(7) % 2)]))
        with pytest.raises(ValueError, match="must be finite"):
            MLPClassifier().fit_stream(lambda: iter([(np.full((9, 2), np.nan), np.arange(9) % 2)]))
