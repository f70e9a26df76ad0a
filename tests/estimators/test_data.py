"""Kinds of data: sparse rows, tables, and what they must not cost."""

import pickle
import tracemalloc

import numpy as np
import pytest
import scipy.sparse
from numpy.testing import assert_allclose

from fastmlp import MLPClassifier, MLPRegressor, Network

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.RandomState(0)
DENSE = np.where(RNG.uniform(size=(150, 40)) < 0.1, RNG.standard_normal((150, 40)), 0)
DENSE[7] = 0  # a row of nothing
LABELS = RNG.randint(0, 3, 150)
NUMBERS = DENSE[:, :3].sum(axis=1)


def with_int64_indices(X):
    X = X.copy()
    X.indices, X.indptr = X.indices.astype(np.int64), X.indptr.astype(np.int64)
    return X


def unsorted(X):
    X = X.copy()
    for i in range(X.shape[0]):
        row = slice(X.indptr[i], X.indptr[i + 1])
        X.indices[row], X.data[row] = X.indices[row][::-1].copy(), X.data[row][::-1].copy()
    X.has_sorted_indices = False
    return X


def with_duplicates(X):
    """Every number in two halves."""
    return scipy.sparse.csr_matrix(
        (np.repeat(X.data / 2, 2), np.repeat(X.indices, 2), X.indptr * 2), shape=X.shape
    )


KINDS = {
    "csr": scipy.sparse.csr_matrix,
    "csr array": scipy.sparse.csr_array,
    "csc": scipy.sparse.csc_matrix,
    "coo": scipy.sparse.coo_matrix,
    "int64": lambda X: with_int64_indices(scipy.sparse.csr_matrix(X)),
    "unsorted": lambda X: unsorted(scipy.sparse.csr_matrix(X)),
    "duplicates": lambda X: with_duplicates(scipy.sparse.csr_matrix(X)),
    "float32": lambda X: scipy.sparse.csr_matrix(X.astype(np.float32)),
    "integers": lambda X: scipy.sparse.csr_matrix((X * 0).astype(int) + (X != 0)),
}


@pytest.mark.parametrize("solver", ["sgd", "adam", "lbfgs"])
@pytest.mark.parametrize("kind", KINDS)
def test_sparse_rows_give_what_dense_ones_give(kind, solver):
    dense = (DENSE != 0).astype(float) if kind == "integers" else DENSE
    if kind == "float32":
        dense = dense.astype(np.float32)
    parameters = dict(
        solver=solver, max_iter=5, random_state=0, dtype="float64", hidden_layer_sizes=(20, 5)
    )
    expected = MLPClassifier(**parameters).fit(dense, LABELS)
    sparse = KINDS[kind](dense)
    got = MLPClassifier(**parameters).fit(sparse, LABELS)
    for a, b in zip(
        got.coefs_ + got.intercepts_, expected.coefs_ + expected.intercepts_, strict=True
    ):
        assert_allclose(a, b, rtol=1e-9, atol=1e-10)
    assert_allclose(got.predict_proba(sparse), expected.predict_proba(dense), rtol=1e-8)
    assert_allclose(got.predict_proba(dense), expected.predict_proba(sparse), rtol=1e-8)


def test_sparse_gradient_of_network():
    network = Network([40, 6, 3], "tanh", "log_loss", dtype="float64", random_state=0)
    sparse = scipy.sparse.csr_matrix(DENSE)
    got = network.loss_and_gradients(sparse, LABELS, alpha=0.1)
    want = network.loss_and_gradients(DENSE, LABELS, alpha=0.1)
    assert_allclose(got.loss, want.loss, rtol=1e-12)
    for a, b in zip(got.dW + got.db + got.delta, want.dW + want.db + want.delta, strict=True):
        assert_allclose(a, b, rtol=1e-12, atol=1e-15)
    assert_allclose(network.forward(sparse).z[0], network.forward(DENSE).z[0], atol=1e-13)


@pytest.mark.parametrize("n_threads", [2, 3])
def test_sparse_bits_do_not_depend_on_threads(n_threads):
    sparse = scipy.sparse.random(500, 3000, 0.01, "csr", random_state=0)
    y = np.asarray(sparse[:, :50].sum(axis=1)).ravel()
    parameters = dict(max_iter=3, random_state=0)
    one = MLPRegressor(n_threads=1, **parameters).fit(sparse, y)
    more = MLPRegressor(n_threads=n_threads, **parameters).fit(sparse, y)
    assert all((a == b).all() for a, b in zip(one.coefs_, more.coefs_, strict=True))
    assert (one.predict(sparse) == more.predict(sparse)).all()


def test_sparse_rows_with_validation_and_partial_fit():
    sparse = scipy.sparse.csr_matrix(DENSE)
    classifier = MLPClassifier(early_stopping=True, max_iter=5, random_state=0)
    classifier.fit(sparse, LABELS)
    assert len(classifier.validation_scores_) == classifier.n_iter_
    classifier.set_params(early_stopping=False).partial_fit(sparse[:10], LABELS[:10])
    empty = scipy.sparse.csr_matrix((3, 40))
    assert classifier.predict(empty).shape == (3,)


INDICATORS = np.eye(3, dtype=int)[LABELS] | np.roll(np.eye(3, dtype=int)[LABELS], 1, axis=0)


@pytest.mark.parametrize("way", ["fit", "early_stopping", "lbfgs", "partial_fit", "X_val"])
@pytest.mark.parametrize(("make", "answer"), [
    (scipy.sparse.csr_matrix, scipy.sparse.csr_matrix),
    (scipy.sparse.lil_matrix, scipy.sparse.csr_matrix),
    (scipy.sparse.coo_array, scipy.sparse.csr_array),
    (np.asarray, np.ndarray),
])  # fmt: skip
def test_sparse_labels_are_answered_by_sparse_ones(make, answer, way):
    def fitted(y):
        classifier = MLPClassifier(max_iter=20, learning_rate_init=0.01, random_state=0)
        if way == "partial_fit":
            return classifier.partial_fit(DENSE, y, classes=[0, 1, 2]).partial_fit(DENSE, y)
        classifier.set_params(early_stopping=way == "early_stopping", scoring="f1_macro")
        classifier.set_params(solver="lbfgs" if way == "lbfgs" else "adam")
        return classifier.fit(DENSE, y, **(dict(X_val=DENSE, y_val=y) if way == "X_val" else {}))

    y = make(INDICATORS)
    got, plain = fitted(y), fitted(INDICATORS)
    predicted, expected = got.predict(DENSE), plain.predict(DENSE)
    assert type(predicted) is answer
    assert predicted.dtype == expected.dtype
    assert 0 < expected.sum() < expected.size
    assert (expected == (predicted if answer is np.ndarray else predicted.toarray())).all()
    assert got.score(DENSE, y) == plain.score(DENSE, INDICATORS)
    assert got.history_.get("val_score") == plain.history_.get("val_score")
    assert isinstance(got.predict_proba(DENSE), np.ndarray)
    assert type(pickle.loads(pickle.dumps(got)).predict(DENSE)) is answer


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(indices=99), "indices|index values"),  # SciPy before 1.14 says the second
        (dict(indices=-1), "indices|index values"),
        (dict(data=np.nan), "NaN"),
    ],
)
def test_broken_sparse_rows_are_refused(change, message):
    sparse = scipy.sparse.csr_matrix(DENSE)
    for name, value in change.items():
        getattr(sparse, name)[3] = value
    with pytest.raises(ValueError, match=message):
        MLPClassifier(max_iter=2).fit(sparse, LABELS)


def peak_of(function):
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_sparse_rows_are_never_dense():
    n_rows, n_columns = 20_000, 50_000
    n_nonzero = 50 * n_rows
    sparse = scipy.sparse.csr_matrix(
        (np.ones(n_nonzero), RNG.randint(0, n_columns, n_nonzero), np.arange(n_rows + 1) * 50),
        shape=(n_rows, n_columns),
    )
    classifier = MLPClassifier((100,), batch_size=2000, max_iter=1, random_state=0)
    labels = np.arange(n_rows) % 2
    peak = peak_of(lambda: classifier.fit(sparse, labels))
    assert peak < 2 * 2**30
    assert peak < n_rows * n_columns * 4 / 4


def test_many_classes_are_never_one_hot():
    n_rows, n_classes = 200_000, 1000
    y = np.arange(n_rows) % n_classes
    rows = RNG.standard_normal((n_rows, 3)).astype(np.float32)
    classifier = MLPClassifier((4,), batch_size=5000, max_iter=1)
    assert peak_of(lambda: classifier.fit(rows, y)) < n_rows * n_classes * 4 / 4


def test_prediction_of_many_rows_takes_bounded_memory():
    regressor = MLPRegressor(hidden_layer_sizes=(200, 200), max_iter=1).fit(DENSE, NUMBERS)
    rows = np.zeros((300_000, 40), dtype=np.float32)
    assert peak_of(lambda: regressor.predict(rows)) < 300_000 * 200 * 4 / 4


# Tables ----------------------------------------------------------------------------------------

NAMES = [f"column {j}" for j in range(40)]


TABLES = [
    ("pandas", lambda library, X: library.DataFrame(X, columns=NAMES)),
    ("polars", lambda library, X: library.DataFrame(X, schema=NAMES)),
    ("pyarrow", lambda library, X: library.table(dict(zip(NAMES, X.T.copy(), strict=True)))),
]


@pytest.mark.parametrize(("library", "make"), TABLES)
def test_tables_as_X(library, make):
    library = pytest.importorskip(library)
    plain = MLPRegressor(max_iter=3, random_state=0).fit(DENSE, NUMBERS)
    table = make(library, DENSE)
    regressor = MLPRegressor(max_iter=3, random_state=0).fit(table, NUMBERS)
    assert (regressor.predict(table) == plain.predict(DENSE)).all()
    assert regressor.feature_names_in_.tolist() == NAMES


def sparse_frame(pandas, dtype, fill_value):
    sparse = pandas.DataFrame(DENSE != 0, columns=NAMES).astype(pandas.SparseDtype(bool, False))
    return sparse.astype(pandas.SparseDtype(dtype, fill_value))


FRAMES_OF_FLAGS = {
    "sparse booleans": lambda pandas: sparse_frame(pandas, bool, False),
    "sparse booleans, mostly True": lambda pandas: sparse_frame(pandas, bool, True),
    "sparse integers": lambda pandas: sparse_frame(pandas, "int8", 0),
    "sparse floats": lambda pandas: sparse_frame(pandas, "float64", 0),
    "sparse floats that fill with NaN": lambda pandas: sparse_frame(pandas, "float64", np.nan),
    "sparse objects": lambda pandas: sparse_frame(pandas, object, 0),
    "sparse columns of two types": lambda pandas: sparse_frame(pandas, bool, False).astype(
        {NAMES[3]: pandas.SparseDtype("float64", 0)}
    ),
    "sparse columns and dense ones": lambda pandas: sparse_frame(pandas, bool, False).astype(
        {NAMES[3]: "int8"}
    ),
    "booleans": lambda pandas: pandas.DataFrame(DENSE != 0, columns=NAMES),
    "nullable booleans": lambda pandas: pandas.DataFrame(
        DENSE != 0, columns=NAMES, dtype="boolean"
    ),
    "objects": lambda pandas: pandas.DataFrame(DENSE != 0, columns=NAMES, dtype=object),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", FRAMES_OF_FLAGS)
@pytest.mark.filterwarnings("ignore:pandas.DataFrame with sparse columns found:UserWarning")
def test_frames_of_flags(kind, dtype):
    frame = FRAMES_OF_FLAGS[kind](pytest.importorskip("pandas"))
    parameters = dict(max_iter=3, random_state=0, dtype=dtype)
    flags = (DENSE != 0).astype(float)
    plain = MLPRegressor(**parameters).fit(flags, NUMBERS, X_val=flags, y_val=NUMBERS)
    regressor = MLPRegressor(**parameters).fit(frame, NUMBERS, X_val=frame, y_val=NUMBERS)
    assert regressor.feature_names_in_.tolist() == NAMES
    for got, expected in (
        (regressor.predict(frame), plain.predict(flags)),
        (regressor.activations(frame, 0), plain.activations(flags, 0)),
        (regressor.history_["val_loss"], plain.history_["val_loss"]),
    ):
        rtol = 1e-4 if dtype == "float32" else 1e-10
        assert_allclose(got, expected, rtol=rtol, atol=rtol)


def test_missing_numbers_in_sparse_frames_are_refused():
    pandas = pytest.importorskip("pandas")
    frame = sparse_frame(pandas, "float64", np.nan)
    frame[NAMES[1]] = pandas.arrays.SparseArray([np.nan, *NUMBERS[1:]], fill_value=0)
    with pytest.raises(ValueError, match="X contains NaN"):
        MLPRegressor().fit(frame, NUMBERS)


WITH_TEXT = [
    ("pandas", lambda lib, columns: lib.DataFrame(columns)),
    ("pandas", lambda lib, columns: lib.DataFrame(columns).astype({"city": "category"})),
    ("pandas", lambda lib, columns: lib.DataFrame(columns).astype({"city": "string"})),
    ("polars", lambda lib, columns: lib.DataFrame(columns)),
    ("polars", lambda lib, columns: lib.DataFrame(columns).cast({"city": lib.Categorical})),
    ("pyarrow", lambda lib, columns: lib.table(columns)),
    ("numpy", lambda lib, columns: lib.array(list(columns.values()), dtype=object).T),
    ("numpy", lambda lib, columns: lib.array(list(columns.values())).T),
    ("numpy", lambda lib, columns: lib.array(list(columns.values())).T.tolist()),
]


@pytest.mark.parametrize(("library", "make"), WITH_TEXT)
@pytest.mark.filterwarnings("ignore:X has feature names:UserWarning")
def test_columns_of_text_are_named(library, make):
    columns = {"size": [1.0, 2.0, 3.0], "city": ["1", "Paris", "Oslo"], "age": [1, 2, 3]}
    with_text = make(pytest.importorskip(library), columns)
    name = "1" if library == "numpy" else "'city'"
    message = rf"could not convert.* X has 1 column.*no numbers: {name} \(as 'Paris'\); encode"
    plain = np.arange(9.0).reshape(3, 3)
    fitted = MLPRegressor(max_iter=1).fit(plain, [1, 2, 3])
    with pytest.raises(ValueError, match=message):
        MLPRegressor().fit(with_text, [1, 2, 3])
    with pytest.raises(ValueError, match=f"X_val.*{message}"):
        MLPRegressor().fit(plain, [1, 2, 3], X_val=with_text, y_val=[1, 2, 3])
    with pytest.raises(ValueError, match=message):
        fitted.predict(with_text)


def test_columns_of_anything_else_are_named():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": [1.0, 2.0], "day": pandas.to_datetime(["2020", "2021"])})
    with pytest.raises(TypeError, match=r"no numbers: 'day' \(as Timestamp"):
        MLPRegressor().fit(frame, [1, 2])
    with pytest.raises(TypeError, match=r"no numbers: 'a' \(as <NA>\)"):
        MLPRegressor().fit(pandas.DataFrame({"a": [1, None, pandas.NA]}), [1, 2, 3])
    with pytest.raises(ValueError, match=r"no numbers: 0 \(as 'x.{8,40}x'\)"):
        MLPRegressor().fit(np.array([["x" * 999]], dtype=object), [1])
    many = pandas.DataFrame([["text"] * 12] * 2, columns=[f"c{j}" for j in range(12)])
    with pytest.raises(ValueError, match=r"12 column.*'c0'.*'c9' \(as 'text'\), \.\.\.; encode"):
        MLPRegressor().fit(many, [1, 2])
    with pytest.raises(ValueError, match="NaN") as raised:
        MLPRegressor().fit(pandas.DataFrame({"a": [1, 0, None]}, dtype="boolean"), [1, 2, 3])
    assert "no numbers" not in str(raised.value)
    with pytest.raises(TypeError, match="y must hold real numbers"):
        MLPRegressor().fit([[1], [2]], ["a", "b"])


TEXT = np.array(["ant", "bee", "cat"])[LABELS]
COLUMNS_OF_LABELS = [
    ("pandas", lambda lib: lib.Series(TEXT)),
    ("pandas", lambda lib: lib.Series(TEXT, dtype="category")),
    ("pandas", lambda lib: lib.Series(TEXT, dtype="string")),
    ("polars", lambda lib: lib.Series(TEXT)),
    ("polars", lambda lib: lib.Series(TEXT, dtype=lib.Categorical)),
    ("pyarrow", lambda lib: lib.array(TEXT)),
    ("pyarrow", lambda lib: lib.chunked_array([TEXT[:50], TEXT[50:]])),
    ("pyarrow", lambda lib: lib.array(TEXT).dictionary_encode()),
]


@pytest.mark.parametrize(("library", "make"), COLUMNS_OF_LABELS)
def test_columns_as_labels(library, make):
    library = pytest.importorskip(library)
    plain = MLPClassifier(max_iter=3, random_state=0).fit(DENSE, TEXT)
    classifier = MLPClassifier(max_iter=3, random_state=0).fit(DENSE, make(library))
    assert classifier.classes_.tolist() == ["ant", "bee", "cat"]
    assert (classifier.predict(DENSE) == plain.predict(DENSE)).all()


@pytest.mark.parametrize(
    ("library", "make"),
    [
        ("pandas", lambda lib: lib.Series(NUMBERS)),
        ("polars", lambda lib: lib.Series(NUMBERS)),
        ("pyarrow", lambda lib: lib.array(NUMBERS)),
        ("pyarrow", lambda lib: lib.chunked_array([NUMBERS[:50], NUMBERS[50:]])),
    ],
)
def test_columns_as_numbers(library, make):
    library = pytest.importorskip(library)
    plain = MLPRegressor(max_iter=3, random_state=0).fit(DENSE, NUMBERS)
    regressor = MLPRegressor(max_iter=3, random_state=0).fit(DENSE, make(library))
    assert (regressor.predict(DENSE) == plain.predict(DENSE)).all()
