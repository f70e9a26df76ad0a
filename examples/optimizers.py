"""Nine solvers on one problem
===========================

What one should see: the losses differ by orders of magnitude, the test accuracies by a percent or
two. rprop and L-BFGS, which look at all rows in every step, are slow at first and go down furthest;
the others, which move by mini-batches, are quick at first, but for adadelta, which finds its step
sizes by itself and begins with tiny ones. Each solver has a learning rate of its own kind, from
0.002 to 1; L-BFGS needs none.
"""

import time

import matplotlib.pyplot as plt
import numpy as np
from _picture import finish, options
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from fastmlp import MLPClassifier

EPOCHS = 100
RATES = {
    "sgd": 0.1,
    "adam": 0.005,
    "adamw": 0.005,
    "nadam": 0.005,
    "rmsprop": 0.002,
    "adagrad": 0.05,
    "adadelta": 1.0,
    "rprop": 0.01,
    "lbfgs": None,
}
ALL_ROWS = ("rprop", "lbfgs")  # in every step


def learn(solver, rate, X, y):
    rate = {} if rate is None else {"learning_rate_init": rate}
    classifier = MLPClassifier(
        (50,),
        solver=solver,
        batch_size="auto" if solver in ALL_ROWS else 64,
        max_iter=EPOCHS,
        n_iter_no_change=np.inf,
        random_state=0,
        **rate,
    )
    return classifier.fit(X, y)


def main():
    given = options(__doc__)
    X, y = load_digits(return_X_y=True)
    X, X_test, y, y_test = train_test_split(X / 16, y, random_state=0)
    figure, ax = plt.subplots(figsize=(8, 5), layout="constrained")
    print(f"solver      rate    loss after {EPOCHS}   test accuracy   seconds")
    for number, (solver, rate) in enumerate(RATES.items()):
        began = time.perf_counter()
        classifier = learn(solver, rate, X, y)
        seconds = time.perf_counter() - began
        losses = classifier.history_["loss"]
        accuracy = classifier.score(X_test, y_test)
        print(f"{solver:9} {rate or '':>6} {losses[-1]:15.1e} {accuracy:15.3f} {seconds:9.2f}")
        style = "--" if solver in ALL_ROWS else "-"
        ax.semilogy(range(1, len(losses) + 1), losses, style, color=f"C{number}", label=solver)
    ax.set(xlabel="epoch; for lbfgs iteration", ylabel="training loss")
    ax.set_title("dashed: all rows in every step")
    ax.grid(alpha=0.3)
    ax.legend(ncols=2)
    finish(figure, given)


if __name__ == "__main__":
    main()
