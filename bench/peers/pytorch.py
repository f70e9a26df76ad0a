"""PyTorch: eager with the fused Adam, or the whole training step compiled into one graph."""

from itertools import pairwise

import torch
from torch import nn
from torch.func import functional_call, grad
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

ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh, "logistic": nn.Sigmoid}


def is_weight(parameter):
    """Whether the penalty applies; it leaves the biases alone."""
    return parameter.ndim == 2


class Peer:
    """`n_threads`: None for all cores. `compiled`: compile the training step."""

    def __init__(self, n_threads=None, compiled=False):
        if n_threads is not None:
            torch.set_num_threads(n_threads)
        torch.manual_seed(SEED)
        self.compiled = compiled

    def prepare(self, workload, X, y):
        self.workload = workload
        self.X, self.y = torch.from_numpy(X), torch.from_numpy(y)
        self.linears = [nn.Linear(n_in, n_out) for n_in, n_out in pairwise(workload.layer_sizes)]
        activation = ACTIVATIONS[workload.activation]
        layers = [layer for linear in self.linears for layer in (linear, activation())]
        self.model = nn.Sequential(*layers[:-1])
        if self.compiled:
            self.step = self.compiled_step()
        else:
            self.step = self.eager_step()

    def restart(self):
        parameters = initial_parameters(self.workload.layer_sizes)
        with torch.no_grad():
            for linear, (W, b) in zip(self.linears, parameters, strict=True):
                linear.weight.copy_(torch.from_numpy(W.T))
                linear.bias.copy_(torch.from_numpy(b))

    def train(self, n_epochs):
        self.reset_adam()
        for _ in range(n_epochs):
            for rows in torch.randperm(len(self.X)).split(self.workload.batch_size):
                self.step(self.X[rows], self.y[rows])

    def predict(self, X):
        with torch.inference_mode():
            predictions = self.model(torch.from_numpy(X))
            if self.workload.task == "classification":
                predictions = predictions.softmax(dim=1)
            return predictions.numpy()

    def loss(self, outputs, y):
        if self.workload.task == "regression":
            return nn.functional.mse_loss(outputs[:, 0], y) / 2
        return nn.functional.cross_entropy(outputs, y)

    def eager_step(self):
        """The step that a user would write, with the optimizer of the library."""
        parameters = list(self.model.parameters())
        groups = [
            {
                "params": [p for p in parameters if is_weight(p)],
                "weight_decay": ALPHA / self.workload.batch_size,
            },
            {"params": [p for p in parameters if not is_weight(p)]},
        ]
        if self.workload.solver == "sgd":
            optimizer = torch.optim.SGD(
                groups, lr=LEARNING_RATE, momentum=MOMENTUM, nesterov=True, fused=True
            )
        else:
            optimizer = torch.optim.Adam(
                groups, lr=LEARNING_RATE, betas=(BETA_1, BETA_2), eps=EPSILON, fused=True
            )

        def step(X, y):
            optimizer.zero_grad()
            self.loss(self.model(X), y).backward()
            optimizer.step()

        self.reset_adam = optimizer.state.clear
        return step

    def compiled_step(self):
        """Gradient and Adam as one graph, with one call from Python a step.

        Compiling `step` of `eager_step` instead leaves several graphs and calls, and was three
        times slower than this on the tiny network.
        """
        parameters = {name: p.detach() for name, p in self.model.named_parameters()}
        first_moments = {name: torch.zeros_like(p) for name, p in parameters.items()}
        second_moments = {name: torch.zeros_like(p) for name, p in parameters.items()}
        n_steps = torch.zeros(())

        def loss_of(parameters, X, y):
            return self.loss(functional_call(self.model, parameters, (X,)), y)

        @torch.compile(dynamic=False, fullgraph=True)
        def step(X, y):
            gradients = grad(loss_of)(parameters, X, y)
            n_steps.add_(1)
            rate = LEARNING_RATE * (1 - BETA_2**n_steps).sqrt() / (1 - BETA_1**n_steps)
            for name, parameter in parameters.items():
                gradient = gradients[name]
                if is_weight(parameter):
                    gradient = gradient + ALPHA / len(X) * parameter
                first, second = first_moments[name], second_moments[name]
                first.mul_(BETA_1).add_((1 - BETA_1) * gradient)
                second.mul_(BETA_2).add_((1 - BETA_2) * gradient**2)
                parameter.sub_(rate * first / (second.sqrt() + EPSILON))

        def reset_adam():
            for state in (*first_moments.values(), *second_moments.values(), n_steps):
                state.zero_()

        self.reset_adam = reset_adam
        return step
