"""Three quantiles from one network: a prediction with its interval
================================================================

The data are one curve with noise that grows to the right. The loss is that of quantile regression
(Koenker and Bassett, Econometrica 46, 1978) for the 5%, 50% and 95% quantiles at once.

What one should see: a band that is narrow on the left and wide on the right and holds nearly 90%
of new points in either half. A band of one width, from the residuals of a least-squares network,
holds 90% in all as well, but too many on the left and too few on the right. The quantiles never
cross.
"""

import matplotlib.pyplot as plt
import numpy as np
from _picture import finish, options
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fastmlp import MLPRegressor


def draw_data(n, rng):
    x = rng.uniform(0, 10, n)
    return x.reshape(-1, 1), np.sin(x) + x / 5 + rng.normal(0, 0.05 + 0.08 * x)


def fitted(X, y, **loss):
    regressor = MLPRegressor(
        hidden_layer_sizes=(64, 64),
        activation="tanh",
        learning_rate="cosine",
        learning_rate_init=5e-3,
        max_iter=80,
        n_iter_no_change=np.inf,
        random_state=0,
        **loss,
    )
    return make_pipeline(StandardScaler(), regressor).fit(X, y)


def main():
    given = options(__doc__)
    rng = np.random.default_rng(0)
    X, y = draw_data(4000, rng)
    X_new, y_new = draw_data(4000, rng)

    quantiles = fitted(X, y, loss="quantile", loss_params={"quantiles": [0.05, 0.5, 0.95]})
    low, _, high = quantiles.predict(X_new).T
    mean = fitted(X, y)
    of_residuals = np.quantile(y - mean.predict(X), [0.05, 0.95])
    residuals = y_new - mean.predict(X_new)

    inside = {
        "quantiles": (low <= y_new) & (y_new <= high),
        "one width": (of_residuals[0] <= residuals) & (residuals <= of_residuals[1]),
    }
    is_left = X_new[:, 0] < 5
    print("share of new points inside the 90% band")
    print("             all    left   right")
    for name, hit in inside.items():
        shares = (hit.mean(), hit[is_left].mean(), hit[~is_left].mean())
        print(f"{name:10} {shares[0]:6.1%}  {shares[1]:6.1%}  {shares[2]:6.1%}")
    grid = np.linspace(-5, 15, 2001).reshape(-1, 1)  # far beyond the data, too
    n_crossings = int((np.diff(quantiles.predict(grid), axis=1) < 0).sum())
    print(f"crossings of the quantiles on a grid of {len(grid)} points: {n_crossings}")
    draw(X_new, y_new, quantiles, mean, of_residuals, given)


def draw(X, y, quantiles, mean, of_residuals, given):
    grid = np.linspace(0, 10, 500).reshape(-1, 1)
    low, middle, high = quantiles.predict(grid).T
    line = mean.predict(grid)
    figure, axes = plt.subplots(1, 2, figsize=(10, 4), sharey=True, layout="constrained")
    of_one_width = (line + of_residuals[0], line, line + of_residuals[1])
    parts = [
        ("quantiles 5%, 50%, 95%", "tab:blue", low, middle, high),
        ("mean, and one width", "tab:orange", *of_one_width),
    ]
    for ax, (title, color, bottom, centre, top) in zip(axes, parts, strict=True):
        ax.plot(X[:1000], y[:1000], ".", color="gray", markersize=2)
        ax.fill_between(grid[:, 0], bottom, top, color=color, alpha=0.3)
        ax.plot(grid, centre, color=color)
        ax.set(title=title, xlabel="x")
    axes[0].set_ylabel("y")
    finish(figure, given)


if __name__ == "__main__":
    main()
