"""Learning rates of kinds of parameters, the NTK parametrization, learned activations, schedules.

The training is compared with that of PyTorch, with one group of parameters for each kind.
"""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.exceptions import ConvergenceWarning

from fastmlp import MLPClassifier, MLPRegressor, Network
from fastmlp._engine.checks import check_data
from fastmlp._training.descent import Descent
from fastmlp._training.solvers import SOLVERS

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

FACTORS = {"bias": 0.1, "scale": 6.0, "activation": 0.3}
N_EPOCHS, RATE, DECAY = 8, 0.02, 0.3
EPSILON = 1e-20  # we add it to the root without the correction of the mean, and PyTorch with it


def make_rows(n_rows=30):
    rng = np.random.RandomState(3)
    X = rng.standard_normal((n_rows, 5))
    return X, (X[:, 0] * X[:, 1] + np.sin(X[:, 2]))[:, np.newaxis]


def train_with_pytorch(network, X, y, *, is_ntk):
    """Train the same network with AdamW of PyTorch, a group for each kind of parameter."""
    torch = pytest.importorskip("torch")

    def parameter(array, factor=1.0):
        return torch.nn.Parameter(torch.tensor(array * factor, dtype=torch.float64))

    roots = [np.sqrt(len(W)) if is_ntk else 1.0 for W in network.W]
    V = [parameter(W, root) for W, root in zip(network.W, roots, strict=True)]
    b = [parameter(bias) for bias in network.b]
    gain, shift = ([parameter(pair[i]) for pair in network.norms[:-1]] for i in (0, 1))
    mix = [parameter(each) for each in network.mixes[:-1]]
    groups = [
        {"params": V, "lr": RATE, "weight_decay": DECAY},
        {"params": [*b, *shift], "lr": RATE * FACTORS["bias"], "weight_decay": 0.0},
        {"params": gain, "lr": RATE * FACTORS["scale"], "weight_decay": 0.0},
        {"params": mix, "lr": RATE * FACTORS["activation"], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, eps=EPSILON)
    X, y = torch.tensor(X), torch.tensor(y)
    for epoch in range(N_EPOCHS):
        done = max(2 * epoch / N_EPOCHS - 1, 0)
        optimizer.param_groups[0]["weight_decay"] = DECAY * (1 + np.cos(np.pi * done)) / 2
        a = X
        for l, root in enumerate(roots):
            z = a @ V[l] / root + b[l]
            if l == len(roots) - 1:
                break
            z = torch.nn.functional.layer_norm(z, z.shape[1:], gain[l], shift[l])
            a = z + mix[l] * (torch.nn.functional.silu(z) - z)
        optimizer.zero_grad()
        (0.5 * ((z - y) ** 2).mean()).backward()
        optimizer.step()
    kinds = (V, roots), (b, None), (gain, None), (shift, None), (mix, None)
    return [
        [p.detach().numpy() / (1 if roots is None else roots[l]) for l, p in enumerate(some)]
        for some, roots in kinds
    ]


@pytest.mark.parametrize("parametrization", ["standard", "ntk"])
def test_training_is_that_of_pytorch(parametrization):
    X, y = make_rows()
    regressor = MLPRegressor(
        hidden_layer_sizes=(6, 4), activation="silu", solver="adamw", alpha=0.0, batch_size=30,
        learning_rate_init=RATE, max_iter=N_EPOCHS, shuffle=False, random_state=0, dtype="float64",
        weight_decay=DECAY, weight_decay_schedule="flat_cosine", learning_rate_factors=FACTORS,
        layer_norm=True, learned_activation=True, parametrization=parametrization, tol=0.0,
        epsilon=EPSILON,
    )  # fmt: skip
    before = regressor.initialize(5)._network
    is_ntk = parametrization == "ntk"
    W, b, gain, shift, mix = train_with_pytorch(before, X, y, is_ntk=is_ntk)
    fitted = regressor.fit(X, y.ravel())
    for ours, theirs in (
        (fitted.coefs_, W), (fitted.intercepts_, b), (fitted.mixes_[:-1], mix),
        ([pair[0] for pair in fitted.norms_[:-1]], gain),
        ([pair[1] for pair in fitted.norms_[:-1]], shift),
    ):  # fmt: skip
        for got, want in zip(ours, theirs, strict=True):
            assert_allclose(got, want, rtol=1e-9, atol=1e-12)
    assert fitted.mixes_[-1] is None


@pytest.mark.parametrize("solver", sorted(SOLVERS))
def test_the_first_step_is_proportional_to_the_factor(solver):
    X, y = make_rows()
    options = dict(
        hidden_layer_sizes=(6, 4), solver=solver, batch_size="auto", max_iter=1, random_state=0,
        dtype="float64", learning_rate_init=0.01, alpha=0.0, weight_decay=0.0,
    )  # fmt: skip
    changes = []
    for factor in (1.0, 0.25):
        regressor = MLPRegressor(**options, learning_rate_factors={"bias": factor})
        before = [b.copy() for b in regressor.initialize(5).intercepts_]
        after = regressor.fit(X, y.ravel())
        changes.append(np.concatenate(after.intercepts_) - np.concatenate(before))
    assert_allclose(changes[1], 0.25 * changes[0], rtol=1e-9, atol=1e-15)
    assert np.abs(changes[0]).max() > 0


@pytest.mark.parametrize("solver", sorted(set(SOLVERS) - {"adadelta"}))
def test_the_ntk_step_of_every_solver_is_that_of_the_numbers_that_move(solver):
    """A network of one layer with V = 2 W: the same steps as by hand on the inputs divided by 2."""
    X, y = make_rows()
    X = X[:, :4]
    options = dict(
        hidden_layer_sizes=(), solver=solver, batch_size="auto", max_iter=5, random_state=0,
        dtype="float64", learning_rate_init=0.01, alpha=0.0, weight_decay=0.0, tol=0.0,
    )  # fmt: skip
    start = np.array([[0.3], [-0.2], [0.1], [0.7]])
    ours = MLPRegressor(**options, parametrization="ntk", init=[start]).fit(X, y.ravel())
    twin = MLPRegressor(**options, init=[2 * start]).fit(X / 2, y.ravel())
    assert_allclose(2 * ours.coefs_[0], twin.coefs_[0], rtol=1e-9)
    assert_allclose(ours.intercepts_[0], twin.intercepts_[0], rtol=1e-9)


def test_weights_of_ntk_are_standard_normal_over_the_root():
    W, b = Network([400, 300, 1], parametrization="ntk", random_state=0).params[0]
    assert abs(W.std() * 20 - 1) < 0.01
    assert (b == 0).all()


@pytest.mark.parametrize("schedule", ["constant", "cosine", "flat_cosine"])
def test_dropout_follows_its_schedule(schedule):
    """One step an epoch is the same as with a callback that sets the rate of each."""
    X, y = make_rows()
    options = dict(
        hidden_layer_sizes=(40, 40), batch_size=30, max_iter=N_EPOCHS, random_state=0, tol=0.0
    )
    done = np.arange(N_EPOCHS + 1) / N_EPOCHS
    factors = {
        "constant": np.ones(N_EPOCHS + 1),
        "cosine": (1 + np.cos(np.pi * done)) / 2,
        "flat_cosine": (1 + np.cos(np.pi * np.maximum(2 * done - 1, 0))) / 2,
    }[schedule]

    def set_rate(estimator, state):
        estimator.set_params(dropout=0.5 * factors[state.epoch])

    by_hand = MLPRegressor(**options, dropout=0.5, callbacks=set_rate).fit(X, y.ravel())
    ours = MLPRegressor(**options, dropout=0.5, dropout_schedule=schedule).fit(X, y.ravel())
    assert ours.loss_curve_ == by_hand.loss_curve_
    for W, expected in zip(ours.coefs_, by_hand.coefs_, strict=True):
        assert (W == expected).all()


def test_gradient_and_update_follow_the_schedules_of_a_fit():
    """Gradients of mini-batches, applied one by one, are the steps of an epoch, bit for bit."""
    X, y = make_rows(40)
    settings = {
        "dropout": (0.1, 0.3), "dropout_schedule": "cosine", "weight_decay": 0.2,
        "weight_decay_schedule": "cosine", "bias_rate": 0.1, "activation_rate": 0.5, "n_epochs": 3,
    }  # fmt: skip
    flats = []
    for is_whole in (True, False):
        network = Network(
            [5, 16, 1], "silu", random_state=0, learned_activation=True, parametrization="ntk"
        )
        data = check_data(X, y, None, network)
        descent = Descent(network, "adamw", settings, seed=7)
        for _ in range(3):
            order = np.arange(40)
            if is_whole:
                descent.epoch(data, order, 10)
                continue
            descent.take_weights()
            for start in range(0, 40, 10):
                rate = descent.learning_rates(1, 4)[0]
                numbers, _ = descent.add_gradient(data, order[start : start + 10])
                descent.apply_gradient(numbers, rate)
        flats.append(network.snapshot())
    assert (flats[0] == flats[1]).all()


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"learning_rate_factors": {"weight": 2}}, "takes .*'activation'.*got 'weight'"),
        ({"learning_rate_factors": {"bias": -1}}, r"\['bias'\] must be a number in \[0, inf\)"),
        ({"parametrization": "mup"}, "parametrization.*'ntk'"),
        ({"dropout_schedule": "step"}, "dropout_schedule"),
        ({"solver": "lbfgs", "parametrization": "ntk"}, "of mini-batch solvers only"),
        ({"solver": "lbfgs", "dropout_schedule": "cosine"}, "of mini-batch solvers only"),
        ({"solver": "lbfgs", "learning_rate_factors": {"bias": 2}}, "of mini-batch solvers only"),
    ],
    ids=str,
)
def test_what_cannot_be_combined(parameters, message):
    with pytest.raises(ValueError, match=message):
        MLPClassifier(**parameters).fit(np.eye(4), [0, 1, 0, 1])


def test_lbfgs_learns_activations():
    X, y = make_rows(200)
    options = {"hidden_layer_sizes": (8,), "solver": "lbfgs", "max_iter": 200, "random_state": 0}
    regressor = MLPRegressor(**options, activation="silu", learned_activation=True)
    regressor.fit(X, y.ravel())
    assert np.abs(regressor.mixes_[0] - 1).max() > 0.01
    assert regressor.score(X, y) > 0.9


def test_attributes_are_there_with_the_parameter_only():
    X, y = make_rows()
    with pytest.raises(AttributeError, match="learned_activation=True"):
        _ = MLPRegressor(max_iter=1, random_state=0).fit(X, y.ravel()).mixes_
    with pytest.raises(ValueError, match="parametrization must be one of"):
        Network([2, 1], parametrization="mup")
    with pytest.warns(ConvergenceWarning):
        MLPRegressor(max_iter=1, random_state=0).fit(X, y.ravel())
