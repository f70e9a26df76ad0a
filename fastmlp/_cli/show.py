"""`fastmlp show`: what a model file holds."""

import json
from pathlib import Path

import numpy as np

from fastmlp._cli.models import is_tabular, load_model
from fastmlp._tabular.base import learned_columns, n_weights

MOST_ROWS_SHOWN = 10
SETTINGS_SHOWN = ("hidden_layer_sizes", "activation", "n_bins")


def run(options):
    """Show what a model file holds."""
    facts = facts_of(load_model(options.model))
    facts = {"model": options.model, "bytes": Path(options.model).stat().st_size} | facts
    if options.json:
        print(json.dumps(facts))
    else:
        print_facts(facts)


def facts_of(model):
    """Return what there is to say about a model."""
    facts = {"type": type(model).__name__}
    if hasattr(model, "classes_"):
        facts["classes"] = np.asarray(model.classes_).tolist()
    if hasattr(model, "steps"):
        return facts | {"steps": [facts_of(step) for _, step in model.steps]}
    if is_tabular(model):
        return facts | facts_of_tabular(model)
    names = getattr(model, "feature_names_in_", None)
    if names is not None:
        facts["columns"] = [{"name": name, "kind": "numbers"} for name in names.tolist()]
    if hasattr(model, "activation"):
        facts |= {"layers": layer_sizes(model), "activation": str(model.activation)}
    return facts


def layer_sizes(model):
    """Return the numbers of units of a single network, from the inputs on."""
    weights = getattr(model, "coefs_", None)
    if weights is None:
        return list(model.layer_sizes)
    return [weights[0].shape[0], *(W.shape[1] for W in weights)]


def facts_of_tabular(model):
    """Return what there is to say about an estimator for tables."""
    board = model.leaderboard_
    return {
        "columns": learned_columns(model),
        "networks": sum(weight > 0 for weight in board["weight"]),
        "weights": n_weights(model),
        "leaderboard": [
            {"loss": loss, "share": share, "epochs": epochs, "seconds": seconds}
            | {name: settings[name] for name in SETTINGS_SHOWN}
            for loss, share, epochs, seconds, settings in zip(
                board["loss"], board["weight"], board["n_epochs"], board["seconds"],
                board["settings"], strict=True,
            )
        ],
    }  # fmt: skip


def print_facts(facts):
    """Print the facts for people."""
    print(f"{'model':10}{facts['model']} ({facts['bytes']} bytes)")
    print(f"{'type':10}{facts['type']}")
    for name in ("layers", "activation", "classes", "networks", "weights"):
        if name in facts:
            value = facts[name]
            text = ", ".join(map(str, value)) if isinstance(value, list) else value
            print(f"{name:10}{text}")
    if "steps" in facts:
        print(f"{'steps':10}{', '.join(step['type'] for step in facts['steps'])}")
    if "columns" in facts:
        print_columns(facts["columns"])
    if "leaderboard" in facts:
        print_leaderboard(facts["leaderboard"])


def print_columns(columns):
    width = max(len(column["name"]) for column in columns) + 2
    print("\ncolumns")
    for column in columns:
        values = f" ({column['values']} values)" if column.get("values") else ""
        print(f"  {column['name']:{width}}{column['kind']}{values}")


def print_leaderboard(board):
    print("\nnetworks, the best first")
    print("        loss     share  epochs  seconds  units, activation, bins")
    for row in board[:MOST_ROWS_SHOWN]:
        units = "-".join(map(str, row["hidden_layer_sizes"]))
        print(
            f"{row['loss']:12.5g}{row['share']:10.3f}{row['epochs']:8}{row['seconds']:9.1f}  "
            f"{units}, {row['activation']}, {row['n_bins']}"
        )
    if len(board) > MOST_ROWS_SHOWN:
        print(f"  and {len(board) - MOST_ROWS_SHOWN} more: --json")
