"""`fastmlp demo`: the training time beside scikit-learn, and a table beside boosting."""

import time
import warnings
from statistics import mean, median
from typing import NamedTuple

import numpy as np
import sklearn.neural_network
from sklearn.datasets import load_diabetes, load_digits
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split
from threadpoolctl import threadpool_info, threadpool_limits

from fastmlp import MLPClassifier, TabularMLPClassifier

DEMO_SETTINGS = {
    "hidden_layer_sizes": (100,),
    "learning_rate_init": 5e-3,
    "max_iter": 30,
    "n_iter_no_change": 30,  # never stop early, so that both libraries do the same work
    "random_state": 0,
}

# The two libraries take turns for this long. Each turn repeats the fit until its time is used up.
# Turns of equal length keep the comparison fair on a busy machine: otherwise the faster library
# would more often fit into a short idle period.
DEMO_SECONDS = 4.0
SECONDS_OF_TURN = 0.4

# To choose the number of BLAS threads for scikit-learn, each candidate number is timed for this
# many epochs, and this many times.
EPOCHS_OF_TRIAL, TRIALS = 3, 2

# The machine is considered busy if the median turn takes this many times as long as the best one.
BUSY = 1.3

# The demo of a table repeats its comparison with other test rows, since the errors on a hundred
# rows vary. It begins no further repetition after this many seconds.
MOST_SPLITS, TABLE_SECONDS = 4, 6.0

# Columns of the demo's table that hold categories: the patient's sex, and the class of the weight
# by the limits of the body mass index.
SEX, BODY_MASS, WEIGHT_CLASS = 1, 2, 10
LIMITS_OF_BODY_MASS = (25, 30)
SHARE_MISSING = 0.05


def seconds_of_fit(estimator, n_blas_threads, X, y, at_least=0.0):
    """Repeat the fit for ``at_least`` seconds, at least once, and return the mean time of a fit."""
    with threadpool_limits(n_blas_threads, user_api="blas"):
        start, n_fits, seconds = time.perf_counter(), 0, -1.0
        while seconds < at_least:
            estimator.fit(X, y)
            n_fits, seconds = n_fits + 1, time.perf_counter() - start
        return seconds / n_fits


def seconds_of_blas(X, y):
    """Time a few epochs of scikit-learn, which uses BLAS, with different numbers of BLAS threads.

    More threads can make it faster or, with matrices this small or on a busy machine, slower.

    Returns
    -------
    dict
        Number of threads: seconds. Empty if threadpoolctl cannot control the BLAS library.
    """
    blas = {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}
    settings = DEMO_SETTINGS | {"max_iter": EPOCHS_OF_TRIAL}
    theirs = sklearn.neural_network.MLPClassifier(**settings)
    seconds = {n_threads: [] for n_threads in sorted({1, *blas}) if blas}
    for _ in range(TRIALS):
        for n_threads, trials in seconds.items():
            trials.append(seconds_of_fit(theirs, n_threads, X, y))
    return {n_threads: min(trials) for n_threads, trials in seconds.items()}


def take_turns(contestants, X, y):
    """Fit the contestants in turns and return the seconds per fit in every turn, by name.

    ``contestants`` maps a name to (estimator, number of BLAS threads).
    """
    seconds = {name: [] for name in contestants}
    start = time.perf_counter()
    while time.perf_counter() - start < DEMO_SECONDS or not seconds["fastmlp"]:
        for name, contestant in contestants.items():
            seconds[name].append(seconds_of_fit(*contestant, X, y, SECONDS_OF_TURN))
    return seconds


def verdict(ours, theirs):
    """Compare the best turns in words, or the median turns if the machine seems busy."""
    is_busy = len(ours) == 1 or max(median(turns) / min(turns) for turns in (ours, theirs)) > BUSY
    choose, name = (median, "median") if is_busy else (min, "best")
    text = (
        f"fastmlp took 1/{choose(theirs) / choose(ours):.1f} of scikit-learn's time: the {name} of "
        f"{len(ours)} turns each."
    )
    if not is_busy:
        return text
    ratios = [b / a for a, b in zip(ours, theirs, strict=True)]
    return (
        f"{text}\nThis machine seems busy with other programs: from turn to turn it was 1/"
        f"{min(ratios):.1f} to 1/{max(ratios):.1f}.\nTry again when it is quiet."
    )


def demo():
    """Train on handwritten digits and compare the training time with scikit-learn's."""
    X, y = load_digits(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(
        X / 16, y, test_size=0.25, random_state=0, stratify=y
    )
    print(
        f"Handwritten digits: {len(X_train)} images of 8 x 8 pixels to train on, "
        f"{len(X_test)} to test.\n"
        f"A network 64-100-10: relu, Adam, batches of 200, {DEMO_SETTINGS['max_iter']} epochs.\n"
    )
    with warnings.catch_warnings():
        # The demo always trains for the same number of epochs, converged or not.
        warnings.simplefilter("ignore", ConvergenceWarning)
        MLPClassifier(**DEMO_SETTINGS, verbose=1).fit(X_train, y_train)
        of_blas = seconds_of_blas(X_train, y_train)
        n_threads = min(of_blas, key=of_blas.get, default=None)
        if n_threads is not None:
            trials = ", ".join(f"{s:.3f} s with {n}" for n, s in of_blas.items())
            print(
                f"\nscikit-learn computes by BLAS, whose threads may help or harm: {trials}, for "
                f"{EPOCHS_OF_TRIAL} epochs.\nIt gets {n_threads}. Now both in turns ..."
            )
        contestants = {
            "fastmlp": (MLPClassifier(**DEMO_SETTINGS), None),
            "scikit-learn": (sklearn.neural_network.MLPClassifier(**DEMO_SETTINGS), n_threads),
        }
        seconds = take_turns(contestants, X_train, y_train)
    print(f"\n{'':14}test accuracy   seconds a fit, best turn   median turn")
    for name, (estimator, _) in contestants.items():
        turns = seconds[name]
        accuracy = estimator.score(X_test, y_test)
        print(f"{name:14}{accuracy:13.4f}{min(turns):27.4f}{median(turns):14.4f}")
    print(f"\n{verdict(*seconds.values())}")


class Fit(NamedTuple):
    """One model on one split: the share of wrong answers, the log loss and the seconds of fit."""

    error: float
    log_loss: float
    seconds: float


def patients():
    """Return a table of numbers and categories, with missing values, and two classes.

    The rows are the patients of scikit-learn's diabetes table. The question is whether the disease
    progresses faster than in half of them.
    """
    X, progression = load_diabetes(return_X_y=True, scaled=False)
    X = np.column_stack([X, np.digitize(X[:, BODY_MASS], LIMITS_OF_BODY_MASS)])
    X[np.random.default_rng(0).random(X.shape) < SHARE_MISSING] = np.nan
    return X, np.where(progression > np.median(progression), "faster", "slower")


def fit_on_split(model, X_train, X_test, y_train, y_test):
    """Fit the model and return its figures on the test rows."""
    start = time.perf_counter()
    model.fit(X_train, y_train)
    seconds = time.perf_counter() - start
    probabilities = model.predict_proba(X_test)
    error = np.mean(model.classes_[probabilities.argmax(axis=1)] != y_test)
    return Fit(float(error), log_loss(y_test, probabilities), seconds)


def verdict_of_table(ours, theirs):
    """Compare the mean figures of both models in words."""
    errors = (
        f"fastmlp is wrong for {ours.error:.1%} of the test rows, and "
        f"HistGradientBoosting for {theirs.error:.1%}."
    )
    better = "fastmlp" if ours.log_loss < theirs.log_loss else "HistGradientBoosting"
    ratio = max(ours.seconds, theirs.seconds) / min(ours.seconds, theirs.seconds)
    slower = "fastmlp" if ours.seconds > theirs.seconds else "HistGradientBoosting"
    return (
        f"{errors}\nThe probabilities of {better} are better: its log loss is lower.\n"
        f"{slower} takes {ratio:.1f} times as long."
    )


def demo_of_table():
    """Train on a table with categories and missing values beside HistGradientBoostingClassifier."""
    X, y = patients()
    print(
        f"Diabetes: {X.shape[0]} patients, {X.shape[1]} columns, 2 of them categories; "
        f"{np.isnan(X).mean():.0%} of the values are missing.\n"
        "Will the disease progress faster than in half of the patients?\n"
        "Both models get the table as it is and have their default settings.\n"
    )
    models = {
        "fastmlp": TabularMLPClassifier,
        "HistGradientBoosting": HistGradientBoostingClassifier,
    }
    fits = {name: [] for name in models}
    start, n_splits = time.perf_counter(), 0
    while n_splits < MOST_SPLITS and (not n_splits or time.perf_counter() - start < TABLE_SECONDS):
        rows = train_test_split(X, y, test_size=0.25, random_state=n_splits, stratify=y)
        for name, model in models.items():
            settings = {"categorical_features": [SEX, WEIGHT_CLASS], "random_state": 0}
            fits[name].append(fit_on_split(model(**settings), *rows))
        n_splits += 1
    means = {name: Fit(*map(mean, zip(*of_model, strict=True))) for name, of_model in fits.items()}
    print(f"{'':22}wrong answers   log loss   seconds of fit")
    for name, figures in means.items():
        print(f"{name:22}{figures.error:13.1%}{figures.log_loss:11.3f}{figures.seconds:17.2f}")
    print(
        f"\nMeans of {n_splits} split(s) into {len(rows[0])} rows to train on and {len(rows[1])} "
        f"to test.\n{verdict_of_table(*means.values())}"
    )


def run(options):
    """Run the demo that the options ask for."""
    demo_of_table() if options.table else demo()
