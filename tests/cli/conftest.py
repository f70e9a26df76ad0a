"""Tables in files, and models trained on them by the command line."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from fastmlp._cli.main import main


def customers(n_rows=160, seed=0):
    """A table with each kind of column, missing values, and two targets."""
    rng = np.random.default_rng(seed)
    table = pd.DataFrame(
        {
            "age": rng.integers(18, 80, n_rows),
            "income": rng.normal(3000, 900, n_rows).round(2),
            "city": rng.choice(["Bonn", "Köln", "Trier, old town"], n_rows),
            "member": rng.random(n_rows) < 0.5,
            "since": pd.Timestamp("2020-01-01")
            + pd.to_timedelta(rng.integers(0, 900, n_rows), unit="D"),
        }
    )
    leaves = (table["age"] > 45) ^ table["member"]
    table["price"] = (table["age"] * 2.5 + table["income"] / 100).round(3)
    table["churn"] = np.where(leaves, "yes", "no")
    table.loc[rng.random(n_rows) < 0.1, "income"] = np.nan
    table.loc[rng.random(n_rows) < 0.1, "city"] = None
    return table


FEATURES = ["age", "income", "city", "member", "since"]


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """The folder of files: train.csv, test.csv and the models churn and price."""
    folder = tmp_path_factory.mktemp("models")
    train, test = customers(), customers(60, seed=1)
    train.to_csv(folder / "train.csv", index=False)
    test.to_csv(folder / "test.csv", index=False)
    quick = ["--members", "2", "--quiet"]
    for target, other in (("churn", "price"), ("price", "churn")):
        arguments = ["train", folder / "train.csv", "--target", target, "--exclude", other]
        assert main([*map(str, arguments), "--model", str(folder / target), *quick]) == 0
    return SimpleNamespace(
        folder=folder,
        train=train,
        test=test,
        train_csv=str(folder / "train.csv"),
        test_csv=str(folder / "test.csv"),
        churn=str(folder / "churn"),
        price=str(folder / "price"),
    )


@pytest.fixture
def run(capsys):
    """A function that runs the command line and returns its status, output and errors."""

    def run(*arguments):
        try:
            status = main([str(argument) for argument in arguments])
        except SystemExit as end:  # of argparse
            status = end.code
        shown = capsys.readouterr()
        return SimpleNamespace(status=status, out=shown.out, err=shown.err)

    return run


@pytest.fixture
def refused(run):
    """A function that runs what must fail, and returns the one line of its error."""

    def refused(*arguments, status=2):
        shown = run(*arguments)
        assert shown.status == status, shown
        assert shown.out == ""
        lines = shown.err.splitlines()
        assert lines[-1].startswith("fastmlp: error: ")
        assert "Traceback" not in shown.err
        return lines[-1].removeprefix("fastmlp: error: ")

    return refused


@pytest.fixture
def write(tmp_path):
    """A function that writes a file and returns its path."""

    def write(content, name="new.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    return write
