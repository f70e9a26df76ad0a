"""fit_stream: the weights of `fit`, from rows that are read anew for every epoch."""

import functools
import os
import subprocess
import sys
import tempfile
import threading

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.dataset
import pyarrow.feather
import pyarrow.parquet
import pytest
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, Normalizer, StandardScaler

import fastmlp
from fastmlp import InputLayer, MLPClassifier, MLPRegressor
from fastmlp._estimators import sources, streamed_rows

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

N = 1103
RNG = np.random.RandomState(0)
X = RNG.standard_normal((N, 4)).astype(np.float32)
LABELS = np.where(X[:, 0] * X[:, 1] > 0.3, "high", np.where(X[:, 2] > 0, "low", "middle"))
NUMBERS = (X[:, 0] * X[:, 1]).astype(np.float64)
WEIGHT = RNG.uniform(0, 2, N)
NAMES = ["a", "b", "c", "d"]
TABLE = pa.table(
    {name: X[:, j] for j, name in enumerate(NAMES)}
    | {"label": LABELS, "number": NUMBERS, "weight": WEIGHT}
)
BASE = {"hidden_layer_sizes": (8,), "max_iter": 4, "random_state": 0, "batch_size": 32}


def batches_of(*arrays, size=97):
    def batches():
        for start in range(0, len(arrays[0]), size):
            yield tuple(array[start : start + size] for array in arrays)

    return batches


def files(folder, kind, *, n_files=3):
    """Write the table to several files and return the folder."""
    size = -(-N // n_files)
    for i in range(n_files):
        part, name = TABLE.slice(i * size, size), str(folder / f"part{i}.{kind}")
        if kind == "parquet":
            pa.parquet.write_table(part, name, row_group_size=100)
        elif kind == "csv":
            pa.csv.write_csv(part, name)
        elif kind == "feather":
            pa.feather.write_feather(part, name)
        else:
            rows = slice(i * size, (i + 1) * size)
            for what, array in (("X", X), ("y", LABELS), ("sample_weight", WEIGHT)):
                np.save(folder / f"{what}{i}.npy", array[rows])
    return folder


def assert_same(one, other):
    assert (one._network.parameters.flat == other._network.parameters.flat).all()
    np.testing.assert_allclose(one.loss_curve_, other.loss_curve_, rtol=1e-6)
    assert (one.n_iter_, one.t_, one.stop_reason_) == (other.n_iter_, other.t_, other.stop_reason_)


CHANGES = {
    "plain": {},
    "averaging": {"averaging": 0.9},
    "schedule": {"learning_rate": "cosine", "dropout": 0.2, "dropout_schedule": "cosine"},
    "clipped": {"clip_norm": 0.1, "max_norm": 1.0},
    "sgd": {"solver": "sgd", "learning_rate": "invscaling"},
    "parts": {"batch_size": 1050},  # processed in two parts
    "classes": {"class_weight": {"high": 2.0}},
    "balanced": {"class_weight": "balanced"},
    "float64": {"dtype": "float64", "input_noise": 0.1},
}


@pytest.mark.parametrize("buffer_rows", [1, 64, 500, 10**6])
@pytest.mark.parametrize("change", CHANGES)
def test_without_shuffling_it_is_fit(change, buffer_rows):
    """Buffers hold whole mini-batches, and the schedules count the steps of an epoch."""
    parameters = BASE | {"shuffle": False} | CHANGES[change]
    expected = MLPClassifier(**parameters).fit(X, LABELS, sample_weight=WEIGHT)
    streamed = MLPClassifier(**parameters).fit_stream(
        batches_of(X, LABELS, WEIGHT), buffer_rows=buffer_rows
    )
    assert_same(streamed, expected)


@pytest.mark.parametrize("kind", ["parquet", "feather", "csv", "npy"])
def test_files(kind, tmp_path):
    parameters = BASE | {"shuffle": False}
    expected = MLPClassifier(**parameters).fit(X, LABELS, sample_weight=WEIGHT)
    columns = {} if kind == "npy" else {"target": "label", "sample_weight": "weight"}
    columns |= {} if kind == "npy" else {"features": NAMES}
    streamed = MLPClassifier(**parameters).fit_stream(files(tmp_path, kind), **columns)
    if kind == "csv":  # whose numbers are read in float64
        np.testing.assert_allclose(streamed.coefs_[0], expected.coefs_[0], rtol=1e-4, atol=1e-6)
    else:
        assert_same(streamed, expected)
    if kind != "npy":
        assert streamed.feature_names_in_.tolist() == NAMES
        frame = pd.DataFrame(X, columns=NAMES)
        assert (streamed.predict(frame) == streamed.predict(frame)).all()
        with pytest.raises(ValueError, match="feature names"):
            streamed.predict(frame[NAMES[::-1]])


@pytest.mark.parametrize("kind", ["parquet", "csv", "npy"])
@pytest.mark.parametrize("change", [{}, {"early_stopping": True}, {"class_weight": "balanced"}])
def test_cache(kind, change, tmp_path, monkeypatch):
    """The weights are those without a cache, the source is read once, and no file is left."""
    parameters = {"target": "label", "sample_weight": "weight", "features": NAMES}
    parameters = {} if kind == "npy" else parameters
    (tmp_path / "source").mkdir()
    source, cache_dir = files(tmp_path / "source", kind), tmp_path / "cache"
    cache_dir.mkdir()
    expected = MLPClassifier(**BASE, **change).fit_stream(source, **parameters, buffer_rows=200)
    opened = sources.open_source(source, *([] if kind == "npy" else ["label", NAMES, "weight"]))
    read, units = type(opened).read, []
    monkeypatch.setattr(
        type(opened), "read", lambda self, unit: (units.append(unit), read(self, unit))[1]
    )
    streamed = MLPClassifier(**BASE, **change).fit_stream(
        source, **parameters, buffer_rows=200, cache_dir=cache_dir
    )
    assert_same(streamed, expected)
    assert len(units) == len(opened.units)
    assert not any(cache_dir.iterdir())


@pytest.mark.parametrize("y", [NUMBERS, X[:, :2], LABELS.astype(object), np.arange(N) % 3])
@pytest.mark.parametrize("size", [97, 5000])
def test_cache_of_a_function(y, size, tmp_path):
    """Its batches have any types and sizes. A pipeline reads them several times."""
    estimator = MLPClassifier if y.dtype.kind in "OUi" else MLPRegressor
    arrays = X[:, ::-1].astype(">f8"), y, WEIGHT.astype(np.float16)
    n_calls = 0

    def batches():
        nonlocal n_calls
        n_calls += 1
        yield tuple(array[:0] for array in arrays)
        yield from batches_of(*arrays, size=size)()

    def fitted(**options):
        model = make_pipeline(StandardScaler(), estimator(**BASE))
        return fastmlp.fit_stream(model, batches, buffer_rows=200, **options)

    expected = fitted()
    n_calls = 0
    streamed = fitted(cache_dir=str(tmp_path))
    assert n_calls == 1
    assert_same(streamed[-1], expected[-1])
    assert streamed[-1].predict(X).tolist() == expected[-1].predict(X).tolist()


def test_bad_cache_dir(tmp_path):
    classifier = MLPClassifier(**BASE)
    (tmp_path / "file").touch()
    kinds = ((tmp_path / "none", ValueError), (tmp_path / "file", ValueError), (3, TypeError))
    for bad, error in kinds:
        with pytest.raises(error, match="cache_dir must be"):
            classifier.fit_stream(batches_of(X, LABELS), cache_dir=bad)
        with pytest.raises(error, match="cache_dir must be"):
            fastmlp.fit_stream(
                make_pipeline(StandardScaler(), classifier), batches_of(X, LABELS), cache_dir=bad
            )
    assert not hasattr(classifier, "coefs_")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_full_disk(tmp_path, monkeypatch):
    classifier = MLPClassifier(**BASE).fit(X, LABELS)
    before = classifier._network.parameters.flat.copy()
    full = functools.partial(open, "/dev/full", "wb")
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda dir, buffering: full(buffering))
    with pytest.raises(OSError, match=r"cache_dir: .* took no more rows"):
        classifier.fit_stream(batches_of(X, LABELS), cache_dir=tmp_path)
    assert (classifier._network.parameters.flat == before).all()


def test_types_that_change_within_a_file_or_between_files(tmp_path):
    """pyarrow takes the types from the beginning."""
    y = np.arange(N) % 2
    numbers = np.where(np.arange(N) < N - 100, np.arange(N) % 5, 0.5).astype(np.float32)
    expected = MLPClassifier(**BASE, shuffle=False).fit(numbers[:, np.newaxis], y)
    many = np.repeat(np.arange(N) % 5, 600)  # more than a block of CSV
    lines = [*many.tolist(), 0.5]
    (tmp_path / "a.csv").write_text(
        "a,y\n" + "".join(f"{v},{i % 2}\n" for i, v in enumerate(lines))
    )
    long = MLPClassifier(**BASE | {"max_iter": 1}).fit_stream(tmp_path / "a.csv", "y")
    assert long.t_ == len(lines)
    (tmp_path / "files").mkdir()
    for i, part in enumerate((slice(0, N - 100), slice(N - 100, N))):
        column = numbers[part].astype(np.int64 if i == 0 else np.float64)
        pa.parquet.write_table(
            pa.table({"a": column, "y": y[part]}), tmp_path / f"files/{i}.parquet"
        )
    streamed = MLPClassifier(**BASE, shuffle=False).fit_stream(tmp_path / "files", "y")
    assert_same(streamed, expected)
    (tmp_path / "a.csv").write_text("a,y\n" + "1,1\n" * 300_000 + "x,1\n")
    with pytest.raises(ValueError, match=r"source: .*a\.csv cannot be read: .*invalid value 'x'"):
        MLPClassifier(**BASE).fit_stream(tmp_path / "a.csv", "y")


def test_another_separator(tmp_path):
    options = pa.csv.ParseOptions(delimiter=";")
    pa.csv.write_csv(
        TABLE.select([*NAMES, "number"]), tmp_path / "a.csv", pa.csv.WriteOptions(delimiter=";")
    )
    dataset = pa.dataset.dataset(
        tmp_path / "a.csv", format=pa.dataset.CsvFileFormat(parse_options=options)
    )
    streamed = MLPRegressor(**BASE, shuffle=False).fit_stream(dataset, "number")
    expected = MLPRegressor(**BASE, shuffle=False).fit(X, NUMBERS)
    np.testing.assert_allclose(streamed.coefs_[0], expected.coefs_[0], rtol=1e-4, atol=1e-6)


def test_no_weights_in_batches_of_three():
    assert_same(
        MLPClassifier(**BASE, shuffle=False).fit_stream(lambda: [(X, LABELS, None)]),
        MLPClassifier(**BASE, shuffle=False).fit(X, LABELS),
    )


def test_the_index_of_a_data_frame_is_no_feature(tmp_path):
    frame = pd.DataFrame(X, columns=NAMES).assign(label=LABELS)
    frame[frame["a"] > -5].sort_values("label").to_parquet(tmp_path / "a.parquet")
    assert "__index_level_0__" in pa.parquet.read_schema(tmp_path / "a.parquet").names
    model = MLPClassifier(**BASE).fit_stream(tmp_path, "label")
    assert model.feature_names_in_.tolist() == NAMES


def test_names_of_data_frames_in_batches():
    frame = pd.DataFrame(X, columns=NAMES)
    model = MLPClassifier(**BASE).fit_stream(batches_of(frame, LABELS))
    assert model.feature_names_in_.tolist() == NAMES
    with pytest.raises(ValueError, match="feature names"):
        model.predict(frame[NAMES[::-1]])

    def others():
        yield frame[:500], LABELS[:500]
        yield frame[NAMES[::-1]][500:], LABELS[500:]

    with pytest.raises(ValueError, match=r"must have the same columns.*in batch 1"):
        MLPClassifier(**BASE).fit_stream(others)


def test_a_list_of_paths_a_dataset_and_a_single_file(tmp_path):
    folder = files(tmp_path, "parquet")
    paths = sorted(folder.iterdir())
    dataset = pa.dataset.dataset([str(path) for path in paths], format="parquet")
    parameters = BASE | {"shuffle": False}
    fits = [
        MLPRegressor(**parameters).fit_stream(source, "number", features=["a", "b"])
        for source in (folder, str(folder), paths, dataset)
    ]
    expected = MLPRegressor(**parameters).fit(X[:, :2], NUMBERS)
    for streamed in fits:
        assert_same(streamed, expected)
    single = MLPRegressor(**parameters).fit_stream(paths[0], "number", features=["a", "b"])
    assert_same(single, MLPRegressor(**parameters).fit(X[:368, :2], NUMBERS[:368]))


def test_folders_of_partitions_and_empty_files(tmp_path):
    table = TABLE.select([*NAMES, "label"]).append_column("year", pa.array(np.arange(N) % 2 + 3))
    pa.dataset.write_dataset(
        table,
        tmp_path / "years",
        format="parquet",
        partitioning=pa.dataset.partitioning(pa.schema([("year", pa.int64())]), flavor="hive"),
    )
    pa.parquet.write_table(table.slice(0, 0).drop(["year"]), tmp_path / "years/year=3/a.parquet")
    order = np.argsort(np.arange(N) % 2, kind="stable")
    years = (np.arange(N) % 2 + 3).astype(np.float32)
    expected = MLPClassifier(**BASE, shuffle=False).fit(np.c_[X, years][order], LABELS[order])
    dataset = pa.dataset.dataset(tmp_path / "years", partitioning="hive")
    for source in (tmp_path / "years", dataset):
        streamed = MLPClassifier(**BASE, shuffle=False).fit_stream(source, "label")
        assert streamed.feature_names_in_.tolist() == [*NAMES, "year"]
        assert_same(streamed, expected)
    filtered = dataset.filter(pa.dataset.field("a") > 0)
    with pytest.raises(ValueError, match="filter"):
        MLPClassifier(**BASE).fit_stream(filtered, "label")


@pytest.mark.parametrize("loss", ["squared_error", "gamma", "quantile"])
def test_regression(loss):
    y = np.exp(NUMBERS)
    parameters = BASE | {"shuffle": False, "loss": loss}
    if loss == "quantile":
        parameters |= {"loss_params": {"quantiles": [0.1, 0.9]}}
    expected = MLPRegressor(**parameters).fit(X, y)
    streamed = MLPRegressor(**parameters).fit_stream(batches_of(X, y))
    np.testing.assert_allclose(streamed.coefs_[0], expected.coefs_[0], rtol=1e-4, atol=1e-6)
    several = MLPRegressor(**BASE, shuffle=False)
    assert_same(
        several.fit_stream(batches_of(X, X[:, :2])),
        MLPRegressor(**BASE, shuffle=False).fit(X, X[:, :2]),
    )


def test_labels_in_several_columns_and_of_other_types(tmp_path):
    parameters = BASE | {"shuffle": False}
    indicators = np.c_[X[:, 0] > 0, X[:, 1] > 1].astype(int)
    assert_same(
        MLPClassifier(**parameters).fit_stream(batches_of(X, indicators)),
        MLPClassifier(**parameters).fit(X, indicators),
    )
    for y in (X[:, 0] > 0, (X[:, 0] > 0).astype("int8"), np.arange(N) % 30):
        streamed = MLPClassifier(**parameters).fit_stream(batches_of(X, y))
        assert_same(streamed, MLPClassifier(**parameters).fit(X, y))
        assert streamed.classes_.dtype == y.dtype
    table = TABLE.set_column(4, "label", TABLE["label"].dictionary_encode())
    table = table.append_column("other", pa.array(X[:, 0] > 0))
    pa.parquet.write_table(table, tmp_path / "a.parquet")
    one = MLPClassifier(**parameters).fit_stream(tmp_path, "label", features=NAMES)
    assert_same(one, MLPClassifier(**parameters).fit(X, LABELS))


def seen_rows(monkeypatch, estimator, source, **options):
    """Return the first feature of the rows of every epoch, in the order of the training."""
    seen = []
    epoch = fastmlp._training.descent.Descent.epoch

    def watch(self, data, order, *them):
        seen.append(data.features.values[order, 0].copy())
        return epoch(self, data, order, *them)

    with monkeypatch.context() as patch:
        patch.setattr(fastmlp._training.descent.Descent, "epoch", watch)
        estimator.fit_stream(source, **options)
    whole = np.concatenate(seen)
    return whole.reshape(estimator.n_iter_, -1)


def test_every_row_is_seen_once_an_epoch_and_the_order_changes(tmp_path, monkeypatch):
    for number, source in enumerate((batches_of(X, LABELS), files(tmp_path, "parquet"))):
        columns = {"target": "label", "features": NAMES} if number else {}
        epochs = seen_rows(monkeypatch, MLPClassifier(**BASE), source, buffer_rows=200, **columns)
        again = seen_rows(monkeypatch, MLPClassifier(**BASE), source, buffer_rows=200, **columns)
        for epoch in epochs:
            assert (np.sort(epoch) == np.sort(X[:, 0])).all()
        assert (epochs == again).all()
        assert not (epochs[0] == epochs[1]).all()
        if number:  # row groups change their places: the first 200 rows are others
            assert len(np.intersect1d(epochs[0][:200], epochs[1][:200])) < 150


def test_rows_that_early_stopping_sets_aside_are_not_trained_on(monkeypatch):
    model = MLPClassifier(**BASE, early_stopping=True, validation_fraction=0.2)
    kept = []
    joined = streamed_rows.joined
    monkeypatch.setattr(streamed_rows, "joined", lambda some: kept.append(joined(some)) or kept[-1])
    epochs = seen_rows(monkeypatch, model, batches_of(X, LABELS), buffer_rows=300)
    aside = next(batch.X[:, 0] for batch in kept if 100 < len(batch.X) < 400)
    assert 0.1 * N < len(aside) < 0.3 * N
    for epoch in epochs:
        assert (np.sort(np.r_[epoch, aside]) == np.sort(X[:, 0])).all()
    assert len(model.validation_scores_) == model.n_iter_


def test_at_most_a_buffer_of_rows_is_set_aside():
    model = MLPClassifier(**BASE, early_stopping=True, validation_fraction=0.5)
    model.fit_stream(batches_of(X, LABELS), buffer_rows=64)
    assert N - 64 <= model.t_ / model.n_iter_ < N


def test_own_validation_rows_callbacks_and_time_limit():
    seen = []
    parameters = BASE | {"shuffle": False}
    model = MLPClassifier(**parameters, callbacks=lambda model, state: seen.append(state.epoch))
    model.fit_stream(batches_of(X, LABELS), X_val=X[:50], y_val=LABELS[:50])
    expected = MLPClassifier(**parameters).fit(X, LABELS, X_val=X[:50], y_val=LABELS[:50])
    assert_same(model, expected)
    assert model.history_["val_score"] == expected.history_["val_score"]
    assert seen == [1, 2, 3, 4]
    long = BASE | {"max_iter": 10**6, "tol": 0, "n_iter_no_change": np.inf}
    cut = MLPClassifier(**long, max_seconds=0.2).fit_stream(batches_of(X, LABELS))
    assert cut.stop_reason_ == "max_seconds"


@pytest.mark.parametrize("change", [{}, {"early_stopping": True}, {"dropout": 0.2}], ids=str)
def test_checkpoints(change, tmp_path):
    class Stop(Exception):
        pass

    def stop(model, state):
        if state.epoch == 3:
            raise Stop

    path, parameters = tmp_path / "run.safetensors", BASE | change
    source = files(tmp_path, "parquet")
    columns = {"target": "label", "features": NAMES, "buffer_rows": 150}
    expected = MLPClassifier(**parameters).fit_stream(source, **columns)
    with pytest.raises(Stop):
        MLPClassifier(**parameters, callbacks=stop).fit_stream(
            source, **columns, checkpoint=path, checkpoint_every=1
        )
    again = MLPClassifier(**parameters).fit_stream(source, **columns, resume=path)
    assert_same(again, expected)
    with pytest.raises(ValueError, match=r"other data: y.* must be the same"):
        MLPClassifier(**parameters).fit_stream(
            batches_of(X, LABELS[::-1]), resume=path, buffer_rows=150
        )


def test_warm_start():
    models = [MLPClassifier(**BASE, shuffle=False, warm_start=True) for _ in range(2)]
    for _ in range(2):
        models[0].fit(X, LABELS)
        models[1].fit_stream(batches_of(X, LABELS), buffer_rows=100)
    assert_same(*models)


def test_warm_start_with_columns_in_another_order(tmp_path):
    pa.parquet.write_table(TABLE.select([*NAMES, "label"]), tmp_path / "a.parquet")
    model = MLPClassifier(**BASE, warm_start=True).fit_stream(tmp_path / "a.parquet", "label")
    with pytest.raises(ValueError, match="features of the last fit in their order"):
        model.fit_stream(tmp_path / "a.parquet", "label", features=NAMES[::-1])
    assert model.fit_stream(tmp_path / "a.parquet", "label").t_ == 8 * N


def test_pipeline(tmp_path):
    frame = TABLE.select(NAMES).to_pandas() * [1, 1000, 0.01, 5] + [0, 500, 3, 0]
    table = pa.Table.from_pandas(frame).append_column("label", TABLE["label"])
    pa.parquet.write_table(table, tmp_path / "a.parquet", row_group_size=100)
    for steps in (
        [StandardScaler()],
        [MinMaxScaler(), "passthrough"],
        [MaxAbsScaler(), Normalizer(), StandardScaler()],
    ):
        model = make_pipeline(*steps, MLPClassifier(**BASE, shuffle=False))
        returned = fastmlp.fit_stream(
            model, tmp_path, "label", X_val=frame[:50], y_val=LABELS[:50], buffer_rows=200
        )
        assert returned is model
        expected = make_pipeline(*steps, MLPClassifier(**BASE, shuffle=False))
        expected.fit(frame, LABELS)
        np.testing.assert_allclose(
            model.predict_proba(frame), expected.predict_proba(frame), atol=1e-5
        )
        assert model[0].feature_names_in_.tolist() == NAMES
    plain = fastmlp.fit_stream(MLPClassifier(**BASE, shuffle=False), batches_of(X, LABELS))
    assert_same(plain, MLPClassifier(**BASE, shuffle=False).fit(X, LABELS))


def test_pipelines_that_cannot_be_streamed():
    ours = MLPClassifier(**BASE)
    with pytest.raises(TypeError, match=r"step 'pca'.*partial_fit"):
        fastmlp.fit_stream(make_pipeline(PCA(2), ours), batches_of(X, LABELS))
    with pytest.raises(TypeError, match="model must be"):
        fastmlp.fit_stream(StandardScaler(), batches_of(X, LABELS))
    with pytest.raises(TypeError, match="'colour'"):
        fastmlp.fit_stream(make_pipeline(ours), batches_of(X, LABELS), colour=3)
    model = make_pipeline(StandardScaler(), ours)
    with pytest.raises(ValueError, match="finite"):
        fastmlp.fit_stream(model, batches_of(np.where(X > 3, np.nan, X), LABELS))
    with pytest.raises(NotFittedError):
        model[0].transform(X)


def counted(n_first, n_then):
    """A function that gives other numbers of rows in the second pass."""
    calls = []

    def batches():
        calls.append(1)
        n = n_first if len(calls) == 1 else n_then
        yield X[:n], LABELS[:n]

    return batches


def last_batch(**columns):
    """A function whose last batch is another one."""

    def batches():
        yield X[:100], NUMBERS[:100]
        yield columns.get("X", X[100:]), columns.get("y", NUMBERS[100:])

    return batches


BAD_SOURCES = {
    "no rows": (lambda: iter(()), "at least one row"),
    "fewer": (counted(200, 150), "the same rows in every epoch.*150"),
    "more": (counted(200, 250), "the same rows in every epoch.*at least"),
    "no pair": (lambda: iter([X]), r"must give batches \(X, y\)"),
    "lengths": (lambda: iter([(X, LABELS[:-1])]), "must have X of shape"),
    "strings": (lambda: iter([(X.astype(str), LABELS)]), "must have X of shape"),
    "one row": (lambda: iter([(X[0], LABELS[:4])]), "must have X of shape"),
    "features": (last_batch(X=X[100:, :3]), "as many features"),
    "nan": (last_batch(X=np.where(X[100:] > 2, np.nan, X[100:])), "X must be finite.*column 3"),
    "weights": (lambda: iter([(X, NUMBERS, -WEIGHT)]), "sample_weight must be finite and not neg"),
    "zeros": (lambda: iter([(X, NUMBERS, 0 * WEIGHT)]), "must not be zero throughout"),
    "y": (last_batch(y=np.where(X[100:, 0] > 2, np.nan, X[100:, 0])), "y must be finite"),
    "labels": (
        lambda: iter([(X, np.where(X[:, 0] > 2, None, LABELS.astype(object)))]),
        "none of them missing.*NoneType, str",
    ),
    "nan labels": (lambda: iter([(X, np.where(X[:, 0] > 2, np.nan, 1.0))]), "y must be finite"),
    "two types": (
        lambda: iter([(X[:9], LABELS[:9]), (X[9:], np.arange(N - 9))]),
        "labels of one type.*int, str",
    ),
    "nothing": (lambda: None, "must give batches.*as a generator or a list, got None"),
    "number": (3, "source must be"),
}


@pytest.mark.parametrize("kind", BAD_SOURCES)
def test_bad_sources_leave_the_estimator(kind):
    source, message = BAD_SOURCES[kind]
    is_regression = kind in ("features", "nan", "weights", "zeros", "y")
    model = (MLPRegressor if is_regression else MLPClassifier)(**BASE)
    n_threads = threading.active_count()
    with pytest.raises((ValueError, TypeError), match=message):
        model.fit_stream(source)
    assert not model.__sklearn_is_fitted__()
    assert threading.active_count() == n_threads


def test_bad_tables(tmp_path):
    folder = files(tmp_path, "parquet")
    model = MLPClassifier(**BASE)
    for options, error, message in (
        ({}, ValueError, "target must be the name of a column"),
        ({"target": "colour"}, ValueError, "one column named 'colour'"),
        ({"target": "number"}, TypeError, "column 'label' must hold numbers, got string"),
        ({"target": "label", "features": ["e"]}, ValueError, "'e'"),
        ({"target": "label", "features": ["label"]}, ValueError, "other than the target"),
        ({"target": "label", "features": NAMES, "buffer_rows": 0}, ValueError, "buffer_rows"),
    ):
        with pytest.raises(error, match=message):
            model.fit_stream(folder, **options)
    with pytest.raises(ValueError, match="only for tables"):
        model.fit_stream(batches_of(X, LABELS), "label")
    with pytest.raises(ValueError, match="one format"):
        model.fit_stream(tmp_path / "x.txt", "label")
    with pytest.raises(FileNotFoundError):
        model.fit_stream(tmp_path / "x.parquet", "label")
    (tmp_path / "part9.parquet").write_bytes(b"no table")
    with pytest.raises((ValueError, OSError)):
        model.fit_stream(folder, "label", features=NAMES)
    np.save(tmp_path / "X0.npy", X)
    with pytest.raises(ValueError, match=r"as many files y\*\.npy"):
        model.fit_stream(folder)
    np.save(tmp_path / "y0.npy", LABELS[:-1])
    with pytest.raises(ValueError, match="of one length"):
        model.fit_stream(folder)
    (tmp_path / "y0.npy").write_bytes(b"")
    with pytest.raises(ValueError, match=r"y0\.npy is no array of NumPy"):
        model.fit_stream(folder)


def test_parameters_that_need_all_rows():
    for solver in ("lbfgs", "rprop"):
        with pytest.raises(ValueError, match=f"takes mini-batches, got solver='{solver}'"):
            MLPRegressor(solver=solver).fit_stream(batches_of(X, NUMBERS))
    codes = np.c_[X[:, :3], np.arange(N) % 7]
    with pytest.raises(ValueError, match="n_categories as a list"):
        MLPRegressor(input_layer=InputLayer([3])).fit_stream(batches_of(codes, NUMBERS))
    parameters = BASE | {"shuffle": False, "input_layer": InputLayer([3], [7])}
    assert_same(
        MLPRegressor(**parameters).fit_stream(batches_of(codes, NUMBERS)),
        MLPRegressor(**parameters).fit(codes, NUMBERS),
    )


def test_without_pyarrow(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "pyarrow.dataset", None)
    with pytest.raises(ImportError, match=r'pip install "fastmlp\[files\]"'):
        MLPClassifier().fit_stream(tmp_path / "a.parquet", "label")


LARGE = """
import resource, sys, numpy as np, pyarrow.dataset
from fastmlp import MLPRegressor, MLPClassifier

rng = np.random.default_rng(0)
block = rng.standard_normal((100_000, 100), dtype=np.float32)

def batches():
    for i in range(103):  # 4.1 GB
        yield block, block[:, i % 100]

warm = MLPRegressor(hidden_layer_sizes=(8,), max_iter=1)
warm.fit(block[:1000], block[:1000, 0])  # all is imported and allocated
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 10**9, used + 10**9))
model = MLPRegressor(hidden_layer_sizes=(8,), max_iter=1, batch_size=1000)
model.fit_stream(batches)
print(model.t_)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs limits of the memory")
def test_four_gigabytes_under_a_limit_of_one():
    ran = subprocess.run(
        [sys.executable, "-P", "-W", "ignore", "-c", LARGE], capture_output=True, text=True
    )
    assert ran.stdout.strip() == "10300000", ran.stderr


def test_fit_does_not_copy_a_memory_map_of_float32(tmp_path):
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    seen = []

    class Watching(MLPRegressor):
        def _network_data(self, *arguments):
            seen.append(super()._network_data(*arguments))
            return seen[-1]

    Watching(**BASE).fit(mapped, NUMBERS)
    assert np.shares_memory(seen[0].features.values, mapped)
