"""Sources of rows that do not fit in memory: tables on disk, folders of arrays, and functions.

A source has ``names`` (of the features, or None) and ``units``: parts that can be read in any
order, such as the row groups of a Parquet file. ``read(unit)`` gives the rows of a unit in small
batches, the same in every epoch. pyarrow is imported only for the sources that need it.
"""

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import scipy.sparse

# Rows that are converted at a time, so that the columns of a batch stay in the cache.
ROWS_OF_BATCH = 8_192

# Rows of an array on disk that are read without a jump.
ROWS_OF_UNIT = 65_536

FORMATS = {
    ".parquet": "parquet", ".pq": "parquet", ".arrow": "ipc", ".feather": "ipc", ".ipc": "ipc",
    ".csv": "csv",
}  # fmt: skip


class Batch(NamedTuple):
    """Some rows: X of shape (n, n_features), y of shape (n,) or (n, n_targets), and weights."""

    X: np.ndarray
    y: np.ndarray
    weight: np.ndarray | None


def open_source(source, target=None, features=None, sample_weight=None):
    """Return the source that was passed to ``fit_stream``, after validation."""
    named = {"target": target, "features": features, "sample_weight": sample_weight}
    is_array = callable(source) or (
        isinstance(source, str | os.PathLike) and is_folder_of_arrays(source)
    )
    if not is_array:
        return ArrowSource(source, target, features, sample_weight)
    given = [f"{name}={value!r}" for name, value in named.items() if value is not None]
    if given:
        raise ValueError(f"{', '.join(given)}: only for tables, whose columns have names")
    return FunctionSource(source) if callable(source) else ArraySource(source)


def is_folder_of_arrays(path):
    return Path(path).is_dir() and any(Path(path).glob("*.npy"))


class ArrowSource:
    """A dataset of pyarrow: files of Parquet, Arrow or CSV.

    Parameters
    ----------
    source : pyarrow.dataset.Dataset, path-like or list of them
    target : str or list of str
    features : list of str or None
    sample_weight : str or None
    """

    def __init__(self, source, target, features, sample_weight):
        dataset = dataset_of(source)
        known = dataset.schema.names
        targets = [target] if isinstance(target, str) else list(target or [])
        if not targets:
            raise ValueError(f"target must be the name of a column, one of {known}, got {target!r}")
        others = {*targets, sample_weight}
        others |= {name for name in index_columns(dataset.schema) if isinstance(name, str)}
        self.names = [name for name in known if name not in others]
        if features is not None:
            self.names = list(features)
        columns = [*self.names, *targets, *([sample_weight] if sample_weight else [])]
        for name in columns:
            if known.count(name) != 1:
                raise ValueError(f"source must have one column named {name!r}, got {known}")
        if not self.names or len(set(columns)) < len(columns):
            raise ValueError(
                f"features must be columns other than the target and the weight, got {self.names}"
            )
        numbers = [*self.names, *columns[len(self.names) + len(targets) :]]
        self._schema = with_wide_numbers(dataset.schema, numbers)  # and the columns of partitions
        self._columns, self._n_targets = columns, len(targets)
        self._is_single = isinstance(target, str)
        self._has_weight = sample_weight is not None
        self.units = [unit for fragment in dataset.get_fragments() for unit in _parts_of(fragment)]

    def read(self, unit):
        """Give the rows of a part of a file."""
        from pyarrow import ArrowInvalid

        try:
            yield from self._read(unit)
        except ArrowInvalid as error:
            raise ValueError(f"source: {unit.path} cannot be read: {error}") from error

    def _read(self, unit):
        options = {"batch_size": ROWS_OF_BATCH, "batch_readahead": 1, "fragment_readahead": 1}
        options |= {"schema": self._schema, "columns": self._columns, "use_threads": False}
        for batch in unit.to_batches(**options):
            columns = list(map(self._array, batch.columns))
            k = len(self.names)
            X = np.empty((batch.num_rows, k), dtype=np.result_type(*columns[:k], np.float32))
            for j, column in enumerate(columns[:k]):
                X[:, j] = column
            targets = columns[k : k + self._n_targets]
            y = targets[0] if self._is_single else np.column_stack(targets)
            yield Batch(X, y, columns[-1] if self._has_weight else None)

    @staticmethod
    def _array(column):
        from pyarrow import types

        if types.is_dictionary(column.type):
            column = column.dictionary_decode()
        if types.is_decimal(column.type):
            column = column.cast("float64")
        return column.to_numpy(zero_copy_only=False)


def with_wide_numbers(schema, names):
    """Return the schema with these columns as numbers that hold those of all files.

    pyarrow takes the types from the first file, and of CSV from its first block. Whole numbers may
    be followed by others, and an empty column by one with numbers.
    """
    import pyarrow
    from pyarrow import types

    are_numbers = (types.is_floating, types.is_boolean, types.is_decimal)
    for name in names:
        i, dtype = schema.get_field_index(name), schema.field(name).type
        if types.is_integer(dtype) or types.is_null(dtype):
            schema = schema.set(i, pyarrow.field(name, pyarrow.float64()))
        elif not any(is_kind(dtype) for is_kind in are_numbers):
            raise TypeError(
                f"column {name!r} must hold numbers, got {dtype}; leave it out by features=, or "
                "encode its values as numbers"
            )
    return schema


def index_columns(schema):
    """Return the columns that hold the index of a data frame of pandas."""
    return (schema.pandas_metadata or {}).get("index_columns", [])


def dataset_of(source):
    """Return a dataset of pyarrow, made of paths if it is none."""
    try:
        import pyarrow.dataset
    except ImportError as error:
        raise ImportError('tables on disk need pyarrow: pip install "fastmlp[files]"') from error
    if isinstance(source, pyarrow.dataset.Dataset):
        return source
    paths = [source] if isinstance(source, str | os.PathLike) else source
    if not isinstance(paths, list | tuple) or not paths:
        raise TypeError(
            "source must be a dataset of pyarrow, a path, a list of paths or a function that gives "
            f"batches (X, y), got {source!r}"
        )
    paths = [Path(path) for path in paths]
    files = [file for path in paths for file in (path.rglob("*") if path.is_dir() else [path])]
    formats = {FORMATS[file.suffix] for file in files if file.suffix in FORMATS}
    if len(formats) != 1:
        raise ValueError(
            f"source must be files of one format, with endings of {sorted(FORMATS)}, got "
            f"{[str(path) for path in paths][:10]}"
        )
    files = sorted(str(file) for file in files if file.suffix in FORMATS)
    for file in files:
        if not Path(file).exists():
            raise FileNotFoundError(f"source: there is no file {file}")
    try:
        return pyarrow.dataset.dataset(files, format=formats.pop(), partitioning="hive")
    except pyarrow.ArrowInvalid as error:
        raise ValueError(f"source: {files[0]} cannot be read: {error}") from error


def _parts_of(fragment):
    """Return the row groups of a file of Parquet; other files are read as a whole."""
    if hasattr(fragment, "split_by_row_group"):
        return fragment.split_by_row_group()
    return [fragment]


class ArraySource:
    """A folder of arrays: X*.npy, y*.npy and, if there are weights, sample_weight*.npy.

    They belong together in the order of their names.
    """

    names = None

    def __init__(self, path):
        kinds = ("X", "y", "sample_weight")
        files = {kind: sorted(Path(path).glob(f"{kind}*.npy")) for kind in kinds}
        numbers = [len(some) for some in files.values()]
        if not 0 < numbers[0] == numbers[1] or numbers[2] not in (0, numbers[0]):
            raise ValueError(
                f"source: the folder {path} must have as many files y*.npy as X*.npy, and as many "
                f"sample_weight*.npy or none, got {dict(zip(kinds, numbers, strict=True))}"
            )
        self._parts = []
        for i, (of_X, of_y) in enumerate(zip(files["X"], files["y"], strict=True)):
            weights = files["sample_weight"]
            several = (of_X, of_y, *([weights[i]] if weights else []))
            arrays = list(map(mapped_array, several))
            if len({len(array) for array in arrays}) > 1:
                lengths = [len(array) for array in arrays]
                raise ValueError(f"source: {of_X}, {of_y} must be of one length, got {lengths}")
            self._parts.append(arrays)
        self.units = [
            (i, start)
            for i, (X, *_) in enumerate(self._parts)
            for start in range(0, len(X), ROWS_OF_UNIT)
        ]

    def read(self, unit):
        """Give the rows of a part of an array."""
        i, first = unit
        X, y, *weight = self._parts[i]
        for start in range(first, min(first + ROWS_OF_UNIT, len(X)), ROWS_OF_BATCH):
            rows = slice(start, min(start + ROWS_OF_BATCH, first + ROWS_OF_UNIT))
            yield Batch(X[rows], y[rows], weight[0][rows] if weight else None)


def mapped_array(file):
    """Map a .npy file into memory."""
    try:
        return np.load(file, mmap_mode="r")
    except (EOFError, ValueError) as error:
        raise ValueError(f"source: {file} is no array of NumPy: {error}") from error


class FunctionSource:
    """A function that gives batches (X, y) or (X, y, sample_weight), anew for every epoch.

    If X is a data frame, ``names`` are those of its columns, once a batch has been read.
    """

    units = (None,)

    def __init__(self, function):
        self._function = function
        self.names = None

    def _check_names(self, X, i):
        """Raise an error unless the names of the columns are those of the first batch."""
        columns = getattr(X, "columns", None)
        names = None if columns is None else [*columns]
        if names is not None and not all(isinstance(name, str) for name in names):
            names = None
        if i == 0 and self.names is None:
            self.names = names
        if names != self.names:
            raise ValueError(
                f"source: all batches must have the same columns, {self.names}, got {names} in "
                f"batch {i}"
            )

    def read(self, unit):
        """Give the batches of the function."""
        batches = self._function()
        if not hasattr(batches, "__iter__"):
            raise TypeError(
                "source: the function must give batches (X, y), as a generator or a list, got "
                f"{batches!r}"
            )
        for i, given in enumerate(batches):
            if not (isinstance(given, tuple | list) and len(given) in (2, 3)):
                raise TypeError(
                    "source: the function must give batches (X, y) or (X, y, sample_weight), got "
                    f"{type(given).__name__} as batch {i}"
                )
            if scipy.sparse.issparse(given[0]):
                raise TypeError("source: the batches must be dense, got a sparse X")
            self._check_names(given[0], i)
            X, y, *weight = map(np.asarray, given)
            if X.ndim != 2 or X.dtype.kind not in "biuf" or len(X) != len(y):
                raise ValueError(
                    "source: a batch must have X of shape (n, n_features) with numbers, and y of "
                    f"length n, got X of shape {X.shape} and dtype {X.dtype}, and y of shape "
                    f"{y.shape}"
                )
            has_weight = len(given) == 3 and given[2] is not None
            yield Batch(X, y, weight[0] if has_weight else None)
