"""`Conversions`: networks as modules of PyTorch, and as a function in C."""

import os
from collections.abc import Callable, Mapping
from typing import Any, Self

from fastmlp._engine.c_source import Source, write_source
from fastmlp._engine.structure import Array
from fastmlp._engine.torch_modules import Stack, stack_of


class Conversions:
    """Mixin of `Network` with its conversions."""

    @classmethod
    def from_torch(
        cls,
        module: Any,
        loss: str | Callable[[Array, Array], tuple[Array, Array]] | None = None,
        *,
        loss_params: Mapping[str, Any] | None = None,
        n_threads: int | None = None,
    ) -> Self:
        """Convert a stack of PyTorch's modules.

        Parameters
        ----------
        module : torch.nn.Sequential
            Linear layers. Each but the last may be followed by LayerNorm, an activation and
            Dropout, which has no effect here. Behind the last one may be Softmax or Sigmoid.
        loss : str or callable, default=None
            The loss, which decides the activation of the output. By default, it is 'log_loss' if
            the stack ends with Softmax, 'binary_log_loss' with Sigmoid, and otherwise
            'squared_error'.
        loss_params : dict or None, default=None
            Options of the loss; see `Network`.
        n_threads : int or None, default=None
            Number of threads of the network.

        Returns
        -------
        Network
            A network with copies of the parameters, in their dtype.

        Raises
        ------
        ValueError
            If a module has no counterpart; the message shows it.

        Examples
        --------
        >>> import torch  # doctest: +SKIP
        >>> stack = torch.nn.Sequential(
        ...     torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3)
        ... )  # doctest: +SKIP
        >>> Network.from_torch(stack, loss='log_loss').output([[1, 2, 3, 4]])  # doctest: +SKIP
        """
        stack = Stack(module)
        network = cls(**stack.arguments(loss), loss_params=loss_params, n_threads=n_threads)
        stack.fill(network)
        return network

    def to_torch(self) -> Any:
        """Convert to a stack of PyTorch's modules, for evaluation.

        Returns
        -------
        torch.nn.Sequential
            Modules with copies of the parameters. For a classifier, the last one is Softmax or
            Sigmoid; leave it out (``stack[:-1]``) to train with a loss that takes logits.

        Raises
        ------
        ValueError
            For residual connections, learned activations, an input layer, and losses whose output
            activation PyTorch has no module for.

        Examples
        --------
        >>> from fastmlp import Network
        >>> Network([4, 8, 3], 'gelu', 'log_loss').to_torch()  # doctest: +SKIP
        """
        return stack_of(self)

    def to_c(self, path: str | os.PathLike[str] | None = None, name: str = "network") -> str:
        """Write the network as a function in C99, which neither allocates nor needs anything else.

        The function is ``void network_predict(const float *x, float *out)``, with double in place
        of float for a network in float64. It computes what `output` does, up to rounding: the sums
        are in the same order, but the functions of math.h differ in the last digits.

        Parameters
        ----------
        path : path-like, default=None
            The file to write. None writes none.
        name : str, default='network'
            The beginning of all names in the source.

        Returns
        -------
        str
            The source.

        Raises
        ------
        ValueError
            If the name is no identifier.

        Examples
        --------
        >>> from fastmlp import Network
        >>> source = Network([2, 3, 1], random_state=0).to_c()
        >>> 'void network_predict(const REAL *x, REAL *out)' in source
        True
        """
        return write_source(Source(self, name), path)
