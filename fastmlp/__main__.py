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

# The fits take turns until this much time is over, and at most so often.
DEMO_SECONDS = 6.0
MOST_TURNS = 9

# A setting of scikit-learn so many times slower than its best has lost.
LOST = 3

# From where the median turn of a fit, over its best, tells of other programs at work.
BUSY = 1.3


def contestants():
    """Name: (estimator, threads of BLAS or None) of what the demo times.

    scikit-learn's arithmetic is BLAS's, whose threads help it or, for matrices as small as these
    and on a busy machine, hold it up. Where BLAS cannot be told, it is left as it is.
    """
    blas = [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]
    result = {"fastmlp": (MLPClassifier(**DEMO_SETTINGS), None)}
    for n_threads in sorted({1, *blas}) if blas else [None]:
        of_blas = f", {n_threads} thread{'s' if n_threads > 1 else ''} of BLAS" if blas else ""
        theirs = sklearn.neural_network.MLPClassifier(**DEMO_SETTINGS)
        result[f"scikit-learn{of_blas}"] = theirs, n_threads
    return result


def seconds_of_fit(estimator, n_blas_threads, X, y):
    with threadpool_limits(n_blas_threads, user_api="blas"):
        start = time.perf_counter()
        estimator.fit(X, y)
        return time.perf_counter() - start


def take_turns(contestants, X, y):
    """Name: the seconds of every turn. A setting of scikit-learn that has lost sits out."""
    seconds = {name: [] for name in contestants}
    start = time.perf_counter()
    while True:
        best = min((min(turns) for turns in rivals(seconds).values() if turns), default=0)
        for name, contestant in contestants.items():
            if name == "fastmlp" or min(seconds[name], default=0) <= LOST * best:
                seconds[name].append(seconds_of_fit(*contestant, X, y))
        n_turns = len(seconds["fastmlp"])
        if n_turns == MOST_TURNS or time.perf_counter() - start > DEMO_SECONDS:
            return seconds


def rivals(seconds):
    return {name: turns for name, turns in seconds.items() if name != "fastmlp"}


def verdict(seconds):
    """What the turns say of fastmlp and scikit-learn at its better setting, and how surely."""
    rival, theirs = min(rivals(seconds).items(), key=lambda item: min(item[1]))
    ours = seconds["fastmlp"]
    text = (
        f"fastmlp took 1/{min(theirs) / min(ours):.1f} of the time of {rival}; the best turn of "
        f"{len(ours)} each."
    )
    if len(ours) > 1 and max(median(turns) / min(turns) for turns in (ours, theirs)) <= BUSY:
        return text
    ratios = [b / a for a, b in zip(ours, theirs, strict=True)]
    return (
        f"{text}\nThis machine seems busy with other programs: from turn to turn it was between "
        f"1/{min(ratios):.1f} and\n1/{max(ratios):.1f}. Try again when it is quiet."
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
    fits = contestants()
    with warnings.catch_warnings():
        # The demo stops all after the same number of epochs, converged or not.
        warnings.simplefilter("ignore", ConvergenceWarning)
        MLPClassifier(**DEMO_SETTINGS, verbose=1).fit(X_train, y_train)
        print("\nNow in turns, for some seconds ...\n")
        seconds = take_turns(fits, X_train, y_train)
    print(f"{'':32}test accuracy   seconds, best turn   median")
    for name, (estimator, _) in fits.items():
        turns = seconds[name]
        accuracy = estimator.score(X_test, y_test)
        print(f"{name:32}{accuracy:13.4f}{min(turns):21.4f}{median(turns):9.4f}")
    print(f"\n{verdict(seconds)}")


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
