"""What several processes compute, against plain NumPy and an ordinary fit.

Here the ranks are threads.
"""

import itertools
import math
import warnings
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
import reference
import scipy.sparse
from problems import assert_all_close
from sklearn.base import clone
from thread_ranks import Communicator, Threads, on_ranks

from fastmlp import MLPClassifier, MLPRegressor, _core
from fastmlp._distributed import rows as rows_module
from fastmlp._distributed.ranks import Ranks, sharing
from fastmlp._distributed.slots import (
    Rows,
    bounds_of_slots,
    rows_of_slots,
    set_aside,
    shuffled,
    words_of,
)
from fastmlp._distributed.sums import N_FLAGS, SumOfGradients
from fastmlp._distributed.tree import subtrees, sum_of_slots

PAIRS = [(1, 1), (1, 8), (2, 2), (2, 8), (3, 3), (3, 8), (3, 16), (4, 5), (5, 8), (7, 12), (8, 8)]

# The tree -----------------------------------------------------------------------------------------


def tree(numbers):
    """The sum of the first half and the second one, each added up in this way."""
    if len(numbers) == 1:
        return numbers[0]
    half = len(numbers) // 2
    return tree(numbers[:half]) + tree(numbers[half:])


def nodes_of(first, last):
    """All ranges of slots of that tree."""
    if last - first == 1:
        return {(first, last)}
    middle = first + (last - first) // 2
    return {(first, last)} | nodes_of(first, middle) | nodes_of(middle, last)


@pytest.mark.parametrize("n_slots", [1, 2, 3, 5, 8, 12, 13, 16])
def test_subtrees_are_the_largest_nodes_in_a_range(n_slots):
    nodes = nodes_of(0, n_slots)
    for first, last in itertools.combinations(range(n_slots + 1), 2):
        found = subtrees(first, last, n_slots)
        assert found[0][0] == first
        assert found[-1][1] == last
        assert all(left[1] == right[0] for left, right in itertools.pairwise(found))
        assert set(found) <= nodes
        for node in found:
            larger = [it for it in nodes if it[0] <= node[0] and node[1] <= it[1] and it != node]
            assert not [it for it in larger if first <= it[0] and it[1] <= last]


@pytest.mark.parametrize("n_slots", [1, 2, 3, 7, 8, 12])
def test_sums_of_slots_have_the_order_of_the_tree(n_slots):
    values = np.random.RandomState(n_slots).standard_normal((n_slots, 50)).astype("f4")
    before = values.copy()
    assert (sum_of_slots(values) == tree(list(values))).all()
    assert [sum_of_slots(column) for column in values.T] == tree(list(values)).tolist()
    assert (values == before).all()


def gradients(n_slots, n_params, dtype):
    """Numbers of very different sizes, so that another order of additions has other bits."""
    rng = np.random.RandomState(n_slots)
    return (rng.standard_normal((n_slots, n_params)) * 10 ** rng.uniform(-4, 4, n_params)).astype(
        dtype
    )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("n_ranks", "n_slots"), PAIRS)
def test_sums_of_gradients_are_those_of_the_tree(n_ranks, n_slots, dtype):
    n_params = 1003
    of_slots = gradients(n_slots, n_params, dtype)

    def totals(ranks):
        total = SumOfGradients(ranks, n_params, dtype)
        several = []
        for factor in (1, -3):  # the memory is used again

            def write(slot, out, factor=factor):
                assert slot in ranks.slots
                np.multiply(of_slots[slot], factor, out=out)

            total(write, [ranks.rank + factor, 7])
            several.append((total.total.copy(), total.flags.copy()))
        return several

    for results in on_ranks(n_ranks, n_slots, totals):
        for factor, (total, flags) in zip((1, -3), results, strict=True):
            numbers = of_slots * np.asarray(factor, dtype)
            assert total.dtype == dtype
            assert (total == tree(list(numbers))).all()
            exact = np.array([math.fsum(column) for column in numbers.T.tolist()])
            size = abs(numbers).sum(axis=0)
            assert (abs(total - exact) <= 4 * np.finfo(dtype).eps * size).all()
            of_all = [sum(range(n_ranks)) + n_ranks * factor, 7 * n_ranks]
            assert flags.tolist() == of_all + [0] * (N_FLAGS - 2)


@pytest.mark.parametrize(("n_ranks", "n_slots"), PAIRS)
def test_every_slot_has_one_rank(n_ranks, n_slots):
    slots = on_ranks(n_ranks, n_slots, lambda ranks: ranks.slots)
    assert [slot for of_rank in slots for slot in of_rank] == list(range(n_slots))
    assert all(len(of_rank) in (n_slots // n_ranks, -(-n_slots // n_ranks)) for of_rank in slots)


# The rows -----------------------------------------------------------------------------------------


def cuts(n_rows, n_ranks):
    """How many rows the ranks have: equally many, few, none, and at random."""
    yield [n_rows * (i + 1) // n_ranks - n_rows * i // n_ranks for i in range(n_ranks)]
    yield [n_rows] + [0] * (n_ranks - 1)
    yield [0] * (n_ranks - 1) + [n_rows]
    inner = np.sort(np.random.RandomState(n_rows).randint(0, n_rows + 1, n_ranks - 1))
    yield np.diff([0, *inner, n_rows]).tolist()


@pytest.mark.parametrize("is_sparse", [False, True])
@pytest.mark.parametrize(("n_ranks", "n_slots"), PAIRS)
def test_slots_have_all_rows_in_order(n_ranks, n_slots, is_sparse):
    for n_rows in (3, n_slots, 101):
        X = np.arange(2 * n_rows).reshape(n_rows, 2).astype("f4")
        y = np.arange(n_rows) * 10
        names = np.array([f"row {i}" for i in range(n_rows)], object)
        for counts in cuts(n_rows, n_ranks):
            bounds = np.cumsum([0, *counts])

            def received(ranks, bounds=bounds, given=(X, y, names)):
                mine = slice(*bounds[ranks.rank : ranks.rank + 2])
                X, *others = (array[mine] for array in given)
                X = scipy.sparse.csr_matrix(X) if is_sparse else X
                return rows_of_slots(ranks, Rows(X, tuple(others)))

            results = on_ranks(n_ranks, n_slots, received)
            assert {n for _, n in results} == {n_rows}
            slots = [slot for of_rank, _ in results for slot in of_rank]
            assert len(slots) == n_slots
            sizes = [len(slot.others[0]) for slot in slots]
            assert max(sizes) - min(sizes) <= 1
            assert sizes == np.diff(bounds_of_slots(n_rows, n_slots)).tolist()
            assert all(slot.X.shape == (n, 2) for slot, n in zip(slots, sizes, strict=True))
            matrices = [slot.X.toarray() if is_sparse else slot.X for slot in slots]
            assert (np.concatenate(matrices) == X).all()
            for i, array in enumerate((y, names)):
                assert (np.concatenate([slot.others[i] for slot in slots]) == array).all()


def test_orders_are_permutations_that_depend_on_all_that_they_are_drawn_by():
    n = 50
    words = [(1, 0, 0), (2, 0, 0), (1 + 2**32, 0, 0), (1, 1, 0), (1, 0, 1), (2**62 - 1, 7, 99)]
    orders = [shuffled(n, words_of(*it)).tolist() for it in words]
    assert all(sorted(order) == list(range(n)) for order in orders)
    assert len(set(map(tuple, orders))) == len(words)
    assert orders == [shuffled(n, words_of(*it)).tolist() for it in words]


def test_orders_are_uniform():
    n, n_draws = 5, 4000
    firsts = Counter(int(shuffled(n, words_of(1, 0, epoch))[0]) for epoch in range(n_draws))
    expected = n_draws / n
    chi_squared = sum((firsts[i] - expected) ** 2 / expected for i in range(n))
    assert chi_squared < 23.5  # exceeded with a probability of 1e-4


@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("n", [0, 1, 2, 37])
def test_rows_set_aside_and_the_others_are_all_rows(n, fraction):
    order, aside = set_aside(n, fraction, 3, 4)
    assert sorted([*order, *aside]) == list(range(n))
    assert abs(len(aside) - fraction * n) <= 0.5


@pytest.fixture
def used(monkeypatch):
    """The parts of mini-batches that are used: (slot's samples, place, rows), in order."""
    parts = []
    gradient = rows_module.StepsInParts.gradient

    def recorded(steps, part, *arguments):
        parts.append((part.samples, part.place, part.rows.tolist()))
        return gradient(steps, part, *arguments)

    monkeypatch.setattr(rows_module.StepsInParts, "gradient", recorded)
    return parts


def fit_on_ranks(n_ranks, n_slots, n_rows, batch_size):
    X = np.random.RandomState(0).standard_normal((n_rows, 2))
    network = MLPRegressor(
        hidden_layer_sizes=(2,), max_iter=1, batch_size=batch_size, learning_rate="cosine"
    )

    def fit(ranks):
        mine = slice(n_rows * ranks.rank // n_ranks, n_rows * (ranks.rank + 1) // n_ranks)
        with sharing(ranks):
            clone(network).fit(X[mine], X[mine, 0])

    on_ranks(n_ranks, n_slots, fit)


@pytest.mark.parametrize("batch_size", [1, 3, 20, 64, 101])
@pytest.mark.parametrize("n_ranks", [1, 3])
def test_every_row_is_used_once_in_an_epoch(used, n_ranks, batch_size):
    n_rows, n_slots = 101, 8
    fit_on_ranks(n_ranks, n_slots, n_rows, batch_size)
    of_slots = {}
    for samples, _, rows in used:
        of_slots.setdefault(id(samples), []).extend(rows)
    assert sorted(map(len, of_slots.values())) == sorted(np.diff(bounds_of_slots(n_rows, n_slots)))
    assert all(sorted(rows) == list(range(len(rows))) for rows in of_slots.values())
    assert any(rows != sorted(rows) for rows in of_slots.values())


@pytest.mark.parametrize("batch_size", [1, 3, 8, 12, 20, 64, 101])
def test_mini_batches_have_about_as_many_rows_as_asked_for(used, batch_size):
    """None is empty: a step without rows would still follow the momentum."""
    n_rows, n_slots = 101, 8
    fit_on_ranks(1, n_slots, n_rows, batch_size)
    sizes = []
    for _, place, rows in used:  # the first part of a mini-batch has place 0
        if place == 0:
            sizes.append(0)
        assert sizes[-1] == place
        sizes[-1] += len(rows)
    n_steps = -(-n_rows // batch_size)
    assert len(sizes) == n_steps
    assert min(sizes) >= 1
    assert max(sizes) <= batch_size
    assert sum(sizes) == n_rows


# Fits against plain ones --------------------------------------------------------------------------

N_ROWS = 120
RNG = np.random.RandomState(0)
X = RNG.standard_normal((N_ROWS, 5))
Y = X[:, 0] * X[:, 1] - X[:, 2]
LABELS = np.array(["a", "b", "c"])[np.digitize(Y, [-0.7, 0.7])]
WEIGHT = RNG.uniform(0.1, 2, N_ROWS)
COMMON = {
    "hidden_layer_sizes": (7, 4), "activation": "tanh", "dtype": "float64", "shuffle": False,
    "random_state": 0, "max_iter": 3, "batch_size": 24,
}  # fmt: skip


def both(model, y, n_slots, *weight, **parameters):
    """An ordinary fit, and one of a rank that has all slots."""
    parameters = COMMON | parameters
    if parameters.get("solver") in ("lbfgs", "rprop"):
        del parameters["batch_size"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ordinary = model(**parameters).fit(X, y, *weight)
        ranks = Ranks(Communicator(Threads(1), 0), lambda *_: True, n_slots)
        with sharing(ranks):
            shared = model(**parameters).fit(X, y, *weight)
    return shared, ordinary


def assert_same_fit(shared, ordinary, rtol):
    assert_all_close(shared.coefs_, ordinary.coefs_, rtol)
    assert_all_close(shared.intercepts_, ordinary.intercepts_, rtol)
    assert_all_close([shared.loss_], [ordinary.loss_], rtol)
    assert_all_close(
        [np.array(shared.history_["loss"])], [np.array(ordinary.history_["loss"])], rtol
    )
    assert (shared.n_iter_, shared.t_) == (ordinary.n_iter_, ordinary.t_)


@pytest.mark.parametrize("solver", [*_core.SOLVERS, "lbfgs"])
def test_a_single_slot_has_the_steps_of_an_ordinary_fit(solver):
    assert_same_fit(*both(MLPClassifier, LABELS, 1, solver=solver), rtol=1e-6)


SETTINGS = {
    "plain": {},
    "weights_of_rows": {"weight": WEIGHT},
    "penalties": {"alpha": 2.0, "l1": 0.5},
    "penalties_and_weights": {"alpha": 2.0, "l1": 0.5, "weight": WEIGHT},
    "clip_norm": {"clip_norm": 0.05},
    "clip_value": {"clip_value": 0.01},
    "max_norm": {"max_norm": 0.5},
    "averaging": {"averaging": 0.9},
    "layer_norm": {"layer_norm": True, "residual": True},
    "invscaling": {"learning_rate": "invscaling"},
    "class_weight": {"class_weight": "balanced"},
}


@pytest.mark.parametrize("n_slots", [1, 5])
@pytest.mark.parametrize("setting", SETTINGS)
def test_batches_with_the_same_rows_give_the_same_steps(setting, n_slots):
    """With batches of all rows, those of several slots are the same ones."""
    parameters = SETTINGS[setting] | {"solver": "sgd", "learning_rate_init": 0.05}
    weight = [parameters.pop("weight")] if "weight" in parameters else []
    shared, ordinary = both(
        MLPClassifier, LABELS, n_slots, *weight, batch_size=N_ROWS, max_iter=6, **parameters
    )
    assert_same_fit(shared, ordinary, rtol=1e-9)


@pytest.mark.parametrize("weighted", [False, True])
def test_lbfgs_in_slots_is_that_of_an_ordinary_fit(weighted):
    weight = [WEIGHT] if weighted else []
    shared, ordinary = both(
        MLPRegressor, Y, 8, *weight, solver="lbfgs", alpha=0.5, max_iter=8, tol=1e-12
    )
    assert_same_fit(shared, ordinary, rtol=1e-6)


def batches_of(n_rows, n_slots, batch_size):
    """The rows of every step without shuffling: equal shares of a line of all rows.

    In the line, the rows of all slots take turns.
    """
    bounds = [n_rows * slot // n_slots for slot in range(n_slots + 1)]
    line = sorted(
        (Fraction(2 * j + 1, 2 * (last - first)), slot, first + j)
        for slot, (first, last) in enumerate(itertools.pairwise(bounds))
        for j in range(last - first)
    )
    n_steps = -(-n_rows // batch_size)
    for step in range(n_steps):
        part = line[n_rows * step // n_steps : n_rows * (step + 1) // n_steps]
        yield sorted(row for _, _, row in part)


@pytest.mark.parametrize("n_slots", [1, 3, 8])
@pytest.mark.parametrize("batch_size", [16, 25, 50])
@pytest.mark.parametrize("solver", reference.SOLVERS)
def test_weights_are_those_of_plain_numpy(solver, batch_size, n_slots):
    """Two epochs, whose mini-batches have unequal shares of unequal slots."""
    n_rows, rate, alpha = 113, 0.01, 0.3
    own = {"weight_decay": 0.1} if solver == "adamw" else {}
    alpha = 0.0 if solver == "adamw" else alpha
    batch_size = n_rows if solver == "rprop" else batch_size
    model = MLPRegressor(
        **(COMMON | {"batch_size": batch_size, "max_iter": 2}), solver=solver, alpha=alpha,
        learning_rate_init=rate, **own,
    )  # fmt: skip
    rows, y, weight = X[:n_rows], Y[:n_rows], WEIGHT[:n_rows]
    begin = MLPRegressor(**COMMON).initialize(X.shape[1])
    params = [(W.copy(), b.copy()) for W, b in zip(begin.coefs_, begin.intercepts_, strict=True)]
    flat = [array for pair in params for array in pair]
    rho = {"rho": 0.99} if solver == "rmsprop" else {}  # the documented default
    step = reference.SOLVERS[solver](flat, rate, **own, **rho)
    used = []
    for batch in [*batches_of(n_rows, n_slots, batch_size)] * 2:
        used += batch
        _, dW, db = reference.backward(
            params, rows[batch], y[batch, np.newaxis], "tanh", "squared_error", weight[batch], alpha
        )
        step.step(flat, [array for pair in zip(dW, db, strict=True) for array in pair])
    assert Counter(used) == dict.fromkeys(range(n_rows), 2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ranks = Ranks(Communicator(Threads(1), 0), lambda *_: True, n_slots)
        with sharing(ranks):
            model.fit(rows, y, weight)
    rtol = 1e-10 if solver == "sgd" else 1e-6
    assert_all_close(model.coefs_, [W for W, _ in params], rtol)
    assert_all_close(model.intercepts_, [b for _, b in params], rtol)


def test_loss_of_an_epoch_is_the_mean_over_its_rows():
    model = MLPRegressor(**(COMMON | {"max_iter": 1}), solver="sgd", learning_rate_init=1e-12)
    begin = MLPRegressor(**COMMON).initialize(X.shape[1])
    params = list(zip(begin.coefs_, begin.intercepts_, strict=True))
    expected = reference.cost(
        params, X, Y[:, np.newaxis], "tanh", "squared_error", np.ones(N_ROWS), model.alpha
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with sharing(Ranks(Communicator(Threads(1), 0), lambda *_: True, 8)):
            model.fit(X, Y)
    # The penalties are divided by the rows of a mini-batch.
    n_steps = N_ROWS // model.batch_size
    penalty = 0.5 * model.alpha * sum((W**2).sum() for W, _ in params) / N_ROWS
    np.testing.assert_allclose(model.loss_, expected + (n_steps - 1) * penalty, rtol=1e-9)
