"""Model files: the container, and the checks of what is read from it.

A model file is in the safetensors format. Its header has one entry of metadata, 'fastmlp', which is
a JSON object: the schema, its version, and the fields of the model. The numbers are tensors. Their
order in the file is that of a network's buffer, padding included, and they begin at a cache line;
so a network can use them where they are (`Parameters.on`).

Each class writes its part by ``_write(parts)`` to `Parts`, and reads it by ``_read(fields)`` from
`Fields`. Whatever a file holds, reading it runs no code of it. Every value is checked when it is
read, and what is wrong raises a `ModelFileError` that names the field.
"""

import json
import math
import mmap
import os
from contextlib import contextmanager

import numpy as np

from fastmlp._engine.config import __version__
from fastmlp._engine.layout import CACHE_LINE, aligned_copy, ceil_div
from fastmlp._engine.whole_file import whole_file

KEY = "fastmlp"
SCHEMA = "fastmlp.model"

# Version of the schema. Newer code must keep reading older versions.
VERSION = 1

# The names of NumPy's types in the safetensors format.
DTYPES = {
    "F64": "<f8", "F32": "<f4", "I64": "<i8", "I32": "<i4", "U8": "<u1", "BOOL": "|b1",
}  # fmt: skip
NAMES = {np.dtype(dtype): name for name, dtype in DTYPES.items()}

MOST_BYTES_OF_HEADER = 100_000_000  # the limit of safetensors

# An object or a list of JSON takes up to a hundred bytes of memory, for two bytes of text.
BYTES_OF_CONTAINER = 100
BYTES_OF_SMALL_HEADER = 2**24

NOT_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


class ModelFileError(ValueError):
    """A model file is damaged, of another program or of a newer version.

    The message names the file and the field.

    Examples
    --------
    >>> import fastmlp
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, 'model.safetensors')
    ...     _ = path.write_text('not a model')
    ...     try:
    ...         fastmlp.load(path)
    ...     except fastmlp.ModelFileError as error:
    ...         print(str(error).replace(folder, ''))
    /model.safetensors: it must be a safetensors file, but it begins with b'not a model'
    """


class Parts:
    """What is written of a model: fields for the JSON object, and arrays for the tensors.

    Parameters
    ----------
    prefix : str
        The beginning of the names of the arrays.
    root : Parts or None
        The whole of which this is a part.
    """

    def __init__(self, prefix="", root=None):
        self.prefix = prefix
        self.fields = {}
        self._root = root or self
        if root is None:
            self.buffers, self.arrays = {}, {}

    def part(self, name):
        """Return a new part, whose fields become the value of the field ``name``."""
        part = Parts(f"{self.prefix}{name}.", self._root)
        self.fields[name] = part.fields
        return part

    def nameless(self, name):
        """Return a new part like `part`, the names of whose arrays do not have ``name``."""
        part = Parts(self.prefix, self._root)
        self.fields[name] = part.fields
        return part

    def items(self, name, n):
        """Return n new parts, whose fields become the list in the field ``name``."""
        parts = [Parts(f"{self.prefix}{name}.{i}.", self._root) for i in range(n)]
        self.fields[name] = [part.fields for part in parts]
        return parts

    def add(self, **fields):
        """Add fields: None, truth values, numbers, strings, or lists or dicts of them."""
        self.fields |= {name: plain(value) for name, value in fields.items()}

    def array(self, name, array):
        """Add an array, of a dtype in DTYPES."""
        self._root.arrays[f"{self.prefix}{name}"] = np.ascontiguousarray(array)

    def buffer(self, arrays):
        """Add arrays by name that must stay in this order, whole cache lines in total."""
        self._root.buffers |= {f"{self.prefix}{name}": array for name, array in arrays.items()}


def plain(value):
    """Return a value as JSON has it. Numbers that are not finite become strings."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def write_model_file(path, kind, parts):
    """Write the parts of a model of a kind to a file, whole or not at all."""
    tree = {"schema": SCHEMA, "version": VERSION, "written_by": f"fastmlp {__version__}"}
    text = json.dumps(tree | {"kind": kind} | parts.fields, allow_nan=False)
    by_size = sorted(parts.arrays.items(), key=lambda item: -item[1].itemsize)
    arrays = parts.buffers | dict(by_size)
    header, end = {"__metadata__": {KEY: text}}, 0
    for name, array in arrays.items():
        begin, end = end, end + array.nbytes
        dtype = NAMES[array.dtype.newbyteorder("<")]
        header[name] = {
            "dtype": dtype, "shape": list(array.shape), "data_offsets": [begin, end],
        }  # fmt: skip
    encoded = json.dumps(header, separators=(",", ":")).encode()
    n_bytes = ceil_div(8 + len(encoded), CACHE_LINE) * CACHE_LINE - 8
    if n_bytes > MOST_BYTES_OF_HEADER:
        raise ValueError(f"the model has {n_bytes} bytes of names and fields, which is too many")
    with whole_file(path) as file:
        file.write(n_bytes.to_bytes(8, "little") + encoded.ljust(n_bytes))
        for array in arrays.values():
            file.write(array.astype(array.dtype.newbyteorder("<"), copy=False).data)


def open_model_file(path):
    """Map a model file into memory and return the fields of the model, as `Fields`."""
    path = shown = os.fsdecode(path)
    safe_open = _safe_open()
    with open(path, "rb") as file:
        beginning = file.read(11)
        try:
            memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        except ValueError:
            raise ModelFileError(f"{shown}: it must be a model file, but it is empty") from None
    try:
        with safe_open(path, framework="numpy"):  # the library checks the header
            header = json.loads(memory[8 : 8 + int.from_bytes(memory[:8], "little")])
    except Exception as error:
        if isinstance(error, OSError | MemoryError):
            raise
        raise ModelFileError(_not_safetensors(shown, beginning, error)) from None
    file = ModelFile(shown, memory, header)
    return Fields(file, file.tree(), "")


def _not_safetensors(shown, beginning, error):
    if beginning[8:9] == b"{":
        return f"{shown}: it must be a whole safetensors file, but it is damaged: {error}"
    return f"{shown}: it must be a safetensors file, but it begins with {beginning!r}"


def _safe_open():
    try:
        from safetensors import safe_open
    except ImportError as error:
        raise ImportError(
            'model files need the library safetensors: pip install "fastmlp[files]"'
        ) from error
    return safe_open


class ModelFile:
    """A file in memory, with its header."""

    def __init__(self, path, memory, header):
        self.path = path
        self.memory = memory
        self._start = 8 + int.from_bytes(memory[:8], "little")
        self._metadata = header.pop("__metadata__", None)
        self._tensors = header
        # Two readers of JSON may differ, as about a name that is given twice.
        for name, entry in header.items():
            if not _is_entry(entry):
                raise self.error(f"tensor {name}", f"must have an entry, got {entry!r}"[:200])

    def error(self, place, message):
        """Return the error for a field or a tensor."""
        return ModelFileError(f"{self.path}: {place} {message}")

    def tree(self):
        """Return the JSON object, after a check of its schema and version."""
        metadata = self._metadata if isinstance(self._metadata, dict) else {}
        text = metadata.get(KEY)
        if not isinstance(text, str):
            raise ModelFileError(
                f"{self.path}: it is a safetensors file of another program: its metadata must have "
                f"{KEY!r}, got {sorted(metadata)[:10]}"
            )
        n_containers = text.count("[") + text.count("{")
        if n_containers * BYTES_OF_CONTAINER > BYTES_OF_SMALL_HEADER + 2 * len(self.memory):
            raise self.error(KEY, f"must not have {n_containers} lists and objects")
        try:
            tree = json.loads(text, parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            raise self.error(KEY, f"must be JSON, but has an error: {error}") from None
        fields = Fields(self, tree if isinstance(tree, dict) else {}, "")
        fields.choice("schema", [SCHEMA])
        version = fields.whole("version", 1)
        if version > VERSION:
            raise ModelFileError(
                f"{self.path}: version must be at most {VERSION} for fastmlp {__version__}, got "
                f"{version}: the file was written by {fields.text('written_by')!r}, so that or a "
                "newer version is needed"
            )
        return tree

    def has_tensor(self, name):
        return name in self._tensors

    def tensor(self, name, dtypes, shape):
        """Return a tensor, which is a view of the memory, after a check of dtype and shape.

        The shape may have None for any length, or be None. Changes of the array stay out of the
        file.
        """
        entry = self._tensors.get(name)
        if entry is None:
            raise self.error(f"tensor {name}", "is missing")
        allowed = [np.dtype(dtype) for dtype in dtypes]
        dtype = np.dtype(DTYPES.get(entry["dtype"], "V"))
        if dtype not in allowed:
            shown = " or ".join(NAMES[dtype] for dtype in allowed)
            raise self.error(f"tensor {name}", f"must be of dtype {shown}, got {entry['dtype']}")
        given = tuple(entry["shape"])
        if shape is not None and not _fits(given, shape):
            shown = str(tuple("any" if n is None else n for n in shape)).replace("'", "")
            raise self.error(f"tensor {name}", f"must be of shape {shown}, got {given}")
        begin, end = entry["data_offsets"]
        n_bytes = math.prod(given) * dtype.itemsize
        if not (0 <= begin <= end <= len(self.memory) - self._start and end - begin == n_bytes):
            raise self.error(f"tensor {name}", f"must lie in the file, got {begin} to {end}")
        array = np.frombuffer(
            self.memory, dtype, math.prod(given), self._start + begin if n_bytes else 0
        )
        return array.reshape(given)


def _is_entry(entry):
    """Whether this is a tensor's entry of the header, as far as types go."""
    if not (isinstance(entry, dict) and isinstance(entry.get("dtype"), str)):
        return False
    shape, places = entry.get("shape"), entry.get("data_offsets")
    return is_list_of(shape, int) and is_list_of(places, int, 2) and min(shape, default=0) >= 0


def _fits(given, shape):
    return len(given) == len(shape) and all(
        n is None or n == m for n, m in zip(shape, given, strict=True)
    )


def _no_constant(name):
    raise ValueError(f"{name} is no JSON")


class Fields:
    """An object of the JSON, whose values are checked as they are read.

    Parameters
    ----------
    file : ModelFile
    tree : dict
    place : str
        Where the object is in the whole: the beginning of the names of its fields.
    prefix : str, default=None
        The beginning of the names of its tensors, by default that of the fields.
    """

    def __init__(self, file, tree, place, prefix=None):
        self._file = file
        self._tree = tree
        self.place = place
        self._prefix = place if prefix is None else prefix

    def error(self, name, message):
        """Return the error for a field."""
        return self._file.error(f"{self.place}{name}", message)

    def __contains__(self, name):
        return self._tree.get(name) is not None

    def value(self, name, allowed, is_good):
        """Return a value if ``is_good(value)``; otherwise raise that it must be ``allowed``."""
        if name not in self._tree:
            raise self.error(name, f"must be {allowed}, but is missing")
        value = self._tree[name]
        if not is_good(value):
            shown = repr(value)
            shown = shown if len(shown) < 80 else f"{shown[:76]}..."
            raise self.error(name, f"must be {allowed}, got {shown}")
        return value

    def whole(self, name, low=0, high=2**62):
        """Return a whole number between two limits, which are allowed."""
        allowed = f"a whole number from {low} to {high}"
        return self.value(name, allowed, lambda it: is_whole(it) and low <= it <= high)

    def number(self, name, low=-math.inf, high=math.inf, *, finite=True):
        """Return a number between two limits, as a float; unless ``finite``, also NaN."""
        allowed = f"a {'finite ' * finite}number from {low} to {high}"

        def is_good(value):
            if not finite and isinstance(value, str) and value in NOT_FINITE:
                return True
            return is_number(value) and math.isfinite(value) and low <= value <= high

        value = self.value(name, allowed, is_good)
        return NOT_FINITE[value] if isinstance(value, str) else float(value)

    def flag(self, name):
        return self.value(name, "true or false", lambda it: isinstance(it, bool))

    def text(self, name):
        return self.value(name, "a string", lambda it: isinstance(it, str))

    def choice(self, name, options):
        """Return a string that is one of the options."""
        options = list(options)
        return self.value(
            name, f"one of {options}", lambda it: isinstance(it, str) and it in options
        )

    def texts(self, name, n=None):
        """Return a list of n strings."""
        allowed = f"a list of {'' if n is None else f'{n} '}strings"
        return self.value(name, allowed, lambda it: is_list_of(it, str, n))

    def wholes(self, name, low, high=2**62):
        """Return a list of whole numbers between two limits."""
        allowed = f"a list of whole numbers from {low} to {high}"
        return self.value(
            name,
            allowed,
            lambda it: isinstance(it, list) and all(is_whole(n) and low <= n <= high for n in it),
        )

    def part(self, name):
        """Return an object as Fields."""
        fields = self.nameless(name)
        fields._prefix = f"{self._prefix}{name}."
        return fields

    def nameless(self, name):
        """Return an object as Fields, the names of whose tensors do not have ``name``."""
        tree = self.value(name, "an object", lambda it: isinstance(it, dict))
        return Fields(self._file, tree, f"{self.place}{name}.", self._prefix)

    def items(self, name):
        """Return a list of objects as Fields."""
        trees = self.value(name, "a list of objects", lambda it: is_list_of(it, dict))
        return [
            Fields(self._file, tree, f"{self.place}{name}.{i}.", f"{self._prefix}{name}.{i}.")
            for i, tree in enumerate(trees)
        ]

    def array(self, name, dtype, shape, *, finite=True):
        """Return a tensor as an array in the file's memory, after a check of its numbers."""
        array = self._file.tensor(f"{self._prefix}{name}", [dtype], shape)
        if finite and array.dtype.kind == "f" and not np.isfinite(array).all():
            raise self.error(name, "must hold finite numbers")
        if array.dtype.kind == "b" and array.view(np.uint8).max(initial=0) > 1:
            raise self.error(name, "must hold truth values: bytes of 0 and 1")
        return array if array.flags.aligned else array.copy()

    def shape(self, name):
        """Return the shape of a tensor."""
        return self._file.tensor(f"{self._prefix}{name}", DTYPES.values(), None).shape

    def has_tensor(self, name):
        return self._file.has_tensor(f"{self._prefix}{name}")

    def names(self):
        """Return the names of the fields."""
        return list(self._tree)

    def numbers(self, name, *, finite=True):
        """Return a list of numbers; unless ``finite``, also infinity and NaN."""

        def is_good(value):
            if not finite and isinstance(value, str):
                return value in NOT_FINITE
            return is_number(value) and math.isfinite(value)

        allowed = f"a list of {'finite ' * finite}numbers"
        values = self.value(
            name, allowed, lambda it: isinstance(it, list) and all(map(is_good, it))
        )
        return [NOT_FINITE[value] if isinstance(value, str) else value for value in values]

    @contextmanager
    def checks(self, name):
        """Raise the errors of other checks as errors of this field."""
        try:
            yield
        except ModelFileError:
            raise
        except (ValueError, TypeError, OverflowError, ArithmeticError) as error:
            raise self.error(name, f"is wrong: {error}") from None

    def buffer(self, shapes, dtype):
        """Return tensors that lie one after the other in the file, as one flat array.

        Parameters
        ----------
        shapes : dict
            The shape of each tensor by name, in their order.
        dtype : numpy.dtype

        Returns
        -------
        ndarray
            In the memory of the file, or a copy if the tensors are in another order.
        """
        arrays = [
            self._file.tensor(f"{self._prefix}{name}", [dtype], shape)
            for name, shape in shapes.items()
        ]
        places = [array.__array_interface__["data"][0] for array in arrays]
        ends = [place + array.nbytes for place, array in zip(places, arrays, strict=True)]
        if places[0] % CACHE_LINE or ends[:-1] != places[1:]:
            return aligned_copy(np.concatenate([array.ravel() for array in arrays]))
        memory = np.frombuffer(self._file.memory, np.uint8)
        start = places[0] - memory.__array_interface__["data"][0]
        return memory[start : start + ends[-1] - places[0]].view(dtype)


def is_whole(value):
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value):
    if not is_whole(value):
        return isinstance(value, float)
    return abs(value) < 2**1000


def is_list_of(value, kind, n=None):
    is_list = isinstance(value, list) and (n is None or len(value) == n)
    return is_list and all(isinstance(item, kind) for item in value)
