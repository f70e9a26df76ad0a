"""Validation of the parameters: one by one, and against the network and the rows."""

import operator
from dataclasses import replace

from fastmlp._engine.checks import check_activation, check_layer_sizes
from fastmlp._engine.losses import loss_options
from fastmlp._engine.warnings import warn
from fastmlp._estimators.parameters import CONSTRAINTS, changed_parameters
from fastmlp._estimators.sklearn_private import validate_parameter_constraints
from fastmlp._training.solvers import solver_row

LARGEST_AUTO_BATCH = 200


class CheckedParameters:
    """Mixin that validates the parameters of an estimator.

    Attributes
    ----------
    _checked_parameters : tuple
        The values of all parameters, which are valid and those of the network and of the solver.
        While they are the same objects, ``partial_fit`` need not validate them again. The attribute
        is missing if a value could change in place.
    """

    _parameter_constraints: dict = CONSTRAINTS

    def _validate_params(self):
        """Validate the parameters that are not at their defaults, as scikit-learn does.

        scikit-learn validates all of them, which takes half as long as a small fit.
        """
        constraints, changed = self._parameter_constraints, changed_parameters(self)
        name = type(self).__name__
        validate_parameter_constraints(constraints, changed, caller_name=name)

    def _validate_params_once(self):
        """Validate the parameters, unless they are those of the last fit.

        This is for `partial_fit` (bench/figures.md: known-parameters).
        """
        checked = vars(self).get("_checked_parameters")
        if checked is None or not all(map(operator.is_, checked, self._parameters())):
            self._forget(["_checked_parameters"])
            self._validate_params()

    def _parameters(self):
        """Return the values of all parameters."""
        return tuple(map(vars(self).__getitem__, self._parameter_constraints))

    def _remember_parameters(self):
        """Set ``_checked_parameters``: they are valid, and those of the network and the solver.

        A list, a dict or an array could change in place. They cannot be hashed.
        """
        if "_checked_parameters" in vars(self):
            return
        parameters = self._parameters()
        try:
            hash(parameters)
        except TypeError:
            return
        self._checked_parameters = parameters

    def _check_hidden_layer_sizes(self):
        sizes = self.hidden_layer_sizes
        return check_layer_sizes(
            sizes if hasattr(sizes, "__iter__") else [sizes], "hidden_layer_sizes"
        )

    def _check_structure(self, layer_sizes, dtype):
        """Raise if the parameters do not match the structure of the existing network."""
        loss = self._network_loss()
        given = {
            "layer_sizes": layer_sizes,
            "activation": check_activation(self.activation, len(layer_sizes) - 2),
            "loss": loss,
            "loss_params": loss_options(loss, self.loss_params),
            "layer_norm": bool(self.layer_norm),
            "residual": bool(self.residual),
            "learned_activation": bool(self.learned_activation),
            "parametrization": self.parametrization,
            "input_layer": self._input_layer_of(self._network),
            "dtype": dtype,
        }
        other = [name for name in given if given[name] != getattr(self._network, name)]
        if not self._network.has_connections(self.connections):
            other.append("connections")
        if other:
            asked = ", ".join(f"{name}={given[name]!r}" for name in other if name in given)
            raise ValueError(
                "warm_start and partial_fit go on with the network that is there, and so cannot "
                "change hidden_layer_sizes, activation, loss, loss_params, layer_norm, residual, "
                "learned_activation, parametrization, input_layer, "
                f"connections, dtype or the number of outputs: it is {self._network!r}, others are "
                f"{asked or 'the connections'}"
            )

    def _input_layer_of(self, network):
        """Return the parameter ``input_layer`` as it would be in an existing network."""
        layer, theirs = self.input_layer, network.input_layer
        if layer is None or theirs is None:
            return layer
        learned = {
            name: getattr(theirs, name)
            for name in ("n_categories", "bin_edges")
            if isinstance(getattr(layer, name), str)
        }
        names = getattr(self, "feature_names_in_", None)
        try:
            return replace(layer, **learned).of_columns(network.layer_sizes[0], names)
        except ValueError:  # what the network has learned is for other columns
            return layer

    def _check_batch_size(self, n_rows):
        if solver_row(self.solver).is_full_batch:
            is_smaller = self.batch_size != "auto" and self.batch_size < n_rows
            if is_smaller and self.solver != "lbfgs":  # which ignores it, as in scikit-learn
                raise ValueError(
                    f"solver={self.solver!r} takes all rows at a time: batch_size must be 'auto', "
                    f"got {self.batch_size}"
                )
            return n_rows
        if self.batch_size == "auto":
            return min(LARGEST_AUTO_BATCH, n_rows)
        if self.batch_size > n_rows:
            warn(
                f"Got `batch_size` less than 1 or larger than sample size: {self.batch_size} for "
                f"{n_rows} rows. It is going to be clipped."
            )
        return min(int(self.batch_size), n_rows)
