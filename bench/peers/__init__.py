"""The peers of the benchmark, and the table of the forms in which each takes part.

A module of this package defines a class `Peer` with

``prepare(workload, X, y)``  take the data in, build the network; not timed
``restart()``                go back to the first weights; not timed
``train(n_epochs)``          train on, from the weights as they are and a fresh state of Adam, as a
                             warm-started `fit` does; returns when the work is done
``predict(X)``               probabilities, or values for regression, as a NumPy array

A peer that only predicts has no `restart` and no `train`. A module imports its library at the top:
it is loaded in a process of its own (`peers.serve`) and nowhere else.
"""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Variant:
    """One form of a peer, run in one process.

    `column` is the column of the tables it competes for (the best variant is shown), `libraries`
    are the packages it cannot do without, `options` the arguments of its class `Peer`,
    `environment` what is added to that of its process. `quick` says whether it has a part in quick
    runs.
    """

    name: str
    column: str
    module: str
    libraries: tuple[str, ...]
    precision: str = "float32"
    options: dict = field(default_factory=dict)
    environment: dict = field(default_factory=dict)
    trains: bool = True
    predicts: bool = True
    quick: bool = True


def fastmlp(name, **differences):
    """A form of fastmlp; each has a column of its own."""
    return Variant(name, name, "fastmlp", ("fastmlp",), **differences)


def scikit_learn(name, **differences):
    """A form of scikit-learn; each has a column of its own."""
    return Variant(name, name, "scikit_learn", ("sklearn",), **differences)


def pytorch(mode, options):
    """A form of PyTorch; all compete for one column. Compiling takes long and is for training."""
    compiled = options.get("compiled", False)
    return Variant(
        f"PyTorch {mode}",
        "PyTorch",
        "pytorch",
        ("torch",),
        options=options,
        predicts=not compiled,
        quick=not compiled,
    )


REFERENCE = "fastmlp"  # the column that the ratios refer to

VARIANTS = (
    fastmlp(REFERENCE),
    fastmlp("fastmlp, 1 thread", options={"n_threads": 1}, quick=False),
    fastmlp("fastmlp f64", precision="float64", options={"dtype": "float64"}, quick=False),
    scikit_learn("scikit-learn f32"),
    scikit_learn("scikit-learn f64", precision="float64", quick=False),
    pytorch("eager, 1 thread", {"n_threads": 1}),
    pytorch("eager, all cores", {}),
    pytorch("compiled, 1 thread", {"compiled": True, "n_threads": 1}),
    pytorch("compiled, all cores", {"compiled": True}),
    Variant("JAX", "JAX", "jax_scan", ("jax",)),
    Variant("ONNX Runtime", "ONNX Runtime", "onnx_runtime", ("onnxruntime", "onnx"), trains=False),
)
