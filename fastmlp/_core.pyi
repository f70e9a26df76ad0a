from collections.abc import Callable
from typing import TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

real = TypeVar("real", np.float32, np.float64)
Table: TypeAlias = NDArray[np.void]

ACTIVATIONS: dict[str, tuple[int, bool]]
LOSSES: dict[str, int]
SOLVERS: dict[str, tuple[int, int]]
LAYER: np.dtype[np.void]
BLOCK: np.dtype[np.void]
SOLVER: np.dtype[np.void]
REGULARIZER: np.dtype[np.void]

def train(
    layers: Table,
    blocks: Table,
    loss_kind: int,
    loss_params: NDArray[np.float64],
    params: NDArray[real],
    average: NDArray[real],
    connections: NDArray[real],
    gradient: NDArray[real],
    state: NDArray[real],
    work: NDArray[real],
    X: NDArray[real],
    indices: NDArray[np.intp],
    indptr: NDArray[np.intp],
    y: NDArray[real],
    sample_weight: NDArray[real],
    order: NDArray[np.intp],
    batch_size: int,
    capacity: int,
    block_rows: int,
    learning_rates: NDArray[np.float64],
    regularizer: Table,
    solver: Table,
    row_loss: NDArray[np.float64],
    penalty: NDArray[np.float64],
    squares: NDArray[np.float64],
    n_threads: int,
) -> None: ...
def add_gradient(
    layers: Table,
    blocks: Table,
    loss_kind: int,
    loss_params: NDArray[np.float64],
    params: NDArray[real],
    connections: NDArray[real],
    gradient: NDArray[real],
    work: NDArray[real],
    X: NDArray[real],
    indices: NDArray[np.intp],
    indptr: NDArray[np.intp],
    y: NDArray[real],
    sample_weight: NDArray[real],
    order: NDArray[np.intp],
    capacity: int,
    block_rows: int,
    scale: float,
    l1: float,
    l2: float,
    adds_up: bool,
    row_loss: NDArray[np.float64],
    penalty: NDArray[np.float64],
    n_threads: int,
) -> None: ...
def evaluate(
    layers: Table,
    loss_kind: int,
    loss_params: NDArray[np.float64],
    params: NDArray[real],
    work: NDArray[real],
    X: NDArray[real],
    indices: NDArray[np.intp],
    indptr: NDArray[np.intp],
    y: NDArray[real],
    sample_weight: NDArray[real],
    order: NDArray[np.intp],
    capacity: int,
    block_rows: int,
    scale: float,
    out: NDArray[real],
    row_loss: NDArray[np.float64],
    n_threads: int,
) -> None: ...
def forward(
    layers: Table,
    loss_kind: int,
    loss_params: NDArray[np.float64],
    params: NDArray[real],
    work: NDArray[real],
    X: NDArray[real],
    indices: NDArray[np.intp],
    indptr: NDArray[np.intp],
    out: NDArray[real],
    capacity: int,
    block_rows: int,
    n_threads: int,
) -> None: ...
def be_patient(microseconds: float) -> None: ...

class Predictor:
    def __init__(
        self,
        layers: Table,
        loss_kind: int,
        loss_params: NDArray[np.float64],
        params: NDArray[real],
        block_rows: int,
        new_workspace: Callable[[int], NDArray[real]],
    ) -> None: ...
    def __call__(
        self,
        X: object,
        out: NDArray[np.floating] | None = None,
        n_threads: int = 1,
    ) -> NDArray[np.floating] | None: ...

def widen(
    layers: Table,
    loss_kind: int,
    loss_params: NDArray[np.float64],
    work: NDArray[np.float32],
    out: NDArray[np.float64],
    capacity: int,
) -> None: ...
def use_kernels(name: str | None = None, argument: str = "kernels") -> None: ...
def kernel_names() -> list[str]: ...
def kernels_in_use() -> str: ...
def uses_blas() -> bool: ...
def seconds_of_product(
    equation: int,
    layers: Table,
    params: NDArray[real],
    gradient: NDArray[real],
    work: NDArray[real],
    n: int,
    n_times: int,
) -> float: ...
