"""Any table as numbers and codes: kinds of columns, missing values, scaling, names, bad input."""

import copy
import dataclasses
import datetime
import pickle
import threading
import tracemalloc
from decimal import Decimal

import numpy as np
import pytest
import scipy.sparse
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import norm, rankdata
from sklearn.preprocessing import QuantileTransformer

from fastmlp._tabular.table import TableEncoder

pd = pytest.importorskip("pandas")
pl = pytest.importorskip("polars")
pa = pytest.importorskip("pyarrow")

RNG = np.random.default_rng(0)
MADE_BY = {
    "pandas": pd.DataFrame,
    "polars": pl.DataFrame,
    "pyarrow": pa.table,
    "pandas of pyarrow": lambda columns: pa.table(columns).to_pandas(types_mapper=pd.ArrowDtype),
    "NumPy": lambda columns: (
        np.array(
            [[None if v is None else v for v in column] for column in columns.values()],
            dtype=object,
        ).T
    ),
    "lists": lambda columns: [list(row) for row in zip(*columns.values(), strict=True)],
}
FRAMES = [name for name in MADE_BY if name not in ("NumPy", "lists")]
every_library = pytest.mark.parametrize("make", MADE_BY.values(), ids=MADE_BY)
every_frame = pytest.mark.parametrize("make", [MADE_BY[n] for n in FRAMES], ids=FRAMES)


def mid_rank_scores(values):
    """The normal scores of values that are all knots, by SciPy's ranks."""
    return norm.ppf((rankdata(values).astype(float) - 0.5) / len(values))


def same(a, b):
    """Whether two encoded tables are the same bit for bit."""
    return all(
        x.dtype == y.dtype and x.shape == y.shape and x.tobytes() == y.tobytes()
        for x, y in ((a.numbers, b.numbers), (a.codes, b.codes))
    )


DAY = datetime.datetime(2024, 2, 28, 22)
MIXED = {
    "age": [31.5, None, 20.0, 44.0, 31.5, 60.0],
    "children": [0, 2, 1, 0, 3, 0],
    "married": [True, False, None, True, True, False],
    "city": ["Bonn", "Ulm", None, "Bonn", "Aachen", "Ulm"],
    "joined": [DAY + datetime.timedelta(hours=13 * i) if i != 2 else None for i in range(6)],
    "served": [datetime.timedelta(days=i * i, microseconds=5) if i else None for i in range(6)],
    "paid": [Decimal(i) / 7 if i != 4 else None for i in range(6)],
}


# --- kinds of columns ---


@every_frame
def test_a_table_of_all_kinds(make):
    encoder = TableEncoder()
    encoded = encoder.fit_transform(make(MIXED))
    assert encoder.number_names == [
        *("age", "age is missing", "children", "joined", "joined is missing"),
        *("served", "served is missing", "paid", "paid is missing"),
    ]
    assert encoder.category_names == [
        *("married", "city", "joined: month", "joined: weekday", "joined: hour")
    ]
    assert_array_equal(encoder.feature_names_in_, list(MIXED))
    assert encoder.n_features_in_ == 7
    frame = pd.DataFrame(MIXED)
    for name in ("age", "children", "joined", "served", "paid"):
        place = encoder.number_names.index(name)
        present = frame[name].notna().to_numpy()
        values = frame[name][present]
        expected = mid_rank_scores(
            values if name == "paid" else values.astype("int64" if name != "age" else float)
        )
        assert_allclose(encoded.numbers[present, place], expected, atol=1e-6)
        assert (encoded.numbers[~present, place] == 0).all()
        if not present.all():
            assert_array_equal(encoded.numbers[:, place + 1], ~present)
    joined = frame["joined"]
    parts = [joined.dt.month, joined.dt.day_of_week, joined.dt.hour]
    for j, values in enumerate([frame["married"], frame["city"], *parts]):
        codes = pd.Categorical(values).codes.astype(int)
        codes[codes < 0] = codes.max() + 1  # missing comes last
        assert_array_equal(encoded.codes[:, j], codes)
        assert encoder.cardinalities[j] == codes.max() + 1


@every_library
def test_libraries_agree_bit_for_bit(make):
    expected = TableEncoder().fit_transform(pd.DataFrame(MIXED))
    table = make(MIXED)
    encoder = TableEncoder()
    assert same(encoder.fit_transform(table), expected)
    assert same(encoder.transform(table), expected)
    assert expected.numbers.flags.c_contiguous
    assert expected.codes.flags.c_contiguous
    assert expected.numbers.dtype == np.float32
    assert expected.codes.dtype == np.int32


def random_table(n):
    """Columns of n rows, a tenth of each missing."""
    days = np.datetime64("1969-12-20") + RNG.integers(0, 20_000, n)
    columns = {
        "float": RNG.standard_cauchy(n),
        "float32": RNG.standard_normal(n).astype(np.float32),
        "integer": RNG.integers(-(2**60), 2**60, n),
        "byte": RNG.integers(0, 3, n).astype(np.uint8),
        "truth": RNG.random(n) < 0.3,
        "word": RNG.choice(["Ä", "zebra", "", "nan", "none"], n),
        "time": days.astype("datetime64[us]") + RNG.integers(0, 86_400_000_000, n),
        "day": days.astype(object),
        "duration": RNG.integers(-(10**12), 10**12, n).astype("timedelta64[us]"),
    }
    gone = RNG.random((len(columns), n)) < 0.1
    return {
        name: [None if g else v for v, g in zip(values.tolist(), row, strict=True)]
        if isinstance(values, np.ndarray)
        else values
        for (name, values), row in zip(columns.items(), gone.tolist(), strict=True)
    }


def test_libraries_agree_bit_for_bit_on_many_rows():
    train, new = random_table(700), random_table(3_000)
    for scaling in ("quantile", "robust"):
        encoders = {name: TableEncoder(scaling=scaling) for name in MADE_BY}
        of_training = {name: e.fit_transform(MADE_BY[name](train)) for name, e in encoders.items()}
        of_new = {name: e.transform(MADE_BY[name](new)) for name, e in encoders.items()}
        for encoded in (of_training, of_new):
            assert all(same(encoded["pandas"], other) for other in encoded.values())
        assert (of_new["pandas"].numbers != 0).any(axis=0).all()
        assert (of_new["pandas"].codes.max(axis=0) == encoders["pandas"].cardinalities - 1).all()
        for name in FRAMES:  # an encoder that one library's table has taught reads those of others
            assert same(encoders["pandas"].transform(MADE_BY[name](new)), of_new["pandas"])


def test_tables_are_not_altered():
    X = np.array([[1.0, np.inf], [np.nan, -1e305], [3.0, 4.0]])
    before = X.copy()
    TableEncoder().fit_transform(X)
    assert_array_equal(X, before)
    objects = np.array([["a", 1], [None, 2]], dtype=object)
    TableEncoder().fit_transform(objects)
    assert objects.tolist() == [["a", 1], [None, 2]]
    frame = pd.DataFrame(MIXED)
    TableEncoder().fit_transform(frame)
    pd.testing.assert_frame_equal(frame, pd.DataFrame(MIXED))


def test_columns_of_an_array_have_numbers_as_names():
    encoder = TableEncoder().fit([[1.0, "a"], [np.nan, "b"], [3.0, "a"]])
    assert encoder.number_names == ["x0", "x0 is missing"]
    assert encoder.category_names == ["x1"]
    assert not hasattr(encoder, "feature_names_in_")


WAYS_TO_HOLD_CATEGORIES = {
    "strings": lambda values: pd.DataFrame({"c": values}),
    "objects": lambda values: pd.DataFrame({"c": pd.Series(values, dtype=object)}),
    "pandas' strings": lambda values: pd.DataFrame({"c": pd.array(values, dtype="string")}),
    "categories": lambda values: pd.DataFrame({"c": pd.Categorical(values)}),
    "categories in another order": lambda values: pd.DataFrame(
        {"c": pd.Categorical(values, categories=["z", "never", "b", "a"], ordered=True)}
    ),
    "polars": lambda values: pl.DataFrame({"c": values}),
    "polars' categories": lambda values: pl.DataFrame(
        {"c": pl.Series(values, dtype=pl.Categorical)}
    ),
    "polars' Enum": lambda values: pl.DataFrame(
        {"c": pl.Series(values, dtype=pl.Enum(["z", "never", "b", "a"]))}
    ),
    "pyarrow": lambda values: pa.table({"c": values}),
    "pyarrow's dictionary": lambda values: pa.table({"c": pa.array(values).dictionary_encode()}),
    "pyarrow's dictionaries in chunks": lambda values: pa.table(
        {
            "c": pa.chunked_array(
                [pa.array(part).dictionary_encode() for part in (values[:2], values[2:])]
            )
        }
    ),
}


@pytest.mark.parametrize("hold", WAYS_TO_HOLD_CATEGORIES.values(), ids=WAYS_TO_HOLD_CATEGORIES)
def test_ways_to_hold_categories(hold):
    encoder = TableEncoder()
    values = ["b", None, "a", "z", "b", "a"]
    assert_array_equal(encoder.fit_transform(hold(values)).codes[:, 0], [1, 3, 0, 2, 1, 0])
    assert_array_equal(encoder.cardinalities, [4])
    plain = TableEncoder().fit(pd.DataFrame({"c": values}))
    assert_array_equal(plain.transform(hold(values)).codes[:, 0], [1, 3, 0, 2, 1, 0])


def test_strings_of_numpy():
    X = np.array([["b", "10"], ["a", "9"], ["b", "9"]])
    expected = [[1, 0], [0, 1], [1, 1]]
    assert_array_equal(TableEncoder().fit_transform(X).codes, expected)
    assert_array_equal(TableEncoder().fit_transform(X.astype("S")).codes, expected)
    strings = X.astype(np.dtypes.StringDType())
    assert_array_equal(TableEncoder().fit_transform(strings).codes, expected)


def test_categories_of_numbers_and_of_intervals():
    frame = pd.DataFrame({"n": pd.Categorical([10, 9, None, 10]), "i": pd.cut([1, 5, 9, 1], 3)})
    encoder = TableEncoder()
    codes = encoder.fit_transform(frame).codes
    assert_array_equal(codes[:, 0], [1, 0, 2, 1])
    assert_array_equal(codes[:, 1], [0, 1, 2, 0])
    plain = pd.DataFrame({"n": [9, 11, 10, 9], "i": frame["i"]})
    assert_array_equal(encoder.transform(plain).codes[:, 0], [0, -1, 1, 0])
    assert TableEncoder(categorical_features=None).fit(frame).number_names == ["n", "n is missing"]


@pytest.mark.parametrize(
    "marked", [[1], np.array([False, True, False]), ["b"], np.array(["b"])], ids=str
)
@every_frame
def test_marked_columns_are_categories(make, marked):
    table = make({"a": [1, 2, 3, 4], "b": [30, 10, 30, 20], "c": [0.5, 0.25, 0.5, 1.0]})
    encoder = TableEncoder(categorical_features=marked)
    assert_array_equal(encoder.fit_transform(table).codes, [[2], [0], [2], [1]])
    assert encoder.number_names == ["a", "c"]
    assert encoder.category_names == ["b"]


def test_marked_columns_of_an_array():
    X = np.array([[0.5, 7.0], [1.5, np.nan], [0.5, 9.0]])
    encoder = TableEncoder(categorical_features=[0, 1])
    assert_array_equal(encoder.fit_transform(X).codes, [[0, 0], [1, 2], [0, 1]])
    assert_array_equal(encoder.transform([[2.5, None]]).codes, [[-1, 2]])


@pytest.mark.parametrize(
    ("marked", "message"),
    [
        ("dtype", "'from_dtype', None, or a mask, indices or names"),
        ([0.5], "mask, indices or names"),
        ([[1]], "mask, indices or names"),
        ([3], "from 0 to 2"),
        ([-1], "from 0 to 2"),
        ([True], "mask of 1 columns, but X has 3"),
        (["c", "d", "e"], "does not have: 'd', 'e'"),
    ],
)
def test_wrong_marks(marked, message):
    frame = pd.DataFrame(np.eye(3), columns=list("abc"))
    with pytest.raises(ValueError, match=message):
        TableEncoder(categorical_features=marked).fit(frame)


def test_dates_by_the_clock_on_the_wall():
    """The seconds are those of UTC; month, weekday and hour those of the time zone."""
    utc = pd.to_datetime(
        ["2024-03-31 00:30", "2024-03-31 23:30", None, "2024-07-01 12:30"], utc=True
    )
    berlin = utc.tz_convert("Europe/Berlin")
    tables = [
        pd.DataFrame({"d": berlin}),
        pl.DataFrame({"d": utc.tz_localize(None)}).with_columns(
            pl.col("d").dt.replace_time_zone("UTC").dt.convert_time_zone("Europe/Berlin")
        ),
        pa.table({"d": pa.array(berlin)}),
        pd.DataFrame({"d": berlin.astype(object)}),
    ]
    for table in tables:
        encoder = TableEncoder()
        encoded = encoder.fit_transform(table)
        assert encoder.category_names == ["d: month", "d: weekday", "d: hour"]
        values = [
            [part for part in getattr(berlin, name)] for name in ("month", "day_of_week", "hour")
        ]
        for j, part in enumerate(values):
            codes = pd.Categorical(part).codes.astype(int)
            codes[codes < 0] = codes.max() + 1
            assert_array_equal(encoded.codes[:, j], codes)
        assert_allclose(encoded.numbers[[0, 1, 3], 0], mid_rank_scores([0, 1, 2]), atol=1e-6)
        ends = TableEncoder().fit(pd.DataFrame({"d": pd.to_datetime(["2024-03-31", "2024-07-02"])}))
        share = (utc - utc[0].normalize()) / datetime.timedelta(days=93)
        low, high = mid_rank_scores([0, 1])
        expected = np.nan_to_num(low + share * (high - low))
        assert_allclose(ends.transform(table).numbers[:, 0], expected, atol=1e-7)


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_units_of_dates_do_not_matter(unit):
    days = pd.Series(pd.date_range("1931-05-07 03:00", periods=40, freq="97h"))
    expected = TableEncoder().fit(pd.DataFrame({"d": days.astype("datetime64[us]")}))
    frame = pd.DataFrame({"d": days.astype(f"datetime64[{unit}]")})
    assert same(expected.transform(frame), TableEncoder().fit_transform(frame))
    array = days.to_numpy().astype(f"datetime64[{unit}]")[:, None]
    assert same(TableEncoder().fit_transform(array), TableEncoder().fit_transform(frame))


@every_library
def test_days_have_no_hour(make):
    days = [datetime.date(2024, 1, day) for day in (1, 2, 9, 15)]
    encoder = TableEncoder()
    encoded = encoder.fit_transform(make({"day": days}))
    (name,) = encoder.category_names
    assert name.endswith(": weekday")
    assert_array_equal(encoded.codes[:, 0], [0, 1, 1, 0])  # Monday, Tuesday, Tuesday, Monday
    assert_allclose(encoded.numbers[:, 0], mid_rank_scores([1, 2, 3, 4]), atol=1e-6)


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ([1, "a", None], ["numbers (such as 1)", "strings (such as 'a')"]),
        ([None, "a", True], ["strings (such as 'a')", "truth values (such as True)"]),
        ([DAY, 3.5], ["dates", "numbers (such as 3.5)"]),
        ([[1], [2]], ["[1] of type list"]),
        ([{"k": 1}, None], ["{'k': 1} of type dict", "argument must be a string, a number"]),
        ([b"a", b"b"], ["b'a' of type bytes"]),
    ],
)
def test_mixed_and_other_objects(values, found):
    frame = pd.DataFrame({"fine": range(len(values)), "odd": pd.Series(values, dtype=object)})
    for table, name in ((frame, "'odd'"), (frame.to_numpy(), "Column 1")):
        with pytest.raises(TypeError) as error:
            TableEncoder().fit(table)
        assert name in str(error.value)
        assert all(part in str(error.value) for part in found)


def test_truth_values_among_numbers_are_numbers():
    numbers = TableEncoder().fit_transform(np.array([[True], [3], [0.5], [None]], dtype=object))
    assert same(numbers, TableEncoder().fit_transform([[1.0], [3.0], [0.5], [np.nan]]))


@pytest.mark.parametrize(
    "values", [[[1, 2], [3, 4]], [{"k": 1}, {"k": 2}]], ids=["lists", "structures"]
)
@pytest.mark.parametrize("make", [pl.DataFrame, pa.table], ids=["polars", "pyarrow"])
def test_nested_columns(make, values):
    with pytest.raises(TypeError, match="'nested' holds"):
        TableEncoder().fit(make({"nested": values}))


def test_missing_numbers_of_a_masked_array():
    X = np.array([[1.0, 5.0], [2.0, 6.0], [4.0, 9.0]])
    masked = np.ma.array(X.copy(), mask=[[False, False], [False, True], [False, False]])
    X[1, 1] = np.nan
    assert same(TableEncoder().fit_transform(masked), TableEncoder().fit_transform(X))


def test_whole_numbers_of_128_bits():
    frame = pl.DataFrame({"n": pl.Series([1, None, 2**100], dtype=pl.Int128)})
    expected = TableEncoder().fit_transform(pd.DataFrame({"n": [1, None, 2.0**100]}))
    assert same(TableEncoder().fit_transform(frame), expected)


def test_numbers_of_hundreds_of_digits():
    """They count as infinite."""
    X = np.array([[10**400], [-(10**400)], [3], [4], [None]], dtype=object)
    numbers = TableEncoder().fit_transform(X).numbers[:, 0]
    low, high = mid_rank_scores([3, 4])
    assert_allclose(numbers, [high, low, low, high, 0], atol=1e-6)


# --- missing, infinite, constant, unseen ---

MISSING = {
    "None": (lambda n: pd.Series([None] * n, dtype=object)),
    "NaN": (lambda n: pd.Series([np.nan] * n)),
    "NA": (lambda n: pd.Series(pd.array([None] * n, dtype="Int64"))),
    "NA of truth values": (lambda n: pd.Series(pd.array([None] * n, dtype="boolean"))),
    "NA of strings": (lambda n: pd.Series(pd.array([None] * n, dtype="string"))),
    "NaT": (lambda n: pd.Series([pd.NaT] * n)),
    "NaT among objects": (
        lambda n: pd.Series([pd.NaT, pd.NA, Decimal("nan")] * n, dtype=object)[:n]
    ),
}


@pytest.mark.parametrize("missing", MISSING.values(), ids=MISSING)
def test_missing_of_every_kind(missing):
    """Where training rows had any, each kind of column knows them; where not, they are unseen."""
    columns = {
        "number": [1.0, 2.0, 3.0],
        "string": ["a", "b", "a"],
        "truth": [True, False, True],
        "date": [DAY, DAY + datetime.timedelta(40), DAY],
        "duration": [datetime.timedelta(1), datetime.timedelta(2), datetime.timedelta(3)],
    }
    gone = pd.DataFrame({name: missing(3) for name in columns})
    encoder = TableEncoder().fit(pd.DataFrame(columns))
    encoded = encoder.transform(gone)
    assert (encoded.numbers == 0).all()
    assert (encoded.codes == -1).all()
    knowing = TableEncoder().fit(pd.DataFrame({n: [*v, None] for n, v in columns.items()}))
    encoded = knowing.transform(gone)
    for j, name in enumerate(knowing.number_names):
        assert (encoded.numbers[:, j] == name.endswith(" is missing")).all()
    assert (encoded.codes == knowing.cardinalities - 1).all()
    assert len(knowing.number_names) == 6
    assert len(knowing.category_names) == 4


@pytest.mark.parametrize("missing", MISSING.values(), ids=MISSING)
def test_all_missing_and_constant_columns_are_left_out(missing):
    frame = pd.DataFrame(
        {
            "gone": missing(4),
            "number": 7.5,
            "string": "a",
            "truth": True,
            "date": DAY,
            "x": range(4),
        }
    )
    encoder = TableEncoder()
    encoded = encoder.fit_transform(frame)
    assert encoder.number_names == ["x"]
    assert encoded.codes.shape == (4, 0)
    other = frame.assign(gone=["a", "b", "c", "d"], number=-3.0, string="b")
    assert same(encoder.transform(other), encoded)
    with pytest.raises(ValueError, match="- gone\n- string\n"):
        encoder.transform(frame.drop(columns=["string", "gone"]))


def test_nothing_may_be_left():
    encoded = TableEncoder().fit_transform(np.ones((3, 2)))
    assert encoded.numbers.shape == encoded.codes.shape == (3, 0)
    assert TableEncoder().fit(np.ones((3, 2))).transform(np.ones((1, 2))).numbers.shape == (1, 0)


def test_constant_but_for_missing_ones():
    encoder = TableEncoder()
    encoded = encoder.fit_transform(pd.DataFrame({"n": [1, None, 1], "s": ["a", None, "a"]}))
    assert encoder.number_names == ["n is missing"]
    assert_array_equal(encoded.numbers[:, 0], [0, 1, 0])
    assert_array_equal(encoded.codes[:, 0], [0, 1, 0])


@pytest.mark.parametrize("scaling", ["quantile", "robust"])
def test_infinite_and_far_values_are_harmless(scaling):
    x = RNG.standard_cauchy(200)
    encoder = TableEncoder(scaling=scaling).fit(np.append(x, [np.inf, -np.inf])[:, None])
    plain = TableEncoder(scaling=scaling).fit(x[:, None])
    far = np.array([np.inf, -np.inf, 1e308, -1e308, x.max(), x.min()])[:, None]
    top = plain.transform([[x.max()], [x.min()]]).numbers
    encoded = encoder.transform(far).numbers
    assert same(encoder.transform(far), plain.transform(far))
    if scaling == "quantile":
        assert_array_equal(encoded, np.tile(top, (3, 1)))
    else:
        assert_allclose(encoded[:4, 0], [3, -3, 3, -3])


@pytest.mark.parametrize("scaling", ["quantile", "robust"])
@pytest.mark.parametrize("values", [[-9e299, 9e299, 0], [0, 5e-324, 1e-323], [1, 1 + 2**-52, 3]])
def test_extreme_numbers(scaling, values):
    encoded = TableEncoder(scaling=scaling).fit_transform(np.array(values, float)[:, None])
    assert np.isfinite(encoded.numbers).all()
    order = np.argsort(values)
    assert (np.diff(encoded.numbers[order, 0]) >= 0).all()


@pytest.mark.parametrize("scaling", ["quantile", "robust"])
def test_the_least_differences(scaling):
    encoder = TableEncoder(scaling=scaling).fit(np.array([[0.0]] * 7 + [[5e-324]]))
    low, zero, tiny, high = encoder.transform([[-1e300], [0.0], [5e-324], [1e300]]).numbers[:, 0]
    assert -4 < low <= zero < tiny <= high < 4


def test_unseen_values_are_minus_one():
    frame = pd.DataFrame({"s": ["a", "b"], "t": [True, False]})
    encoder = TableEncoder().fit(frame)
    assert_array_equal(
        encoder.transform(pd.DataFrame({"s": ["c", "a"], "t": [1, 2]})).codes, [[-1, 1], [0, -1]]
    )


@every_frame
def test_unseen_values_of_many_rows(make):
    """Missing values, which the training rows did not have, are unseen, too."""
    encoder = TableEncoder().fit(make({"s": ["b", "d"] * 9, "t": [True, False] * 9}))
    new = {"s": ["a", "b", "c", "d", "e", None] * 99, "t": [1.0, 2.0, 0.0, 0.5, -1.0, None] * 99}
    expected = [[-1, 1], [0, -1], [-1, 0], [1, -1], [-1, -1], [-1, -1]] * 99
    assert_array_equal(encoder.transform(make(new)).codes, expected)


# --- scaling ---


def test_quantiles_are_those_of_scikit_learn():
    """At the quantiles; between them ours is linear in the scores and theirs in the ranks."""
    x = np.exp(RNG.standard_normal(6_001))
    theirs = QuantileTransformer(n_quantiles=200, output_distribution="normal", subsample=None)
    theirs.fit(x[:, None])
    knots = theirs.quantiles_[1:-1]
    ours = TableEncoder().fit(x[:, None]).transform(knots).numbers
    assert_allclose(ours[:, 0], theirs.transform(knots)[:, 0], atol=0.02)
    assert_allclose(ours[50:-50, 0], theirs.transform(knots)[50:-50, 0], atol=1e-3)


@pytest.mark.parametrize("n", [50, 1_000, 70_000, 250_000])
def test_quantile_map(n):
    """The normal quantile of the rank of each row, extremes included, nearly."""
    x = RNG.standard_normal(n)
    scaled = TableEncoder().fit_transform(x[:, None]).numbers[:, 0]
    n_learned_from = min(n, 100_000)
    assert scaled.max() == pytest.approx(norm.ppf(1 - 0.5 / n_learned_from), abs=1e-4)
    assert scaled.min() == pytest.approx(-scaled.max(), abs=1e-4)
    assert (np.diff(scaled[np.argsort(x)]) >= 0).all()
    assert_allclose(scaled.mean(), 0, atol=0.02)
    assert_allclose(scaled.std(), 1, atol=0.1)
    inner = np.abs(x) < 1
    assert_allclose(scaled[inner], mid_rank_scores(x)[inner], atol=0.25 if n < 2_000 else 0.02)


def test_few_values_and_ties_get_mid_ranks():
    x = np.repeat([0, 1, 5], [900, 90, 10])
    scaled = TableEncoder().fit_transform(RNG.permutation(x)[:, None]).numbers
    assert_allclose(np.unique(scaled), norm.ppf([0.45, 0.945, 0.995]), rtol=1e-6)
    zeros = np.where(RNG.random(9_000) < 0.6, 0, RNG.exponential(size=9_000))
    encoder = TableEncoder().fit(zeros[:, None])
    zero = encoder.transform([[0.0]]).numbers
    assert_allclose(zero, norm.ppf((zeros == 0).mean() / 2), atol=1e-6)


def test_values_that_the_sample_skips_still_vary():
    x = np.zeros(250_000)
    x[1] = 1
    numbers = TableEncoder().fit_transform(x[:, None]).numbers
    assert numbers[1, 0] > 3
    assert numbers[0, 0] == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("x", [RNG.standard_cauchy(1_000), np.repeat([0.0, 1.0, 4.0], [90, 5, 5])])
def test_robust_map(x):
    first, median, third = np.percentile(x, [25, 50, 75])
    width = third - first or (x.max() - x.min()) / 2
    z = (x - median) / width
    numbers = TableEncoder(scaling="robust").fit_transform(x[:, None]).numbers
    assert_allclose(numbers[:, 0], z / np.sqrt(1 + z**2 / 9), rtol=1e-6)


@pytest.mark.parametrize("scaling", ["quantile", "robust"])
def test_rows_in_one_go_have_the_bits_of_columns(scaling):
    """Of small arrays of numbers, whatever their type and wherever they have missing numbers."""
    X = RNG.standard_cauchy((5_000, 9)).astype(np.float32)
    X[:, 1] = RNG.integers(0, 3, 5_000)
    X[RNG.random(X.shape) < 0.1] = np.nan
    X[:, 4:6] = 2
    X[:, 6] = np.round(X[:, 6])
    X[:, 7] = RNG.random(5_000)
    encoder = TableEncoder(scaling=scaling).fit(X)
    Z = np.concatenate(
        [X, RNG.standard_cauchy((500, 9)), np.full((3, 9), [[np.nan], [np.inf], [-np.inf]])]
    )
    expected = encoder.transform(Z)
    rows = np.concatenate([encoder.transform(Z[i : i + 1]).numbers for i in range(len(Z))])
    assert rows.tobytes() == expected.numbers.tobytes()
    assert encoder.number_names[:3] == ["x0", "x0 is missing", "x1"]
    for other in (np.asfortranarray(Z[:7]), Z[:7].astype(object), pl.DataFrame(Z[:7]).to_numpy()):
        assert encoder.transform(other).numbers.tobytes() == expected.numbers[:7].tobytes()
    whole = np.arange(9)[None]
    assert same(encoder.transform(whole), encoder.transform(whole.astype(float)))


def test_unknown_scaling():
    with pytest.raises(ValueError, match=r"scaling must be one of \['quantile', 'robust'\]"):
        TableEncoder(scaling="standard").fit(np.eye(2))


# --- sparse, wide, long ---


@pytest.mark.parametrize(
    "container", [scipy.sparse.csr_array, scipy.sparse.csc_matrix, scipy.sparse.coo_array]
)
def test_sparse(container):
    X = np.where(RNG.random((300, 30)) < 0.1, RNG.standard_normal((300, 30)), 0)
    X[:, 3] = 0
    X[5, 4] = np.nan
    expected = TableEncoder().fit(X)
    encoder = TableEncoder()
    assert same(encoder.fit_transform(container(X)), expected.transform(X))
    assert same(expected.transform(container(X)), expected.transform(X))
    frame = pd.DataFrame.sparse.from_spmatrix(container(X))
    assert same(TableEncoder().fit_transform(frame), expected.transform(X))


def test_sparse_entries_in_parts_and_integers():
    """The parts of an entry add up: 4 + 3 comes above 5."""
    X = scipy.sparse.coo_array(([4, 3, 5, 9], ([0, 0, 1, 2], [0, 0, 0, 0])), shape=(4, 1))
    assert same(TableEncoder().fit_transform(X), TableEncoder().fit_transform(X.toarray()))
    parts = scipy.sparse.csc_array(([4, 3, 5, 9], [0, 0, 1, 2], [0, 4]), shape=(4, 1))
    assert same(TableEncoder().fit_transform(parts), TableEncoder().fit_transform(X.toarray()))


def test_many_columns_and_many_categories():
    X = RNG.standard_normal((50, 2_000))
    assert TableEncoder().fit_transform(X).numbers.shape == (50, 2_000)
    names = [f"value {i % 1_000}" for i in RNG.permutation(5_000)]
    encoder = TableEncoder()
    codes = encoder.fit_transform(pd.DataFrame({"c": names})).codes[:, 0]
    assert_array_equal(codes, pd.Categorical(names).codes)
    assert_array_equal(encoder.cardinalities, [1_000])


def test_memory_is_that_of_the_result_and_some_columns():
    X = RNG.standard_normal((100_000, 40)).astype(np.float32)
    encoder = TableEncoder().fit(X)
    tracemalloc.start()
    encoded = encoder.transform(X)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < encoded.numbers.nbytes + 12 * 8 * len(X)  # a dozen columns of float64


# --- names ---


@every_frame
def test_columns_are_found_by_name(make):
    encoder = TableEncoder().fit(make(MIXED))
    turned = {name: MIXED[name] for name in reversed(MIXED)}
    assert same(encoder.transform(make(turned)), encoder.transform(make(MIXED)))


@every_frame
def test_absent_and_extra_columns(make):
    encoder = TableEncoder().fit(make({"a": [1, 2], "b": [1, 2], "c": [1, 2]}))
    with pytest.raises(ValueError, match=r"yet now missing:\n- b\n$"):
        encoder.transform(make({"a": [1], "c": [1]}))
    with pytest.raises(ValueError, match=r"unseen at fit time:\n- d\n$"):
        encoder.transform(make({"a": [1], "b": [1], "c": [1], "d": [1]}))
    many = {f"n{i}": [1] for i in range(12)}
    with pytest.raises(
        ValueError, match=r"n0\n(- n\d\n){9}- \.\.\.\n.*now missing:\n- a\n- b\n- c\n$"
    ):
        encoder.transform(make(many))


def test_names_and_none():
    frame = pd.DataFrame({"a": [1.0, 2], "b": [3.0, 5]})
    named, nameless = (
        TableEncoder(owner="Net").fit(frame),
        TableEncoder(owner="Net").fit(frame.to_numpy()),
    )
    with pytest.warns(
        UserWarning, match="X does not have valid feature names, but Net was fitted with"
    ):
        encoded = named.transform(frame.to_numpy())
    assert same(encoded, named.transform(frame))
    with pytest.warns(UserWarning, match="X has feature names, but Net was fitted without"):
        assert same(nameless.transform(frame), encoded)
    for wrong in (frame.to_numpy()[:, :1], np.ones((2, 3))):
        with pytest.raises(
            ValueError, match=rf"X has {wrong.shape[1]} features, but Net is expecting 2"
        ):
            nameless.transform(wrong)
    numbered = frame.set_axis([7, 3], axis=1)
    assert same(nameless.transform(numbered), encoded)
    assert not hasattr(named.fit(numbered), "feature_names_in_")


def test_names_must_differ_and_be_strings():
    frame = pd.DataFrame(np.eye(4), columns=["a", "b", "a", "b"])
    for table in (frame, pa.table([[1], [2], [3], [4]], names=["a", "b", "a", "b"])):
        with pytest.raises(ValueError, match="must differ, but these are repeated: 'a', 'b'"):
            TableEncoder().fit(table)
    twelve_twice = pd.DataFrame(np.ones((1, 24)), columns=[*"abcdefghijkl"] * 2)
    with pytest.raises(ValueError, match=r"'i', 'j', \.\.\.$"):
        TableEncoder().fit(twelve_twice)
    with pytest.raises(TypeError, match="string names, but X also has 1"):
        TableEncoder().fit(pd.DataFrame(np.eye(2), columns=["a", 1]))


# --- columns that change, bad input ---


@pytest.mark.parametrize(
    ("before", "now", "message"),
    [
        ([1.0, 2], ["a", "b"], "Column 'age' held numbers in fit, now strings"),
        (["a", "b"], [1, 2], "held strings in fit, now numbers"),
        ([True, False], ["a", "b"], "held truth values in fit, now strings"),
        ([DAY, DAY], [1, 2], "held dates in fit, now numbers"),
        ([1, 2], [DAY, DAY], "held numbers in fit, now dates"),
        ([datetime.timedelta(1)] * 2, [1, 2], "held durations in fit, now numbers"),
    ],
)
@every_frame
def test_columns_that_change_their_kind(make, before, now, message):
    encoder = TableEncoder().fit(make({"age": before}))
    with pytest.raises(TypeError, match=message):
        encoder.transform(make({"age": now}))


@every_frame
def test_kinds_of_numbers_are_one_kind(make):
    encoder = TableEncoder().fit(make({"n": [0, 1, 2], "t": [True, False, True]}))
    expected = encoder.transform(make({"n": [0, 1, 1], "t": [True, False, True]}))
    assert same(encoder.transform(make({"n": [0.0, 1.0, 1.0], "t": [1, 0, 1]})), expected)
    assert same(encoder.transform(make({"n": [False, True, True], "t": [1.0, 0.0, 1.0]})), expected)


@pytest.mark.parametrize(
    ("X", "error", "message"),
    [
        (
            np.empty((0, 3)),
            ValueError,
            r"0 sample\(s\) \(shape=\(0, 3\)\) while a minimum of 1 is required",
        ),
        (
            np.empty((12, 0)),
            ValueError,
            r"0 feature\(s\) \(shape=\(12, 0\)\) while a minimum of 1 is",
        ),
        (pd.DataFrame({"a": []}), ValueError, r"0 sample\(s\)"),
        (pl.DataFrame(), ValueError, r"0 (sample|feature)\(s\)"),
        (scipy.sparse.csr_array((0, 2)), ValueError, r"0 sample\(s\)"),
        (np.ones(3), ValueError, "Reshape your data"),
        (pd.Series([1, 2]), ValueError, "Reshape your data"),
        (pl.Series([1, 2]), ValueError, "Reshape your data"),
        ([1, 2], ValueError, "Reshape your data"),
        (3.0, ValueError, "scalar array instead"),
        ("text", ValueError, "scalar array instead"),
        (np.ones((2, 2, 2)), ValueError, "dim 3"),
        ([[1, 2], [3]], ValueError, "X must be a table with rows of equal lengths"),
        (np.ones((2, 2)) * 1j, ValueError, "Complex data not supported"),
        (scipy.sparse.csr_array(np.eye(2) * 1j), ValueError, "Complex data not supported"),
        (pd.DataFrame({"c": [1j, 2]}), ValueError, "Complex data not supported: column 'c'"),
        ([[1, 2j], [3, 4]], ValueError, "Complex data not supported"),
        (np.array([[1, 2j]], dtype=object), ValueError, "Complex data not supported: column 1"),
        (np.zeros((2, 2), "V3"), TypeError, "dtype"),
        (pl.LazyFrame({"a": [1]}), TypeError, r"X\.collect\(\)"),
    ],
)
def test_bad_tables(X, error, message):
    encoder = TableEncoder().fit(np.eye(3))
    before = pickle.dumps(encoder)
    with pytest.raises(error, match=message):
        encoder.fit(X)
    assert pickle.dumps(encoder) == before


@pytest.mark.parametrize("make", [np.asarray, pd.DataFrame, scipy.sparse.csr_array])
def test_bad_tables_to_transform(make):
    encoder = TableEncoder().fit(make(np.eye(3)))
    with pytest.raises(ValueError, match=r"0 sample\(s\)"):
        encoder.transform(make(np.empty((0, 3))))
    with pytest.raises(ValueError, match="Complex data not supported"):
        encoder.transform(make(np.eye(3) * 1j))
    with pytest.raises(ValueError, match="X has 2 features, but TableEncoder is expecting 3"):
        encoder.transform(make(np.eye(2)))
    with pytest.raises(ValueError, match="Reshape your data"):
        encoder.transform(np.ones(3))


# --- what is learned ---


@pytest.mark.parametrize("scaling", ["quantile", "robust"])
def test_copies_and_what_they_hold(scaling):
    encoder = TableEncoder(scaling=scaling).fit(pd.DataFrame(MIXED))
    expected = encoder.transform(pd.DataFrame(MIXED))
    for twin in (pickle.loads(pickle.dumps(encoder)), copy.deepcopy(encoder)):
        assert same(twin.transform(pd.DataFrame(MIXED)), expected)

    def leaves(value):
        if isinstance(value, dict):
            value = list(value.values())  # the keys are names
        return [leaf for v in value for leaf in leaves(v)] if isinstance(value, list) else [value]

    held = [leaf for column in encoder.columns for leaf in leaves(dataclasses.asdict(column))]
    assert {type(leaf) for leaf in held} <= {str, bool, float, int, type(None), np.ndarray}
    assert not any(leaf.dtype == object for leaf in held if isinstance(leaf, np.ndarray))


def test_an_encoder_of_columns_that_another_has_learned():
    frame = pd.DataFrame(MIXED)
    encoder = TableEncoder().fit(frame)
    other = TableEncoder()
    other.hold(encoder.columns, encoder.feature_names_in_.tolist())
    assert same(other.transform(frame), encoder.transform(frame))
    assert vars(other).keys() == vars(encoder).keys()


def test_a_second_fit_forgets_the_first():
    encoder = TableEncoder().fit(pd.DataFrame(MIXED))
    X = RNG.standard_normal((20, 2))
    assert same(encoder.fit_transform(X), TableEncoder().fit_transform(X))
    assert not hasattr(encoder, "feature_names_in_")


def test_threads_share_an_encoder():
    frame = pd.DataFrame({"n": RNG.standard_normal(3_000), "s": RNG.choice(list("abc"), 3_000)})
    encoder = TableEncoder().fit(frame)
    before = pickle.dumps(encoder)
    expected = encoder.transform(frame)
    results = []
    threads = [
        threading.Thread(target=lambda: results.append(encoder.transform(frame))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    assert all(same(result, expected) for result in results)
    assert pickle.dumps(encoder) == before
