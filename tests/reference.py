"""The equations of docs/how-it-works.md in plain float64 NumPy, as the lecture writes them.

Nothing here is fast; every line can be checked against its equation by eye. The tests compare the
core with it. `params` is a list of (W, b).
"""

import numpy as np
from scipy.special import expit, log_softmax, logsumexp, ndtr, softmax, xlogy

SELU_SCALE, SELU_ALPHA = 1.0507009873554804934193349852946, 1.6732632423543772848170429916717

ACTIVATIONS = {
    "identity": lambda z: z,
    "logistic": expit,
    "tanh": np.tanh,
    "relu": lambda z: np.maximum(z, 0),
    "leaky_relu": lambda z: np.where(z > 0, z, 0.01 * z),
    "elu": lambda z: np.where(z > 0, z, np.expm1(np.minimum(z, 0))),
    "selu": lambda z: SELU_SCALE * np.where(z > 0, z, SELU_ALPHA * np.expm1(np.minimum(z, 0))),
    "gelu": lambda z: z * ndtr(z),
    "silu": lambda z: z * expit(z),
    "mish": lambda z: z * np.tanh(np.logaddexp(0, z)),
    "softplus": lambda z: np.logaddexp(0, z),
    "softsign": lambda z: z / (1 + abs(z)),
    "hard_swish": lambda z: z * np.clip(z + 3, 0, 6) / 6,
}

DERIVATIVES = {
    "identity": lambda z: np.ones_like(z),
    "logistic": lambda z: expit(z) * (1 - expit(z)),
    "tanh": lambda z: 1 - np.tanh(z) ** 2,
    "relu": lambda z: (z > 0).astype(float),
    "leaky_relu": lambda z: np.where(z > 0, 1, 0.01),
    "elu": lambda z: np.where(z > 0, 1, np.exp(np.minimum(z, 0))),
    "selu": lambda z: SELU_SCALE * np.where(z > 0, 1, SELU_ALPHA * np.exp(np.minimum(z, 0))),
    "gelu": lambda z: ndtr(z) + z * np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi),
    "silu": lambda z: expit(z) + z * expit(z) * expit(-z),
    "mish": lambda z: (
        np.tanh(np.logaddexp(0, z))
        + z * expit(z) / np.cosh(np.minimum(np.logaddexp(0, z), 300)) ** 2
    ),
    "softplus": expit,
    "softsign": lambda z: 1 / (1 + abs(z)) ** 2,
    "hard_swish": lambda z: np.where(z <= -3, 0, np.where(z >= 3, 1, (2 * z + 3) / 6)),
}

OUTPUT_ACTIVATIONS = {
    "log_loss": lambda z: softmax(z, axis=1),
    "binary_log_loss": expit,
    "softmax_squared_error": lambda z: softmax(z, axis=1),
    "logistic_squared_error": expit,
    "squared_error": lambda z: z,
    "absolute_error": lambda z: z,
    "huber": lambda z: z,
    "log_cosh": lambda z: z,
    "quantile": lambda z: z,
    "poisson": np.exp,
    "gamma": np.exp,
    "tweedie": np.exp,
}

# Parameters of the losses, at their defaults.
DELTA, QUANTILE, POWER = 1.0, 0.5, 1.5


def one_hot(y, n_classes):
    return np.eye(n_classes)[np.asarray(y, dtype=int).ravel()]


def cost_of_outputs(loss, a, y):
    """C(x), a sum over the outputs, where it can be written in terms of a^L."""
    e = a - y
    if loss == "squared_error":
        return 0.5 * e**2
    if loss == "absolute_error":
        return abs(e)
    if loss == "log_cosh":
        return np.logaddexp(e, -e) - np.log(2)
    if loss == "huber":
        return np.where(abs(e) <= DELTA, 0.5 * e**2, DELTA * (abs(e) - 0.5 * DELTA))
    if loss == "quantile":
        return np.where(e > 0, (1 - QUANTILE) * e, -QUANTILE * e)
    if loss == "poisson":
        return xlogy(y, y) - xlogy(y, a) - y + a
    if loss == "gamma":
        return np.log(a / y) + y / a - 1
    p = POWER
    return y ** (2 - p) / (1 - p) / (2 - p) - y * a ** (1 - p) / (1 - p) + a ** (2 - p) / (2 - p)


def cost_of_rows(loss, z, y):
    """C(x) of every row, a function of the output's weighted input z^L."""
    if loss == "log_loss":
        return -(one_hot(y, z.shape[1]) * log_softmax(z, axis=1)).sum(axis=1)
    if loss == "binary_log_loss":
        softplus = logsumexp([np.zeros_like(z), z], axis=0)
        return (softplus - y * z).sum(axis=1)
    a = OUTPUT_ACTIVATIONS[loss](z)
    if loss == "softmax_squared_error":
        return 0.5 * ((a - one_hot(y, z.shape[1])) ** 2).sum(axis=1)
    if loss == "logistic_squared_error":
        return 0.5 * ((a - y) ** 2).sum(axis=1)
    return cost_of_outputs(loss, a, y).sum(axis=1)


def output_delta(loss, a, y):
    """(2) dC/dz^L of every row."""
    if loss in ("log_loss", "softmax_squared_error"):
        y = one_hot(y, a.shape[1])
    e = a - y
    if loss == "softmax_squared_error":
        return a * (e - (e * a).sum(axis=1, keepdims=True))
    if loss == "logistic_squared_error":
        return e * a * (1 - a)
    if loss == "absolute_error":
        return np.sign(e)
    if loss == "log_cosh":
        return np.tanh(e)
    if loss == "huber":
        return np.clip(e, -DELTA, DELTA)
    if loss == "quantile":
        return np.where(e > 0, 1 - QUANTILE, -QUANTILE)
    if loss == "gamma":
        return 1 - y / a
    if loss == "tweedie":
        return a ** (2 - POWER) - y * a ** (1 - POWER)
    return e


def inputs(network, X):
    """(6) a^0 of the rows: one column for each row of W^1."""
    layer, named = network.input_layer, network.input_parameters
    sizes = dict(zip(layer.categorical_features, layer.n_categories, strict=True))
    dense, one_hot_columns, i = [], [], 0
    for j, x in enumerate(X.astype(float).T):
        if j not in sizes and layer.numeric_embedding in (None, "piecewise_linear"):
            dense.append(x)
            if layer.bin_edges:
                edges = np.array(layer.bin_edges[i])
                shares = (x[:, np.newaxis] - edges[:-1]) / np.diff(edges)
                dense.extend(np.clip(shares, 0, 1).T)
            i += 1
        elif j not in sizes:
            f, p = named["frequencies"][i].astype(float), named["phases"][i].astype(float)
            h = np.cos(2 * np.pi * np.outer(x, f) + p)
            if layer.numeric_embedding == "pbld":
                V, c = named["linear_weights"][i], named["linear_biases"][i]
                h = np.column_stack([x, h @ V.T.astype(float) + c])
            dense.extend(h.T)
            i += 1
        else:
            known = np.eye(sizes[j])[np.clip(x, 0, sizes[j] - 1).astype(int)]
            known[(x < 0) | (x >= sizes[j])] = 0
            if sizes[j] <= layer.one_hot_max_size:
                one_hot_columns.extend(known.T)
            else:
                dense.extend((known @ named[f"embedding{j}"]).T)
    a = np.column_stack(dense + one_hot_columns)
    return a * named["scales"] if layer.scaling else a


def forward(params, X, activation, loss):
    """(1)"""
    z, a = [], [X]
    for l, (W, b) in enumerate(params):
        z.append(a[l] @ W + b)
        f = OUTPUT_ACTIVATIONS[loss] if l == len(params) - 1 else ACTIVATIONS[activation]
        a.append(f(z[l]))
    return z, a


def output(network, X):
    """(1) for whatever a layer can have: a^L by the weights of a `Network`."""
    a = X.astype(float) if network.input_layer is None else inputs(network, X)
    names = network.activations_of_hidden
    for l, ((W, b), norm) in enumerate(zip(network.params, network.norms, strict=True)):
        z = a @ W.astype(float) + b
        if norm is not None:
            centred = z - z.mean(axis=1, keepdims=True)
            spread = np.sqrt((centred**2).mean(axis=1, keepdims=True) + 1e-5)
            z = centred / spread * norm[0] + norm[1]
        if l == len(names):
            several = network.passes.loss.n_quantiles > 1
            return ascending(z) if several else OUTPUT_ACTIVATIONS[network.loss](z)
        is_residual = network.residual and l > 0 and W.shape[0] == W.shape[1]
        f = ACTIVATIONS[names[l]](z)
        if network.learned_activation:
            f = z + network.mixes[l] * (f - z)
        a = f + (a if is_residual else 0)


def ascending(z):
    """Quantiles that do not cross."""
    return np.cumsum(np.hstack([z[:, :1], np.logaddexp(0, z[:, 1:])]), axis=1)


def cost(params, X, y, activation, loss, w, alpha):
    z, _ = forward(params, X, activation, loss)
    penalty = 0.5 * alpha * sum((W**2).sum() for W, _ in params)
    return (w @ cost_of_rows(loss, z[-1], y) + penalty) / w.sum()


def backward(params, X, y, activation, loss, w, alpha):
    """(2), (3), (4): delta, dW and db of every layer."""
    z, a = forward(params, X, activation, loss)
    delta = [None] * len(params)
    delta[-1] = (w / w.sum())[:, np.newaxis] * output_delta(loss, a[-1], y)
    for l in range(len(params) - 1, 0, -1):
        delta[l - 1] = delta[l] @ params[l][0].T * DERIVATIVES[activation](z[l - 1])
    dW = [a[l].T @ delta[l] + alpha / w.sum() * W for l, (W, _) in enumerate(params)]
    db = [delta[l].sum(axis=0) for l in range(len(params))]
    return delta, dW, db


class SGD:
    """(5) with momentum, Nesterov's or the plain one."""

    def __init__(self, params, learning_rate, momentum=0.9, nesterov=True):
        self.rate, self.mu, self.nesterov = learning_rate, momentum, nesterov
        self.v = [np.zeros_like(p) for p in params]

    def step(self, params, gradients):
        for p, g, v in zip(params, gradients, self.v, strict=True):
            v[...] = self.mu * v - self.rate * g
            p += self.mu * v - self.rate * g if self.nesterov else v


class Adaptive:
    """The frame of the solvers that keep two numbers for every parameter."""

    def __init__(
        self, params, learning_rate, beta_1=0.9, beta_2=0.999, epsilon=1e-8, rho=0.9,
        amsgrad=False, weight_decay=0.0, momentum_decay=0.004, eta_minus=0.5, eta_plus=1.2,
        smallest_step=1e-6, largest_step=50.0,
    ):  # fmt: skip
        vars(self).update({name: value for name, value in locals().items() if name != "params"})
        self.m = [np.zeros_like(p) for p in params]
        self.v = [np.zeros_like(p) for p in params]
        self.largest_v = [np.zeros_like(p) for p in params]
        self.t, self.product = 0, 1.0

    def step(self, params, gradients):
        self.t += 1
        self.begin_step()
        for l, (p, g) in enumerate(zip(params, gradients, strict=True)):
            if p.ndim == 2:  # decoupled, and of weights only
                p -= self.learning_rate * self.weight_decay * p
            p -= self.change(g, self.m[l], self.v[l], self.largest_v[l])

    def begin_step(self):
        pass


class Adam(Adaptive):
    """(5) by Kingma and Ba (2015), section 2; AMSGrad by Reddi, Kale and Kumar (2018)."""

    def change(self, g, m, v, largest_v):
        rate = self.learning_rate * np.sqrt(1 - self.beta_2**self.t) / (1 - self.beta_1**self.t)
        m[...] = self.beta_1 * m + (1 - self.beta_1) * g
        v[...] = self.beta_2 * v + (1 - self.beta_2) * g**2
        largest_v[...] = np.maximum(largest_v, v)
        return rate * m / (np.sqrt(largest_v if self.amsgrad else v) + self.epsilon)


class NAdam(Adaptive):
    """Dozat (2016), algorithm 2, with the momentum schedule of his section on it."""

    def momentum(self, t):
        return self.beta_1 * (1 - 0.5 * 0.96 ** (t * self.momentum_decay))

    def begin_step(self):
        self.product *= self.momentum(self.t)

    def change(self, g, m, v, _):
        m[...] = self.beta_1 * m + (1 - self.beta_1) * g
        v[...] = self.beta_2 * v + (1 - self.beta_2) * g**2
        mu, mu_next = self.momentum(self.t), self.momentum(self.t + 1)
        mean = (1 - mu) * g / (1 - self.product) + mu_next * m / (1 - self.product * mu_next)
        rate = self.learning_rate * np.sqrt(1 - self.beta_2**self.t)
        return rate * mean / (np.sqrt(v) + self.epsilon)


class RMSprop(Adaptive):
    """Tieleman and Hinton (2012)."""

    def change(self, g, m, v, _):
        v[...] = self.rho * v + (1 - self.rho) * g**2
        return self.learning_rate * g / (np.sqrt(v) + self.epsilon)


class Adagrad(Adaptive):
    """Duchi, Hazan and Singer (2011)."""

    def change(self, g, m, v, _):
        v += g**2
        return self.learning_rate * g / (np.sqrt(v) + self.epsilon)


class Adadelta(Adaptive):
    """Zeiler (2012), algorithm 1."""

    def change(self, g, m, v, _):
        v[...] = self.rho * v + (1 - self.rho) * g**2
        d = np.sqrt(m + self.epsilon) / np.sqrt(v + self.epsilon) * g
        m[...] = self.rho * m + (1 - self.rho) * d**2
        return self.learning_rate * d


class Rprop(Adaptive):
    """Riedmiller and Braun (1993) as iRprop- of Igel and Huesken (2000)."""

    def change(self, g, before, size, _):
        if self.t == 1:
            size[...] = self.learning_rate
        sign = np.sign(g * before)
        factor = np.where(sign > 0, self.eta_plus, np.where(sign < 0, self.eta_minus, 1))
        size[...] = np.clip(size * factor, self.smallest_step, self.largest_step)
        before[...] = np.where(sign < 0, 0, g)
        return np.sign(before) * size


SOLVERS = {
    "sgd": SGD, "adam": Adam, "adamw": Adam, "nadam": NAdam, "rmsprop": RMSprop,
    "adagrad": Adagrad, "adadelta": Adadelta, "rprop": Rprop,
}  # fmt: skip
