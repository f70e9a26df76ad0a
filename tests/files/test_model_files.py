"""Model files: what is written comes back, bit for bit, and what is wrong is an error."""

import contextlib
import itertools
import json
import mmap
import os
import pickle
import subprocess
import sys
import threading
from pathlib import Path

import mutations
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from golden import FOLDER, outputs, rows, table
from safetensors.numpy import load_file, save_file
from sklearn.exceptions import NotFittedError
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    MaxAbsScaler,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    RobustScaler,
    StandardScaler,
)

import fastmlp
from fastmlp import (
    InputLayer,
    MLPClassifier,
    MLPRegressor,
    ModelFileError,
    Network,
    TabularMLPClassifier,
    TabularMLPRegressor,
)
from fastmlp._core import ACTIVATIONS
from fastmlp._engine.losses import LOSSES

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.RandomState(0)
X = RNG.standard_normal((60, 4))
y = X[:, 0] * X[:, 1]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


def through_file(model, path, **options):
    """Return the model after a file, whose second writing must be the same file."""
    model.save(path, **options)
    again = fastmlp.load(path)
    again.save(f"{path}.2", **options)
    assert path.read_bytes() == Path(f"{path}.2").read_bytes()
    return again


# Networks -----------------------------------------------------------------------------------------

STRUCTURES = [
    dict(zip(("layer_norm", "residual", "learned_activation", "dtype"), values, strict=True))
    for values in itertools.product(*[[False, True]] * 3, ["float32", "float64"])
]


@pytest.mark.parametrize("structure", STRUCTURES, ids=str)
def test_network_comes_back(structure, path):
    network = Network([4, 6, 6, 1, 3], ["tanh", "gelu", "relu"], **structure, random_state=0)
    again = through_file(network, path)
    assert (again.output(X) == network.output(X)).all()
    assert repr(again) == repr(network)
    assert (again.parameters.flat == network.parameters.flat).all()


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("loss", LOSSES)
def test_every_activation_and_loss(activation, loss, path):
    network = Network([4, 5, 3], activation, loss, random_state=0)
    again = through_file(network, path)
    assert (again.output(X) == network.output(X)).all()
    assert (again.loss, again.loss_params) == (network.loss, network.loss_params)


INPUT_LAYERS = {
    "one-hot": InputLayer([1, 3], [3, 5]),
    "embeddings": InputLayer([3], [50], embedding_size=3),
    "cosines": InputLayer(numeric_embedding="cosine", n_frequencies=5),
    "pbld": InputLayer([0], [3], numeric_embedding="pbld", scaling=True),
    "bins": InputLayer(
        [2], [20], numeric_embedding="piecewise_linear", bin_edges=[[0, 1, 2], [], [-1, 1]]
    ),
}


@pytest.mark.parametrize("name", INPUT_LAYERS)
def test_input_layers(name, path):
    network = Network([4, 5, 2], input_layer=INPUT_LAYERS[name], random_state=0)
    rows = np.abs(X).round()
    again = through_file(network, path)
    assert (again.output(rows) == network.output(rows)).all()
    assert again.input_layer == network.input_layer


def test_connections_options_and_ntk(path):
    network = Network(
        [4, 5, 2], loss="quantile", loss_params={"quantiles": [0.2, 0.7]}, parametrization="ntk",
        connections=[X[:4] @ X[:5].T > 0, None], random_state=0,
    )  # fmt: skip
    again = through_file(network, path)
    assert again.has_connections(network._connections)
    assert again.loss_params == {"quantiles": (0.2, 0.7)}
    assert again.parametrization == "ntk"
    again.W[0] = np.ones((4, 5))
    assert (again.W[0] == network._connections[0]).all()


def test_names_and_padding_of_the_tensors(path):
    """Any program reads the weights, as the guide says."""
    network = Network([4, 5, 1], "tanh", layer_norm=True, random_state=0)
    network.save(path)
    tensors = load_file(path)
    assert set(tensors) == {
        "layers.0.weight", "layers.0.bias", "layers.0.gain", "layers.0.shift", "layers.1.weight",
        "layers.1.bias",
    }  # fmt: skip
    for l, (n_in, n_out) in enumerate([(4, 5), (5, 1)]):
        W, b = tensors[f"layers.{l}.weight"], tensors[f"layers.{l}.bias"]
        assert (W[:, :n_out] == network.W[l]).all()
        assert (b[:n_out] == network.b[l]).all()
        assert W.shape[0] == n_in
        assert not W[:, n_out:].any()
        assert not b[n_out:].any()


def test_weights_are_used_where_they_are(path):
    network = Network([50, 60, 3], random_state=0)
    network.save(path)
    before = path.read_bytes()
    again = fastmlp.load(path)
    array = again.parameters.flat
    while isinstance(array, np.ndarray):
        array = array.base
    while isinstance(array, memoryview):
        array = array.obj
    assert isinstance(array, mmap.mmap)
    assert again.parameters.flat.__array_interface__["data"][0] % 64 == 0
    again.W[0] = np.zeros((50, 60))
    again.b[0][...] = 0
    assert (again.output(np.ones((1, 50))) != network.output(np.ones((1, 50)))).all()
    assert path.read_bytes() == before


def test_tensors_in_another_order_are_copied(path):
    """As another program writes them: safetensors' own writer sorts them by name."""
    network = Network([4, 5, 3], random_state=0)
    network.save(path)
    header, tree, _ = mutations.split(path.read_bytes())
    save_file(load_file(path), path, {"fastmlp": json.dumps(tree)})
    assert [*mutations.split(path.read_bytes())[0]] != [*header]
    assert (fastmlp.load(path).output(X) == network.output(X)).all()


# Estimators ---------------------------------------------------------------------------------------

LABELS = {
    "bool": y > 0,
    "int8": (y > 0).astype("int8") + (y > 1).astype("int8"),
    "uint64": (y > 0).astype("uint64") * 2**63,
    "float": np.where(y > 0, 1.0, 2.0),
    "str": np.where(y > 0, "yes", "no, or perhaps"),
    "object": np.where(y > 0, "ja", "nein").astype(object),
    "one class": np.full(60, 7),
    "labels": np.c_[y > 0, X[:, 0] > 0, X[:, 1] > 0].astype(int),
    "sparse labels": scipy.sparse.csr_array(np.c_[y > 0, X[:, 0] > 0].astype(int)),
}


@pytest.mark.parametrize("kind", LABELS)
def test_classifier_with_labels_of_every_type(kind, path):
    model = MLPClassifier((5,), max_iter=3, random_state=0).fit(X, LABELS[kind])
    again = through_file(model, path)
    assert (again.predict_proba(X) == model.predict_proba(X)).all()
    predicted, expected = again.predict(X), model.predict(X)
    assert type(predicted) is type(expected)
    assert predicted.dtype == expected.dtype
    assert again.classes_.dtype == model.classes_.dtype
    assert (predicted != expected).sum() == 0


@pytest.mark.parametrize("n_outputs", [1, 3])
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_regressor(n_outputs, solver, path):
    targets = y if n_outputs == 1 else X[:, :3]
    model = MLPRegressor(hidden_layer_sizes=(5,), solver=solver, max_iter=5, random_state=0)
    model.fit(X, targets)
    again = through_file(model, path)
    assert (again.predict(X) == model.predict(X)).all()
    assert again.predict(X).shape == model.predict(X).shape


def test_everything_that_fit_sets_comes_back(path):
    frame = pd.DataFrame(X, columns=list("abcd"))
    model = MLPClassifier(
        (5, 4), ["tanh", "relu"], early_stopping=True, diagnostics=True, max_iter=4, random_state=0
    ).fit(frame, y > 0)
    again = through_file(model, path, training_state=True)
    for name, value in vars(model).items():
        if not name.startswith("_"):
            np.testing.assert_equal(vars(again)[name], value, err_msg=name)
    assert vars(again).keys() == vars(model).keys() - {"_checked_parameters", "_generator"}
    assert str(fastmlp.diagnose(again)) == str(fastmlp.diagnose(model))
    with pytest.raises(ValueError, match="feature names"):
        again.predict(frame.rename(columns={"a": "e"}))


PARAMETERS = {
    "alpha": np.float32(0.5),
    "hidden_layer_sizes": np.array([3, 4]),
    "n_iter_no_change": np.inf,
    "random_state": np.random.RandomState(3),
    "class_weight": {True: 1.0, False: 2},
    "init": [np.ones((4, 5)), None],
    "input_layer": InputLayer(np.array([0]), "auto", numeric_embedding="cosine"),
    "dropout": [0.25],
    "schedule_params": {"warmup": 1},
    "max_seconds": 100.0,
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_of_every_type(name, path):
    rows = X.copy()
    rows[:, 0] = np.arange(60) % 3
    model = MLPClassifier(**{"hidden_layer_sizes": (5,), "max_iter": 2, name: PARAMETERS[name]})
    model.fit(rows, y > 0)
    value, again = getattr(model, name), getattr(through_file(model, path), name)
    assert type(again) is type(value) or isinstance(value, np.generic)
    if isinstance(value, np.random.RandomState):
        np.testing.assert_equal(again.get_state(), value.get_state())
    else:
        np.testing.assert_equal(again, value)


CHANGES = {
    "plain": {},
    "averaging": {"averaging": 0.9},
    "dropout": {"dropout": 0.3, "input_noise": 0.1},
    "schedule": {"learning_rate": "plateau", "n_iter_no_change": 50},
}
SOLVERS = ("adam", "adamw", "nadam", "sgd", "rmsprop", "adadelta", "rprop", "adagrad", "amsgrad")


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("solver", SOLVERS)
def test_partial_fit_goes_on_from_the_training_state(solver, change, path):
    parameters = CHANGES[change] | {"solver": solver, "dtype": "float64", "random_state": 0}
    if solver == "amsgrad":
        parameters |= {"solver": "adam", "solver_params": {"amsgrad": True}}
    if solver == "rprop" and change == "schedule":
        parameters |= {"learning_rate": "constant"}
    try:
        model = MLPRegressor("squared_error", (5,), max_iter=3, **parameters).fit(X, y)
    except ValueError as error:  # no such solver
        pytest.skip(str(error)[:80])
    again = through_file(model, path, training_state=True)
    for _ in range(3):
        model.partial_fit(X, y)
        again.partial_fit(X, y)
    assert (again.predict(X) == model.predict(X)).all()
    assert again._descent.n_steps == model._descent.n_steps
    # and after another learning rate
    for one in (model, again):
        one.set_params(learning_rate_init=0.01).partial_fit(X, y)
    assert (again.predict(X) == model.predict(X)).all()


def test_without_the_training_state_the_solver_begins_anew(path):
    model = MLPRegressor("squared_error", (5,), max_iter=3, random_state=0).fit(X, y)
    again = through_file(model, path)
    assert again._descent is None
    again.partial_fit(X, y)
    assert again.t_ == model.t_ + 60


@pytest.mark.parametrize("training_state", [False, True])
def test_warm_start_goes_on(training_state, path):
    model = MLPClassifier((5,), max_iter=3, warm_start=True, random_state=0).fit(X, y > 0)
    again = through_file(model, path, training_state=training_state)
    for _ in range(2):
        model.fit(X, y > 0)
        again.fit(X, y > 0)
    assert (again.predict_proba(X) == model.predict_proba(X)).all()
    assert again.loss_curve_ == model.loss_curve_


def test_state_that_no_longer_fits_the_parameters_is_left_out(path):
    model = MLPRegressor("squared_error", (5,), max_iter=3, random_state=0).fit(X, y)
    again = through_file(model.set_params(solver="sgd"), path, training_state=True)
    for _ in range(2):
        model.partial_fit(X, y)
        again.partial_fit(X, y)
    assert (again.predict(X) == model.predict(X)).all()


# Tables -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"refit_single": True}, {"members": "realmlp"}], ids=str)
@pytest.mark.parametrize("is_regression", [False, True])
def test_tables(options, is_regression, path):
    frame, target = table()
    options = {"n_members": 2, "max_seconds": 1.5, "random_state": 0} | options
    cls = TabularMLPRegressor if is_regression else TabularMLPClassifier
    model = cls(**options).fit(frame, target if is_regression else target > 0.5)
    again = through_file(model, path)
    method = "predict_interval" if is_regression else "predict_proba"
    assert (getattr(again, method)(frame) == getattr(model, method)(frame)).all()
    assert (again.predict(frame[:3]) == model.predict(frame[:3])).all()
    assert again.leaderboard_ == model.leaderboard_
    assert vars(again).keys() == vars(model).keys()
    assert str(fastmlp.diagnose(again)) == str(fastmlp.diagnose(model))
    with pytest.raises(ValueError, match="size"):
        again.predict(frame.drop(columns="size"))


def test_table_whose_time_was_over(path):
    """The networks that were never trained have an infinite loss."""
    frame, target = table()
    model = TabularMLPClassifier(n_members=5, max_seconds=1e-9, random_state=0)
    model.fit(frame, target > 0.5)
    assert np.isinf(model.leaderboard_["loss"]).any()
    again = through_file(model, path)
    assert again.leaderboard_ == model.leaderboard_
    assert (again.predict_proba(frame) == model.predict_proba(frame)).all()


def test_name_of_the_target(path):
    frame, target = table()
    model = TabularMLPRegressor(n_members=1, random_state=0).fit(frame, target.rename("price"))
    assert through_file(model, path).target_name_ == model.target_name_ == "price"
    assert not hasattr(model.fit(frame, target.to_numpy()), "target_name_")


def test_array_with_categories_and_missing_values(path):
    rows = X.copy()
    rows[:, 1] = np.arange(60) % 3
    rows[::5, 0] = np.nan
    model = TabularMLPRegressor(categorical_features=[1], n_members=1, random_state=0).fit(rows, y)
    again = through_file(model, path)
    assert (again.predict_quantiles(rows) == model.predict_quantiles(rows)).all()
    assert (again.predict(rows[:1]) == model.predict(rows[:1])).all()


# Pipelines ----------------------------------------------------------------------------------------


def gaps():
    rows = X.copy()
    rows[::5, 1] = np.nan
    return rows


STEPS = {
    "standard": [SimpleImputer(), StandardScaler()],
    "no mean": [SimpleImputer(add_indicator=True), StandardScaler(with_mean=False)],
    "no scale": [SimpleImputer(strategy="median"), StandardScaler(with_std=False)],
    "minmax": [SimpleImputer(strategy="most_frequent"), MinMaxScaler((-1, 1), clip=True)],
    "robust": [SimpleImputer(strategy="constant", fill_value=2), RobustScaler(), "passthrough"],
    "absolute": [SimpleImputer(strategy="constant", fill_value=0.5), MaxAbsScaler()],
}


@pytest.mark.parametrize("name", STEPS)
def test_pipeline(name, path):
    model = make_pipeline(*STEPS[name], MLPClassifier((4,), max_iter=5, random_state=0))
    model.fit(gaps(), y > 0)
    fastmlp.save(model, path)
    again = fastmlp.load(path)
    assert (again.predict_proba(gaps()) == model.predict_proba(gaps())).all()
    assert [*again.named_steps] == [*model.named_steps]


ENCODERS = (
    OneHotEncoder(sparse_output=False),
    OneHotEncoder(drop="first", handle_unknown="ignore"),
    OneHotEncoder(drop="if_binary", dtype=np.float32),
    OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1),
    OrdinalEncoder(dtype=np.float64),
)


@pytest.mark.parametrize("kind", ["frame", "numbers", "strings", "objects"])
@pytest.mark.parametrize("encoder", ENCODERS, ids=str)
def test_pipeline_with_encoders(encoder, kind, path):
    frame = pd.DataFrame({"a": np.arange(60) % 3, "b": np.arange(60) % 4})
    frame = frame.astype({"b": str})
    rows = {
        "frame": frame, "numbers": frame[["a"]].to_numpy(), "strings": frame[["b"]],
        "objects": frame.to_numpy(),
    }[kind]  # fmt: skip
    model = make_pipeline(encoder, MLPClassifier((4,), max_iter=5, random_state=0))
    model.fit(rows, y > 0)
    fastmlp.save(model, path)
    again = fastmlp.load(path)
    assert (again.predict_proba(rows) == model.predict_proba(rows)).all()
    np.testing.assert_equal(again[0].get_params(), model[0].get_params())


@pytest.mark.parametrize("missing", [np.nan, None])
@pytest.mark.parametrize(
    "encoder", [OneHotEncoder(handle_unknown="ignore"), OrdinalEncoder(encoded_missing_value=-1)]
)
def test_missing_category_is_not_the_string_nan(encoder, missing, path):
    rows = np.array([["x"], ["y"], [missing], ["x"]] * 15, dtype=object)
    for X in (rows, pd.DataFrame(rows, columns=["a"])):
        model = make_pipeline(encoder, MLPClassifier((4,), max_iter=5, random_state=0))
        model.fit(X, y > 0)
        fastmlp.save(model, path)
        again = fastmlp.load(path)
        assert repr(again[0].categories_[0].tolist()) == repr(model[0].categories_[0].tolist())
        assert (again.predict_proba(X) == model.predict_proba(X)).all()


def test_derived_classes_are_not_written(path):
    """`load` would not know them."""

    class Mine(MLPRegressor):
        pass

    class MyNetwork(Network):
        pass

    class MyTable(TabularMLPRegressor):
        pass

    for model in (
        Mine(max_iter=2).fit(X, y),
        MyNetwork([2, 1]),
        MyTable(n_members=1, random_state=0).fit(X, y),
    ):
        with pytest.raises(TypeError, match=f"holds no {type(model).__name__}"):
            model.save(path)
    assert not path.exists()


def test_labels_that_no_file_holds(path):
    dates = np.where(y > 0, np.datetime64("2020-01-01"), np.datetime64("2021-01-01"))
    model = MLPClassifier((4,), max_iter=2, random_state=0).fit(X, dates)
    with pytest.raises(ValueError, match=r"labels such as .* cannot be written"):
        model.save(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_what_is_no_file_is_not_replaced(path):
    os.mkfifo(path)
    with pytest.raises(ValueError, match="a device or a pipe"):
        Network([2, 1]).save(path)
    assert path.is_fifo()


def test_threads_that_write_to_one_path(path):
    networks = [Network([50, n, 1], random_state=0) for n in (5, 50)]
    networks[0].save(path)
    sizes, faults = {network.layer_sizes for network in networks}, []

    def write(network):
        for _ in range(30):
            network.save(path)

    def read():
        for _ in range(200):
            try:
                assert fastmlp.load(path).layer_sizes in sizes
            except Exception as error:
                faults.append(error)

    threads = [threading.Thread(target=write, args=[network]) for network in networks]
    threads.append(threading.Thread(target=read))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    assert os.listdir(path.parent) == [path.name]


def test_what_cannot_be_written_is_an_error_and_leaves_the_file(path):
    path.write_text("old")
    ours = MLPClassifier((4,), max_iter=2)
    pipeline = make_pipeline(PolynomialFeatures(), ours).fit(X, y > 0)
    with pytest.raises(ValueError, match=r"step 'polynomialfeatures'.*OneHotEncoder"):
        fastmlp.save(pipeline, path)
    with pytest.raises(ValueError, match="the last step"):
        fastmlp.save(make_pipeline(StandardScaler()).fit(X), path)
    with pytest.raises(ValueError, match="min_frequency"):
        fastmlp.save(
            make_pipeline(OneHotEncoder(min_frequency=3), ours).fit(X.round(), y > 0), path
        )
    with pytest.raises(NotFittedError):
        MLPClassifier().save(path)
    with pytest.raises(NotFittedError):
        TabularMLPRegressor().save(path)
    with pytest.raises(TypeError, match="StandardScaler"):
        fastmlp.save(StandardScaler(), path)
    with pytest.raises(ValueError, match=r"callbacks=.*set_params\(callbacks=None\)"):
        MLPClassifier(max_iter=2, callbacks=lambda model, state: False).fit(X, y > 0).save(path)

    def loss(y, z):
        return ((y - z) ** 2).sum(axis=1), 2 * (y - z)

    with pytest.raises(ValueError, match=r"loss=.*function"):
        MLPRegressor(loss, max_iter=2).fit(X, y).save(path)
    with pytest.raises(ValueError, match=r"loss=.*function"):
        Network([4, 1], loss=loss).save(path)
    with pytest.raises(ValueError, match="alpha"):
        MLPRegressor(max_iter=2).fit(X, y).set_params(alpha=-1).save(path)
    assert path.read_text() == "old"
    assert os.listdir(path.parent) == [path.name]


# Files that are wrong -----------------------------------------------------------------------------


def saved(path):
    Network([4, 5, 3], random_state=0).save(path)
    return path.read_bytes()


def test_files_of_other_programs(path):
    for content, message in (
        (b"", "empty"),
        (b"a,b\n1,2\n", "must be a safetensors file"),
        (pickle.dumps([1, 2]), "must be a safetensors file"),
        (saved(path)[:-1], "damaged"),
        (saved(path)[:100], "damaged"),
        (saved(path) + b"x", "damaged"),
    ):
        path.write_bytes(content)
        with pytest.raises(ModelFileError, match=message) as caught:
            fastmlp.load(path)
        assert str(path) in str(caught.value)
    save_file({"a": np.zeros(3)}, path, {"format": "pt"})
    with pytest.raises(ModelFileError, match="another program"):
        fastmlp.load(path)


def test_file_of_a_newer_version(path):
    header, tree, tensors = mutations.split(saved(path))
    tree |= {"version": 2, "written_by": "fastmlp 9.0"}
    path.write_bytes(mutations.joined(header, tree, tensors))
    with pytest.raises(ModelFileError, match=r"at most 1 .* got 2: .*'fastmlp 9.0'"):
        fastmlp.load(path)


def test_paths_that_cannot_be_read_or_written(path, tmp_path):
    with pytest.raises(FileNotFoundError):
        fastmlp.load(path)
    with pytest.raises(IsADirectoryError):
        fastmlp.load(tmp_path)
    network = Network([2, 1])
    with pytest.raises(IsADirectoryError, match="directory"):
        network.save(tmp_path)
    with pytest.raises(FileNotFoundError):
        network.save(tmp_path / "missing" / "model.safetensors")
    with pytest.raises(TypeError):
        network.save(3)


def test_kinds_of_paths(path):
    network = Network([2, 1], random_state=0)
    for given in (path, str(path), os.fsencode(path)):
        network.save(given)
        assert fastmlp.load(given).layer_sizes == (2, 1)
        path.unlink()


def test_link_and_mode_of_the_file_are_kept(path, tmp_path):
    saved(path)
    path.chmod(0o640)
    link = tmp_path / "link.safetensors"
    link.symlink_to(path)
    Network([7, 1]).save(link)
    assert link.is_symlink()
    assert fastmlp.load(path).layer_sizes == (7, 1)
    assert path.stat().st_mode & 0o777 == 0o640


@pytest.mark.skipif(sys.platform != "linux", reason="needs limits of the size of files")
def test_full_disk_leaves_the_old_file(path):
    before = saved(path)
    code = (
        "import resource, signal, sys, fastmlp\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))\n"
        "try:\n    fastmlp.Network([400, 100]).save(sys.argv[1])\n"
        "except OSError as error:\n    print('refused:', error.strerror)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-P", "-c", code, path], capture_output=True, text=True, check=True
    )
    assert ran.stdout.startswith("refused: File too large")
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


GOLDEN_FILES = sorted(FOLDER.rglob("*.safetensors"))


@pytest.mark.parametrize("golden", GOLDEN_FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_golden_files_load_for_ever(golden):
    expected = json.loads((golden.parent / "expected.json").read_text())[golden.stem]
    given = outputs(fastmlp.load(golden), rows()[golden.stem])
    np.testing.assert_allclose(given, expected, rtol=1e-4, atol=1e-6)


def test_there_are_golden_files_of_every_kind():
    kinds = {mutations.split(path.read_bytes())[1]["kind"] for path in GOLDEN_FILES}
    assert kinds == {
        "Network", "MLPClassifier", "MLPRegressor", "TabularMLPClassifier", "TabularMLPRegressor",
        "Pipeline",
    }  # fmt: skip


# Fields that the model does not use, whatever they are.
FREE = ("written_by",)


@pytest.mark.parametrize("golden", GOLDEN_FILES, ids=lambda path: path.stem)
def test_every_field_is_checked(golden, path):
    """A value of another type is an error that names the field; a missing one is one or none."""
    header, tree, tensors = mutations.split(golden.read_bytes())
    for place in mutations.places(tree):
        if set(place) & set(FREE):
            continue
        changed = mutations.replaced(tree, place, {"x": [{}]})
        path.write_bytes(mutations.joined(header, changed, tensors))
        with pytest.raises(ModelFileError) as caught:
            fastmlp.load(path)
        names = [key for key in place if isinstance(key, str)]
        assert any(name in str(caught.value).removeprefix(str(path)) for name in names), place
        path.write_bytes(mutations.joined(header, mutations.removed(tree, place), tensors))
        with contextlib.suppress(ModelFileError):
            fastmlp.load(path)


def test_mutated_files_raise_the_one_error():
    assert mutations.run(600, seed=0) > 50


def test_missing_library(path, monkeypatch):
    saved(path)
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(ImportError, match=r'pip install "fastmlp\[files\]"'):
        fastmlp.load(path)


def test_pickle_of_a_newer_version():
    model = MLPRegressor(max_iter=2).fit(X, y)
    state = model.__getstate__() | {"_pickle": (99, "9.0")}
    with pytest.raises(ValueError, match=r"fastmlp 9.0, whose pickles have the format 99"):
        MLPRegressor().__setstate__(state)
    again = pickle.loads(pickle.dumps(model))
    assert (again.predict(X) == model.predict(X)).all()
