"""The settings of a network of the ensemble, and how they are drawn at random."""

import math
from typing import NamedTuple

from fastmlp._engine.input_layer import InputLayer

# Tables with fewer rows have more members and folds, smaller mini-batches and more epochs.
FEW_ROWS = 5_000
MANY_ROWS = 20_000

# Categories of more values are embedded.
MOST_ONE_HOT = 1_000


class Settings(NamedTuple):
    """The settings of a network and of its training.

    Attributes
    ----------
    hidden_layer_sizes : tuple of int
    activation : str
    layer_norm : bool
    has_ranks : bool
        Whether the inputs include the quantile maps of the numbers.
    n_bins : int
        Number of bins of each number in the piecewise linear encoding; 0 for the numbers alone.
    input_layer : InputLayer
        The other options of the input layer.
    learned_activation : bool
    parametrization : str
        As in `MLPClassifier`.
    label_smoothing : float
        For classification.
    learning_rate : float
        Initial learning rate of AdamW.
    schedule : {'constant', 'cosine', 'coslog4'}
    beta_2, weight_decay, averaging : float
        As in `MLPClassifier`.
    rates : tuple of (str, float)
        ``learning_rate_factors`` of `MLPClassifier`.
    dropout : float
    dropout_schedule, weight_decay_schedule : str
        As in `MLPClassifier`.
    batch_size : int
        Upper limit of the rows in a mini-batch.
    n_epochs : int
        Upper limit of the number of epochs, and the length of the schedule.
    patience : int
        The training ends after so many epochs without a lower loss on the selection rows.
    """

    hidden_layer_sizes: tuple = (128, 128)
    activation: str = "silu"
    layer_norm: bool = False
    has_ranks: bool = True
    n_bins: int = 16
    input_layer: InputLayer = InputLayer(one_hot_max_size=MOST_ONE_HOT)
    learned_activation: bool = False
    parametrization: str = "standard"
    label_smoothing: float = 0.0
    learning_rate: float = 3e-3
    schedule: str = "cosine"
    beta_2: float = 0.95
    weight_decay: float = 0.02
    averaging: float = 0.99
    rates: tuple = ()
    dropout: float = 0.1
    dropout_schedule: str = "constant"
    weight_decay_schedule: str = "constant"
    batch_size: int = 64
    n_epochs: int = 60
    patience: int = 16

    def of_descent(self):
        """Return the settings of `Descent`."""
        n_hidden = len(self.hidden_layer_sizes)
        return {
            "learning_rate": self.learning_rate,
            "schedule": self.schedule,
            "schedule_params": {"warmup": 0}
            | ({"final": 0.0} if self.schedule == "cosine" else {}),
            "n_epochs": self.n_epochs,
            "beta_2": self.beta_2,
            "weight_decay": self.weight_decay,
            "averaging": self.averaging,
            "dropout": (0.0, *[self.dropout] * n_hidden),
            "dropout_schedule": self.dropout_schedule,
            "weight_decay_schedule": self.weight_decay_schedule,
            **{f"{kind}_rate": factor for kind, factor in self.rates},
        }


def draw_settings(random_state, n_rows):
    """Draw the settings of a network for a table with so many rows."""
    are_few = n_rows < FEW_ROWS
    width = _one_of(random_state, (64, 64, 128))
    depth = _one_of(random_state, (1, 2, 3))
    return Settings(
        hidden_layer_sizes=(width,) * depth,
        activation=_one_of(random_state, ("silu", "silu", "relu")),
        layer_norm=_one_of(random_state, (False, True)),
        n_bins=_one_of(random_state, (0, 16, 16) if n_rows >= MANY_ROWS else (0, 0, 8, 16, 16, 32)),
        label_smoothing=_one_of(random_state, (0.0, 0.05)),
        learning_rate=_log_uniform(random_state, 2e-3, 1.5e-2),
        weight_decay=_log_uniform(random_state, 1e-2, 1.0),
        dropout=_one_of(random_state, (0.0, 1.0)) * random_state.uniform(0, 0.4),
        batch_size=32 if are_few else 64 if n_rows < MANY_ROWS else 128,
        n_epochs=60 if are_few else 30,
        patience=16 if are_few else 6,
    )


class Plan(NamedTuple):
    """How many candidates are trained for how long.

    Attributes
    ----------
    n_members : int
        Number of candidates by default.
    rounds : tuple of (int, float)
        Successive halving on the first split (Jamieson and Talwalkar, AISTATS 2016): after so many
        epochs, this share of all candidates goes on.
    shares : tuple of float
        The shares of all candidates that are trained on the second split, and on the others.
    n_splits : int
        Of the folds, so many are set aside in turn.
    """

    n_members: int
    rounds: tuple
    shares: tuple
    n_splits: int

    @classmethod
    def of(cls, n_rows):
        """Return the plan for a table with so many rows."""
        if n_rows < FEW_ROWS:
            return cls(32, rounds=(), shares=(0.375, 0.25), n_splits=5)
        return cls(24, rounds=((1, 0.5), (3, 0.2)), shares=(0.17, 0.17), n_splits=4)


def _one_of(random_state, values):
    return values[random_state.randint(len(values))]


def _log_uniform(random_state, low, high):
    return math.exp(random_state.uniform(math.log(low), math.log(high)))


def realmlp(*, is_regression):
    """Return RealMLP's defaults: Holzmueller, Grinsztajn and Steinwart, NeurIPS 2024.

    Its initial biases and the scaling of its initial weights, which depend on the data, are not
    here: weights are standard normal in the NTK parametrization, and biases are 0.
    """
    return Settings(
        hidden_layer_sizes=(256, 256, 256),
        activation="mish" if is_regression else "selu",
        has_ranks=False,
        n_bins=0,
        input_layer=InputLayer(numeric_embedding="pbld", scaling=True),
        learned_activation=True,
        parametrization="ntk",
        label_smoothing=0.0 if is_regression else 0.1,
        learning_rate=0.2 if is_regression else 0.04,
        schedule="coslog4",
        averaging=0.0,
        rates=(("bias", 0.1), ("scale", 6.0), ("activation", 0.1), ("embedding", 0.1)),
        dropout=0.15,
        dropout_schedule="flat_cosine",
        weight_decay_schedule="flat_cosine",
        batch_size=256,
        n_epochs=256,
        patience=256,
    )
