"""Type aliases of the public interface."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "Array",
    "ArrayLike",
    "Callback",
    "ClassWeight",
    "CustomLoss",
    "Init",
    "MatrixLike",
    "NDArray",
    "Options",
    "Pairs",
    "Scoring",
    "Sequence",
]  # fmt: skip

Array: TypeAlias = NDArray[Any]
# Arrays, lists, sparse matrices and data frames have no common type.
MatrixLike: TypeAlias = Any
# Validation sets: X_val, or a list of (X, y)
Pairs: TypeAlias = MatrixLike | Sequence[tuple[MatrixLike, ArrayLike]] | None
Options: TypeAlias = Mapping[str, Any]
# f(estimator, state), or a callback of scikit-learn
Callback: TypeAlias = Any
# A name, or f(estimator, X, y)
Scoring: TypeAlias = str | Callable[..., float]
ClassWeight: TypeAlias = Mapping[Any, float]
# f(y, z) -> the loss of each row, and its derivatives with respect to z
CustomLoss: TypeAlias = Callable[[Array, Array], tuple[Array, Array]]
# A name, or f(shape, random_state); None initializes as scikit-learn does
Init: TypeAlias = str | Callable[[tuple[int, int], np.random.RandomState], ArrayLike] | None
