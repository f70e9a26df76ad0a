"""`load` and `save`: model files of everything that can be written to one."""

import os
from typing import Any

from sklearn.pipeline import Pipeline

from fastmlp._engine.model_file import Parts, open_model_file, write_model_file
from fastmlp._engine.network import Network
from fastmlp._estimators.classifier import MLPClassifier
from fastmlp._estimators.regressor import MLPRegressor
from fastmlp._files.pipelines import read_pipeline, write_pipeline
from fastmlp._tabular.classifier import TabularMLPClassifier
from fastmlp._tabular.regressor import TabularMLPRegressor

ESTIMATORS = {
    cls.__name__: cls
    for cls in (MLPClassifier, MLPRegressor, TabularMLPClassifier, TabularMLPRegressor)
}
PIPELINE = "Pipeline"
KINDS = (*ESTIMATORS, Network.__name__, PIPELINE)


def save(model: Any, path: str | os.PathLike[str]) -> None:
    """Write a model to a model file, to be read by `load`.

    For estimators and networks, it is the method ``save``. A fitted `sklearn.pipeline.Pipeline` can
    be written too, if all of its steps are ours or one of 'passthrough', StandardScaler,
    MinMaxScaler, MaxAbsScaler, RobustScaler, SimpleImputer (of numbers), OneHotEncoder and
    OrdinalEncoder. The file is written beside and renamed, so that it is the old one or the new
    one, whole.

    Parameters
    ----------
    model : Network, estimator or Pipeline
        The fitted model.
    path : path-like
        The file. Its usual ending is '.safetensors'.

    Raises
    ------
    TypeError
        If it is no such model.
    ValueError
        If a parameter has a value that no file can hold, such as a function.
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> import fastmlp
    >>> from pathlib import Path
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from tempfile import TemporaryDirectory
    >>> X, y = load_iris(return_X_y=True)
    >>> classifier = fastmlp.MLPClassifier(solver='lbfgs', random_state=0)
    >>> model = make_pipeline(StandardScaler(), classifier).fit(X, y)
    >>> with TemporaryDirectory() as folder:
    ...     fastmlp.save(model, Path(folder, 'iris.safetensors'))
    ...     same = fastmlp.load(Path(folder, 'iris.safetensors'))
    >>> (same.predict(X) == model.predict(X)).all()
    np.True_
    """
    if type(model) in (Network, *ESTIMATORS.values()):
        model.save(path)
    elif type(model) is Pipeline:
        parts = Parts()
        write_pipeline(parts, model, ESTIMATORS)
        write_model_file(path, PIPELINE, parts)
    else:
        raise TypeError(f"model must be one of {list(KINDS)}, got {model!r}")


def load(path: str | os.PathLike[str]) -> Any:
    """Read a model file.

    Reading a file runs no code of it, so that a file from a stranger is safe to load: everything
    in it is checked first. The weights are used where they are, in the memory into which the file
    is mapped, and are not copied. Changing them does not change the file. While the model is in
    use, the file must not be cut or written over in place; `save` replaces it as a whole.

    Parameters
    ----------
    path : path-like
        A file of `save`, of any version of fastmlp up to this one.

    Returns
    -------
    Network, estimator or Pipeline
        The model. Its predictions are the same, bit for bit, where the kernels are; see "How it
        works".

    Raises
    ------
    ModelFileError
        If it is no model file, if it is damaged, or if a newer version has written it. The message
        names the field.
    OSError
        If the file cannot be read.
    ImportError
        If the library safetensors is missing.

    Examples
    --------
    See `save`.
    """
    fields = open_model_file(path)
    kind = fields.choice("kind", KINDS)
    if kind == PIPELINE:
        return read_pipeline(fields, ESTIMATORS)
    return Network._read(fields) if kind == Network.__name__ else ESTIMATORS[kind]._read(fields)
