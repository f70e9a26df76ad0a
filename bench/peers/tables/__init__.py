"""The peers of bench/tabular.py, and the forms in which each takes part.

A module of this package defines a class `Peer` with

``fit(table, seed)``     learn from a `table_data.Table`; timed, with all that a user has to do to
                         its columns
``predict(X)``           probabilities, or values for regression, as a NumPy array

A module imports its library at the top: it is loaded in a process of its own (`peers.tables.serve`)
and nowhere else.
"""

from dataclasses import dataclass, field

OURS, WITHIN_SECONDS, SINGLE, REFERENCE = "fastmlp", "fastmlp 5 s", "fastmlp realmlp", "CatBoost"


@dataclass(frozen=True)
class Model:
    """One form of a peer.

    `libraries` are the packages it cannot do without, `options` the arguments of its class `Peer`.
    `slow` says whether it takes part on small tables only, `competes` whether it has a rank.
    """

    name: str
    module: str
    libraries: tuple[str, ...]
    options: dict = field(default_factory=dict)
    slow: bool = False
    competes: bool = True


def models(n_members=None):
    """All models; ours with `n_members` members, by default as many as it chooses itself."""
    members = {} if n_members is None else {"n_members": n_members}
    pytabkit = ("pytabkit", "torch")
    return (
        Model(OURS, "fastmlp", ("fastmlp",), members),
        Model(
            WITHIN_SECONDS, "fastmlp", ("fastmlp",), members | {"max_seconds": 5}, competes=False
        ),
        Model(SINGLE, "fastmlp", ("fastmlp",), {"members": "realmlp"}, competes=False),
        Model("scikit-learn MLP", "scikit_learn", ("sklearn",)),
        Model("HistGradientBoosting", "hist_gradient_boosting", ("sklearn",)),
        Model("LightGBM", "lightgbm", ("lightgbm",)),
        Model("XGBoost", "xgboost", ("xgboost",)),
        Model(REFERENCE, "catboost", ("catboost",)),
        Model("RealMLP-TD-S", "pytabkit", pytabkit, {"kind": "RealMLP_TD_S"}),
        Model("RealMLP-TD", "pytabkit", pytabkit, {"kind": "RealMLP_TD"}, slow=True),
        Model("TabM-D", "pytabkit", pytabkit, {"kind": "TabM_D"}, slow=True),
    )
