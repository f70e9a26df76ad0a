"""What is learned from one column, and how it is turned into numbers and codes.

Each class learns by ``of`` from a ``Column`` of the training rows. ``number_names`` and
``category_names`` are the columns that it makes, none where the training values do not vary.
``write`` fills them for other rows: the first columns of the numbers and of the codes that it is
given. ``kind`` is the kind of values that it was learned from. The fields hold all that was
learned, as arrays, strings and numbers.
"""

from dataclasses import dataclass

import numpy as np

from fastmlp._tabular.reading import Column
from fastmlp._tabular.scaling import QuantileMap, RobustMap

# Training values beyond it count as infinite, so that no difference of two others overflows.
LARGEST = 1e300


@dataclass(eq=False)
class Number:
    """A scaled number, and whether it is missing, if it was in some of the training rows.

    A missing number is 0, which is the middle of the scaled ones.
    """

    name: str
    kind: str
    map: QuantileMap | RobustMap | None  # None where the training values do not vary
    shows_missing: bool

    category_names, cardinalities = (), ()

    @classmethod
    def of(cls, name, column, scaling):
        finite = column.values[np.abs(column.values) < LARGEST]
        varies = len(finite) > 0 and finite.min() < finite.max()
        shows_missing = bool(column.missing.any() and not column.missing.all())
        return cls(name, column.kind, scaling.of(finite) if varies else None, shows_missing)

    @property
    def number_names(self):
        missing = f"{self.name} is missing"
        return [self.name] * (self.map is not None) + [missing] * self.shows_missing

    def write(self, column, numbers, codes):
        if self.map is not None:
            numbers[:, 0] = np.where(column.missing, 0.0, self.map(column.values))
        if self.shows_missing:
            numbers[:, int(self.map is not None)] = column.missing


@dataclass(eq=False)
class Category:
    """The place of a value among the sorted values of the training rows; -1 for any other value.

    Missing is the last of these values (None), if it occurred. Truth values are 0 and 1.
    """

    name: str
    kind: str
    values: list

    number_names = ()

    def __post_init__(self):
        self.code_of = {value: code for code, value in enumerate(self.values)}
        self.code_of_known = {v: code for v, code in self.code_of.items() if v is not None}

    @classmethod
    def of(cls, name, column):
        return cls(name, column.kind, column.distinct() + [None] * bool(column.missing.any()))

    @property
    def category_names(self):
        return [self.name] * (len(self.values) > 1)

    @property
    def cardinalities(self):
        return [len(self.values)] * (len(self.values) > 1)

    def write(self, column, numbers, codes):
        if self.category_names:
            if column.kind != "nothing":
                codes[:, 0] = column.codes(self.code_of_known)
            codes[column.missing, 0] = self.code_of.get(None, -1)


@dataclass(eq=False)
class Date:
    """Seconds as a number; month, weekday and hour as categories, as far as they vary.

    They are categories because, as numbers, December would be far from January, and a network would
    have to bend a line to tell the weekend from other days. The clock on the wall shows them.
    """

    name: str
    kind: str
    seconds: Number
    parts: dict  # from the part's name to the Category, for those that vary
    has_offset: bool = False  # whether the clock on the wall differed from the seconds: time zones

    @classmethod
    def of(cls, name, column, scaling):
        parts = {
            part: Category.of(f"{name}: {part}", values)
            for part, values in parts_of_dates(column).items()
            if len(np.unique(values.values[~values.missing])) > 1
        }
        return cls(name, column.kind, Number.of(name, column, scaling), parts, has_offset(column))

    @property
    def number_names(self):
        return self.seconds.number_names

    @property
    def category_names(self):
        return [part.name for part in self.parts.values()]

    @property
    def cardinalities(self):
        return [len(part.values) for part in self.parts.values()]

    def write(self, column, numbers, codes):
        self.seconds.write(column, numbers, codes)
        values = parts_of_dates(column)
        for place, (part, category) in enumerate(self.parts.items()):
            category.write(values[part], numbers, codes[:, place:])


def has_offset(column):
    """Whether the clock on the wall differs from the seconds of a column of dates."""
    present = ~column.missing
    shown = column.wall_clock[present].astype(np.int64) / 1e6
    return bool((shown != column.values[present]).any())


def parts_of_dates(column):
    """Return the month (1 to 12), the weekday (Monday is 0) and the hour, each as a Column."""
    if column.kind == "nothing":
        return dict.fromkeys(("month", "weekday", "hour"), column)
    days = column.wall_clock.astype("datetime64[D]")
    parts = {
        "month": days.astype("datetime64[M]").astype(np.int64) % 12 + 1,
        "weekday": (days.astype(np.int64) + 3) % 7,  # the first of January 1970 was a Thursday
        "hour": (column.wall_clock - days).astype("timedelta64[h]").astype(np.int64),
    }
    return {
        part: Column("numbers", np.where(column.missing, np.nan, values), column.missing)
        for part, values in parts.items()
    }
