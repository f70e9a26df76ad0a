"""JAX: one compiled program an epoch, a scan over the batches of a permuted index."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from workloads import (
    ALPHA,
    BETA_1,
    BETA_2,
    EPSILON,
    LEARNING_RATE,
    MOMENTUM,
    SEED,
    initial_parameters,
)

jax.config.update("jax_platforms", "cpu")


ACTIVATIONS = {"relu": jax.nn.relu, "tanh": jnp.tanh, "logistic": jax.nn.sigmoid}


def outputs(parameters, X, activation):
    """The network up to the weighted input of its last layer."""
    *hidden, (W_last, b_last) = parameters
    for W, b in hidden:
        X = ACTIVATIONS[activation](X @ W + b)
    return X @ W_last + b_last


def loss(parameters, X, y, task, activation):
    z = outputs(parameters, X, activation)
    if task == "regression":
        return jnp.mean((z[:, 0] - y) ** 2) / 2
    log_probabilities = jax.nn.log_softmax(z)
    return -jnp.mean(jnp.take_along_axis(log_probabilities, y[:, None], axis=1))


@partial(
    jax.jit,
    static_argnames=("batch_size", "task", "activation", "solver"),
    donate_argnames=("parameters", "state"),
)
def run_epoch(parameters, state, X, y, order, *, batch_size, task, activation, solver):
    """Train on the rows in the given order; the last batch may be a short one."""

    def step(carry, rows):
        parameters, (first_moments, second_moments, n_steps) = carry
        gradients = jax.grad(loss)(parameters, X[rows], y[rows], task, activation)
        gradients = [
            (dW + ALPHA / len(rows) * W, db)
            for (dW, db), (W, _) in zip(gradients, parameters, strict=True)
        ]
        if solver == "sgd":
            velocities = jax.tree.map(
                lambda v, g: MOMENTUM * v - LEARNING_RATE * g, first_moments, gradients
            )
            parameters = jax.tree.map(
                lambda p, v, g: p + MOMENTUM * v - LEARNING_RATE * g,
                parameters,
                velocities,
                gradients,
            )
            return (parameters, (velocities, second_moments, n_steps)), None
        n_steps = n_steps + 1
        first_moments = jax.tree.map(
            lambda first, g: BETA_1 * first + (1 - BETA_1) * g, first_moments, gradients
        )
        second_moments = jax.tree.map(
            lambda second, g: BETA_2 * second + (1 - BETA_2) * g**2, second_moments, gradients
        )
        rate = LEARNING_RATE * jnp.sqrt(1 - BETA_2**n_steps) / (1 - BETA_1**n_steps)
        parameters = jax.tree.map(
            lambda p, first, second: p - rate * first / (jnp.sqrt(second) + EPSILON),
            parameters,
            first_moments,
            second_moments,
        )
        return (parameters, (first_moments, second_moments, n_steps)), None

    n_in_full_batches = len(order) - len(order) % batch_size
    carry, _ = jax.lax.scan(
        step, (parameters, state), order[:n_in_full_batches].reshape(-1, batch_size)
    )
    if n_in_full_batches < len(order):
        carry, _ = step(carry, order[n_in_full_batches:])
    return carry


@partial(jax.jit, static_argnames=("task", "activation"))
def predict(parameters, X, task, activation):
    z = outputs(parameters, X, activation)
    return z if task == "regression" else jax.nn.softmax(z)


class Peer:
    """No options."""

    def prepare(self, workload, X, y):
        self.workload = workload
        self.X, self.y = jnp.asarray(X), jnp.asarray(y)
        self.generator = np.random.default_rng(SEED)

    def restart(self):
        self.parameters = jax.tree.map(jnp.array, initial_parameters(self.workload.layer_sizes))

    def train(self, n_epochs):
        state = (
            jax.tree.map(jnp.zeros_like, self.parameters),
            jax.tree.map(jnp.zeros_like, self.parameters),
            jnp.zeros(()),
        )
        for _ in range(n_epochs):
            # NumPy shuffles an index several times faster than jax.random does on a CPU.
            order = self.generator.permutation(len(self.X)).astype(np.int32)
            self.parameters, state = run_epoch(
                self.parameters,
                state,
                self.X,
                self.y,
                order,
                batch_size=self.workload.batch_size,
                task=self.workload.task,
                activation=self.workload.activation,
                solver=self.workload.solver,
            )
        jax.block_until_ready(self.parameters)

    def predict(self, X):
        return np.asarray(predict(self.parameters, X, self.workload.task, self.workload.activation))
