"""The input layer: one-hot codes, embeddings, learned cosines and scales."""

import pickle

import numpy as np
import pytest
import reference
import scipy.sparse
from numpy.testing import assert_allclose
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from fastmlp import InputLayer, MLPClassifier, MLPRegressor, Network, _core, check_gradients
from fastmlp._engine.checks import check_data
from fastmlp._training.descent import Descent

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RTOL = {"float64": 1e-11, "float32": 2e-5}
EMBEDDINGS = (None, "cosine", "pbld", "piecewise_linear")
EDGES = [[-1.0, -0.5, 0.25, 2.0], [], [0.0, 1.0], np.linspace(-2, 2, 41)]
N_CATEGORIES = [3, 30, 1, 12]
CODED = [1, 3, 4, 6]


def make_rows(n_rows=150, seed=0):
    """Four numbers and four columns of codes, some of no category."""
    rng = np.random.RandomState(seed)
    X = rng.standard_normal((n_rows, 8))
    for j, n in zip(CODED, N_CATEGORIES, strict=True):
        X[:, j] = rng.randint(-1, n + 1, n_rows)
    return X


def make_layer(**options):
    return InputLayer(CODED, N_CATEGORIES, embedding_size=5, bin_edges=EDGES, **options)


def make_network(layer, dtype="float64", sizes=(8, 20, 3), **options):
    network = Network(sizes, "tanh", "log_loss", input_layer=layer, dtype=dtype,
                      random_state=0, **options)  # fmt: skip
    rng = np.random.RandomState(1)
    if "scales" in network.input_parameters:
        network.input_parameters["scales"][...] = rng.uniform(0.5, 2, network.W[0].shape[0])
    return network


OPTIONS = [
    {"numeric_embedding": embedding, "scaling": scaling, "one_hot_max_size": most}
    for embedding in EMBEDDINGS
    for scaling in (False, True)
    for most in (0, 9, 100)
]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("n_rows", [1, 5, 150, 1_100])
def test_outputs_are_those_of_the_reference(n_rows, options, dtype):
    network, X = make_network(make_layer(**options), dtype), make_rows(n_rows)
    a = network.forward(X).a
    expected = reference.inputs(network, X.astype(dtype))
    atol = RTOL[dtype] * np.abs(expected).max()
    assert_allclose(a[0], expected, rtol=RTOL[dtype], atol=atol)
    assert a[0].shape[1] == network.W[0].shape[0]
    want = reference.output(network, X.astype(dtype))
    assert_allclose(a[-1], want, rtol=RTOL[dtype], atol=RTOL[dtype])
    for given in (X, np.asfortranarray(X), X.astype("float32"), X[::-1][::-1]):
        network.n_threads = 2
        assert_allclose(network.output(given), want, rtol=1e-4, atol=1e-4)
        alone = np.concatenate([network.output(given[i : i + 1]) for i in range(min(3, n_rows))])
        if not _core.uses_blas():  # which promises no such thing
            assert (alone == network.output(given)[:3]).all()
        assert_allclose(alone, want[:3], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_gradients_are_finite_differences(options):
    X, rng = make_rows(1_100), np.random.RandomState(2)
    y, weight = rng.randint(0, 3, len(X)), rng.uniform(0, 2, len(X))
    classifier = MLPClassifier(
        (6,), "tanh", input_layer=make_layer(n_frequencies=3, **options), alpha=0.5, l1=0.1,
        random_state=0,
    )  # fmt: skip
    check = check_gradients(classifier, X, y, weight, n_parameters=2_000)
    assert check.error < 1e-4
    network = make_network(make_layer(n_frequencies=3, **options), sizes=(8, 6, 3))
    n_padded = network.parameters.flat.size
    assert check.n_checked == sum(view.size for view in network.parameters.arrays().values())
    assert check.n_checked <= n_padded


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_gradients_are_added_up_over_parts(options):
    """A mini-batch of 1,100 rows comes in two parts; the whole gradient takes them at once."""
    X, y = make_rows(1_100), np.random.RandomState(2).randint(0, 3, 1_100)
    network = make_network(make_layer(n_frequencies=3, **options))
    data = check_data(X, y, None, network)
    whole = np.zeros_like(network.parameters.flat)
    network.passes.full_gradient(data, whole)
    in_parts = Descent(network, "adam", {}).add_gradient(data, np.arange(1_100))[0][0]
    assert_allclose(in_parts, whole, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("data", ["dense", "one-hot"])
def test_one_hot_codes_train_as_a_matrix_of_zeros_and_ones(data):
    """The same network on the same inputs, spelled out, makes the same steps."""
    X, y = make_rows(300), np.random.RandomState(3).randint(0, 3, 300)
    X = X if data == "dense" else X[:, CODED]
    coded = CODED if data == "dense" else [0, 1, 2, 3]
    layer = InputLayer(coded, N_CATEGORIES, one_hot_max_size=100)
    options = {
        "hidden_layer_sizes": (20,), "max_iter": 4, "dtype": "float64", "random_state": 0,
        "alpha": 0.1, "l1": 1e-3, "batch_size": 64,
    }  # fmt: skip
    coded_fit = MLPClassifier(**options, input_layer=layer).fit(X, y)
    spelled = reference.inputs(coded_fit._network, X)
    plain_fit = MLPClassifier(**options).fit(spelled, y)
    assert_allclose(coded_fit.loss_curve_, plain_fit.loss_curve_, rtol=1e-10)
    for ours, theirs in zip(coded_fit.coefs_, plain_fit.coefs_, strict=True):
        assert_allclose(ours, theirs, rtol=1e-8, atol=1e-12)
    assert_allclose(coded_fit.predict_proba(X), plain_fit.predict_proba(spelled), rtol=1e-8)


def torch_model(network):
    """The same network in PyTorch, with its parameters and a function of the rows."""
    torch = pytest.importorskip("torch")
    named = {
        name: torch.nn.Parameter(torch.tensor(np.array(view), dtype=torch.float64))
        for name, view in network.parameters.arrays().items()
    }
    layer = network.input_layer
    sizes = dict(zip(layer.categorical_features, layer.n_categories, strict=True))

    def output(X):
        dense, one_hot, i = [], [], 0
        for j in range(X.shape[1]):
            x = torch.tensor(X[:, j])
            if j in sizes:
                codes = torch.tensor(np.where((X[:, j] >= 0) & (X[:, j] < sizes[j]), X[:, j], 0))
                known = torch.tensor((X[:, j] >= 0) & (X[:, j] < sizes[j]))[:, None]
                if sizes[j] <= layer.one_hot_max_size:
                    one_hot.append(torch.nn.functional.one_hot(codes.long(), sizes[j]) * known)
                else:
                    dense.append(named[f"embedding{j}"][codes.long()] * known)
                continue
            h = torch.cos(2 * np.pi * x[:, None] * named["frequencies"][i] + named["phases"][i])
            V, c = named["linear_weights"][i], named["linear_biases"][i]
            dense.append(torch.cat([x[:, None], h @ V.T + c], dim=1))
            i += 1
        a = torch.cat(dense + one_hot, dim=1).double() * named["scales"]
        hidden = torch.tanh(a @ named["W0"] + named["b0"])
        return hidden @ named["W1"] + named["b1"]

    return named, output


def test_training_is_that_of_pytorch():
    torch = pytest.importorskip("torch")
    X, y = make_rows(120), np.random.RandomState(4).randint(0, 3, 120)
    layer = make_layer(numeric_embedding="pbld", scaling=True)
    classifier = MLPClassifier(
        (12,), "tanh", input_layer=layer, dtype="float64", random_state=0, alpha=0.0, tol=0.0,
        batch_size=120, shuffle=False, max_iter=6, learning_rate_init=0.01, epsilon=1e-20,
        learning_rate_factors={"embedding": 0.3, "scale": 2.0, "bias": 0.5},
    )  # fmt: skip
    start = Network(
        [8, 12, 3], "tanh", "log_loss", input_layer=layer, dtype="float64", random_state=0
    )
    named, output = torch_model(start)
    rates = {"scales": 2.0, "b0": 0.5, "b1": 0.5, "W0": 1.0, "W1": 1.0}
    groups = [{"params": [p], "lr": 0.01 * rates.get(name, 0.3)} for name, p in named.items()]
    optimizer = torch.optim.Adam(groups, eps=1e-20)
    for _ in range(6):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(output(X), torch.tensor(y)).backward()
        optimizer.step()
    fitted = classifier.fit(X, y)._network.parameters.arrays()
    assert fitted.keys() == named.keys()
    for name, view in fitted.items():
        touched = np.abs(named[name].grad.numpy()) > 0
        assert_allclose(view[touched], named[name].detach().numpy()[touched], rtol=1e-7, atol=1e-9)


FITS = {
    "pbld": {"input_layer": make_layer(numeric_embedding="pbld", scaling=True)},
    "cosine, all one-hot": {
        "input_layer": make_layer(numeric_embedding="cosine", one_hot_max_size=100, scaling=True),
        "input_dropout": 0.2, "input_noise": 0.1, "dropout": 0.2,
    },
    "embeddings": {"input_layer": make_layer(one_hot_max_size=0), "input_dropout": 0.3},
    "no hidden layer": {
        "input_layer": make_layer(numeric_embedding="pbld"), "hidden_layer_sizes": (),
        "parametrization": "ntk",
    },
    "wide": {
        "input_layer": make_layer(numeric_embedding="pbld", scaling=True),
        "hidden_layer_sizes": (700, 700), "batch_size": 16, "layer_norm": True,
    },
    "in parts": {
        "input_layer": make_layer(numeric_embedding="pbld", scaling=True), "batch_size": 1_100,
        "clip_norm": 0.1, "averaging": 0.9, "max_norm": 1.0, "weight_decay": 0.1,
    },
    "lbfgs": {"input_layer": make_layer(numeric_embedding="pbld"), "solver": "lbfgs"},
    "only categories": {"input_layer": InputLayer([0, 1], [5, 4]), "columns": [4, 1]},
}  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", FITS)
def test_the_bits_do_not_depend_on_the_threads(name, dtype):
    settings = {"hidden_layer_sizes": (40,), "max_iter": 3, "random_state": 0} | FITS[name]
    X, y = make_rows(1_300), np.random.RandomState(5).randint(0, 3, 1_300)
    X = X[:, settings.pop("columns", slice(None))]
    flats = []
    for n_threads in (1, 2, 5):
        classifier = MLPClassifier(**settings, dtype=dtype, n_threads=n_threads).fit(X, y)
        flats.append(classifier._network.parameters.flat.tobytes())
        assert np.isfinite(classifier.loss_)
        assert len({classifier.set_params(n_threads=n).predict_proba(X).tobytes()
                    for n in (1, 2)}) == 1  # fmt: skip
    assert len(set(flats)) == 1


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_gradients_behind_dropout_and_noise(options):
    """Two gradients of a step have the same random numbers: its loss has finite differences."""
    X, y = make_rows(40), np.random.RandomState(6).randint(0, 3, 40)
    network = make_network(
        make_layer(n_frequencies=3, **options), sizes=(8, 6, 3), learned_activation=True
    )
    data, rows = check_data(X, y, None, network), np.arange(40)
    settings = {
        "dropout": (0.3, 0.2), "input_noise": 0.1, "dropout_schedule": "cosine", "n_epochs": 10,
    }  # fmt: skip
    descent = Descent(network, "adam", settings, seed=3)
    descent.epoch(data, rows, 10)
    gradient = descent.add_gradient(data, rows)[0][0]
    flat = network.parameters.flat
    for view in network.parameters.arrays(np.arange(flat.size)).values():
        places = np.asarray(view).ravel()
        for place in places[:: -(-len(places) // 20)]:
            value, losses = flat[place], []
            for moved in (value + 1e-6, value - 1e-6):
                flat[place] = moved
                losses.append(descent.add_gradient(data, rows)[1])
            flat[place] = value
            difference = (losses[0] - losses[1]) / 2e-6
            assert abs(difference - gradient[place]) < 1e-7 * max(1, abs(difference))


def test_it_learns_what_needs_it():
    rng = np.random.RandomState(0)
    X = np.c_[rng.uniform(-1, 1, 2_000), rng.randint(0, 40, 2_000)]
    of_code = rng.standard_normal(40)
    y = np.sin(12 * X[:, 0]) + of_code[X[:, 1].astype(int)]
    options = {"max_iter": 60, "random_state": 0, "learning_rate_init": 0.01}
    layer = InputLayer([1], numeric_embedding="pbld", frequency_scale=1.0)
    with_layer = MLPRegressor(**options, input_layer=layer).fit(X[:1_500], y[:1_500])
    without = MLPRegressor(**options).fit(X[:1_500], y[:1_500])
    assert with_layer.score(X[1_500:], y[1_500:]) > 0.95
    assert without.score(X[1_500:], y[1_500:]) < 0.5


def test_bins_are_quantiles_of_the_training_rows():
    X, y = make_rows(300)[:, [0, 2]], np.arange(300) % 3
    layer = InputLayer(numeric_embedding="piecewise_linear", n_bins=5)
    X[:, 1] = X[:, 1] > 0  # two values have no bins
    fitted = MLPClassifier((4,), input_layer=layer, max_iter=1, random_state=0).fit(X, y)
    first, second = fitted._network.input_layer.bin_edges
    x = X[:, 0].astype(np.float32)
    assert_allclose(first, np.quantile(x, [0, 0.2, 0.4, 0.6, 0.8, 1]), rtol=1e-6)
    assert second == ()
    assert fitted.coefs_[0].shape == (7, 4)
    outside = fitted._network.forward([[-100, 0], [100, 1]]).a[0]
    assert_allclose(outside, [[-100, 0, 0, 0, 0, 0, 0], [100, 1, 1, 1, 1, 1, 1]])
    with pytest.raises(ValueError, match="bin_edges must be a list here"):
        Network([2, 1], input_layer=layer)


def test_padding_stays_zero():
    X, y = make_rows(200), np.random.RandomState(7).randint(0, 3, 200)
    layer = make_layer(numeric_embedding="pbld", scaling=True)
    parameters = MLPClassifier((10,), input_layer=layer, max_iter=3, random_state=0).fit(X, y)
    parameters = parameters._network.parameters
    is_used = np.zeros(parameters.flat.size)
    for view in parameters.arrays(is_used).values():
        view[...] += 1
    assert is_used.max() == 1  # no number has two names
    assert (parameters.flat[is_used == 0] == 0).all()


def test_copies_pickles_and_warm_starts():
    X, y = make_rows(200), np.random.RandomState(8).randint(0, 3, 200)
    layer = InputLayer(CODED, numeric_embedding="cosine", scaling=True)
    classifier = MLPClassifier((10,), input_layer=layer, max_iter=2, random_state=0)
    classifier.fit(X, y)
    expected = classifier.predict_proba(X)
    assert (pickle.loads(pickle.dumps(classifier)).predict_proba(X) == expected).all()
    wide = classifier._network.copy("float64")
    assert_allclose(wide.output(X), expected, atol=1e-5)
    assert clone(classifier).get_params()["input_layer"] == layer
    classifier.set_params(warm_start=True).fit(X, y)
    classifier.partial_fit(X[:5], y[:5])
    other = InputLayer(CODED, numeric_embedding="cosine")
    with pytest.raises(ValueError, match="go on with the network that is there"):
        classifier.set_params(input_layer=other).fit(X, y)
    with pytest.raises(ValueError, match="go on with the network that is there"):
        classifier.set_params(input_layer=None).fit(X, y)


@pytest.mark.parametrize("embedding", EMBEDDINGS)
def test_what_was_learned_of_the_columns_is_kept(embedding):
    X, y = make_rows(200), np.random.RandomState(8).randint(0, 3, 200)
    layer = InputLayer(CODED, numeric_embedding=embedding)
    options = {"hidden_layer_sizes": (5,), "max_iter": 1, "random_state": 0, "warm_start": True}
    classifier = MLPClassifier(**options, input_layer=layer).fit(X, y)
    learned = classifier._network.input_layer
    classifier.partial_fit(X[:9] + 7 * (np.arange(8) == 0), y[:9]).fit(X[:100], y[:100])
    assert classifier._network.input_layer == learned
    others = [
        InputLayer(CODED[:2], numeric_embedding=embedding),
        InputLayer(CODED, numeric_embedding="cosine" if embedding is None else None),
        InputLayer(CODED, [4, 31, 2, 14], numeric_embedding=embedding),
    ]
    for other in others:
        with pytest.raises(ValueError, match="go on with the network that is there"):
            classifier.set_params(input_layer=other).partial_fit(X, y)


def test_names_masks_and_searches():
    pandas = pytest.importorskip("pandas")
    X, y = make_rows(200), np.random.RandomState(9).randint(0, 3, 200)
    frame = pandas.DataFrame(X, columns=list("abcdefgh"))
    mask = np.isin(np.arange(8), CODED)
    fits = []
    for features, rows in ((list("bdeg"), frame), (mask, X), ([1, 3, -4, 6], X)):
        layer = InputLayer(features, numeric_embedding="pbld")
        classifier = MLPClassifier((10,), input_layer=layer, max_iter=2, random_state=0)
        fits.append(classifier.fit(rows, y).predict_proba(rows))
    assert (fits[0] == fits[1]).all()
    assert (fits[0] == fits[2]).all()
    layers = [None, InputLayer(CODED), InputLayer(CODED, scaling=True)]
    search = GridSearchCV(MLPClassifier((5,), max_iter=2, random_state=0), {"input_layer": layers})
    assert len(search.fit(X, y).cv_results_["params"]) == 3


def test_codes_are_no_values_out_of_scale():
    X, y = make_rows(200), np.random.RandomState(10).randint(0, 3, 200)
    X[:, 3] = np.arange(200) * 30
    layer = InputLayer([3])
    classifier = MLPClassifier((5,), input_layer=layer, max_iter=1, random_state=0)
    classifier.fit(X, y)  # a warning would be an error
    assert classifier.input_parameters_["embedding3"].shape == (199 * 30 + 1, 8)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"categorical_features": [8]}, "X has 8 columns"),
        ({"categorical_features": [0.5]}, "categorical_features must be"),
        ({"categorical_features": [1, 1]}, "each of them once"),
        ({"categorical_features": [True]}, "a mask has 8 entries, got 1"),
        ({"categorical_features": ["a"]}, "no column named 'a'"),
        ({"categorical_features": [1], "n_categories": [2, 3]}, "an entry for each of the 1"),
        ({"categorical_features": [1], "n_categories": [0]}, "whole number >= 1, got 0"),
        ({"categorical_features": [1], "n_categories": "all"}, "'auto' or a list"),
        ({"categorical_features": [0]}, "whole numbers, got"),
        ({"categorical_features": [1], "n_categories": [2**24 + 1]}, "at most 16777216"),
        ({"numeric_embedding": "plr"}, "numeric_embedding must be one of"),
        ({"n_frequencies": 129}, "at most 128"),
        ({"numeric_embedding": "piecewise_linear", "bin_edges": [[0, 1]]}, "each of the 8 numbers"),
        (
            {"numeric_embedding": "piecewise_linear", "bin_edges": [[0, 0]] * 8},
            "finite and ascending",
        ),
        ({"numeric_embedding": "piecewise_linear", "bin_edges": "uniform"}, "'quantile' or a list"),
        ({"n_bins": 0}, "n_bins must be"),
        ({"n_frequencies": 0}, "whole number >= 1"),
        ({"numeric_embedding_size": 1}, "whole number >= 2"),
        ({"embedding_size": 2.5}, "embedding_size must be"),
        ({"one_hot_max_size": -1}, "one_hot_max_size must be"),
        ({"frequency_scale": -1}, "frequency_scale must be"),
        ({"frequency_scale": np.nan}, "frequency_scale must be"),
    ],
    ids=str,
)
def test_bad_arguments(options, message):
    X, y = make_rows(50), np.arange(50) % 3
    with pytest.raises(ValueError, match=message):
        MLPClassifier((5,), input_layer=InputLayer(**options), max_iter=1).fit(X, y)


def test_identifiers_are_no_codes():
    X, y = make_rows(50), np.arange(50) % 3
    X[7, 1] = 4e9
    with pytest.raises(ValueError, match="n_categories must be at most 16777216"):
        MLPClassifier((5,), input_layer=InputLayer([1]), max_iter=1).fit(X, y)


def test_bad_rows_and_types():
    X, y = make_rows(50), np.arange(50) % 3
    with pytest.raises(TypeError, match="scaling must be"):
        InputLayer(scaling="yes")
    with pytest.raises(TypeError, match="input_layer must be an InputLayer"):
        Network([8, 3], input_layer="pbld")
    with pytest.raises(ValueError, match="there are no rows to take it from"):
        Network([8, 3], input_layer=InputLayer([1]))
    classifier = MLPClassifier((5,), input_layer=InputLayer(CODED), max_iter=1, random_state=0)
    with pytest.raises(ValueError, match="needs dense rows"):
        classifier.fit(scipy.sparse.csr_matrix(X), y)
    classifier.fit(X, y)
    expected = classifier.predict_proba(X)
    bad = X.copy()
    bad[3, 1] = 0.5
    for method in (classifier.predict_proba, classifier.activations):
        with pytest.raises(ValueError, match="column 1, which are whole numbers, got"):
            method(bad)
        with pytest.raises(ValueError, match="dense"):
            method(scipy.sparse.csr_matrix(X))
    with pytest.raises(ValueError, match="whole numbers"):
        classifier.partial_fit(bad, y)
    network = classifier._network
    for method in (network.output, network.forward):
        with pytest.raises(ValueError, match="whole numbers"):
            method(bad)
    with pytest.raises(ValueError, match="whole numbers"):
        network.loss_and_gradients(bad, y)
    assert (classifier.predict_proba(X) == expected).all()
    with pytest.raises(AttributeError, match="with an input_layer only"):
        _ = MLPClassifier(max_iter=1, random_state=0).fit(X, y).input_parameters_


def test_huge_numbers_have_finite_cosines():
    network = make_network(make_layer(numeric_embedding="pbld"), "float32")
    X = make_rows(5)
    X[0, 0], X[1, 0] = 1e30, -3e38
    inputs = network.forward(X).a[0]
    assert np.isfinite(inputs).all()
    assert np.abs(inputs[:2, 1:4]).max() < 5
