"""Random configurations: `python stress/configurations.py --seconds 60`.

A case is a small program that is drawn at random: a table, an estimator with some of its
parameters changed, valid or not, and a few calls of fit, partial_fit, predict, set_params, save and
others, some of them with bad data. It runs with 1, 2 and 3 threads side by side. Only documented
exceptions may be raised, they leave the estimator unchanged, and all bits are the same.
"""

import pickle
import random
import sys
import tempfile
import zlib
from collections import Counter
from pathlib import Path

import made
import numpy as np
from cases import Broken, check, main
from sklearn.base import clone

import fastmlp
from fastmlp import (
    InputLayer,
    MLPClassifier,
    MLPRegressor,
    TabularMLPClassifier,
    TabularMLPRegressor,
)

DOCUMENTED = (ValueError, TypeError)
THREADS = (1, 2, 3)
TABULAR_SHARE = 0.01

ACTIVATIONS = (
    "identity", "logistic", "tanh", "relu", "leaky_relu", "elu", "selu", "gelu", "silu", "mish",
    "softplus", "softsign", "hard_swish",
)  # fmt: skip

# The values of each parameter, as the text of Python. The number of threads is set by the case.
VALID = {
    "hidden_layer_sizes": ("()", "(1,)", "(7,)", "(16,)", "(5, 3)", "(6, 6)", "(4, 4, 4)", "[8]",
                           "np.array([3, 3])", "9", "(65,)"),
    "activation": (*map(repr, ACTIVATIONS), "['tanh', 'relu']", "('gelu',)"),
    "solver": tuple(map(repr, ("sgd", "adam", "adamw", "nadam", "rmsprop", "adagrad", "adadelta",
                               "rprop", "lbfgs"))),
    "alpha": ("0", "1e-4", "0.1", "10"),
    "batch_size": ("'auto'", "1", "7", "32", "64", "100", "10**9", "np.int64(16)"),
    "learning_rate": tuple(map(repr, ("constant", "step", "exponential", "cosine", "flat_cosine",
                                      "cosine_restarts", "one_cycle", "coslog4", "plateau",
                                      "invscaling", "adaptive"))),
    "learning_rate_init": ("1e-3", "0.1", "1e-8", "100.0", "1e30"),
    "power_t": ("0", "0.5", "2"),
    "shuffle": ("True", "False"),
    "random_state": ("0", "1", "2**32 - 1", "np.random.RandomState(5)"),
    "tol": ("0", "1e-4", "1.0", "1e300"),
    "verbose": ("False", "True", "2"),
    "warm_start": ("True", "False"),
    "momentum": ("0", "0.9", "1"),
    "nesterovs_momentum": ("True", "False"),
    "early_stopping": ("True", "False"),
    "validation_fraction": ("0.1", "0.5", "0.9", "0", "0.01"),
    "beta_1": ("0", "0.5", "0.999"),
    "beta_2": ("0", "0.9", "0.9999"),
    "epsilon": ("1e-8", "1e-300", "1.0"),
    "n_iter_no_change": ("1", "2", "np.inf", "10**9"),
    "max_fun": ("1", "5", "15000"),
    "dtype": ("None", "'float32'", "'float64'"),
    "scoring": ("None", "'r2'", "'accuracy'", "['r2', 'neg_mean_squared_error']", "'roc_auc'"),
    "loss_params": ("None", "{}", "{'label_smoothing': 0.1}", "{'delta': 0.5}",
                    "{'quantiles': [0.1, 0.9]}", "{'power': 1.2}"),
    "solver_params": ("None", "{}", "{'amsgrad': True}", "{'rho': 0.5}",
                      "{'momentum_decay': 0.1}", "{'eta_plus': 1.5}"),
    "schedule_params": ("None", "{}", "{'warmup': 1}", "{'gamma': 0.5}", "{'final': 0.1}",
                        "{'period': 1}", "{'patience': 1, 'factor': 0.5}", "{'step_size': 1}"),
    "weight_decay": ("None", "0", "0.1", "100.0"),
    "weight_decay_schedule": ("'constant'", "'cosine'", "'flat_cosine'"),
    "learning_rate_factors": ("None", "{'bias': 0.1}", "{'scale': 0, 'activation': 6}",
                              "{'embedding': 2}"),
    "l1": ("0", "1e-3", "1.0"),
    "dropout": ("0", "0.3", "0.99", "[0.5]", "[0.1, 0.2]"),
    "dropout_schedule": ("'constant'", "'cosine'", "'flat_cosine'"),
    "input_dropout": ("0", "0.2"),
    "input_noise": ("0", "0.1", "10.0"),
    "max_norm": ("None", "1.0", "1e-6"),
    "clip_norm": ("None", "1.0", "1e-6"),
    "clip_value": ("None", "0.1", "1e-6"),
    "averaging": ("None", "0.5", "0.999"),
    "layer_norm": ("True", "False"),
    "residual": ("True", "False"),
    "learned_activation": ("True", "False"),
    "parametrization": ("'standard'", "'ntk'"),
    "init": ("None", *map(repr, ("glorot_uniform", "glorot_normal", "he_uniform", "he_normal",
                                 "lecun_uniform", "lecun_normal", "orthogonal", "zeros"))),
    "connections": ("None", "[None, None]"),
    "diagnostics": ("True", "False"),
    "max_iter": ("1", "2", "3"),
    "max_seconds": ("None", "1e9"),
    "callbacks": ("None", "[]", "made.end_after_two", "[made.end_after_two]", "made.fails"),
}  # fmt: skip

# Of the estimators for tables.
VALID_OF_TABULAR = {
    "members": ("'ensemble'", "'realmlp'"),
    "refit_single": ("True", "False"),
    "max_seconds": ("None", "1e9"),
    "validation_fraction": ("None", "0.2", "0.5"),
    "cv": ("None", "2", "3"),
    "metric": ("None", "'neg_mean_squared_error'", "'accuracy'", "'neg_log_loss'", "'r2'"),
    "categorical_features": ("'from_dtype'", "None", "[0]", "['x0']"),
    "verbose": ("False", "True"),
}  # fmt: skip

CODED = "InputLayer(categorical_features=[0]"
INPUT_LAYERS = (
    f"{CODED})", f"{CODED}, one_hot_max_size=0, embedding_size=3)", "InputLayer(scaling=True)",
    "InputLayer(numeric_embedding='cosine', n_frequencies=3)",
    f"{CODED}, numeric_embedding='pbld', n_frequencies=5, scaling=True)",
    "InputLayer(numeric_embedding='piecewise_linear', n_bins=4)",
    f"{CODED}, one_hot_max_size=1, numeric_embedding='pbld', scaling=True)",
)  # fmt: skip

BAD = (
    "None", "-1", "0", "1.5", "-0.5", "2.0", "np.nan", "np.inf", "-np.inf", "'no such word'", "''",
    "[]", "()", "{}", "[None]", "{'no such option': 1}", "object()", "True", "10**400", "-10**30",
    "2**63", "2**64", "1e400", "1e-320", "np.array([1.5, 2])", "np.zeros((2, 2))", "'2'", "b'adam'",
    "(0,)", "(-3,)", "(2.5,)", "(10**15,)", "[1e9]", "(1, (2, 3))", "[[3]]", "np.array(3)", "1j",
    "['relu'] * 40", "[0.5, 1.0]", "[np.nan]", "{'warmup': -1}", "{'gamma': np.nan}",
    "{'quantiles': [0.9, 0.1]}", "{1: 2}", "len", "made.fails", "np.random.default_rng(0)",
    "InputLayer(categorical_features=[99])", "InputLayer(n_categories=[2])", "[np.ones((2, 2))]",
    "np.float32(0.5)", "np.bool_(True)", "set()", "range(3)", "'adam'.join", "float", "'float16'",
)  # fmt: skip

# So many members would take for ever.
ENDLESS = ("2**63", "2**64", "10**400")

LOSSES = {
    "classifier": ("'log_loss'", "'squared_error'"),
    "numbers": ("'squared_error'", "'absolute_error'", "'huber'", "'log_cosh'", "'quantile'",
                "made.loss_of_user"),
    "counts": ("'poisson'", "'gamma'", "'tweedie'", "'squared_error'"),
}  # fmt: skip

# The options that a solver, a schedule or a loss has.
OPTIONS = {
    "adam": ("{'amsgrad': True}",), "adamw": ("{'amsgrad': True}",), "rmsprop": ("{'rho': 0.5}",),
    "adadelta": ("{'rho': 0.5}",), "nadam": ("{'momentum_decay': 0.1}",),
    "rprop": ("{'eta_plus': 1.5}",), "step": ("{'step_size': 1}", "{'gamma': 0.5}"),
    "exponential": ("{'gamma': 0.5}",), "cosine": ("{'final': 0.1}",),
    "cosine_restarts": ("{'period': 1}", "{'final': 0.1}"), "one_cycle": ("{'final': 0.1}",),
    "plateau": ("{'patience': 1, 'factor': 0.5}",), "log_loss": ("{'label_smoothing': 0.1}",),
    "huber": ("{'delta': 0.5}",), "tweedie": ("{'power': 1.2}",),
    "quantile": ("{'quantiles': [0.7]}",),
}  # fmt: skip

# The parameters that cannot be set for a solver.
NOT_WITH = {
    "lbfgs": (
        "solver_params", "schedule_params", "weight_decay", "l1", "dropout", "input_dropout",
        "input_noise", "max_norm", "clip_norm", "clip_value", "averaging", "learning_rate",
        "learning_rate_factors", "dropout_schedule", "weight_decay_schedule", "parametrization",
    ),
    "rprop": ("batch_size", "learning_rate", "schedule_params"),
}  # fmt: skip

SCORINGS = {True: ("'accuracy'",), False: ("'r2'", "['r2', 'neg_mean_squared_error']")}

NAMES = {
    "np": np, "made": made, "pickle": pickle, "clone": clone, "fastmlp": fastmlp,
    "InputLayer": InputLayer, "MLPClassifier": MLPClassifier, "MLPRegressor": MLPRegressor,
    "TabularMLPClassifier": TabularMLPClassifier, "TabularMLPRegressor": TabularMLPRegressor,
}  # fmt: skip
IMPORTS = """import pickle
from pathlib import Path
import numpy as np
from sklearn.base import clone
import fastmlp, made
from fastmlp import InputLayer, MLPClassifier, MLPRegressor
from fastmlp import TabularMLPClassifier, TabularMLPRegressor
n_threads, folder = 1, Path("/tmp")"""


class Program:
    """The text of a random case: the table, the estimator, and the calls."""

    def __init__(self, seed):
        self.source = source = random.Random(seed)
        self.is_classifier = source.random() < 0.5
        self.is_tabular = source.random() < TABULAR_SHARE
        tasks = made.CLASSIFICATION if self.is_classifier else made.REGRESSION
        if self.is_tabular:
            tasks = ("words", "multiclass") if self.is_classifier else ("numbers", "counts")
        self.task = source.choice(tasks)
        has_codes = not self.is_tabular and source.random() < 0.2
        kind = "float64" if source.random() < 0.4 else source.choice(made.KINDS)
        kind = "frame" if self.is_tabular else "float64" if has_codes else kind
        n_rows, n_features = source.randint(20, source.choice((60, 300))), source.randint(1, 6)
        self.table = (
            f"X, y, weight = made.make({self.task!r}, {n_rows}, {n_features}, {kind!r}, "
            f"seed={source.randrange(10**6)}, n_codes={int(has_codes)})"
        )
        self.n_rows, self.n_features, self.has_codes = n_rows, n_features, has_codes
        self.estimator = self._tabular() if self.is_tabular else self._estimator()
        self.is_first = True
        n_calls = source.randint(1, 2) if self.is_tabular else source.randint(2, 7)
        self.calls = [self._call() for _ in range(n_calls)]

    def _estimator(self):
        source = self.source
        parameters = {"max_iter": source.choice("123"), "random_state": "0",
                      "hidden_layer_sizes": "(5,)"}  # fmt: skip
        for name in source.sample(sorted(VALID), source.choice((1, 2, 4, 8, 15))):
            parameters[name] = source.choice(VALID[name])
        if source.random() < 0.6:
            parameters["loss"] = source.choice(LOSSES[self._kind_of_loss()])
        if self.has_codes or source.random() < 0.1:
            layer = source.choice(INPUT_LAYERS)
            parameters["input_layer"] = layer.replace("[0]", f"[{self.n_features - 1}]")
        if self.is_classifier and source.random() < 0.2:
            parameters["class_weight"] = source.choice(("'balanced'", "None", "{0: 2.0}", "{9: 1}"))
        if source.random() < 0.85:
            self._drop_what_does_not_match(parameters)
        if source.random() < 0.15:
            parameters[source.choice([*VALID, "input_layer"])] = source.choice(BAD)
        return self._made("MLPClassifier" if self.is_classifier else "MLPRegressor", parameters)

    def _drop_what_does_not_match(self, parameters):
        """Drop most of what makes the configuration invalid, so that most of them are valid."""
        solver = parameters.get("solver", "'adam'").strip("'")
        dropped = list(NOT_WITH.get(solver, ()))
        options = {
            "solver_params": solver,
            "schedule_params": parameters.get("learning_rate", "'constant'").strip("'"),
            "loss_params": parameters.get("loss", "'log_loss'").strip("'"),
        }
        for name, choice in options.items():
            known = OPTIONS.get(choice, ())
            dropped += [] if parameters.get(name, "{") in known else [name]
            if known and self.source.random() < 0.3 and name not in NOT_WITH.get(solver, ()):
                dropped, parameters[name] = [d for d in dropped if d != name], known[0]
        if parameters.get("scoring") not in SCORINGS[self.is_classifier]:
            dropped.append("scoring")
        if "'cs" in self.table or "'coo" in self.table:
            dropped += ["input_dropout", "input_noise", "input_layer"]
        is_number = parameters["hidden_layer_sizes"].isdecimal()
        n_hidden = 1 if is_number else len(np.atleast_1d(eval(parameters["hidden_layer_sizes"])))
        for name in ("activation", "dropout"):
            value = parameters.get(name, "")
            is_list = value.startswith(("[", "("))
            dropped += [name] if is_list and value.count(",") + 1 != n_hidden else []
        dropped += ["connections"] if n_hidden != 1 else []
        dropped += ["validation_fraction"] if "early_stopping" in parameters else []
        for name in dropped:
            parameters.pop(name, None)

    def _kind_of_loss(self):
        if self.is_classifier:
            return "classifier"
        return "counts" if self.task == "counts" else "numbers"

    def _tabular(self):
        source = self.source
        parameters = {"n_members": source.choice("123"), "random_state": source.choice("01")}
        for name in source.sample(sorted(VALID_OF_TABULAR), source.choice((0, 1, 1, 2, 4))):
            parameters[name] = source.choice(VALID_OF_TABULAR[name])
        if self.is_classifier and source.random() < 0.2:
            parameters["class_weight"] = source.choice(("'balanced'", "None", "{0: 2.0}", "{9: 1}"))
        if source.random() < 0.15:
            name = source.choice([*VALID_OF_TABULAR, "n_members"])
            parameters[name] = source.choice([bad for bad in BAD if bad not in ENDLESS])
        cls = "TabularMLPClassifier" if self.is_classifier else "TabularMLPRegressor"
        return self._made(cls, parameters, "n_jobs")

    @staticmethod
    def _made(cls, parameters, threads="n_threads"):
        shown = ", ".join(f"{name}={value}" for name, value in parameters.items())
        return f"model = {cls}({shown}, {threads}=n_threads)"

    def _call(self):
        source = self.source
        fits = (
            "model.fit({X}, {y})", "model.fit({X}, {y})", "model.fit({X}, {y}, {w})",
            "model.fit({X}, {y}, X_val={X}, y_val={y})",
        )  # fmt: skip
        others = (
            "model.predict({X})", "model.score({X}, {y}, {w})", "model.set_params({name}={value})",
            "model = pickle.loads(pickle.dumps(model))", "model = clone(model)",
            "fastmlp.save(model, folder / f'{{n_threads}}.safetensors'); "
            "model = fastmlp.load(folder / f'{{n_threads}}.safetensors')",
        )  # fmt: skip
        if self.is_tabular:
            others += () if self.is_classifier else ("model.predict_interval({X})",)
        else:
            fits += (
                "model.partial_fit({X}, {y}{classes})", "model.partial_fit({X}, {y}, {w}{classes})",
                "model.fit_stream(made.batches({X}, {y}), buffer_rows=50)",
            )  # fmt: skip
            others += (
                "model.fit({X}, {y}, checkpoint=folder / f'{{n_threads}}', checkpoint_every=1)",
                "model.fit({X}, {y}, resume=folder / f'{{n_threads}}')",
                "model.initialize({n_features}, {n_outputs})",
            )  # fmt: skip
        is_first, self.is_first = self.is_first, False
        calls = fits if is_first and source.random() < 0.8 else fits + others
        return source.choice(calls).format(**self._data(), **self._parameter())

    def _data(self):
        source = self.source
        rows = source.randint(10, self.n_rows)
        X, y, w = "X", "y", "weight"
        if source.random() < 0.2:
            X, y, w = (f"made.some_rows({name}, 0, {rows})" for name in (X, y, w))
        if source.random() < 0.12:
            X = f"made.spoiled(X, {source.choice(list(made.SPOILED_X))!r})"
        if source.random() < 0.08:
            y = f"made.spoiled_y(y, {source.choice(list(made.SPOILED_Y))!r})"
        if source.random() < 0.15:
            w = f"made.spoiled_weight(weight, {source.choice(list(made.SPOILED_WEIGHT))!r})"
        classes = ""
        if self.is_classifier and source.random() < 0.9:
            classes = ", classes=np.unique(y) if y.ndim == 1 else np.arange(3)"
        return {"X": X, "y": y, "w": w, "classes": classes} | {
            "n_features": self.n_features,
            "n_outputs": "[0, 1, 2]" if self.is_classifier else 1,
        }

    def _parameter(self):
        source, valid = self.source, VALID_OF_TABULAR if self.is_tabular else VALID
        name = source.choice(list(valid))
        values = BAD if source.random() < 0.2 else valid[name]
        return {"name": name, "value": source.choice(values)}

    def __str__(self):
        first = (IMPORTS, self.table, self.estimator)
        return "\n".join((*first, *self.calls))


class Run:
    """The program with one number of threads."""

    def __init__(self, program, n_threads, folder):
        self.counts = Counter()
        self.names = NAMES | {"n_threads": n_threads, "folder": folder}
        exec(program.table, self.names)
        exec(program.estimator, self.names)

    @property
    def model(self):
        return self.names["model"]

    def call(self, text):
        """Run a call. Return its error in words, or None."""
        model = self.model
        before = made.state_of(model)
        np.random.seed(zlib.crc32(text.encode()))  # noqa: NPY002 (that of random_state=None)
        try:
            exec(text, self.names)
        except Exception as error:
            check(is_documented(error, text), f"{text} raised {type(error).__name__}: {error}")
            after = made.state_of(model)
            changed = [k for k in before | after if before.get(k) != after.get(k)]
            check(not changed, f"{text} raised {error!r} and changed {changed}")
            self.counts["documented errors"] += 1
            return type(error).__name__
        self.counts["fits"] += "fit(" in text
        return None

    def predict(self, n_rows):
        """Return the outputs for all rows and for parts of them, or the error in words."""
        X, model = self.names["X"], self.model
        outputs = []
        for start, stop in ((0, n_rows), (0, 1), (1, 8), (5, 20), (n_rows // 2, n_rows)):
            for method in ("predict", "predict_proba", "predict_log_proba"):
                if not hasattr(model, method):
                    continue
                self.counts["predictions"] += 1
                try:
                    outputs.append(getattr(model, method)(made.some_rows(X, start, stop)))
                except Exception as error:
                    check(is_documented(error, ""), f"{method} raised {error!r}")
                    self.counts["documented errors"] += 1
                    return type(error).__name__
        return [np.ascontiguousarray(output).tobytes() for output in outputs]


def is_documented(error, text):
    """Whether an exception is one that the documentation promises for bad input."""
    if isinstance(error, DOCUMENTED):
        return True
    if isinstance(error, made.FailureOfUser):  # of a function that the case passes
        return True
    if isinstance(error, MemoryError):  # for a sparse table of billions of columns
        return "huge columns" in text
    if isinstance(error, FileNotFoundError):
        return "resume" in text
    return isinstance(error, AttributeError) and "partial_fit" in text


def try_case(seed, folder=None):
    """Run the program of a seed with several numbers of threads."""
    if folder is None:
        with tempfile.TemporaryDirectory() as folder:
            return try_case(seed, Path(folder))
    program = Program(seed)
    try:
        return try_program(program, folder), []
    except BaseException:
        print(program, flush=True)
        raise


def try_program(program, folder):
    runs = [Run(program, n_threads, folder) for n_threads in THREADS]
    for text in (*program.calls, "model.score(X, y)"):
        errors = [run.call(text) for run in runs]
        check(len(set(errors)) == 1, f"{text}: {errors} with {THREADS} threads")
        bits = [made.bits_of(run.model) for run in runs]
        check(bits.count(bits[0]) == len(bits), f"{text}: weights differ with {THREADS} threads")
        outputs = [run.predict(program.n_rows) for run in runs]
        if outputs.count(outputs[0]) != len(outputs):
            raise Broken(f"{text}: predictions differ with {THREADS} threads")
    return sum((run.counts for run in runs), Counter())


if __name__ == "__main__":
    sys.exit(main(__file__, __doc__.splitlines()[0], try_case))
