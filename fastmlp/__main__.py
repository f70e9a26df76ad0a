"""The console command `fastmlp`; `python -m fastmlp` is the same."""

import argparse
import sys
import time
import warnings
from contextlib import redirect_stdout

import sklearn.neural_network
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split

from fastmlp import MLPClassifier, __version__, show_config

DEMO_SETTINGS = {
    "hidden_layer_sizes": (100,),
    "max_iter": 100,
    "n_iter_no_change": 100,  # all epochs, so that both do the same work
    "random_state": 0,
    "verbose": 2,
}


class LiveLine:
    """Takes an estimator's verbose output: on a terminal the newest line, in a file every 25th."""

    def __init__(self, stream):
        self._stream = stream
        self._is_terminal = stream.isatty()
        self._n_lines = 0

    def write(self, text):
        if text == "\n":
            return
        self._n_lines += 1
        if self._is_terminal:
            self._stream.write(f"\r  {text:60}")
            self._stream.flush()
        elif self._n_lines % 25 == 0:
            self._stream.write(f"  {text}\n")

    def flush(self):
        self._stream.flush()

    def close(self):
        if self._is_terminal:
            self._stream.write("\n")


def fit_and_tell(name, estimator, X_train, y_train):
    """Fit under a live line and return the seconds."""
    print(f"{name}:")
    live = LiveLine(sys.stdout)
    with redirect_stdout(live), warnings.catch_warnings():
        # The demo stops both after the same number of epochs, converged or not.
        warnings.simplefilter("ignore", ConvergenceWarning)
        start = time.perf_counter()
        estimator.fit(X_train, y_train)
        seconds = time.perf_counter() - start
    live.close()
    return seconds


def demo():
    """Train on handwritten digits, and time scikit-learn doing the same."""
    X, y = load_digits(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(
        X / 16, y, test_size=0.25, random_state=0, stratify=y
    )
    print(
        f"Handwritten digits: {len(X_train)} images of 8 x 8 pixels to train on, "
        f"{len(X_test)} to test.\n"
        "A network 64-100-10 (relu, Adam, batches of 200, 100 epochs).\n"
    )
    estimators = {
        "fastmlp": MLPClassifier(**DEMO_SETTINGS),
        "scikit-learn": sklearn.neural_network.MLPClassifier(**DEMO_SETTINGS),
    }
    seconds = {
        name: fit_and_tell(name, estimator, X_train, y_train)
        for name, estimator in estimators.items()
    }
    print(f"\n{'':14}test accuracy   seconds")
    for name, estimator in estimators.items():
        print(f"{name:14}{estimator.score(X_test, y_test):13.4f}{seconds[name]:10.3f}")
    ratio = seconds["scikit-learn"] / seconds["fastmlp"]
    print(f"\nfastmlp took 1/{ratio:.1f} of scikit-learn's time.")


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
