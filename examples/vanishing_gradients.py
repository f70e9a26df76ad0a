"""Ten hidden layers: where the gradient gets lost, and three cures
================================================================

A logistic unit's slope is at most 1/4, and each layer multiplies the gradient by it: what reaches
the first layer is next to nothing. Cures: relu, whose slope is 1 or 0, with weights drawn as large
as it needs (He et al., ICCV 2015); layer normalisation, which keeps every layer's weighted inputs
where the slope is large (Ba, Kiros and Hinton, 2016); and residual connections, around which the
gradient flows unhindered (He et al., CVPR 2016).

What one should see: after the first epoch the logistic network's gradient falls by orders of
magnitude from the last layer to the first, and its loss stands still; with each cure the gradient
is about as large in the first hidden layer as in the tenth, and the loss falls.
"""

import matplotlib.pyplot as plt
import numpy as np
from _picture import finish, options
from sklearn.datasets import load_digits

from fastmlp import MLPClassifier

EPOCHS = 25
NETWORKS = {
    "logistic": {"activation": "logistic"},
    "relu, he_normal": {"activation": "relu", "init": "he_normal"},
    "tanh, layer norm": {"activation": "tanh", "layer_norm": True},
    "logistic, layer norm, residual": {
        "activation": "logistic",
        "layer_norm": True,
        "residual": True,
    },
}


def main():
    given = options(__doc__)
    X, y = load_digits(return_X_y=True)
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
    print("                                gradient's norm, epoch 1     after all epochs")
    print("network                         first layer   last layer     loss  accuracy")
    for name, options_of_it in NETWORKS.items():
        classifier = MLPClassifier(
            [50] * 10,
            max_iter=EPOCHS,
            n_iter_no_change=np.inf,
            diagnostics=True,
            random_state=0,
            **options_of_it,
        ).fit(X / 16, y)
        norms = classifier.history_["gradient_norm"][0]
        print(
            f"{name:31} {norms[0]:11.1e} {norms[-1]:12.1e} {classifier.loss_:8.3f} "
            f"{classifier.score(X / 16, y):9.3f}"
        )
        left.semilogy(range(1, len(norms) + 1), norms, "o-", label=name)
        right.plot(range(1, EPOCHS + 1), classifier.loss_curve_, label=name)
    left.set(xlabel="layer of weights, from the inputs", ylabel="norm of the gradient")
    left.set_title("after one epoch")
    left.set_xticks(range(1, 12))
    right.set(xlabel="epoch", ylabel="training loss", title="training")
    right.legend()
    for ax in (left, right):
        ax.grid(alpha=0.3)
    finish(figure, given)


if __name__ == "__main__":
    main()
