"""`SavesTable`: how the estimators for tables are written to model files, and read from them."""

import itertools
from typing import Self

import numpy as np
from sklearn.base import is_regressor
from sklearn.utils.validation import check_is_fitted

from fastmlp._engine.model_file import is_list_of
from fastmlp._engine.network import Network
from fastmlp._engine.saves import SavesModel
from fastmlp._estimators.parameter_values import (
    read,
    read_parameters,
    write_parameters,
    written,
)
from fastmlp._estimators.saving import read_feature_names, write_feature_names
from fastmlp._tabular.columns import Category, Date, Number
from fastmlp._tabular.distillation import Student
from fastmlp._tabular.ensemble import Ensemble, Part
from fastmlp._tabular.findings import Facts, n_values_of
from fastmlp._tabular.inputs import InputMaps
from fastmlp._tabular.scaling import RobustMap
from fastmlp._tabular.settings import Settings
from fastmlp._tabular.table import TableEncoder

KINDS_OF_VALUES = ("numbers", "truth values", "strings", "dates", "durations", "nothing")
PARTS_OF_DATES = ("month", "weekday", "hour")
COLUMNS = {"number": Number, "category": Category, "date": Date}
LISTS_OF_LEADERBOARD = ("loss", "weight", "n_epochs", "seconds")


class SavesTable(SavesModel):
    """Mixin with what is written of an estimator for tables, and how it is read."""

    def _save(self, path, **options):
        SavesModel._save(self._as_published(), path, **options)

    def _write(self, parts, *, left_out=()):
        """Add what the fitted estimator consists of to the parts of a model file.

        The parameters ``left_out`` are those that no file can hold.
        """
        check_is_fitted(self)
        write_parameters(parts, self, left_out)
        write_feature_names(parts, self)
        if "target_name_" in vars(self):
            parts.add(target_name=self.target_name_)
        self._write_targets(parts)
        ensemble = self._ensemble
        if isinstance(ensemble, Student):
            parts.add(student_scale=ensemble.scale)
            ensemble = ensemble.ensemble
        write_columns(parts, ensemble.encoder)
        ensemble.maps.ranks.write(parts.part("ranks"))
        for of_part, part in zip(
            parts.items("networks", len(ensemble.parts)), ensemble.parts, strict=True
        ):
            of_part.add(share=part.weight, settings=_written_settings(part.settings._asdict()))
            part.network._write(of_part)
        facts = self._facts._asdict()
        del facts["n_values"]  # they are known from the columns
        parts.add(facts=facts)
        of_board = {name: self.leaderboard_[name] for name in LISTS_OF_LEADERBOARD}
        settings = list(map(_written_settings, self.leaderboard_["settings"]))
        parts.add(leaderboard=of_board | {"settings": settings})

    @classmethod
    def _read(cls, fields) -> Self:
        """Return the estimator of a model file."""
        if "run" in fields and "columns" not in fields:
            raise fields.error(
                "run", "is one of a fit that has not ended: go on by fit(X, y, resume=...)"
            )
        model = read_parameters(fields, cls)
        of_columns = fields.items("columns")
        model.n_features_in_ = len(of_columns)
        read_feature_names(fields, model)
        if "target_name" in fields:
            model.target_name_ = fields.text("target_name")
        columns = list(map(_read_column, of_columns))
        names = vars(model).get("feature_names_in_")
        encoder = TableEncoder(model.categorical_features, "robust", owner=cls.__name__)
        encoder.hold(columns, None if names is None else names.tolist())
        maps = InputMaps.read(
            fields.part("ranks"), len(encoder.number_names), encoder.cardinalities
        )
        parts = [_read_part(of_part, maps) for of_part in fields.items("networks")]
        if not parts or len({part.network.layer_sizes[-1] for part in parts}) > 1:
            raise fields.error("networks", "must be at least one, all with as many outputs")
        if len({part.settings.has_ranks for part in parts}) > 1:
            raise fields.error("networks", "must all read the ranks of numbers, or none of them")
        model._ensemble = Ensemble(encoder, maps, parts)
        model._read_targets(fields, parts[0].network.layer_sizes[-1])
        is_student = "student_scale" in fields
        loss = "squared_error" if is_student or is_regressor(model) else "log_loss"
        if {part.network.loss for part in parts} != {loss}:
            raise fields.error("networks", f"must have the loss {loss!r}")
        if is_student:
            scale = fields.number("student_scale", 0)
            model._ensemble = Student(model._ensemble, scale, is_regression=is_regressor(model))
        model._facts = _read_facts(fields.part("facts"), encoder)
        model.leaderboard_ = _read_leaderboard(fields.part("leaderboard"))
        return model


def write_columns(parts, encoder):
    """Add what was learned of each column to the parts of a file."""
    columns = encoder.columns
    for of_column, column in zip(parts.items("columns", len(columns)), columns, strict=True):
        _write_column(of_column, column)


def _write_column(parts, column):
    kind = next(kind for kind, cls in COLUMNS.items() if isinstance(column, cls))
    parts.add(column=kind, name=str(column.name), values=column.kind)
    if kind == "number":
        _write_number(parts, column)
    elif kind == "category":
        _write_categories(parts, column)
    else:
        _write_number(parts.part("seconds"), column.seconds)
        parts.add(parts=[*column.parts], has_offset=column.has_offset)
        for part, category in column.parts.items():
            _write_categories(parts.part(part), category)


def _write_number(parts, number):
    parts.add(shows_missing=number.shows_missing)
    if number.map is not None:
        parts.add(center=number.map.center, width=number.map.width)


def _write_categories(parts, category):
    values = [value for value in category.values if value is not None]
    parts.add(has_missing=len(values) < len(category.values))
    if values and isinstance(values[0], str):
        parts.add(strings=values)
    else:
        parts.array("numbers", np.array(values, dtype=np.float64))


def _read_column(fields):
    kind = fields.choice("column", COLUMNS)
    name, values = fields.text("name"), fields.choice("values", KINDS_OF_VALUES)
    if kind == "number":
        return _read_number(fields, name, values)
    if kind == "category":
        return _read_categories(fields, name, values)
    parts = fields.texts("parts")
    if len(set(parts)) < len(parts) or set(parts) - set(PARTS_OF_DATES):
        raise fields.error("parts", f"must be of {PARTS_OF_DATES}, each once, got {parts}")
    categories = {
        part: _read_categories(fields.part(part), f"{name}: {part}", "numbers") for part in parts
    }
    seconds = _read_number(fields.part("seconds"), name, values)
    return Date(name, values, seconds, categories, fields.flag("has_offset"))


def _read_number(fields, name, values):
    one_map = None
    if "center" in fields:
        width = fields.number("width", 0)
        if width == 0:
            raise fields.error("width", "must be positive, got 0")
        one_map = RobustMap(fields.number("center"), width)
    return Number(name, values, one_map, fields.flag("shows_missing"))


def _read_categories(fields, name, kind):
    if "strings" in fields:
        values = fields.texts("strings")
    else:
        values = fields.array("numbers", "f8", (None,), finite=False).tolist()
    if not all(a < b for a, b in itertools.pairwise(values)):
        raise fields.error("strings" if "strings" in fields else "numbers", "must be ascending")
    return Category(name, kind, values + [None] * fields.flag("has_missing"))


def _written_settings(settings):
    return {name: written(value) for name, value in settings.items()}


def _read_settings(fields):
    """Return the settings as a dict, after a check of the types of those that the model uses."""
    fields = fields.part("settings")
    settings = Settings()._asdict()
    for name in fields.names():
        if name not in settings:
            raise fields.error(name, f"must be one of {list(settings)}")
        with fields.checks(name):
            settings[name] = read(fields.value(name, "a value", lambda it: True))
    fields.flag("has_ranks")
    return settings


def _read_part(fields, maps):
    """Return a part of the ensemble, whose network must read what the maps give."""
    settings = Settings(**_read_settings(fields))
    network = Network._read(fields)
    n_columns = maps.n_columns(settings)
    if network.layer_sizes[0] != n_columns:
        raise fields.error(
            "layer_sizes", f"must begin with {n_columns}, got {network.layer_sizes[0]}"
        )
    if network.dtype != np.float32:
        raise fields.error("dtype", f"must be 'float32', got {network.dtype.name!r}")
    layer = network.input_layer
    sizes = () if layer is None else layer.n_categories
    places = () if layer is None else layer.categorical_features
    n_codes = len(maps.cardinalities)
    if sizes != tuple(maps.cardinalities.tolist()) or places != tuple(
        range(n_columns - n_codes, n_columns)
    ):
        raise fields.error("input_layer", f"must be one for the {n_codes} categories of the table")
    return Part(settings, fields.number("share", 0, 1), network)


def _read_facts(fields, encoder):
    return Facts(
        fields.whole("n_rows"),
        fields.number("loss", finite=False),
        fields.number("constant_loss", finite=False),
        fields.flag("is_cut_short"),
        n_values_of(encoder),
    )


def _read_leaderboard(fields):
    board = {"settings": []}
    for name in LISTS_OF_LEADERBOARD:
        # The loss of a network that has not been trained, for lack of time, is infinite.
        board[name] = fields.numbers(name, finite=name != "loss")
    settings = fields.value("settings", "a list of objects", lambda it: is_list_of(it, dict))
    for i, one in enumerate(settings):
        with fields.checks(f"settings[{i}]"):
            board["settings"].append({name: read(value) for name, value in one.items()})
    if {len(column) for column in board.values()} != {len(settings)}:
        raise fields.error("settings", "must be as many as there are losses")
    return board
