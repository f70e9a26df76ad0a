"""Handwritten digits from a bad start: cross-entropy against the squared error
============================================================================

The first weights of the output layer are large, so that most of its softmax outputs are saturated:
near 0 or 1, and mostly wrong. With the squared error the gradient is (a - y) times the softmax's
slope, which is next to 0 there. With the cross-entropy, the loss of maximum likelihood, the slope
cancels, and what is left is a - y: the more wrong, the faster it learns.

What one should see: from the bad start cross-entropy learns within ten epochs (jumping a few times
on the way: its gradient is large there), and the squared error hardly at all. From an ordinary
start both learn, the squared error more slowly.
"""

import matplotlib.pyplot as plt
import numpy as np
from _picture import finish, options
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from fastmlp import MLPClassifier

LOSSES = {"log_loss": "cross-entropy", "squared_error": "squared error"}
EPOCHS = 80


def large(shape, random_state):
    return random_state.normal(0, 8, shape)


def learn(loss, start, data):
    X, X_test, y, y_test = data
    classifier = MLPClassifier(
        (30,),
        loss=loss,
        activation="logistic",
        solver="sgd",
        learning_rate_init=0.2,
        momentum=0,
        nesterovs_momentum=False,
        batch_size=32,
        max_iter=EPOCHS,
        n_iter_no_change=np.inf,
        init=["glorot_uniform", start],
        diagnostics=True,
        random_state=0,
    )
    return classifier.fit(X, y, X_val=X_test, y_val=y_test)


def main():
    given = options(__doc__)
    X, y = load_digits(return_X_y=True)
    data = train_test_split(X / 16, y, random_state=0)
    figure, axes = plt.subplots(1, 2, figsize=(9, 4), sharey=True, layout="constrained")
    print(
        f"test accuracy        after 1 epoch   after {EPOCHS}   first gradient's norm, last layer"
    )
    for ax, (title, start) in zip(
        axes, [("ordinary", "glorot_uniform"), ("bad", large)], strict=True
    ):
        for loss, name in LOSSES.items():
            history = learn(loss, start, data).history_
            score, gradient = history["val_score"], history["gradient_norm"][0][-1]
            print(f"{title:8} {name:13} {score[0]:11.3f} {score[-1]:10.3f} {gradient:12.2e}")
            ax.plot(range(1, EPOCHS + 1), score, label=name)
        ax.set(title=f"{title} start", xlabel="epoch", ylim=(0, 1))
        ax.grid(alpha=0.3)
    axes[0].set_ylabel("test accuracy")
    axes[1].legend()
    finish(figure, given)


if __name__ == "__main__":
    main()
