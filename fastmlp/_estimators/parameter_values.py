"""Values of an estimator's parameters as JSON, for model files.

None, truth values, numbers and strings are themselves. Everything else is an object of one field,
which names the type: {"tuple": [...]}.
"""

from dataclasses import asdict
from numbers import Integral, Real

import numpy as np

from fastmlp._engine.input_layer import InputLayer
from fastmlp._engine.model_file import NOT_FINITE, is_list_of, is_number, is_whole

MOST_DEEP = 10

# State of NumPy's generator of random numbers.
N_WORDS = 624


def written(value):
    """Return a value of a parameter as JSON; raise a TypeError if a file cannot hold it."""
    if value is None or isinstance(value, str):
        return str(value) if isinstance(value, str) else None
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        number = float(value)
        return number if np.isfinite(number) else {"float": str(number)}
    return _written_object(value)


def _written_object(value):
    if isinstance(value, list | tuple):
        return {type(value).__name__: list(map(written, value))}
    if type(value) is dict:
        return {"dict": [[written(name), written(item)] for name, item in value.items()]}
    if isinstance(value, np.ndarray) and value.dtype.kind in "biufU":
        return {"array": [value.dtype.str, list(value.shape), value.ravel().tolist()]}
    if isinstance(value, InputLayer):
        return {"InputLayer": {name: written(item) for name, item in asdict(value).items()}}
    if isinstance(value, type) and value.__module__ == "numpy":  # such as dtype=numpy.float64
        return {"dtype": np.dtype(value).name}
    if isinstance(value, np.random.RandomState):
        name, key, *rest = value.get_state()
        if name == "MT19937":
            return {"RandomState": [key.tolist(), *rest]}
    raise TypeError(f"a model file holds no {type(value).__name__}")


def read(value, depth=0):
    """Return the value of a parameter from JSON; raise a ValueError or TypeError if it is none."""
    if depth > MOST_DEEP:
        raise ValueError("it has too many levels")
    if value is None or isinstance(value, bool | str) or is_number(value):
        return value
    if not isinstance(value, dict) or len(value) != 1:
        raise ValueError("it must be an object of one field, which names the type")
    ((kind, content),) = value.items()
    if kind not in READERS:
        raise ValueError(f"it must be of a type in {sorted(READERS)}, got {kind!r}")
    return READERS[kind](content, depth + 1)


def _read_list(content, depth):
    if not isinstance(content, list):
        raise ValueError("a list must be a list")
    return [read(item, depth) for item in content]


def _read_dict(content, depth):
    if not (isinstance(content, list) and all(is_list_of(pair, object, 2) for pair in content)):
        raise ValueError("a dict must be a list of pairs")
    return {read(name, depth): read(item, depth) for name, item in content}


def _read_array(content, depth):
    if not is_list_of(content, object, 3):
        raise ValueError("an array must have a dtype, a shape and values")
    dtype, shape, values = content
    if not isinstance(dtype, str) or dtype[1:2] not in tuple("biufU"):
        raise ValueError(f"an array must be of truth values, numbers or strings, got {dtype!r}")
    kinds = {"b": bool, "i": int, "u": int, "f": int | float, "U": str}
    is_good = is_list_of(values, kinds[dtype[1]]) and is_list_of(shape, int)
    if not is_good or (dtype[1] == "U" and int(dtype[2:]) > max(map(len, values), default=1)):
        raise ValueError(f"an array of {dtype!r} must have such values")
    return np.array(values, dtype=dtype).reshape(shape)


def _read_float(content, depth):
    if content not in NOT_FINITE:
        raise ValueError(f"a float must be one of {list(NOT_FINITE)}, got {content!r}")
    return NOT_FINITE[content]


def _read_dtype(content, depth):
    if content not in ("float32", "float64", "int32", "int64"):
        raise ValueError(f"a dtype must be a number's, got {content!r}")
    return np.dtype(content).type


def _read_input_layer(content, depth):
    if not isinstance(content, dict):
        raise ValueError("an InputLayer must be an object")
    return InputLayer(**{name: read(item, depth) for name, item in content.items()})


def _read_random_state(content, depth):
    return random_state_from(content)


def random_state_from(content):
    """Return the RandomState whose state is `content`, as `written` gives it."""
    if not is_list_of(content, object, 4):
        raise ValueError("a RandomState must have four parts")
    key, position, has_gauss, gauss = content
    is_key = is_list_of(key, int, N_WORDS) and all(is_whole(n) and 0 <= n < 2**32 for n in key)
    is_rest = is_whole(position) and 0 <= position <= N_WORDS and has_gauss in (0, 1)
    if not (is_key and is_rest and is_number(gauss)):
        raise ValueError("a RandomState must have a state of MT19937")
    random_state = np.random.RandomState()
    random_state.set_state(("MT19937", np.array(key, np.uint32), position, has_gauss, gauss))
    return random_state


READERS = {
    "list": _read_list,
    "tuple": lambda content, depth: tuple(_read_list(content, depth)),
    "dict": _read_dict,
    "array": _read_array,
    "float": _read_float,
    "dtype": _read_dtype,
    "InputLayer": _read_input_layer,
    "RandomState": _read_random_state,
}


def write_parameters(parts, estimator, left_out=()):
    """Add the parameters of an estimator, which must be valid, to the parts of a model file."""
    estimator._validate_params()
    fields = {}
    for name, value in estimator.get_params(deep=False).items():
        if name in left_out:
            continue
        try:
            fields[name] = written(value)
        except TypeError as error:
            raise ValueError(
                f"{name}={value!r} cannot be written: {error}. Set it to another value first, for "
                f"instance by set_params({name}=None)"
            ) from None
    parts.part("parameters").fields.update(fields)


def read_parameters(fields, cls):
    """Return an estimator of a class with the parameters of a model file."""
    of_parameters = fields.part("parameters")
    known = cls._get_param_names()
    values = {}
    for name in of_parameters.names():
        if name not in known:
            raise of_parameters.error(name, f"must be a parameter of {cls.__name__}: {known}")
        with of_parameters.checks(name):
            values[name] = read(of_parameters.value(name, "a value", lambda it: True))
    with fields.checks("parameters"):
        estimator = cls(**values)
        estimator._validate_params()
    return estimator
