from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

# Of float32 or float64, all arrays of a network alike.
_Numbers: TypeAlias = NDArray[np.float32] | NDArray[np.float64]
_Rows: TypeAlias = NDArray[np.intp]
_Table: TypeAlias = NDArray[np.void]

ACTIVATIONS: dict[str, tuple[int, bool]]
LOSSES: dict[str, int]
CUSTOM_LOSS: int
ROWS_IN_BLOCK: int
PARAMETERS_IN_PIECE: int
NUMBERS_IN_PART: int
SOLVERS: dict[str, tuple[int, int]]
LAYER: np.dtype[np.void]
BLOCK: np.dtype[np.void]
COLUMN: np.dtype[np.void]
COLUMN_KINDS: dict[str, int]
MOST_FREQUENCIES_OF_NUMBER: int
WEIGHTS_OF_LAYER: int
SOLVER: np.dtype[np.void]
REGULARIZER: np.dtype[np.void]

class Model:
    def __init__(
        self,
        layers: _Table,
        blocks: _Table,
        loss_kind: int,
        loss_params: NDArray[np.float64],
        params: _Numbers,
        connections: _Numbers,
        function: Callable[..., Any] | None = None,
        columns: _Table | None = None,
        bins: _Numbers | None = None,
    ) -> None: ...
    def with_params(self, params: _Numbers) -> Model: ...

class CustomLoss:
    def __init__(self, function: Callable[..., Any]) -> None: ...

class Workspace:
    layers: _Table
    memory: _Numbers
    capacity: int
    def __init__(self, layers: _Table, memory: _Numbers, capacity: int) -> None: ...

class Samples:
    def __init__(
        self,
        X: _Numbers,
        indices: _Rows,
        indptr: _Rows,
        y: _Numbers | None = None,
        sample_weight: _Numbers | None = None,
    ) -> None: ...

class Step:
    row_loss: NDArray[np.float64]
    penalty: NDArray[np.float64]
    def __init__(
        self,
        model: Model,
        work: Workspace,
        solver: _Table,
        regularizer: _Table,
        state: _Numbers,
        average: _Numbers,
        gradient: _Numbers,
    ) -> None: ...
    @property
    def loss(self) -> float: ...
    @property
    def key(self) -> int: ...

class Gradient:
    numbers: _Numbers
    row_loss: NDArray[np.float64]
    penalty: NDArray[np.float64]
    def __init__(
        self,
        model: Model,
        work: Workspace,
        numbers: _Numbers,
        scale: float,
        penalties: tuple[float, float] = (0, 0),
        key: int = 0,
        dropout_factor: float = 1,
        place: int = 0,
    ) -> None: ...
    @property
    def loss(self) -> float: ...

class Curvature:
    def __init__(self, pairs: NDArray[np.float64]) -> None: ...
    @property
    def n_pairs(self) -> int: ...
    def forget(self) -> None: ...
    def add(
        self,
        direction: NDArray[np.float64],
        step: float,
        before: NDArray[np.float64],
        after: NDArray[np.float64],
    ) -> None: ...
    def direction(
        self, gradient: NDArray[np.float64], out: NDArray[np.float64], n_threads: int
    ) -> None: ...
    def product(self, a: NDArray[np.float64], b: NDArray[np.float64], n_threads: int) -> float: ...

class Predictor:
    def __init__(
        self,
        model: Model,
        layers: _Table,
        new_workspace: Callable[[int], _Numbers],
    ) -> None: ...
    def __call__(
        self, X: object, out: _Numbers | None = None, n_threads: int = 1
    ) -> _Numbers | None: ...

class Mixture:
    def __init__(
        self,
        predictors: Iterable[Predictor],
        weights: Sequence[float],
        new_workspace: Callable[[int], _Numbers],
    ) -> None: ...
    def __call__(self, X: object, n_threads: int = 1) -> NDArray[np.float64] | None: ...

def largest_of(numbers: object) -> float: ...
def interpolate(
    X: NDArray[np.float64],
    knots: NDArray[np.float64],
    heights: NDArray[np.float64],
    ends: _Rows,
    out: NDArray[np.float64],
) -> None: ...
def shuffle(order: _Rows, bit_generator: Any) -> None: ...
def scale_of_rows(model: Model, work: Workspace, samples: Samples, order: _Rows) -> float: ...
def train(
    model: Model,
    work: Workspace,
    samples: Samples,
    order: _Rows,
    batch_size: int,
    schedule: NDArray[np.float64],
    step: Step,
    n_threads: int,
) -> None: ...
def rehearse(
    model: Model,
    work: Workspace,
    samples: Samples,
    order: _Rows,
    batch_size: int,
    schedule: NDArray[np.float64],
    step: Step,
    times: NDArray[np.float64],
) -> None: ...
def apply_gradient(
    model: Model, step: Step, schedule: NDArray[np.float64], n_threads: int
) -> None: ...
def add_gradient(
    model: Model,
    work: Workspace,
    samples: Samples,
    order: _Rows,
    gradient: Gradient,
    with_penalties: bool,
    n_threads: int,
) -> None: ...
def evaluate(
    model: Model,
    work: Workspace,
    samples: Samples,
    order: _Rows,
    scale: float,
    out: _Numbers,
    row_loss: NDArray[np.float64],
    n_threads: int,
) -> None: ...
def forward(
    model: Model, work: Workspace, samples: Samples, out: _Numbers, n_threads: int
) -> None: ...
def widen(model: Model, work: Workspace, out: NDArray[np.float64]) -> None: ...
def seconds_of_product(
    equation: int, model: Model, work: Workspace, gradient: Gradient, n_times: int
) -> float: ...
def seconds_of_barrier(n_threads: int, n_times: int) -> float: ...
def set_spin_time(microseconds: float) -> None: ...
def let_threads_be_bound(is_allowed: bool) -> None: ...
def use_kernels(name: str | None = None, argument: str = "kernels") -> None: ...
def kernel_names() -> list[str]: ...
def kernels_in_use() -> str: ...
def compiler() -> str: ...
def uses_blas() -> bool: ...
