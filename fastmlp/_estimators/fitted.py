"""Outputs, activations and weights of a fitted estimator."""

from collections.abc import Iterable
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from fastmlp._engine.rows import Features, with_valid_indices
from fastmlp._engine.threads import check_n_threads
from fastmlp._estimators.concurrency import FittedAside, on_published_state
from fastmlp._estimators.types import Array, ArrayLike, MatrixLike


class FittedNetwork(FittedAside):
    """An estimator that has a network once it is fitted."""

    def __sklearn_is_fitted__(self):
        return "_network" in vars(self._as_published())

    def _output(self, X):
        """Return the network's output for X, of shape (n_samples, n_outputs_)."""
        network = self._network_for_rows()
        if "feature_names_in_" not in vars(self):
            # Much faster than scikit-learn's checks (a twentieth of their time). They are used only
            # if the core cannot take X as it is.
            output = network.passes.output_of_array(X)
            if output is not None:
                return output
        return network.output(self._validate((np.float64, np.float32), X, reset=False))

    def _network_for_rows(self):
        """Return the fitted network, with the current value of ``n_threads``."""
        network = self._fitted_network()
        passes = network.passes
        if passes.n_threads is not self.n_threads:
            check_n_threads(self.n_threads)
            passes.n_threads = self.n_threads
        return network

    def _features(self, X, network):
        X = self._validate(network.dtype, X, reset=False)
        network.passes.check_columns(X)
        return Features.of(with_valid_indices(X))

    @on_published_state
    def activations(self, X: MatrixLike, layer: int | None = None) -> Any:
        """Compute the activations of the layers for X.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            The inputs.
        layer : int or None, default=None
            Index of the layer: 0 for the first hidden layer, -1 for the output layer. None
            returns all layers.

        Returns
        -------
        ndarray of shape (n_samples, n_nodes), or a list of them
            The activations of the layer, or of all layers in the order of ``coefs_``.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from fastmlp import MLPClassifier
        >>> X, y = load_iris(return_X_y=True)
        >>> classifier = MLPClassifier((20, 5), solver='lbfgs', max_iter=1000, random_state=0)
        >>> classifier = classifier.fit(X, y)
        >>> classifier.activations(X, layer=1).shape
        (150, 5)
        """
        network = self._network_for_rows()
        features = self._features(X, network)
        if layer is None:
            return network.passes.activations(features, range(network.n_layers))
        if not isinstance(layer, Integral) or not -network.n_layers <= layer < network.n_layers:
            raise ValueError(
                f"layer must be None or a whole number from {-network.n_layers} to "
                f"{network.n_layers - 1}, got {layer!r}"
            )
        return network.passes.activations(features, [layer % network.n_layers])[0]

    @property
    def coefs_(self) -> list[Array]:
        return self._as_published()._fitted_network("coefs_").W

    @coefs_.setter
    def coefs_(self, coefs: Iterable[ArrayLike]) -> None:
        network = self._as_published()._fitted_network("coefs_")
        network.params = self._pairs(coefs, network.b)

    @property
    def intercepts_(self) -> list[Array]:
        return self._as_published()._fitted_network("intercepts_").b

    @intercepts_.setter
    def intercepts_(self, intercepts: Iterable[ArrayLike]) -> None:
        network = self._as_published()._fitted_network("intercepts_")
        network.params = self._pairs(network.W, intercepts)

    @property
    def norms_(self) -> list[tuple[Array, Array] | None]:
        network = self._as_published()._fitted_network("norms_")
        if not network.layer_norm:
            raise AttributeError("there are norms_ with layer_norm=True only")
        return network.norms

    @property
    def input_parameters_(self) -> dict[str, Array]:
        network = self._as_published()._fitted_network("input_parameters_")
        if network.input_layer is None:
            raise AttributeError("there are input_parameters_ with an input_layer only")
        return network.input_parameters

    @property
    def mixes_(self) -> list[Array | None]:
        network = self._as_published()._fitted_network("mixes_")
        if not network.learned_activation:
            raise AttributeError("there are mixes_ with learned_activation=True only")
        return network.mixes

    @staticmethod
    def _pairs(coefs, intercepts):
        coefs, intercepts = list(coefs), list(intercepts)
        if len(coefs) != len(intercepts):
            raise ValueError(
                "coefs_ and intercepts_ must have an array for each layer, got "
                f"{len(coefs)} and {len(intercepts)}"
            )
        return zip(coefs, intercepts, strict=True)

    def __network__(self):
        """Return the fitted network, for what reads it without rows."""
        return self._fitted_network()

    def _fitted_network(self, attribute=None):
        network = vars(self).get("_network")
        if network is None and attribute:
            raise AttributeError(f"{type(self).__name__} has no {attribute} before it is fitted")
        if network is None:
            check_is_fitted(self)
        return network
