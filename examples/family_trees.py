"""A network learns two families' trees, and the people's places in them
=====================================================================

The second task of Rumelhart, Hinton and Williams, Nature 323, 1986. The inputs are a person (one of
24) and a relation (one of 12), the output is who that is, maybe several people. Both inputs have
six units each (``connections`` leaves out other weights); then come 12 and 6 hidden units. Four of
104 facts are held out. A fact is right if its people are above 0.5 and all others below.

What one should see: all 100 facts are learned, and most of those held out are right (6 of 10 over
many random splits; which four they are matters much), where guessing would hardly ever be. The two
families have one structure: what is learned of one helps with the other. Some persons' units tell
English from Italian (a red row, a blue row), others the generation or branch (rows alike).
"""

import matplotlib.pyplot as plt
import numpy as np
from _picture import finish, options

from fastmlp import MLPClassifier

# Both families in the same order, men first; the numbers below are places in it.
# fmt: off
ENGLISH = ["Christopher", "Andrew", "Arthur", "James", "Charles", "Colin",
           "Penelope", "Christine", "Margaret", "Victoria", "Jennifer", "Charlotte"]
ITALIAN = ["Roberto", "Pierro", "Emilio", "Marco", "Tomaso", "Alfonso",
           "Maria", "Francesca", "Gina", "Lucia", "Angela", "Sophia"]
# fmt: on
COUPLES = [(0, 6), (1, 7), (2, 8), (3, 9), (4, 10)]
PARENTS = {2: (0, 6), 9: (0, 6), 3: (1, 7), 10: (1, 7), 5: (3, 9), 11: (3, 9)}
STARTS = 3


def facts():
    """(person, relation): who that is, for one family."""
    parent, spouse = np.zeros((2, 12, 12), dtype=bool)  # parent[a, b]: b is a parent of a
    for child, both in PARENTS.items():
        parent[child, both] = True
    for pair in COUPLES:
        spouse[pair, pair[::-1]] = True
    sibling = (parent @ parent.T) & ~np.eye(12, dtype=bool)
    aunt_or_uncle = parent @ (sibling | sibling @ spouse)
    relatives = [parent, spouse, parent.T, aunt_or_uncle, sibling, aunt_or_uncle.T]
    is_man = np.arange(12) < 6
    return {
        (person, 2 * pair + n): np.flatnonzero(is_relative[person] & sex)
        for pair, is_relative in enumerate(relatives)
        for n, sex in enumerate([is_man, ~is_man])
        for person in range(12)
        if (is_relative[person] & sex).any()
    }


def main():
    given = options(__doc__)
    X, Y = np.zeros((104, 36)), np.zeros((104, 24), dtype=int)
    both = [(family, *fact) for family in (0, 12) for fact in facts().items()]
    for row, (family, (person, relation), people) in enumerate(both):
        X[row, [family + person, 24 + relation]] = 1
        Y[row, [family + p for p in people]] = 1
    connected = np.zeros((36, 12), dtype=bool)
    connected[:24, :6] = connected[24:, 6:] = True
    print(f"{len(both)} facts; best of {STARTS} starts by the loss on the training facts")
    best, n_right = [], [0] * 5
    for split in range(5):
        held_out = np.isin(np.arange(104), np.random.default_rng(split).permutation(104)[:4])
        models = [
            MLPClassifier(
                (12, 12, 6), "logistic", solver="lbfgs", loss="squared_error", alpha=0.002,
                max_iter=3000, tol=1e-6,
                init=lambda shape, random_state: random_state.uniform(-1, 1, shape),
                connections=[connected, None, None, None],
                random_state=100 * split + start, n_threads=1,
            ).fit(X[~held_out], Y[~held_out])
            for start in range(STARTS)
        ]  # fmt: skip
        best.append(min(models, key=lambda model: model.loss_))  # held-out facts have no say
        right = (best[-1].predict(X) == Y).all(axis=1)
        learned, n_right[split] = right[~held_out].sum(), right[held_out].sum()
        print(f"split {split}: {learned} of 100 learned, {n_right[split]} of 4 held out right")
    print(f"held out, all splits: {sum(n_right)} of 20 right")
    draw(best[0].coefs_[0][:24, :6], given)


def draw(W, given):
    figure, axes = plt.subplots(6, 1, figsize=(9, 9), layout="constrained")
    look = {"cmap": "RdBu_r", "vmin": -np.abs(W).max(), "vmax": np.abs(W).max()}
    for unit, ax in enumerate(axes):
        image = ax.imshow(W[:, unit].reshape(2, 12), **look)
        names = ENGLISH if unit == 0 else ITALIAN
        ax.set_xticks(range(12), names if unit in (0, 5) else [""] * 12, rotation=40)
        ax.tick_params(top=unit == 0, labeltop=unit == 0, bottom=unit > 0, labelbottom=unit > 0)
        ax.set_yticks([0, 1], ["English", "Italian"])
        ax.set_ylabel(f"unit {unit + 1}")
    figure.colorbar(image, ax=axes, label="weight from the person", shrink=0.5)
    finish(figure, given)


if __name__ == "__main__":
    main()
