"""Compare fastmlp with its peers: training, prediction and MNIST. See bench/README.md.

python bench/run.py --quick
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import report
from peers import VARIANTS
from team import Team, installed
from workloads import WORKLOADS

ROWS_TO_PREDICT = (1, 1_000, 10_000)
WARM_UP_EPOCHS = 1
START = time.perf_counter()


@dataclass(frozen=True)
class Pace:
    """How much is measured.

    `n_rounds` of training in turns that `epochs_divisor` shortens, `n_prediction_rounds` in turns
    of `prediction_seconds`, and `n_fits`, whole fits of MNIST.
    """

    n_rounds: int
    epochs_divisor: int
    n_prediction_rounds: int
    prediction_seconds: float
    n_fits: int


FULL = Pace(n_rounds=5, epochs_divisor=1, n_prediction_rounds=5, prediction_seconds=0.2, n_fits=3)
QUICK = Pace(n_rounds=2, epochs_divisor=4, n_prediction_rounds=1, prediction_seconds=0.05, n_fits=1)


def progress(message):
    """Tell the person who waits, with the seconds since the start."""
    print(f"{time.perf_counter() - START:4.0f} s  {message}", file=sys.stderr, flush=True)


def measure_training(team, workload, pace):
    """Seconds an epoch of every peer that trains, and the loss after the same number of epochs."""
    names = team.names("trains")
    n_epochs = max(1, workload.n_epochs // pace.epochs_divisor)
    team.take_turns(names, "restart")
    progress(f"{workload.name}: warm-up")
    team.take_turns(names, "train", n_epochs=WARM_UP_EPOCHS)
    seconds = {name: [] for name in names}
    for turn in range(pace.n_rounds):
        progress(f"{workload.name}: training, round {turn + 1} of {pace.n_rounds}")
        for name, answer in team.take_turns(names, "train", n_epochs=n_epochs).items():
            seconds[name].append(answer["seconds"] / n_epochs)
    losses = team.take_turns(names, "training_loss")
    return {
        "network": workload.network,
        "batch_size": workload.batch_size,
        "epochs": WARM_UP_EPOCHS + n_epochs * pace.n_rounds,
        "peers": {name: summary(seconds[name]) | answer for name, answer in losses.items()},
    }


def measure_prediction(team, workload, pace):
    """Seconds of a call for each number of rows, of every peer that predicts."""
    figures = {}
    for n_rows in ROWS_TO_PREDICT:
        progress(f"{workload.name}: prediction, rows a call: {n_rows:,}")
        rounds = [
            team.take_turns(
                team.names("predicts"), "predict", n_rows=n_rows, seconds=pace.prediction_seconds
            )
            for _ in range(pace.n_prediction_rounds)
        ]
        figures[str(n_rows)] = {
            name: {
                "best": min(turn[name]["best"] for turn in rounds),
                "median": statistics.median(turn[name]["median"] for turn in rounds),
            }
            for name in rounds[-1]
        }
    return figures


def measure_mnist(team, workload, pace):
    """Seconds of whole fits, each from the first weights, and the accuracy on the test images."""
    names = team.names("trains")
    seconds = {name: [] for name in names}
    for turn in range(pace.n_fits):
        progress(f"{workload.name}: fit {turn + 1} of {pace.n_fits}")
        team.take_turns(names, "restart")
        answers = team.take_turns(names, "train", n_epochs=workload.n_epochs)
        for name, answer in answers.items():
            seconds[name].append(answer["seconds"])
    accuracies = team.take_turns(names, "test_accuracy")
    return {
        "network": workload.network,
        "batch_size": workload.batch_size,
        "epochs": workload.n_epochs,
        "peers": {name: summary(seconds[name]) | answer for name, answer in accuracies.items()},
    }


def summary(seconds):
    """The figures of one peer from the seconds of its turns."""
    return {"best": min(seconds), "median": statistics.median(seconds), "seconds": seconds}


def downloaded_mnist(folder):
    """Fetch MNIST from OpenML, once for all peers, into an npz file."""
    from sklearn.datasets import fetch_openml

    progress("mnist: fetching from OpenML")
    X, y = fetch_openml("mnist_784", return_X_y=True, as_frame=False)
    X, y = X.astype(np.uint8), y.astype(np.uint8)
    path = Path(folder) / "mnist.npz"
    np.savez(path, x_train=X[:60_000], y_train=y[:60_000], x_test=X[60_000:], y_test=y[60_000:])
    return path


def arguments():
    """Read the command line."""
    here = Path(__file__).parent
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="end within two minutes")
    parser.add_argument("--rounds", type=int, help="turns that every peer takes")
    parser.add_argument("--select", help=f"some of {','.join(WORKLOADS)}; default: all")
    parser.add_argument(
        "--mnist",
        nargs="?",
        const="",
        metavar="PATH",
        help="measure MNIST too, from an npz file or, without a path, fetched from OpenML",
    )
    parser.add_argument("--json", type=Path, default=here / "results.json", metavar="PATH")
    parser.add_argument("--plot", type=Path, metavar="PATH", help="draw the ratios, as a PNG")
    given = parser.parse_args()

    available = [name for name in WORKLOADS if name != "mnist" or given.mnist is not None]
    given.select = given.select.split(",") if given.select else available
    for name in given.select:
        if name not in WORKLOADS:
            parser.error(f"no workload {name!r}; there are {', '.join(WORKLOADS)}")
        if name not in available:
            parser.error("mnist needs --mnist")
    if given.rounds is not None and given.rounds < 1:
        parser.error("--rounds must be at least 1")
    # Found now rather than after many minutes of measuring.
    if given.mnist and not Path(given.mnist).is_file():
        parser.error(f"no file {given.mnist}")
    for path in filter(None, (given.json, given.plot)):
        if not path.absolute().parent.is_dir():
            parser.error(f"no folder to write {path} to")
    return given


def main():
    """Measure, print, write and draw; return the exit status."""
    given = arguments()
    pace = QUICK if given.quick else FULL
    if given.rounds is not None:
        pace = replace(
            pace,
            n_rounds=given.rounds,
            n_prediction_rounds=given.rounds,
            n_fits=given.rounds,
        )
    variants = installed([variant for variant in VARIANTS if variant.quick or not given.quick])
    results = {"machine": report.machine() | {"best_gemm": report.best_gemm()}}
    results["pace"] = asdict(pace)
    results |= {"training": {}, "prediction": {}, "mnist": {}}
    with ExitStack() as stack:
        mnist_path = given.mnist and str(Path(given.mnist).resolve())
        if "mnist" in given.select and not mnist_path:
            mnist_path = str(downloaded_mnist(stack.enter_context(tempfile.TemporaryDirectory())))
        team = stack.enter_context(Team(variants))
        for name in given.select:
            workload = WORKLOADS[name]
            progress(f"{name}: preparing")
            if name == "mnist":
                team.prepare(team.names("trains"), workload=asdict(workload), mnist_path=mnist_path)
                results["mnist"] = measure_mnist(team, workload, pace)
            else:
                team.prepare(list(team.processes), workload=asdict(workload), mnist_path=None)
                results["training"][name] = measure_training(team, workload, pace)
                results["prediction"][name] = measure_prediction(team, workload, pace)
    results["failures"] = team.failures
    print(report.text(results))
    given.json.write_text(json.dumps(results, indent=1) + "\n")
    if given.plot:
        try:
            report.plot(results, given.plot)
        except ValueError as error:
            print(error)
    return 1 if team.failures else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
