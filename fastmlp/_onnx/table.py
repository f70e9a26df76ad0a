"""The encoding of a table in the operators of ONNX: see `TableEncoder` and `InputMaps`."""

from typing import NamedTuple

import numpy as np

from fastmlp._onnx.columns import missing_string
from fastmlp._onnx.graph import ML_DOMAIN
from fastmlp._onnx.search import Tables, count_up_to, interpolated
from fastmlp._tabular.columns import Category, Date
from fastmlp._tabular.scaling import QuantileMap

SECONDS_OF_DAY, SECONDS_OF_HOUR = 86_400, 3_600
# Of datetime64 in microseconds: no date is further from 1970.
MOST_SECONDS = 9e12


class Place(NamedTuple):
    """A column of the table, what was learned from it, and where its results begin."""

    j: int
    name: str
    learned: object
    start: int


def add_inputs(graph, sources, encoder, maps, settings):
    """Add the matrix that the networks read, of float32: numbers, their ranks, and codes.

    Parameters
    ----------
    graph : Graph
    sources : Sources
    encoder : TableEncoder
    maps : InputMaps
    settings : Settings
        Of a network.

    Returns
    -------
    str
    """
    parts = []
    with graph.within("numbers"):
        numbers = _numbers(graph, sources, encoder)
        if numbers is not None:
            parts.append(numbers)
            if settings.has_ranks and maps.ranks.n_columns:
                parts.append(_ranks(graph, maps.ranks, numbers))
    with graph.within("codes"):
        codes = _codes(graph, sources, encoder)
        if codes is not None:
            parts.append(graph.cast(codes, np.float32))
    if not parts:  # a network has at least one input
        shape = graph.add("Shape", sources.any_input)
        n_rows = graph.add("Gather", shape, np.array([0]))
        shape = graph.add("Concat", n_rows, np.array([1]), axis=0)
        parts.append(graph.add("Expand", np.zeros((1, 1), np.float32), shape))
    return graph.side_by_side(parts)


def _places(encoder, width_of):
    """Return the columns that have results, as `Place`."""
    places, start = [], 0
    for j, learned in enumerate(encoder.columns):
        width = width_of(learned)
        if width:
            places.append(Place(j, learned.name, learned, start))
        start += width
    return places


def _in_order(graph, parts, order):
    """Return the columns of matrices side by side, each at its place in the order."""
    whole = graph.side_by_side(parts)
    if sorted(order) == list(order):
        return whole
    return graph.columns(whole, np.argsort(order))


def _numbers(graph, sources, encoder):
    """Add the scaled numbers, and where they are missing; None if there are none."""
    places = _places(encoder, lambda learned: len(learned.number_names))
    if not places:
        return None
    x = sources.numbers([(place.j, place.name) for place in places])
    missing = graph.add("IsNaN", x)
    numbers = [getattr(p.learned, "seconds", p.learned) for p in places]
    scaled = [i for i, number in enumerate(numbers) if number.map is not None]
    shown = [i for i, number in enumerate(numbers) if number.shows_missing]
    parts, order = [], []
    if scaled:
        present = graph.add("Where", missing, np.array(0.0), x)
        z = _scaled(graph, [numbers[i].map for i in scaled], graph.columns(present, scaled))
        z = graph.add("Where", graph.columns(missing, scaled), np.array(0.0), z)
        parts.append(graph.cast(z, np.float32))
        order += [places[i].start for i in scaled]
    if shown:
        parts.append(graph.cast(graph.columns(missing, shown), np.float32))
        order += [places[i].start + (numbers[i].map is not None) for i in shown]
    return _in_order(graph, parts, order)


def _scaled(graph, maps, x):
    """Add the maps of numbers, which are of one class."""
    if isinstance(maps[0], QuantileMap):
        return interpolated(graph, [(one.knots, one.heights) for one in maps], x)
    add = graph.add
    center, width = (np.array([[getattr(one, of) for one in maps]]) for of in ("center", "width"))
    z = add("Div", add("Sub", x, center), width)
    z = add("Clip", z, np.array(-1e6), np.array(1e6))
    share = add("Div", z, np.array(3.0))
    root = add("Sqrt", add("Add", add("Mul", share, share), np.array(1.0)))
    return add("Div", z, root)


def _ranks(graph, ranks, numbers):
    """Add the ranks of the numbers that have them."""
    x = graph.cast(graph.columns(numbers, ranks.columns), np.float64)
    ends = ranks.map.ends[:-1]
    maps = zip(np.split(ranks.map.knots, ends), np.split(ranks.map.heights, ends), strict=True)
    return graph.cast(interpolated(graph, list(maps), x), np.float32)


def _codes(graph, sources, encoder):
    """Add the codes of all categories; None if there are none."""
    places = _places(encoder, lambda learned: len(learned.category_names))
    parts, order = [], []
    for place in places:
        if place.learned.kind == "strings":
            parts.append(_codes_of_strings(graph, sources, place))
            order.append(place.start)
    plain = [p for p in places if p.learned.kind != "strings" and isinstance(p.learned, Category)]
    dates = [p for p in places if isinstance(p.learned, Date)]
    values, categories = [], []
    if plain:
        values.append(sources.numbers([(p.j, p.name) for p in plain]))
        categories += [p.learned for p in plain]
        order += [p.start for p in plain]
    if dates:
        values.append(_parts_of_dates(graph, sources, dates))
        categories += [category for p in dates for category in p.learned.parts.values()]
        order += [p.start + k for p in dates for k in range(len(p.learned.parts))]
    if values:
        parts.append(_codes_of_numbers(graph, categories, graph.side_by_side(values)))
    if not parts:
        return None
    return _in_order(graph, parts, order)


def _codes_of_strings(graph, sources, place):
    """Add the codes of a column of strings; -1 for those that no training row had."""
    category = place.learned
    missing = missing_string(category)
    return graph.add(
        "LabelEncoder",
        sources.strings(place.name),
        domain=ML_DOMAIN,
        keys_strings=[missing if value is None else value for value in category.values],
        values_int64s=list(range(len(category.values))),
        default_int64=-1,
    )


def _codes_of_numbers(graph, categories, x):
    """Add the codes of columns of numbers; -1 for those that no training row had."""
    add = graph.add
    values = [np.array([v for v in one.values if v is not None], float) for one in categories]
    of_missing = np.array([[one.code_of.get(None, -1) for one in categories]])
    count = count_up_to(graph, values, x)
    nearest = Tables(graph, [np.append(np.nan, one) for one in values]).at(count)
    code = add("Sub", count, np.array(1))
    code = add("Where", add("Equal", nearest, x), code, np.array(-1))
    return add("Where", add("IsNaN", x), of_missing, code)


def _parts_of_dates(graph, sources, dates):
    """Add the month, the weekday and the hour of dates, as far as they vary; NaN where missing."""
    add = graph.add
    columns = [(place.j, place.name) for place in dates]
    seconds = sources.wall_clock(columns)
    missing = add("IsNaN", seconds)
    seconds = add("Where", missing, np.array(0.0), seconds)
    seconds = add("Clip", seconds, np.array(-MOST_SECONDS), np.array(MOST_SECONDS))
    seconds = graph.cast(add("Floor", seconds), np.int64)
    second_of_day = add("Mod", seconds, np.array(SECONDS_OF_DAY))
    days = add("Div", add("Sub", seconds, second_of_day), np.array(SECONDS_OF_DAY))
    whole = {
        "month": lambda: _month(graph, days),
        # the first of January 1970 was a Thursday
        "weekday": lambda: add("Mod", add("Add", days, np.array(3)), np.array(7)),
        "hour": lambda: add("Div", second_of_day, np.array(SECONDS_OF_HOUR)),
    }
    parts, order = [], []
    starts = np.cumsum([0, *(len(place.learned.parts) for place in dates)])
    for part, compute in whole.items():
        having = [i for i, place in enumerate(dates) if part in place.learned.parts]
        if having:
            values = graph.cast(graph.columns(compute(), having), np.float64)
            absent = graph.columns(missing, having)
            parts.append(add("Where", absent, np.array(np.nan), values))
            order += [starts[i] + list(dates[i].learned.parts).index(part) for i in having]
    return _in_order(graph, parts, order)


def _month(graph, days):
    """Add the month, 1 to 12, of days since 1970, in years that begin in March.

    As in Hinnant, chrono-compatible low-level date algorithms, 2013.
    """

    def add(operator, value, number):
        return graph.add(operator, value, np.array(number))

    day_of_era = add("Mod", add("Add", days, 719_468), 146_097)
    leap_days = graph.add("Sub", add("Div", day_of_era, 1_460), add("Div", day_of_era, 36_524))
    leap_days = graph.add("Add", leap_days, add("Div", day_of_era, 146_096))
    year = add("Div", graph.add("Sub", day_of_era, leap_days), 365)
    days_before = graph.add("Sub", add("Div", year, 4), add("Div", year, 100))
    days_before = graph.add("Add", add("Mul", year, 365), days_before)
    day_of_year = graph.add("Sub", day_of_era, days_before)
    month = add("Div", add("Add", add("Mul", day_of_year, 5), 2), 153)
    return add("Add", add("Mod", add("Add", month, 2), 12), 1)
