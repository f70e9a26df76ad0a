"""The loss functions: `LOSSES` has an entry for each of them.

The computation itself is in `_core.pyx`, section B.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from fastmlp import _core
from fastmlp._engine.checks import check_loss
from fastmlp._engine.options import Number, Quantiles, with_defaults

# The core receives class indices as float32, which represents integers exactly up to 2**24.
MOST_CLASSES = 2**24

LABEL_SMOOTHING = {"label_smoothing": Number(0.0, "[0, 1)")}

SCALE_Y = (
    "scale y, for instance by sklearn.compose.TransformedTargetRegressor with a StandardScaler"
)


class Targets(NamedTuple):
    """The range of valid targets: an elementwise test, and the words for an error message."""

    are_good: Callable[[np.ndarray], np.ndarray]
    message: str


SHARES = Targets(lambda y: (y >= 0) & (y <= 1), "lie between 0 and 1")
NOT_NEGATIVE = Targets(lambda y: y >= 0, "not be negative")
POSITIVE = Targets(lambda y: y >= np.finfo(y.dtype).tiny, "be positive (and a normal number)")


class Row(NamedTuple):
    """The properties of a loss function.

    Attributes
    ----------
    output_activation : str
        Activation of the output layer, by scikit-learn's name.
    classifier_loss : str or None
        The ``loss`` of MLPClassifier that selects this loss; None for losses of MLPRegressor.
    is_of_classes : bool
        Whether y holds one class index per row.
    targets : Targets or None
        Range of valid targets; None if any number is valid.
    options : dict
        The options in ``loss_params``: name: allowed values.
    power : callable or None
        Takes the options and returns the power of the Tweedie deviance that scores predictions.
        With such a loss the output starts at the mean of y. None if another score is used.
    remedy_of_scale : str or None
        Advice on targets of large magnitude; None if they do no harm.
    """

    output_activation: str
    classifier_loss: str | None = None
    is_of_classes: bool = False
    targets: Targets | None = None
    options: dict[str, Any] = {}
    power: Callable[[dict], float] | None = None
    remedy_of_scale: str | None = None


LOSSES = {
    "log_loss": Row("softmax", "log_loss", is_of_classes=True, options=LABEL_SMOOTHING),
    "binary_log_loss": Row("logistic", "log_loss", targets=SHARES, options=LABEL_SMOOTHING),
    "softmax_squared_error": Row("softmax", "squared_error", is_of_classes=True),
    "logistic_squared_error": Row("logistic", "squared_error", targets=SHARES),
    "squared_error": Row("identity", remedy_of_scale=SCALE_Y),
    "absolute_error": Row("identity"),
    "huber": Row("identity", options={"delta": Number(1.0, "(0, inf)")}),
    "log_cosh": Row("identity"),
    "quantile": Row("identity", options={"quantiles": Quantiles()}),
    "poisson": Row(
        "exp",
        targets=NOT_NEGATIVE,
        remedy_of_scale="divide y by its mean, or take loss='tweedie', which begins at the mean",
    ),
    "gamma": Row("exp", targets=POSITIVE, power=lambda options: 2.0),
    "tweedie": Row(
        "exp",
        targets=NOT_NEGATIVE,
        options={"power": Number(1.5, "(1, 2)")},
        power=lambda options: options["power"],
    ),
}

# A loss function defined by the user.
CUSTOM = Row("identity")

LOSSES_OF_REGRESSOR = [name for name, row in LOSSES.items() if row.classifier_loss is None]
LOSSES_OF_CLASSIFIER = list(
    dict.fromkeys(row.classifier_loss for row in LOSSES.values() if row.classifier_loss)
)


def loss_of_classifier(name, *, one_class_of_several):
    """Return the network's loss for a classifier's ``loss`` and the type of its targets."""
    (loss,) = (
        loss
        for loss, row in LOSSES.items()
        if row.classifier_loss == name and row.is_of_classes == one_class_of_several
    )
    return loss


def row_of(loss):
    """Return the properties of a loss, given as a name or a function."""
    check_loss(loss)
    return CUSTOM if callable(loss) else LOSSES[loss]


def loss_options(loss, given, shown=None):
    """Check the given options of a loss and add the defaults of the others.

    Error messages call the loss ``shown``, or by its name if that is None.
    """
    return with_defaults("loss_params", shown or loss, given, row_of(loss).options)


class Loss:
    """A loss with its options, for a network with ``n_outputs`` outputs.

    Attributes
    ----------
    name : str or callable
    function : callable or None
        The user's function, if the loss is one.
    params : dict
        All options of the loss.
    row : Row
        The properties of the loss.
    n_targets : int
        Number of columns of y.
    for_core : tuple
        The loss's number in the core, and its options in an array that is never empty.
    """

    def __init__(self, name, params, n_outputs):
        self.name = name
        self.function = name if callable(name) else None
        self.row = row_of(name)
        self.params = loss_options(name, params)
        if self.row.is_of_classes and n_outputs > MOST_CLASSES:
            raise ValueError(f"layer_sizes: at most {MOST_CLASSES} classes, got {n_outputs}")
        if self.n_quantiles not in (1, n_outputs):
            raise ValueError(
                f"layer_sizes must end with {self.n_quantiles} outputs, one for each quantile, "
                f"got {n_outputs}"
            )
        has_one_target = self.row.is_of_classes or self.n_quantiles > 1
        self.n_targets = 1 if has_one_target else n_outputs
        self.n_outputs = n_outputs
        self.for_core = self._kind_and_options()

    def __reduce__(self):
        return Loss, (self.name, self.params, self.n_outputs)

    @property
    def n_quantiles(self):
        return len(self.params.get("quantiles", (0.5,)))

    def _kind_and_options(self):
        given = [np.ravel(value) for value in self.params.values()]
        numbers = np.concatenate([*given, [0.0]])[: max(1, sum(map(len, given)))]
        kind = _core.LOSSES[self.name] if self.function is None else _core.CUSTOM_LOSS
        return kind, numbers

    def check_targets(self, y):
        """Raise unless all values of y are valid targets."""
        if self.row.is_of_classes:
            is_class = (y >= 0) & (y < self.n_outputs) & (y == y.round())
            if not is_class.all():
                raise ValueError(
                    f"y must be whole numbers from 0 to {self.n_outputs - 1} for {self.name!r}"
                )
        if self.row.targets and not self.row.targets.are_good(y).all():
            raise ValueError(f"y must {self.row.targets.message} for {self.name!r}")
