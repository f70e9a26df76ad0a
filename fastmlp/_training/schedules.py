"""Learning-rate schedules: a factor for each step, as a function of the epochs before it.

Each schedule is a function with an entry in `SCHEDULES`. 'invscaling', 'adaptive' and 'plateau'
depend on the course of the training and are implemented in `Descent`.
"""

import numpy as np

from fastmlp._engine.options import Number

WARMUP = {"warmup": Number(0, "[0, inf)")}


def constant(epochs, n_epochs):
    return np.ones_like(epochs)


def step(epochs, n_epochs, step_size, gamma):
    """Multiply by gamma every step_size epochs."""
    return gamma ** np.floor(epochs / step_size)


def exponential(epochs, n_epochs, gamma):
    """Multiply by gamma every epoch."""
    return gamma ** np.floor(epochs)


def cosine(epochs, n_epochs, final):
    """Half a cosine wave from 1 to `final`: Loshchilov and Hutter, ICLR 2017, without restarts."""
    return final + (1 - final) * (1 + np.cos(np.pi * np.minimum(epochs / n_epochs, 1))) / 2


def flat_cosine(epochs, n_epochs):
    """1 in the first half, then half a cosine wave from 1 to 0.

    Holzmueller, Grinsztajn and Steinwart, Better by default, NeurIPS 2024.
    """
    return cosine(np.maximum(2 * epochs - n_epochs, 0), n_epochs, 0)


def cosine_restarts(epochs, n_epochs, period, multiplier, final):
    """Repeated cosine periods from 1 to `final`, each `multiplier` times as long as the last.

    Loshchilov and Hutter, SGDR, ICLR 2017.
    """
    if multiplier == 1:
        return cosine(epochs % period, period, final)
    # 1e-9 keeps a step at a restart from being rounded down into the previous period.
    n_before = np.floor(np.log1p(epochs / period * (multiplier - 1)) / np.log(multiplier) + 1e-9)
    began = period * (multiplier**n_before - 1) / (multiplier - 1)
    return cosine(np.maximum(epochs - began, 0), period * multiplier**n_before, final)


def one_cycle(epochs, n_epochs, peak_at, start, final):
    """Rise from `start` to 1 until a fraction `peak_at` of all epochs, then fall to `final`.

    Both parts follow a cosine. Smith and Topin, Super-convergence, 2018, but without changing the
    momentum.
    """
    done = np.minimum(epochs / n_epochs, 1)
    up = start + (1 - start) * (1 - np.cos(np.pi * np.minimum(done / peak_at, 1))) / 2
    return np.where(done < peak_at, up, cosine(done - peak_at, 1 - peak_at, final))


def coslog4(epochs, n_epochs):
    """Four cosine waves from 0 to 1 and back, each twice as long as the last.

    Holzmueller, Grinsztajn and Steinwart, Better by default, NeurIPS 2024.
    """
    done = np.minimum(epochs / n_epochs, 1)
    return (1 - np.cos(2 * np.pi * np.log2(1 + 15 * done))) / 2


# name: (function, its options)
SCHEDULES = {
    "constant": (constant, {}),
    "invscaling": (constant, {}),
    "adaptive": (constant, {}),
    "step": (step, {"step_size": Number(30, "(0, inf)"), "gamma": Number(0.1, "(0, 1]")}),
    "exponential": (exponential, {"gamma": Number(0.95, "(0, 1]")}),
    "cosine": (cosine, {"final": Number(0.0, "[0, 1]")}),
    "flat_cosine": (flat_cosine, {}),
    "cosine_restarts": (
        cosine_restarts,
        {
            "period": Number(10, "(0, inf)"),
            "multiplier": Number(2, "[1, inf)"),
            "final": Number(0.0, "[0, 1]"),
        },
    ),
    "one_cycle": (
        one_cycle,
        {
            "peak_at": Number(0.3, "(0, 1)"),
            "start": Number(0.04, "[0, 1]"),
            "final": Number(1e-4, "[0, 1]"),
        },
    ),
    "coslog4": (coslog4, {}),
    "plateau": (constant, {"factor": Number(0.1, "(0, 1)"), "patience": Number(5, "[0, inf)")}),
}

# What dropout rates and the weight decay may follow, with the options of `factors`.
SCHEDULES_OF_FACTORS = {
    "constant": {"warmup": 0},
    "cosine": {"warmup": 0, "final": 0},
    "flat_cosine": {"warmup": 0},
}

# For 'sgd' only, as in scikit-learn. Other solvers then use a constant rate.
SGD_SCHEDULES = ("invscaling", "adaptive")

SCHEDULE_PARAMS = {name: options | WARMUP for name, (_, options) in SCHEDULES.items()}


def factors(name, options, step, n_steps, steps_in_epoch, n_epochs):
    """Return the factors that multiply the learning rate in a range of steps.

    Parameters
    ----------
    name : str
        Name of the schedule.
    options : dict
        Values of all options in SCHEDULE_PARAMS[name].
    step : int
        Number of steps before the range.
    n_steps : int
        Number of steps in the range.
    steps_in_epoch : int
        Number of steps that the schedule counts as an epoch.
    n_epochs : int
        Number of epochs after which the schedule ends.
    """
    function, _ = SCHEDULES[name]
    warmup = options["warmup"]
    if function is constant and warmup == 0:
        return np.ones(n_steps)
    options = {name: value for name, value in options.items() if name != "warmup"}
    whole, rest = divmod(step, steps_in_epoch)
    epochs = whole + (rest + np.arange(n_steps)) / steps_in_epoch
    if name == "plateau":
        options = {}
    with np.errstate(over="ignore"):  # epochs / period is infinite if the period is tiny
        result = function(np.maximum(epochs - warmup, 0), n_epochs - warmup, **options)
        if warmup > 0:
            result = result * np.minimum((epochs + 1 / steps_in_epoch) / warmup, 1)
    return result
