"""The equations of docs/how-it-works.md in plain float64 NumPy, as the lecture writes them.

Nothing here is fast; every line can be checked against its equation by eye. The tests compare the
core with it. `params` is a list of (W, b).
"""

import numpy as np
from scipy.special import expit, log_softmax, logsumexp, softmax, xlogy

ACTIVATIONS = {
    "identity": lambda z: z,
    "logistic": expit,
    "tanh": np.tanh,
    "relu": lambda z: np.maximum(z, 0),
}

DERIVATIVES = {
    "identity": lambda z: np.ones_like(z),
    "logistic": lambda z: expit(z) * (1 - expit(z)),
    "tanh": lambda z: 1 - np.tanh(z) ** 2,
    "relu": lambda z: (z > 0).astype(float),
}

OUTPUT_ACTIVATIONS = {
    "log_loss": lambda z: softmax(z, axis=1),
    "binary_log_loss": expit,
    "squared_error": lambda z: z,
    "poisson": np.exp,
}


def one_hot(y, n_classes):
    return np.eye(n_classes)[np.asarray(y, dtype=int).ravel()]


def cost_of_rows(loss, z, y):
    """C(x) of every row, a function of the output's weighted input z^L."""
    if loss == "log_loss":
        return -(one_hot(y, z.shape[1]) * log_softmax(z, axis=1)).sum(axis=1)
    if loss == "binary_log_loss":
        softplus = logsumexp([np.zeros_like(z), z], axis=0)
        return (softplus - y * z).sum(axis=1)
    if loss == "squared_error":
        return 0.5 * ((z - y) ** 2).sum(axis=1)
    return (xlogy(y, y) - y * z - y + np.exp(z)).sum(axis=1)


def forward(params, X, activation, loss):
    """(1)"""
    z, a = [], [X]
    for l, (W, b) in enumerate(params):
        z.append(a[l] @ W + b)
        f = OUTPUT_ACTIVATIONS[loss] if l == len(params) - 1 else ACTIVATIONS[activation]
        a.append(f(z[l]))
    return z, a


def cost(params, X, y, activation, loss, w, alpha):
    z, _ = forward(params, X, activation, loss)
    penalty = 0.5 * alpha * sum((W**2).sum() for W, _ in params)
    return (w @ cost_of_rows(loss, z[-1], y) + penalty) / w.sum()


def backward(params, X, y, activation, loss, w, alpha):
    """(2), (3), (4): delta, dW and db of every layer."""
    z, a = forward(params, X, activation, loss)
    target = one_hot(y, z[-1].shape[1]) if loss == "log_loss" else y
    delta = [None] * len(params)
    delta[-1] = (w / w.sum())[:, np.newaxis] * (a[-1] - target)
    for l in range(len(params) - 1, 0, -1):
        delta[l - 1] = delta[l] @ params[l][0].T * DERIVATIVES[activation](z[l - 1])
    dW = [a[l].T @ delta[l] + alpha / w.sum() * W for l, (W, _) in enumerate(params)]
    db = [delta[l].sum(axis=0) for l in range(len(params))]
    return delta, dW, db


class SGD:
    """(5) with momentum, Nesterov's or the plain one."""

    def __init__(self, params, learning_rate=1e-3, momentum=0.9, nesterovs_momentum=True):
        self.rate, self.mu, self.nesterov = learning_rate, momentum, nesterovs_momentum
        self.v = [np.zeros_like(p) for p in params]

    def step(self, params, gradients):
        for p, g, v in zip(params, gradients, self.v, strict=True):
            v[...] = self.mu * v - self.rate * g
            p += self.mu * v - self.rate * g if self.nesterov else v


class Adam:
    """(5) by Kingma and Ba (2015), section 2."""

    def __init__(self, params, learning_rate=1e-3, beta_1=0.9, beta_2=0.999, epsilon=1e-8):
        self.rate, self.beta_1, self.beta_2, self.epsilon = learning_rate, beta_1, beta_2, epsilon
        self.m = [np.zeros_like(p) for p in params]
        self.v = [np.zeros_like(p) for p in params]
        self.t = 0

    def step(self, params, gradients):
        self.t += 1
        rate = self.rate * np.sqrt(1 - self.beta_2**self.t) / (1 - self.beta_1**self.t)
        for p, g, m, v in zip(params, gradients, self.m, self.v, strict=True):
            m[...] = self.beta_1 * m + (1 - self.beta_1) * g
            v[...] = self.beta_2 * v + (1 - self.beta_2) * g**2
            p -= rate * m / (np.sqrt(v) + self.epsilon)


SOLVERS = {"sgd": SGD, "adam": Adam}
