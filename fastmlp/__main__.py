"""The console command `fastmlp`; `python -m fastmlp` is the same."""

import argparse
import sys
import time
import warnings
from statistics import median

import sklearn.neural_network
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from threadpoolctl import threadpool_info, threadpool_limits

from fastmlp import MLPClassifier, __version__, show_config

DEMO_SETTINGS = {
    "hidden_layer_sizes": (100,),
    "learning_rate_init": 5e-3,
    "max_iter": 30,
    "n_iter_no_change": 30,  # all epochs, so that both do the same work
    "random_state": 0,
}

# Both take turns until this much time is over. A turn is as many fits as fill its time: of turns
# of one length neither slips through a gap of a busy machine where the other does not fit.
DEMO_SECONDS = 6.0
SECONDS_OF_TURN = 0.4

# scikit-learn's BLAS is tried for so many epochs with each number of threads, so often.
EPOCHS_OF_TRIAL, TRIALS = 3, 2

# From where the median turn of a fit, over its best, tells of other programs at work.
BUSY = 1.3


def seconds_of_fit(estimator, n_blas_threads, X, y, at_least=0.0):
    """The mean of as many fits as take this much time, or of one."""
    with threadpool_limits(n_blas_threads, user_api="blas"):
        start, n_fits, seconds = time.perf_counter(), 0, -1.0
        while seconds < at_least:
            estimator.fit(X, y)
            n_fits, seconds = n_fits + 1, time.perf_counter() - start
        return seconds / n_fits


def seconds_of_blas(X, y):
    """{threads of BLAS: seconds} of a few epochs of scikit-learn, whose arithmetic BLAS does.

    Its threads help or, for matrices as small as these and on a busy machine, hold it up. Empty
    where BLAS cannot be told.
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
    """Name: the seconds of a fit in every turn, of (estimator, threads of BLAS) by name."""
    seconds = {name: [] for name in contestants}
    start = time.perf_counter()
    while time.perf_counter() - start < DEMO_SECONDS or not seconds["fastmlp"]:
        for name, contestant in contestants.items():
            seconds[name].append(seconds_of_fit(*contestant, X, y, SECONDS_OF_TURN))
    return seconds


def verdict(ours, theirs):
    """What the seconds of all turns say: the best ones, unless the machine seems busy."""
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
    """Train on handwritten digits, and time scikit-learn doing the same."""
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
        # The demo stops all after the same number of epochs, converged or not.
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


def main(arguments=None):
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="fastmlp", description="Fast multilayer perceptrons on a CPU."
    )
    parser.add_argument("--version", action="version", version=f"fastmlp {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="command", required=True)
    commands.add_parser("demo", help=demo.__doc__).set_defaults(run=demo)
    commands.add_parser("config", help="print how this fastmlp was built").set_defaults(
        run=show_config
    )
    parser.parse_args(arguments).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
