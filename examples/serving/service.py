"""An HTTP service for a model file, with FastAPI
==============================================

To run it, and to send it a row::

    pip install fastapi uvicorn pandas "fastmlp[files]"
    FASTMLP_MODEL=churn.safetensors uvicorn service:app --workers 2

    curl localhost:8000/predict -H 'content-type: application/json' \\
        -d '[{"age": 41, "plan": "basic"}]'

A request is a list of rows, each an object with a value for every column; null is missing. The
answer is a list of objects: the label and its probabilities, or the value. Run by itself, this
script trains a model and asks the service about some rows.
"""

import json
import os
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
import uvicorn
from fastapi import FastAPI, HTTPException

import fastmlp


def service(path: str) -> FastAPI:
    """Return an application that answers with a model of a data frame."""
    model = fastmlp.load(path)  # safe, whoever made the file; all processes share its memory
    columns = model.feature_names_in_.tolist()
    app = FastAPI(title=f"{type(model).__name__} of {os.path.basename(path)}")

    @app.get("/columns")
    def names() -> list[str]:
        return columns

    # `def` and not `async def`: FastAPI then answers in a thread for each request. A prediction
    # releases the GIL and changes nothing in the model, so any number of them may run at a time.
    @app.post("/predict")
    def predict(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        try:
            # Missing columns and unknown ones are errors of fastmlp, whose message names them.
            return answers(model, pd.DataFrame(rows))
        except (TypeError, ValueError) as error:
            raise HTTPException(422, str(error)) from error

    return app


def answers(model: Any, table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the predictions as values that JSON has: ``tolist`` makes Python's of NumPy's."""
    if not hasattr(model, "predict_proba"):
        return [{"value": value} for value in model.predict(table).tolist()]
    probabilities = model.predict_proba(table)
    labels = model.classes_[probabilities.argmax(axis=1)].tolist()
    names = [str(label) for label in model.classes_.tolist()]
    return [
        {"label": label, "probabilities": dict(zip(names, row, strict=True))}
        for label, row in zip(labels, probabilities.tolist(), strict=True)
    ]


if "FASTMLP_MODEL" in os.environ:
    app = service(os.environ["FASTMLP_MODEL"])


@contextmanager
def running(app: FastAPI) -> Iterator[str]:
    """Serve an application in a thread, at any free port, and give its address."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


def ask(address: str, rows: Any) -> Any:
    """Return the answer of the service for some rows, or what it says about an error."""
    request = urllib.request.Request(
        f"{address}/predict", json.dumps(rows).encode(), {"content-type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request) as response:
            return json.load(response)
    except urllib.error.HTTPError as answer:
        with answer:
            return json.load(answer)


def main() -> None:
    table = pd.DataFrame(
        {"age": [23, 54, None, 41] * 25, "plan": ["basic", "pro", "pro", None] * 25}
    )
    left = ["stays", "leaves", "stays", "leaves"] * 25
    with TemporaryDirectory() as folder:
        path = os.path.join(folder, "churn.safetensors")
        fastmlp.TabularMLPClassifier(n_members=4, random_state=0).fit(table, left).save(path)
        with running(service(path)) as address:
            print(ask(address, [{"age": 54, "plan": "pro"}, {"age": None, "plan": "basic"}]))
            print(ask(address, [{"age": 54}]))


if __name__ == "__main__":
    main()
