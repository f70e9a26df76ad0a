"""Pipelines of scikit-learn in model files: the steps that can be written, and how.

Only public attributes are written, so that other versions of scikit-learn can read them. A scaler
has arrays. An imputer and an encoder are fitted anew, on a row or two that give what they had
learned.
"""

import numpy as np
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import (
    MaxAbsScaler,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    RobustScaler,
    StandardScaler,
)
from sklearn.utils.validation import check_is_fitted

from fastmlp._estimators.parameter_values import read_parameters, write_parameters
from fastmlp._estimators.saving import (
    read_feature_names,
    read_labels,
    write_feature_names,
    write_labels,
)

# The attributes of each scaler, a number for each feature. They are there if one of the parameters
# is true that are named; always, if none is.
SCALERS = {
    StandardScaler: {
        "mean_": ("with_mean", "with_std"), "var_": ("with_std",), "scale_": ("with_std",),
    },
    MinMaxScaler: dict.fromkeys(("min_", "scale_", "data_min_", "data_max_", "data_range_"), ()),
    MaxAbsScaler: dict.fromkeys(("max_abs_", "scale_"), ()),
    RobustScaler: {"center_": ("with_centering",), "scale_": ("with_scaling",)},
}  # fmt: skip
ENCODERS = (OneHotEncoder, OrdinalEncoder)
STEPS = {cls.__name__: cls for cls in (*SCALERS, SimpleImputer, *ENCODERS)}
PASSTHROUGH = "passthrough"


def write_pipeline(parts, pipeline, kinds, **options):
    """Add the steps of a fitted pipeline to the parts of a model file.

    ``kinds`` are our own classes by name, and ``options`` are those of their ``_write``.
    """
    check_is_fitted(pipeline)
    _, last = pipeline.steps[-1]
    if type(last).__name__ not in kinds:
        raise ValueError(f"the last step of the pipeline must be one of {[*kinds]}, got {last!r}")
    of_steps = parts.items("steps", len(pipeline.steps))
    for part, (name, step) in zip(of_steps, pipeline.steps, strict=True):
        kind = PASSTHROUGH if step is None or step == PASSTHROUGH else type(step).__name__
        part.add(name=name, kind=kind)
        if type(step) is kinds.get(kind):
            step._write(part, **options)
        elif type(step) is STEPS.get(kind):
            _write_step(part, step)
        elif kind != PASSTHROUGH:
            raise ValueError(
                f"step {name!r} of the pipeline cannot be written: it must be one of "
                f"{sorted([*STEPS, *kinds])} or {PASSTHROUGH!r}, got {step!r}"
            )


def read_pipeline(fields, kinds):
    """Return the pipeline of a model file."""
    steps = []
    for of_step in fields.items("steps"):
        kind = of_step.choice("kind", [*STEPS, *kinds, PASSTHROUGH])
        if kind == PASSTHROUGH:
            step = kind
        elif kind in kinds:
            step = kinds[kind]._read(of_step)
        else:
            step = _read_step(of_step, STEPS[kind])
        steps.append((of_step.text("name"), step))
    if not steps or of_step.choice("kind", [*STEPS, *kinds, PASSTHROUGH]) not in kinds:
        raise fields.error("steps", f"must end with one of {[*kinds]}")
    names = [name for name, _ in steps]
    if len(set(names)) < len(names) or any("__" in name for name in names):
        raise fields.error("steps", f"must have names that differ, without '__', got {names}")
    return Pipeline(steps)


def _write_step(parts, step):
    write_parameters(parts, step)
    write_feature_names(parts, step)
    parts.add(n_features=step.n_features_in_)
    if type(step) in SCALERS:
        _write_scaler(parts, step)
    elif isinstance(step, SimpleImputer):
        _write_imputer(parts, step)
    else:
        _write_encoder(parts, step)


def _read_step(fields, cls):
    step = read_parameters(fields, cls)
    n_features = fields.whole("n_features", 1)
    if cls in SCALERS:
        _read_scaler(fields, step, n_features)
    elif cls is SimpleImputer:
        _read_imputer(fields, step, n_features)
    else:
        _read_encoder(fields, step, n_features)
    step.n_features_in_ = n_features
    read_feature_names(fields, step)
    return step


def _write_scaler(parts, scaler):
    for name in SCALERS[type(scaler)]:
        values = getattr(scaler, name)
        if values is not None:  # a parameter that was set after the fit is an error on reading
            parts.array(name, np.asarray(values, dtype=np.float64))
    if hasattr(scaler, "n_samples_seen_"):
        counts = np.atleast_1d(scaler.n_samples_seen_)
        parts.array("n_samples_seen_", counts.astype(np.int64))


def _read_scaler(fields, scaler, n_features):
    for name, switches in SCALERS[type(scaler)].items():
        is_there = not switches or any(getattr(scaler, switch) for switch in switches)
        values = fields.array(name, "f8", (n_features,), finite=False) if is_there else None
        setattr(scaler, name, values)
    if fields.has_tensor("n_samples_seen_"):
        counts = fields.array("n_samples_seen_", "i8", (None,))
        if len(counts) not in (1, n_features):
            raise fields.error("n_samples_seen_", f"must be one number or {n_features}")
        scaler.n_samples_seen_ = counts[0] if len(counts) == 1 else counts


def _write_imputer(parts, imputer):
    try:
        statistics = np.asarray(imputer.statistics_, dtype=np.float64)
    except ValueError as error:
        raise ValueError(
            f"SimpleImputer cannot be written for strings, only for numbers: {error}"
        ) from None
    parts.array("statistics", statistics)
    indicated = imputer.indicator_.features_ if imputer.add_indicator else []
    parts.array("indicated", np.asarray(indicated, dtype=np.int64))


def _read_imputer(fields, imputer, n_features):
    """Fit the imputer to a row of what it fills in, and one where the indicated are missing."""
    statistics = fields.array("statistics", "f8", (n_features,), finite=False)
    indicated = fields.array("indicated", "i8", (None,))
    if len(indicated) and not 0 <= indicated.min() <= indicated.max() < n_features:
        raise fields.error("indicated", f"must be below {n_features}")
    rows = np.tile(statistics, (2, 1))
    with fields.checks("statistics"):
        rows[1, indicated] = imputer.missing_values
        imputer.fit(rows)


def _write_encoder(parts, encoder):
    is_grouped = any(getattr(encoder, name) for name in ("min_frequency", "max_categories"))
    if is_grouped:
        raise ValueError(
            f"{type(encoder).__name__} cannot be written with min_frequency or max_categories"
        )
    of_features = parts.items("categories", len(encoder.categories_))
    for part, categories in zip(of_features, encoder.categories_, strict=True):
        write_labels(part, categories)


def _read_encoder(fields, encoder, n_features):
    """Fit the encoder to a row, with the categories given."""
    of_features = fields.items("categories")
    if len(of_features) != n_features:
        raise fields.error("categories", f"must be those of {n_features} features")
    categories = [read_labels(part, are_sorted=False) for part in of_features]
    dtypes = {one.dtype for one in categories}
    row = np.empty((1, n_features), dtype=dtypes.pop() if len(dtypes) == 1 else object)
    row[0] = [one[0] for one in categories]
    given = encoder.categories
    with fields.checks("categories"):
        encoder.set_params(categories=categories).fit(row)
    encoder.set_params(categories=given)
    encoder.categories_ = categories  # of their own dtypes, where these are not all the same
