"""L-BFGS: the steps of SciPy's L-BFGS-B, with the same bits for any number of threads."""

import zlib
from collections import deque
from functools import partial

import numpy as np
import pytest
import scipy.optimize
from numpy.testing import assert_allclose
from scipy import sparse
from sklearn.datasets import load_digits

from fastmlp import MLPClassifier, _core
from fastmlp._training.divergence import Divergence
from fastmlp._training.lbfgs import LBFGS
from fastmlp._training.line_search import MOST_EVALUATIONS, line_search

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

PART = _core.NUMBERS_IN_PART


# The direction -----------------------------------------------------------------------------------


def two_loops(pairs, gradient):
    """-H g by the recursion of Nocedal (1980), which multiplies with one pair after the other."""
    q, shares = gradient.copy(), []
    for s, y in reversed(pairs):
        share = s @ q / (s @ y)
        q -= share * y
        shares.append(share)
    if pairs:
        s, y = pairs[-1]
        q *= s @ y / (y @ y)
    for (s, y), share in zip(pairs, reversed(shares), strict=True):
        q += (share - y @ q / (s @ y)) * s
    return -q


class Pairs:
    """A Curvature, and the pairs that it should know: those of a convex function."""

    def __init__(self, n, n_pairs, n_threads, most=10):
        self.rng, self.n, self.n_threads = np.random.RandomState(n + n_pairs), n, n_threads
        self.curvature = _core.Curvature(np.full((most, 2, n), np.nan))
        self.known = deque(maxlen=most)
        self.scale = self.rng.uniform(0.1, 10, n)
        self.add(n_pairs)
        self.gradient = self.rng.standard_normal(n)

    def add(self, n_pairs):
        for _ in range(n_pairs):
            direction, before = self.rng.standard_normal((2, self.n))
            s = 0.5 * direction
            after = before + self.scale * s + 0.1 * np.tanh(s)
            self.curvature.add(direction, 0.5, before, after)
            self.known.append((s, after - before))
            self.curvature.direction(after, np.empty(self.n), self.n_threads)

    def direction(self):
        out = np.full(self.n, np.nan)
        self.curvature.direction(self.gradient, out, self.n_threads)
        return out

    def check(self):
        assert self.curvature.n_pairs == len(self.known)
        expected = two_loops(list(self.known), self.gradient)
        assert_allclose(self.direction(), expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("n", [10, 100, PART - 1, PART, PART + 1, 3 * PART + 17])
@pytest.mark.parametrize("n_pairs", [0, 1, 2, 9, 10, 11, 25])
def test_direction(n, n_pairs):
    pairs = Pairs(n, n_pairs, 2)
    pairs.check()
    pairs.curvature.forget()
    np.testing.assert_array_equal(pairs.direction(), -pairs.gradient)
    pairs.known.clear()
    pairs.add(3)
    pairs.check()


def test_few_pairs_are_kept():
    pairs = Pairs(50, 7, 1, most=3)
    assert len(pairs.known) == 3
    pairs.check()


@pytest.mark.parametrize("n", [1, 15, 33, PART + 5])
def test_product(n):
    a, b = np.random.RandomState(0).standard_normal((2, n))
    curvature = _core.Curvature(np.empty((2, 2, n)))
    assert_allclose(curvature.product(a, b, 2), a @ b, rtol=1e-12)


def test_direction_has_the_same_bits_for_any_number_of_threads(kernels):
    n = 20 * PART + 3
    outs = []
    for n_threads in (1, 2, 3, 16):
        for _ in range(5):
            pairs = Pairs(n, 12, n_threads)
            outs.append(pairs.direction())
            outs[-1][0] += pairs.curvature.product(pairs.gradient, outs[-1], n_threads)
    assert {out.tobytes() for out in outs} == {outs[0].tobytes()}


def test_direction_has_the_same_bits_with_all_vectors():
    """Those without fused multiply-adds round twice."""
    before, outs = _core.kernels_in_use(), {}
    for name in _core.kernel_names():
        _core.use_kernels(name)
        outs[name] = Pairs(PART + 21, 12, 1).direction().tobytes()
    _core.use_kernels(before)
    if {"avx2", "avx512"} <= set(outs):
        assert outs["avx2"] == outs["avx512"]
    assert outs[before] == outs["blas"]  # the fastest ones, but for products of matrices


def test_arrays_that_do_not_fit():
    for shape in [(0, 2, 3), (1, 1, 3), (1, 2, 0)]:
        with pytest.raises(ValueError, match="pairs must be of shape"):
            _core.Curvature(np.empty(shape))
    curvature, a, b = _core.Curvature(np.empty((2, 2, 3))), np.empty(3), np.empty(4)
    for call in (
        partial(curvature.direction, n_threads=1), partial(curvature.product, n_threads=1),
        partial(curvature.add, a, 1),
    ):  # fmt: skip
        for arguments in [(a, b), (b, a), (b, b)]:
            with pytest.raises(ValueError, match="the vectors must have 3 numbers, got"):
                call(*arguments)
    assert curvature.n_pairs == 0
    curvature.add(a, 1, a, a)
    with pytest.raises(ValueError, match="there must be a direction between two pairs"):
        curvature.add(a, 1, a, a)


# The iterations ----------------------------------------------------------------------------------


class Function:
    """A function as LBFGS wants it, which keeps where it has been evaluated."""

    dtype = np.dtype(np.float64)

    def __init__(self, function, start):
        self._function, self._start, self.asked = function, start, []

    def begin(self):
        return self._start.copy()

    def __call__(self, x, gradient):
        self.asked.append(x.copy())
        loss, gradient[...] = self._function(x)
        return loss

    def n_threads(self, n):
        return 2

    def for_scipy(self, x):
        gradient = np.empty_like(x)
        return self(x, gradient), gradient


def rosenbrock(x):
    return scipy.optimize.rosen(x), scipy.optimize.rosen_der(x)


def quadratic(x):
    scale = np.logspace(-2, 2, len(x))
    return 0.5 * (scale * x) @ x, scale * x


def steep(x):
    """A wall behind a plain: long steps and short ones."""
    return np.cosh(3 * x).sum() + np.sin(5 * x).sum(), 3 * np.sinh(3 * x) + 5 * np.cos(5 * x)


def wavy(x):
    """Not convex: some steps go through slopes that fall."""
    r = 1 + x @ x
    return -np.cos(x).sum() + 0.1 * np.log(r), np.sin(x) + 0.2 * x / r


def cliff(x):
    """Kinks, where SciPy's search fails and begins anew without memory."""
    weight = np.arange(1.0, len(x) + 1)
    return weight @ np.abs(x - 1 / weight), weight * np.sign(x - 1 / weight)


@pytest.mark.parametrize("n", [1, 2, 30, PART + 1])
@pytest.mark.parametrize("function", [rosenbrock, quadratic, steep, wavy, cliff])
def test_steps_are_those_of_scipy(function, n):
    start = np.random.RandomState(n).uniform(-2, 2, max(n, 2) if function is rosenbrock else n)
    theirs = Function(function, start)
    # Later, differences of rounding have grown.
    most = 15 if function in (rosenbrock, steep) else 12
    result = scipy.optimize.minimize(
        theirs.for_scipy, start, jac=True, method="L-BFGS-B",
        options={"maxiter": most, "gtol": 1e-8, "ftol": 0},
    )  # fmt: skip
    ours = Function(function, start)
    run = LBFGS(ours)
    run.begin()
    gain = np.inf
    while run.n_iter < most and run.largest_slope > 1e-8 and gain > 0:
        before = run.at.loss
        if not run.iterate():
            break
        gain = before - run.at.loss
    assert run.n_iter == result.nit
    assert run.n_losses == len(ours.asked)
    # SciPy does not ask again for what it has asked for last.
    asked = [x for x, before in zip(ours.asked, [None, *ours.asked], strict=False)
             if before is None or (x != before).any()]  # fmt: skip
    assert len(asked) == len(theirs.asked)
    for x, expected in zip(asked, theirs.asked, strict=True):
        assert_allclose(x, expected, rtol=1e-5, atol=1e-7)
    assert_allclose(run.at.x, result.x, rtol=1e-5, atol=1e-7)
    assert_allclose(run.at.loss, result.fun, rtol=1e-8, atol=1e-12)


def test_a_loss_that_only_rises():
    """The gradient points the wrong way: nothing moves."""
    start = np.array([1.0, 2.0])
    run = LBFGS(Function(lambda x: (x @ x, -2 * x), start))
    run.begin()
    run.iterate()
    assert (run.at.x == start).all()
    assert run.at.loss == 5


def endless(x):
    """Goes down for ever, so steeply that the first step is short."""
    return -1e6 * x.sum(), np.full_like(x, -1e6)


def test_a_search_that_fails_leaves_the_point():
    run = LBFGS(Function(endless, np.zeros(1)))
    run.begin()
    assert not run.iterate()
    assert (run.n_iter, run.n_losses) == (0, 1 + MOST_EVALUATIONS)
    assert (run.at.x, run.at.loss, run.at.gradient) == (0, 0, -1e6)


class Misleading(Function):
    """After some iterations, the loss rises along the direction, for as long as a search takes."""

    def __init__(self):
        super().__init__(quadratic, np.ones(4))
        self.before, self.n_false = None, 0

    def __call__(self, x, gradient):
        loss = super().__call__(x, gradient)
        if self.n_false == 0:
            self.before = x.copy(), loss, gradient.copy()
            return loss
        self.n_false -= 1
        there, loss, slope = self.before
        gradient[...] = -slope
        return loss + 0.5 * abs(slope @ (x - there))


def test_a_search_that_fails_begins_anew_without_memory():
    """Where SciPy's does, and with the same steps."""
    ours, theirs, n_iter = Misleading(), Misleading(), 6
    run = LBFGS(ours)
    run.begin()
    while run.n_iter < n_iter:
        ours.n_false = MOST_EVALUATIONS * (run.n_iter == 3)
        assert run.iterate()

    def callback(intermediate_result):
        nonlocal n_iter
        n_iter -= 1
        theirs.n_false = MOST_EVALUATIONS * (n_iter == 3)

    scipy.optimize.minimize(
        theirs.for_scipy, np.ones(4), jac=True, method="L-BFGS-B", callback=callback,
        options={"maxiter": 6, "gtol": 0, "ftol": 0},
    )  # fmt: skip
    assert run.n_losses == len(ours.asked) > 6 + MOST_EVALUATIONS
    assert_allclose(ours.asked, theirs.asked, rtol=1e-6)


def test_a_loss_that_is_not_finite():
    run = LBFGS(Function(lambda x: (np.nan, x), np.ones(3)))
    with pytest.raises(Divergence, match="The loss was nan after iteration 0"):
        run.begin()


# The line search ---------------------------------------------------------------------------------


def answers(seed):
    """A loss in one dimension with random values and slopes, as if it were very noisy."""

    def loss(x):
        rng = np.random.RandomState(zlib.crc32(f"{seed} {x:.7g}".encode()))
        kind = rng.randint(4)
        value = rng.uniform(-2, 1) * [1, 1e-3, 1, x][kind]
        return value, rng.uniform(-1.5, 1.5) * [1, 1, 1e-3, 1][kind]

    return lambda x: (0.0, -1.0) if x == 0 else loss(x)


@pytest.mark.parametrize("seed", range(500))
def test_steps_of_a_search_are_those_of_scipy(seed):
    loss, theirs, ours = answers(seed), [], []

    def value(x):
        theirs.append(float(x[0]))
        f, slope = loss(theirs[-1])
        return f, np.array([slope])

    result = scipy.optimize.minimize(
        value, [0.0], jac=True, method="L-BFGS-B", options={"maxiter": 1, "maxfun": 10**6}
    )

    def along(step):
        if not ours or step != ours[-1]:
            ours.append(step)
        return loss(step)

    assert line_search(along, 0.0, -1.0, 1.0) == (result.nit == 1)
    assert_allclose(ours, theirs[1:], rtol=1e-5)


# Fits --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("is_sparse", [False, True])
def test_fits_have_the_same_bits_for_any_number_of_threads(dtype, is_sparse):
    """The vectors have many parts, and their layers padding."""
    X, y = load_digits(return_X_y=True)
    X = np.repeat(X[:300] / 16, 60, axis=1)
    X = sparse.csr_array(X) if is_sparse else X
    fits = [
        MLPClassifier(
            (11,), solver="lbfgs", dtype=dtype, max_iter=15, n_threads=n_threads, random_state=0
        ).fit(X, y[:300])
        for n_threads in (1, 2, 16)
    ]
    assert fits[0].n_iter_ > 10
    for fit in fits:
        assert fit.history_["loss"] == fits[0].history_["loss"]
        for a, b in zip(fit.coefs_, fits[0].coefs_, strict=True):
            assert a.tobytes() == b.tobytes()
