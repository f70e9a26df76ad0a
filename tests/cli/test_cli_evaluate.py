"""`fastmlp evaluate`: beside scikit-learn's metrics of the model's own predictions."""

import json
import os
import re
import warnings

import numpy as np
import pandas as pd
import pytest
from conftest import FEATURES
from matplotlib import image
from sklearn import metrics

import fastmlp


@pytest.fixture
def evaluate(run):
    """A function that evaluates and returns the facts."""

    def evaluate(*arguments):
        shown = run("evaluate", *arguments, "--json")
        assert shown.status == 0, shown.err
        return json.loads(shown.out, parse_constant=pytest.fail)

    return evaluate


def test_two_classes(models, evaluate):
    facts = evaluate(models.churn, models.test_csv, "--target", "churn")
    model, y = fastmlp.load(models.churn), models.test["churn"]
    probabilities = model.predict_proba(models.test[FEATURES])
    predicted, second = model.predict(models.test[FEATURES]), probabilities[:, 1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        expected = {
            "accuracy": metrics.accuracy_score(y, predicted),
            "balanced accuracy": metrics.balanced_accuracy_score(y, predicted),
            "log loss": metrics.log_loss(y, probabilities),
            "ROC AUC": metrics.roc_auc_score(y, second),
            "Brier score": metrics.brier_score_loss(y, second, pos_label="yes"),
        }
    error = facts["scores"].pop("calibration error")
    assert facts["scores"] == pytest.approx(expected)
    assert facts["classes"] == ["no", "yes"]
    assert facts["confusion"] == metrics.confusion_matrix(y, predicted).tolist()
    tenths = np.minimum(np.floor(second * 10), 9)
    expected = [
        (sum(tenths == k), second[tenths == k].mean(), (y[tenths == k] == "yes").mean())
        for k in np.unique(tenths)
    ]
    found = [(bin["rows"], bin["probability"], bin["share"]) for bin in facts["calibration"]]
    assert np.allclose(found, expected)
    assert error == pytest.approx(sum(n * abs(p - s) for n, p, s in expected) / len(y))
    assert facts["rows"] == 60


def test_several_classes(evaluate, run, write, tmp_path):
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.normal(size=(150, 2)), columns=["a", "b"])
    table["y"] = np.where(table["a"] > 0.4, "up", np.where(table["b"] > 0, "mid", "down"))
    path, model = write(table.to_csv(index=False)), tmp_path / "model"
    run("train", path, "--target", "y", "--model", model, "--members", "1")
    facts = evaluate(model, path)
    loaded = fastmlp.load(model)
    probabilities = loaded.predict_proba(table[["a", "b"]])
    y, predicted = table["y"], loaded.predict(table[["a", "b"]])
    known = (y.to_numpy()[:, np.newaxis] == loaded.classes_).astype(float)
    assert facts["scores"]["ROC AUC"] == pytest.approx(
        metrics.roc_auc_score(y, probabilities, multi_class="ovr")
    )
    assert facts["scores"]["Brier score"] == pytest.approx(
        np.mean(np.sum((probabilities - known) ** 2, axis=1))
    )
    assert facts["confusion"] == metrics.confusion_matrix(y, predicted).tolist()
    one = write(table[table["y"] == "up"].to_csv(index=False), "one.csv")
    facts = evaluate(model, one)
    assert facts["scores"]["ROC AUC"] is None
    assert facts["scores"]["balanced accuracy"] == facts["scores"]["accuracy"]
    assert np.sum(facts["confusion"]) == (y == "up").sum()


def test_numbers(models, evaluate):
    facts = evaluate(models.price, models.test_csv, "--target", "price")
    model, y = fastmlp.load(models.price), models.test["price"]
    predicted = model.predict(models.test[FEATURES])
    lower, upper = model.predict_interval(models.test[FEATURES], 0.9).T
    assert facts["scores"] == pytest.approx(
        {
            "RMSE": metrics.root_mean_squared_error(y, predicted),
            "MAE": metrics.mean_absolute_error(y, predicted),
            "R2": metrics.r2_score(y, predicted),
            "coverage of 90% intervals": np.mean((lower <= y) & (y <= upper)),
        }
    )


def test_target_has_the_name_of_the_training(models, evaluate):
    named = evaluate(models.churn, models.test_csv, "--target", "churn")
    assert evaluate(models.churn, models.test_csv) == named


def test_target_is_the_only_other_column(models, run, write, refused, tmp_path):
    model, nameless = fastmlp.load(models.churn), tmp_path / "nameless.safetensors"
    del model.target_name_
    model.save(nameless)
    path = write(models.test[[*FEATURES, "churn"]].to_csv(index=False))
    shown = run("evaluate", nameless, path)
    assert "the target is 'churn'" in shown.err
    assert run("evaluate", nameless, path, "--quiet").err == ""
    shown = refused("evaluate", nameless, models.test_csv)
    assert shown == (
        f"{models.test_csv}: add --target COLUMN: the columns that the model does not read are "
        "'price', 'churn'"
    )
    path = write(models.test[FEATURES].to_csv(index=False))
    assert refused("evaluate", nameless, path).endswith("does not read are none")


def test_text(models, run):
    shown = run("evaluate", models.churn, models.test_csv, "--target", "churn")
    assert re.search(r"^accuracy +0\.\d+$", shown.out, re.MULTILINE)
    assert re.search(r"^true, predicted +no +yes$", shown.out, re.MULTILINE)
    numbers = re.findall(r"^(?:no|yes) +(\d+) +(\d+)$", shown.out, re.MULTILINE)
    assert np.array(numbers, int).sum() == 60
    assert "probability of yes: is it true as often?" in shown.out
    shown = run("evaluate", models.price, models.test_csv, "--target", "price")
    assert re.search(r"^coverage of 90% intervals +\d", shown.out, re.MULTILINE)


@pytest.mark.parametrize("target", ["churn", "price"])
def test_plot(models, run, tmp_path, target):
    path = tmp_path / "plot.png"
    model = getattr(models, target)
    shown = run("evaluate", model, models.test_csv, "--target", target, "--plot", path)
    assert shown.status == 0
    pixels = image.imread(path)
    assert pixels.shape[0] > 300
    assert len(np.unique(pixels.reshape(-1, pixels.shape[2]), axis=0)) > 20
    assert os.listdir(tmp_path) == ["plot.png"]


def test_parts_of_plots(models, evaluate):
    from fastmlp._cli.plots import plot_of_classes, plot_of_numbers

    facts = evaluate(models.churn, models.test_csv, "--target", "churn")
    calibration, confusion = plot_of_classes(facts).axes[:2]
    points = calibration.lines[1].get_xydata()
    assert points.tolist() == [[bin["probability"], bin["share"]] for bin in facts["calibration"]]
    numbers = [int(text.get_text()) for text in confusion.texts]
    assert numbers == np.ravel(facts["confusion"]).tolist()
    facts = evaluate(models.price, models.test_csv, "--target", "price")
    y, outputs = np.arange(5.0), np.arange(5.0)[::-1, np.newaxis]
    points, errors = plot_of_numbers(y, outputs, facts).axes
    assert points.lines[1].get_xydata().tolist() == [[4, 0], [3, 1], [2, 2], [1, 3], [0, 4]]
    assert sum(bar.get_height() for bar in errors.patches) == 5


def test_bad_input(models, refused, write, tmp_path):
    churn, data = models.churn, ["--target", "churn"]
    path = write(models.test.assign(churn="maybe").to_csv(index=False))
    assert refused("evaluate", churn, path, *data) == (
        f"{path}: line 2: column 'churn': 'maybe' is no class of the model, which are 'no', 'yes'"
    )
    table = models.test.copy()
    table.loc[3, "churn"] = None
    path = write(table.to_csv(index=False))
    assert refused("evaluate", churn, path, *data).startswith(f"{path}: line 5: column 'churn'")
    path = write(table.head(0).to_csv(index=False))
    assert "there are no rows" in refused("evaluate", churn, path, *data)
    assert "no target 'z'" in refused("evaluate", churn, models.test_csv, "--target", "z")
    plot = ["--plot", tmp_path / "plot.nice"]
    assert "no format of this ext" in refused("evaluate", churn, models.test_csv, *data, *plot)
    plot = ["--plot", tmp_path / "none" / "plot.png"]
    assert "there is no folder" in refused("evaluate", churn, models.test_csv, *data, *plot)
    path = write(models.test.assign(price="dear").to_csv(index=False))
    assert refused("evaluate", models.price, path, "--target", "price") == (
        f"{path}: line 2: column 'price': 'dear' is not a number"
    )
