"""Two hidden units find out whether six bits are a mirror image of themselves
===========================================================================

The task of Rumelhart, Hinton and Williams, Learning representations by back-propagating errors,
Nature 323, 1986: all 64 vectors of six bits, two hidden units and one output, all of them
logistic; half the squared error, all 64 cases in every step, momentum 0.9.

What one should see: each hidden unit gives the two bits of a pair weights of equal size and
opposite sign. A symmetric vector then adds up to 0, and its small bias keeps the unit off; any
other vector turns one of the two units on, for their signs are opposite. The sizes of the three
pairs are near 1 : 2 : 4 in some order, so that no sum of some pairs makes up for another. 2 : 3 : 4
does that, too, and some of the starts find it instead.
"""

from itertools import product

import matplotlib.pyplot as plt
import numpy as np
from _picture import finish, options

from fastmlp import MLPClassifier

STARTS = 10
SWEEPS = 5000


def small(shape, random_state):
    return random_state.uniform(-0.3, 0.3, shape)


def learn(X, y, random_state):
    classifier = MLPClassifier(
        (2,),
        loss="squared_error",
        activation="logistic",
        solver="sgd",
        learning_rate_init=6.4,  # 0.1 in the paper, which sums over the 64 cases; this is a mean
        nesterovs_momentum=False,
        alpha=0,
        batch_size=64,
        shuffle=False,
        max_iter=SWEEPS,
        n_iter_no_change=np.inf,
        init=small,
        random_state=random_state,
    )
    return classifier.fit(X, y)


def ratios(weights):
    """The sizes of the three pairs of one unit's weights, over the smallest of them."""
    pairs = np.sort(np.abs(weights[:3] - weights[:2:-1]) / 2)
    return pairs / pairs[0]


def main():
    given = options(__doc__)
    X = np.array(list(product([0, 1], repeat=6)))
    y = (X == X[:, ::-1]).all(axis=1)
    shown = None
    print(f"{STARTS} random starts, {SWEEPS} sweeps each")
    print("start  right of 64  ratios of unit 1     of unit 2        sum of a pair at most")
    for start in range(STARTS):
        classifier = learn(X, y, start)
        W = classifier.coefs_[0]
        n_right = round(64 * classifier.score(X, y))
        asymmetry = np.abs(W + W[::-1]).max()
        both = [" : ".join(f"{r:.2f}" for r in ratios(W[:, unit])) for unit in range(2)]
        print(f"{start:5}  {n_right:11}  {both[0]}   {both[1]}   {asymmetry:.3f}")
        is_1_2_4 = np.allclose([ratios(unit) for unit in W.T], [1, 2, 4], rtol=0.1)
        if shown is None and n_right == 64 and is_1_2_4:
            shown = classifier
    draw(shown, given)


def draw(classifier, given):
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.8), sharey=True, layout="constrained")
    places = np.arange(1, 7)
    for unit, ax in enumerate(axes):
        weights = classifier.coefs_[0][:, unit]
        bars = ax.bar(places, weights, color=np.where(weights > 0, "tab:blue", "tab:orange"))
        ax.bar_label(bars, fmt="{:.1f}", padding=2)
        ax.axhline(0, color="black", linewidth=0.8)
        ax.axvline(3.5, color="gray", linestyle=":")
        ax.margins(y=0.12)
        bias, out = classifier.intercepts_[0][unit], classifier.coefs_[1][unit, 0]
        ax.set_title(
            f"unit {unit + 1}: bias {bias:.1f}, weight to the output {out:.1f}", fontsize=10
        )
        ax.set(xlabel="bit")
    axes[0].set_ylabel("weight")
    finish(figure, given)


if __name__ == "__main__":
    main()
