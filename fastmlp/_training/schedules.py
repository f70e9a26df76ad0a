"""Learning-rate schedules: a factor for every step, by how many epochs lie before it.

A schedule is a function here and a row in `SCHEDULES`. What 'invscaling', 'adaptive' and 'plateau'
do follows the training, and is found in `Descent`.
"""

import numpy as np

from fastmlp._engine.options import Number

WARMUP = {"warmup": Number(0, "[0, inf)")}


def constant(epochs, n_epochs):
    return np.ones_like(epochs)


def step(epochs, n_epochs, step_size, gamma):
    """Times gamma every step_size epochs."""
    return gamma ** np.floor(epochs / step_size)


def exponential(epochs, n_epochs, gamma):
    """Times gamma every epoch."""
    return gamma ** np.floor(epochs)


def cosine(epochs, n_epochs, final):
    """Half a cosine from 1 to `final`: Loshchilov and Hutter, ICLR 2017, without restarts."""
    return final + (1 - final) * (1 + np.cos(np.pi * np.minimum(epochs / n_epochs, 1))) / 2


def cosine_restarts(epochs, n_epochs, period, multiplier, final):
    """From 1 to `final` again and again, each period `multiplier` times as long as the one before.

    Loshchilov and Hutter, SGDR, ICLR 2017.
    """
    if multiplier == 1:
        return cosine(epochs % period, period, final)
    # a small number more: at a restart rounding must not leave the period before
    n_before = np.floor(np.log1p(epochs / period * (multiplier - 1)) / np.log(multiplier) + 1e-9)
    began = period * (multiplier**n_before - 1) / (multiplier - 1)
    return cosine(np.maximum(epochs - began, 0), period * multiplier**n_before, final)


def one_cycle(epochs, n_epochs, peak_at, start, final):
    """Up from `start` to 1 at the share `peak_at` of all epochs, then down to `final`, by cosines.

    Smith and Topin, Super-convergence, 2018; the momentum stays as it is.
    """
    done = np.minimum(epochs / n_epochs, 1)
    up = start + (1 - start) * (1 - np.cos(np.pi * np.minimum(done / peak_at, 1))) / 2
    return np.where(done < peak_at, up, cosine(done - peak_at, 1 - peak_at, final))


# name: (function, its options)
SCHEDULES = {
    "constant": (constant, {}),
    "invscaling": (constant, {}),
    "adaptive": (constant, {}),
    "step": (step, {"step_size": Number(30, "(0, inf)"), "gamma": Number(0.1, "(0, 1]")}),
    "exponential": (exponential, {"gamma": Number(0.95, "(0, 1]")}),
    "cosine": (cosine, {"final": Number(0.0, "[0, 1]")}),
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
    "plateau": (constant, {"factor": Number(0.1, "(0, 1)"), "patience": Number(5, "[0, inf)")}),
}

# Of 'sgd' only, as in scikit-learn; with other solvers the rate is constant.
SGD_SCHEDULES = ("invscaling", "adaptive")

SCHEDULE_PARAMS = {name: options | WARMUP for name, (_, options) in SCHEDULES.items()}


def factors(name, options, step, n_steps, steps_in_epoch, n_epochs):
    """The factors by which the learning rate is multiplied in some steps.

    Parameters
    ----------
    name : str
    options : dict
        All of SCHEDULE_PARAMS[name].
    step : int
        The number of steps before the first of these.
    n_steps : int
    steps_in_epoch : int
        The number of steps that a schedule counts as an epoch.
    n_epochs : int
        The schedule ends after this number of epochs.
    """
    options = dict(options)
    warmup = options.pop("warmup")
    whole, rest = divmod(step, steps_in_epoch)
    epochs = whole + (rest + np.arange(n_steps)) / steps_in_epoch
    if name == "plateau":
        options = {}
    function, _ = SCHEDULES[name]
    with np.errstate(over="ignore"):  # a share of a tiny period is infinite
        result = function(np.maximum(epochs - warmup, 0), n_epochs - warmup, **options)
        if warmup > 0:
            result = result * np.minimum((epochs + 1 / steps_in_epoch) / warmup, 1)
    return result
