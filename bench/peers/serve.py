"""The process of one peer: ``python -m peers.serve MODULE PRECISION OPTIONS``.

It reads one JSON object a line from its input, ``{"do": method, argument: value, ...}``, calls that
method of `Session` and answers with one JSON object a line; ``{"error": text}`` says what failed.
"""

import importlib
import json
import os
import signal
import statistics
import sys
import time
import traceback

from workloads import Workload, loss, mnist_data, random_data


class Session:
    """A peer with the data of one workload at a time; its methods return the answer's content."""

    def __init__(self, module, precision, options):
        self.peer = importlib.import_module(f"peers.{module}").Peer(**options)
        self.precision = precision

    def prepare(self, workload, mnist_path):
        self.workload = Workload(**workload)
        if mnist_path:
            X, self.y, X_test, self.y_test = mnist_data(mnist_path)
            self.X_test = X_test.astype(self.precision, copy=False)
        else:
            X, self.y = random_data(self.workload)
        self.X = X.astype(self.precision, copy=False)
        if self.workload.task == "regression":
            self.y = self.y.astype(self.precision, copy=False)
        self.peer.prepare(self.workload, self.X, self.y)
        return {}

    def restart(self):
        self.peer.restart()
        return {}

    def train(self, n_epochs):
        start = time.perf_counter()
        self.peer.train(n_epochs)
        return {"seconds": time.perf_counter() - start}

    def training_loss(self):
        return {"loss": loss(self.workload.task, self.peer.predict(self.X), self.y)}

    def test_accuracy(self):
        classes = self.peer.predict(self.X_test).argmax(axis=1)
        return {"accuracy": float((classes == self.y_test).mean())}

    def predict(self, n_rows, seconds):
        """Time single calls until `seconds` are over, one call at least."""
        rows = self.X[:n_rows]
        self.peer.predict(rows)
        times = []
        end = time.perf_counter() + seconds
        while not times or time.perf_counter() < end:
            start = time.perf_counter()
            self.peer.predict(rows)
            times.append(time.perf_counter() - start)
        return {"best": min(times), "median": statistics.median(times)}


def serve(session_of):
    """Answer requests until the input ends, by the session that the first one starts."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the runner, which ends this one
    # What a library prints must not get among the answers.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    session = None
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if session is None:
                session = session_of()
            answer = getattr(session, request.pop("do"))(**request)
        except Exception:
            answer = {"error": traceback.format_exc()}
        print(json.dumps(answer), file=answers)


def main():
    """Serve the peer that the command line names."""
    module, precision, options = sys.argv[1:]
    serve(lambda: Session(module, precision, json.loads(options)))


if __name__ == "__main__":
    main()
