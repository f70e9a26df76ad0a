"""`fastmlp train`: beside fits of the estimators on a frame of pandas."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import FEATURES, customers

import fastmlp
import fastmlp._cli.show
from fastmlp import TabularMLPClassifier, TabularMLPRegressor

SETTINGS = {"n_members": 2, "random_state": 0}


@pytest.fixture
def train(run, tmp_path):
    """A function that trains and returns the model and what was shown."""

    def train(path, target, *options, members=("--members", "2")):
        file = tmp_path / "model.safetensors"
        shown = run("train", path, "--target", target, "--model", file, *members, *options)
        assert shown.status == 0, shown.err
        return fastmlp.load(file), shown

    return train


def assert_same(model, other, X):
    """The models agree in every bit."""
    assert type(model) is type(other)
    method = "predict_proba" if hasattr(model, "classes_") else "predict"
    np.testing.assert_array_equal(getattr(model, method)(X), getattr(other, method)(X))


@pytest.mark.parametrize("extension", ["csv", "parquet", "arrow"])
def test_model_is_that_of_the_estimator(models, train, tmp_path, extension):
    path = tmp_path / f"data.{extension}"
    table = models.train
    if extension == "csv":
        path = models.train_csv
    elif extension == "parquet":
        table.to_parquet(path)
    else:
        table.to_feather(path)
    model, _ = train(path, "churn", "--exclude", "price")
    other = TabularMLPClassifier(**SETTINGS).fit(table[FEATURES], table["churn"])
    assert_same(model, other, models.test[FEATURES])
    assert model.feature_names_in_.tolist() == FEATURES


def test_summary(models, train):
    model, shown = train(models.train_csv, "price", "--exclude", "churn", "--json")
    facts = json.loads(shown.out)
    assert facts["task"] == "regression"
    assert facts["rows"] == len(models.train)
    kinds = {"numbers": 2, "strings": 1, "truth values": 1, "dates": 1}
    assert facts["columns"] == kinds
    assert facts["loss"] == model.leaderboard_["loss"][0]
    assert facts["networks_trained"] == 2
    assert facts["bytes"] == os.path.getsize(facts["model"])
    assert "regression, as 'price' holds 160 different numbers" in shown.err
    _, shown = train(models.train_csv, "churn", "--exclude", "price")
    assert "classification of 'churn'" in shown.out
    assert "160 rows; columns: 2 of numbers, 1 of strings" in shown.out
    assert "round 1: 2/2 networks" in shown.err


def test_quiet(models, train):
    _, shown = train(models.train_csv, "churn", "--quiet")
    assert shown.err == ""


@pytest.mark.parametrize(
    ("values", "option", "classes"),
    [
        ([0, 1, 2], "auto", [0, 1, 2]),
        ([0, 1, 2], "regression", None),
        (range(21), "auto", None),
        (range(20), "auto", list(range(20))),
        (range(30), "classification", list(range(30))),
        ([0.5, 1], "auto", None),
        ([1.0, 2.0], "auto", [1, 2]),
        (["x", "y"], "auto", ["x", "y"]),
        (["1", "y"], "classification", ["1", "y"]),
        ([True, False], "auto", ["False", "True"]),
        ([True, False], "regression", None),
    ],
)
def test_task(write, train, values, option, classes):
    values = list(values)
    rows = "\n".join(f"{i % 7},{values[i % len(values)]}" for i in range(90))
    model, shown = train(write(f"x,y\n{rows}\n"), "y", "--task", option)
    assert isinstance(model, TabularMLPClassifier) == (classes is not None)
    if classes is not None:
        assert model.classes_.tolist() == classes
    says_how_to_change = option == "auto" and isinstance(values[0], int | float)
    says_how_to_change &= not isinstance(values[0], bool) and values != [0.5, 1]
    assert ("--task" in shown.err) == says_how_to_change


def test_truth_values_of_parquet_stay_truth_values(train, run, tmp_path):
    path = tmp_path / "data.parquet"
    table = pd.DataFrame({"x": range(40), "y": [True, False, True, True] * 10})
    table.to_parquet(path)
    model, _ = train(path, "y")
    assert model.classes_.tolist() == [False, True]
    model.save(tmp_path / "model")
    shown = run("predict", tmp_path / "model", path, "--json")
    predictions = [json.loads(line)["prediction"] for line in shown.out.splitlines()]
    assert predictions == model.predict(table[["x"]]).tolist()


def test_validation_rows(models, train):
    validation = ["--validation", models.test_csv, "--exclude", "price"]
    model, _ = train(models.train_csv, "churn", *validation)
    table, other = models.train, TabularMLPClassifier(**SETTINGS)
    other.fit(
        table[FEATURES],
        table["churn"],
        X_val=models.test[FEATURES],
        y_val=models.test["churn"],
    )
    assert_same(model, other, models.test[FEATURES])


def test_validation_rows_have_the_kinds_of_the_training(train, write):
    rows = "\n".join(f"{'ab7'[i % 3]},{i}.5,{i % 2}" for i in range(40))
    digits = "\n".join(f"7,{i},{i % 2}" for i in range(10))
    validation = write(f"code,number,y\n{digits}\n", "validation.csv")
    model, _ = train(write(f"code,number,y\n{rows}\n"), "y", "--validation", validation)
    assert model.leaderboard_["loss"][0] < 10


def test_sample_weight(models, train, write):
    weight = np.arange(len(models.train)) % 3
    path = write(models.train.assign(weight=weight).to_csv(index=False))
    options = ["--exclude", "churn", "--sample-weight", "weight"]
    model, _ = train(path, "price", *options)
    X, y = models.train[FEATURES], models.train["price"]
    assert_same(model, TabularMLPRegressor(**SETTINGS).fit(X, y, weight), X)


@pytest.mark.parametrize(
    ("options", "settings"),
    [
        (["--categorical", "age,income"], {"categorical_features": ["age", "income"]}),
        (["--seed", "7"], {"random_state": 7}),
        (["--metric", "roc_auc"], {"metric": "roc_auc"}),
        (["--refit-single"], {"refit_single": True}),
        (["--jobs", "1"], {"n_jobs": 1}),
        (["--seconds", "1000"], {"max_seconds": 1000.0}),
    ],
)
def test_options(models, train, options, settings):
    model, _ = train(models.train_csv, "churn", "--exclude", "price", *options)
    other = TabularMLPClassifier(**SETTINGS | settings)
    other.fit(models.train[FEATURES], models.train["churn"])
    assert_same(model, other, models.test[FEATURES])
    parameters = model.get_params()
    assert all(parameters[name] == value for name, value in settings.items())


def test_seconds_and_default_members(models, train):
    _, shown = train(models.train_csv, "churn", "--seconds", "0.05", members=())
    assert "the fit ended before all networks were trained" in shown.err


def test_columns_without_values(train, write):
    rows = "\n".join(f"{i},,{i % 2}" for i in range(40))
    model, _ = train(write(f"x,nothing,y\n{rows}\n"), "y")
    assert model.n_features_in_ == 2


def test_decimal_commas(models, train, write):
    commas = models.train[[*FEATURES, "churn"]].to_csv(index=False, sep=";", decimal=",")
    model, _ = train(write(commas), "churn", "--decimal", ",")
    other = TabularMLPClassifier(**SETTINGS).fit(models.train[FEATURES], models.train["churn"])
    assert_same(model, other, models.test[FEATURES])
    _, shown = train(write(commas), "churn")
    assert "column 'income' seems to hold numbers with a decimal comma" in shown.err


HEADER = "x,z,y\n"
ROWS = "".join(f"{i},{'abc'[i % 3]},{i % 2}\n" for i in range(30))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", ": the file is empty; it must have a line with the names of the columns"),
        (b"\n", ": line 1 is empty; it must have a line with the names of the columns"),
        (HEADER, ": there are no rows, only the names of the columns"),
        (
            HEADER + ROWS + "1,a\n",
            ": line 32: 2 values, but the header has 3 columns (separated by ',')",
        ),
        (
            HEADER + '1,"a\nb",1\n' + ROWS + "1,2,3,4\n",
            ": line 34: 4 values, but the header has 3 columns (separated by ',')",
        ),
        (
            HEADER + "1,a,1\n\n1,a,1\n",
            ": line 3: no values, but the header has 3 columns (separated by ',')",
        ),
        (HEADER + ROWS + '"1,a\n', ": line 32: a value in quotes has no end"),
        (
            HEADER + ROWS + '1,a"b,1\n' + ROWS,
            ": line 32: a quote within a value: such a value must be",
        ),
        ((HEADER + ROWS + "1,ä,1\n").encode("latin1"), ": line 32: this text is not in UTF-8"),
        ("ä,b\n1,2\n".encode("latin1"), ": line 1: this text is not in UTF-8"),
        ((HEADER + ROWS).encode("utf-16"), ": this text is in UTF-16: save it in UTF-8"),
        ('"a"b,c\n1,2\n', ": line 1: "),
        ('"a,c\n1,2\n', ": line 1: "),
        ("a,y\r1,2\r3,4\r", ": line 1: a carriage return without a line feed ends no line"),
        (b"\x1f\x8b\x08abc\n", ": this is a gzip file: unpack it first"),
        (b"PK\x03\x04abc\n", ": this is a zip file or a spreadsheet"),
        (b"PAR1aaaaa", ": this is a Parquet file: add --format parquet"),
        (b"x,y\0\n1,2\n", ": line 1: this is not text: it has a byte 0"),
        ("x,y,x\n", ": line 1: the names of columns must differ, but these are repeated: 'x'"),
        ("x,z\n1,2\n", ": no target 'y'; the columns are 'x', 'z'"),
        (HEADER + "1,a,5\n2,b,5\n", ": the target 'y' has one value in all rows, 5"),
        (HEADER + "1,a,\n2,b,NA\n", ": all values of the target 'y' are missing"),
        (
            HEADER + ROWS + "1,a,\n1,b,1\n1,c,NA\n",
            ": line 32: column 'y': the target is missing; rows where it is: 2",
        ),
        (HEADER + "1,a,2020-01-01\n2,b,2020-01-02\n", ": the target 'y' holds dates"),
        ("y\n1\n2\n", ": no column is left to learn from"),
    ],
)
def test_bad_files(write, refused, tmp_path, content, message):
    path = write(content)
    model = tmp_path / "model"
    shown = refused("train", path, "--target", "y", "--model", model, "--quiet")
    assert shown.startswith(path + message)
    assert os.listdir(tmp_path) == ["new.csv"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--task", "regression", "--target", "z"], "{path}: line 2: column 'z': 'a' is not a num"),
        (["--task", "classification", "--target", "w"], "{path}: the target 'w' holds fractions"),
        (["--target", "y", "--sample-weight", "z"], "{path}: line 2: column 'z': 'a' is not a num"),
        (["--target", "y", "--sample-weight", "v"], "{path}: line 7: column 'v': the weight -1.0"),
        (["--target", "y", "--sample-weight", "q"], "{path}: no column of weights 'q'"),
        (["--target", "y", "--exclude", "q"], "{path}: no column 'q'"),
        (["--target", "y", "--categorical", "q"], "{path}: no column 'q'"),
        (["--target", "y", "--exclude", "y"], "--exclude: column 'y' is the target"),
        (["--target", "y", "--exclude", "x", "--categorical", "x"], "--categorical: column 'x'"),
        (["--target", "y", "--metric", "nice"], "--metric: no scorer 'nice'; there are "),
        (["--target", "z", "--metric", "r2"], "metric='r2' has failed"),
        (["--target", "y", "--seconds", "0"], "argument --seconds: must be above 0, got 0"),
        (["--target", "y", "--seconds", "a"], "argument --seconds: must be a number, got 'a'"),
        (["--target", "y", "--members", "0"], "argument --members: must be at least 1, got 0"),
        (["--target", "y", "--members", "1.5"], "argument --members: must be a whole number"),
        (["--target", "y", "--separator", "ab"], "argument --separator: must be one ASCII char"),
        (["--target", "y", "--decimal", ","], "{path}: line 1: the separator and the decimal mark"),
        (["--target", "y", "--jobs", "0"], "The 'n_jobs' parameter"),
        ([], "the following arguments are required: --target"),
    ],
)
def test_bad_options(write, refused, tmp_path, options, message):
    rows = "".join(f"{i},{'abc'[i % 3]},{i % 2},{i / 4},{4 - i}\n" for i in range(30))
    path = write("x,z,y,w,v\n" + rows.replace("5,c,1,1.25,-1", "5,c,1,1.25,-1"))
    shown = refused("train", path, "--model", tmp_path / "model", "--quiet", *options)
    assert shown.startswith(message.format(path=path))
    assert os.listdir(tmp_path) == ["new.csv"]


def test_bad_places(models, refused, tmp_path):
    """They are found before the training."""
    data = [models.train_csv, "--target", "churn", "--members", "1000"]
    assert refused("train", *data, "--model", tmp_path) == f"{tmp_path}: Is a directory"
    nowhere = tmp_path / "none" / "model"
    assert refused("train", *data, "--model", nowhere).startswith(f"{nowhere}: there is no folder")
    missing = tmp_path / "none.csv"
    shown = refused("train", missing, "--target", "y", "--model", tmp_path / "model")
    assert shown == f"{missing}: No such file or directory"
    for option in ([], ["--format", "parquet"]):
        shown = refused("train", tmp_path, "--target", "y", "--model", tmp_path / "m", *option)
        assert shown == f"{tmp_path}: Is a directory"


@pytest.fixture
def folder_of_others():
    """A folder that may be read but not written; root becomes nobody for the time."""
    if not hasattr(os, "setresuid"):
        pytest.skip("no users as in Linux")
    is_root = os.geteuid() == 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file in ("closed.csv", "closed.model", "data.csv"):
            (folder / file).write_text(HEADER + ROWS)
            (folder / file).chmod(0o644 if file == "data.csv" else 0)
        folder.chmod(0o555)
        if is_root:
            os.setresuid(65534, 65534, 0)
        try:
            yield folder
        finally:
            if is_root:
                os.setresuid(0, 0, 0)
            folder.chmod(0o755)


@pytest.mark.usefixtures("models")  # imports what is needed
def test_without_permission(folder_of_others, refused):
    folder = folder_of_others
    data = ["--target", "y", "--model"]
    closed = folder / "closed.csv"
    shown = refused("train", closed, *data, os.devnull)
    assert shown == f"{closed}: Permission denied"
    shown = refused("train", folder / "data.csv", *data, folder / "model")
    assert shown == f"{folder / 'model'}: Permission denied"
    closed = folder / "closed.model"
    assert refused("show", closed) == f"{closed}: Permission denied"
    assert sorted(os.listdir(folder)) == ["closed.csv", "closed.model", "data.csv"]


def test_bad_validation_files(models, refused, write, tmp_path):
    arguments = ["train", models.train_csv, "--target", "churn", "--model", tmp_path / "model"]
    path = write(models.test.drop(columns="city").to_csv(index=False))
    shown = refused(*arguments, "--quiet", "--validation", path)
    assert shown.startswith(f"{path}: no column 'city'")
    path = write(models.test.assign(age="old").to_csv(index=False))
    shown = refused(*arguments, "--quiet", "--validation", path)
    assert shown == f"{path}: line 2: column 'age': 'old' is not a number"
    path = write(models.test.assign(churn="maybe").to_csv(index=False))
    assert "only labels that y has" in refused(*arguments, "--quiet", "--validation", path)


@pytest.mark.parametrize("cut", [0, 200])
@pytest.mark.parametrize("extension", ["parquet", "arrow"])
def test_damaged_columnar_files(refused, tmp_path, extension, cut):
    path = tmp_path / f"data.{extension}"
    getattr(customers(), {"parquet": "to_parquet", "arrow": "to_feather"}[extension])(path)
    path.write_bytes(path.read_bytes()[:cut])
    shown = refused("train", path, "--target", "churn", "--model", tmp_path / "model")
    assert shown.startswith(f"{path}: not a whole {extension.capitalize()} file: ")


def test_rows_of_columnar_files_are_named(refused, tmp_path):
    path = tmp_path / "data.parquet"
    table = customers()
    table.loc[41, "churn"] = None
    table.to_parquet(path)
    shown = refused("train", path, "--target", "churn", "--model", tmp_path / "m", "--quiet")
    assert shown.startswith(f"{path}: row 42: column 'churn': the target is missing")


def test_standard_input(models, tmp_path):
    model = tmp_path / "model"
    arguments = ["train", "-", "--target", "churn", "--exclude", "price", "--model", str(model)]
    with open(models.train_csv, "rb") as file:
        subprocess.run(
            [sys.executable, "-P", "-m", "fastmlp", *arguments, "--members", "2"],
            stdin=file,
            capture_output=True,
            check=True,
        )
    other = TabularMLPClassifier(**SETTINGS).fit(models.train[FEATURES], models.train["churn"])
    assert_same(fastmlp.load(model), other, models.test[FEATURES])


def test_interrupt_keeps_the_best_model(tmp_path):
    customers(2000).to_csv(tmp_path / "data.csv", index=False)
    arguments = ["train", "data.csv", "--target", "churn", "--model", "m", "--members", "200"]
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "fastmlp", *arguments],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    ) as process:
        lines = iter(process.stderr.readline, b"")
        assert any(line.startswith(b"round 1: ") for line in lines)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
        said = process.stderr.read()
        assert b"warning: Training interrupted by user" in said
        assert b"the fit ended before all networks were trained" in said
    assert fastmlp.load(tmp_path / "m").classes_.tolist() == ["no", "yes"]
