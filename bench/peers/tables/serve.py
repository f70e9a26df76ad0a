"""The process of one peer for tables: ``python -m peers.tables.serve MODULE OPTIONS FOLDER``."""

import importlib
import json
import sys
import time

import numpy as np
import table_data

from peers.serve import serve

N_BINS = 15
COVERAGE = 0.9


class Session:
    """A peer and the last table; its methods return the answer's content."""

    def __init__(self, module, options, folder):
        self.module = importlib.import_module(f"peers.tables.{module}")
        self.options, self.folder, self.name = options, folder, None
        # What a library loads or starts at its first fit is no part of the times.
        warm_up, _ = table_data.load("wine").split(0)
        self.module.Peer(**options).fit(warm_up, 0)

    def cell(self, name, split):
        """Fit to the training rows of a split; the figures on its other rows."""
        if name != self.name:
            self.name, self.table = name, table_data.load(name, self.folder)
        train, test = self.table.split(split)
        peer = self.module.Peer(**self.options)
        start = time.perf_counter()
        peer.fit(train, split)
        fitted = time.perf_counter()
        predictions = peer.predict(test.X)
        seconds = {"seconds": fitted - start, "predict_seconds": time.perf_counter() - fitted}
        sizes = {"n_train": len(train.y), "n_test": len(test.y)}
        scores = classification_scores if train.task == "classification" else regression_scores
        return seconds | sizes | scores(peer, test, np.asarray(predictions, dtype=np.float64))


def classification_scores(peer, test, probabilities):
    """Error, log loss and expected calibration error."""
    of_true = probabilities[np.arange(len(test.y)), test.y]
    # Some libraries give probabilities of 0 for the true class: clipped like scikit-learn's.
    log_loss = -np.log(np.clip(of_true, np.finfo(np.float32).eps, 1)).mean()
    correct = probabilities.argmax(axis=1) == test.y
    return {
        "test_error": float(1 - correct.mean()),
        "log_loss": float(log_loss),
        "calibration_error": calibration_error(probabilities.max(axis=1), correct),
    }


def calibration_error(confidence, correct):
    """The mean distance of confidence and accuracy in bins of equal width, by their rows."""
    bins = np.minimum((confidence * N_BINS).astype(int), N_BINS - 1)
    gaps = np.bincount(bins, confidence - correct, N_BINS)
    return float(np.abs(gaps).sum() / len(correct))


def regression_scores(peer, test, values):
    """RMSE over the deviation of y; coverage and relative width of the intervals, if it has any."""
    deviation = test.y.std()
    scores = {"test_error": float(np.sqrt(np.mean((values.ravel() - test.y) ** 2)) / deviation)}
    if hasattr(peer, "predict_interval"):
        lower, upper = peer.predict_interval(test.X, COVERAGE).T
        scores["coverage"] = float(((lower <= test.y) & (test.y <= upper)).mean())
        scores["width"] = float((upper - lower).mean() / deviation)
    return scores


def main():
    """Serve the peer that the command line names."""
    module, options, folder = sys.argv[1:]
    serve(lambda: Session(module, json.loads(options), folder or None))


if __name__ == "__main__":
    main()
