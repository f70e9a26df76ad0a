"""Fits of ensembles to the rows of several processes; see `fastmlp.distributed`.

Every network is trained by all ranks together. What is small is the same on all of them: what is
learned of the columns, the targets, and the outputs for the selection rows. The rows of the table
stay where they are, but for those that complete a slot.
"""

from numbers import Integral
from typing import Any, NamedTuple

import numpy as np
from sklearn.base import is_regressor

from fastmlp._distributed.rows import MemorySlot, SlotRows
from fastmlp._distributed.slots import (
    ASIDE,
    Rows,
    check_fills_slots,
    checksum_of,
    rows_of_slots,
    shuffled,
    words_of,
)
from fastmlp._engine.layout import ceil_div
from fastmlp._engine.rows import Data
from fastmlp._estimators.checkpoints import checksum
from fastmlp._estimators.shared_fits import comparable_parameters
from fastmlp._tabular.inputs import InputMaps
from fastmlp._tabular.member import Deadline
from fastmlp._tabular.reading import Column, open_table
from fastmlp._tabular.scaling import MOST_ROWS_LEARNED_FROM
from fastmlp._tabular.table import Encoded
from fastmlp._tabular.training import Split, Task, Team, epochs_of
from fastmlp._tabular.weights import check_length, checked_weight


class SharedDeadline(Deadline):
    """The deadline of the first rank. All ranks must ask for it in the same order."""

    def __init__(self, seconds, ranks):
        super().__init__(seconds)
        self._ranks = ranks

    @property
    def is_over(self):
        return self._ranks.of_first(super().is_over)

    @property
    def was_brought_forward(self):
        return self._ranks.of_first(super().was_brought_forward)


class SharedColumns:
    """Makes one column of those of all ranks, to learn from.

    Of numbers and dates, it has rows at even distances, all rows of small tables. Of strings and
    categories, it has every value once.

    Parameters
    ----------
    ranks : Ranks
    n_rows : int
        Number of rows of this rank.
    """

    def __init__(self, ranks, n_rows):
        self._ranks = ranks
        counts = ranks.gather(n_rows)
        self.step = ceil_div(max(sum(counts), 1), MOST_ROWS_LEARNED_FROM)
        first = sum(counts[: ranks.rank])
        self.rows = np.arange(-first % self.step, n_rows, self.step)

    def __call__(self, name, read, *, is_marked):
        """Return the column of all ranks, of which ``read`` returns that of this rank."""
        with self._ranks.agreeing("in fit, where the columns are read"):
            column = read()
        is_category = is_marked or any(self._ranks.gather(column.is_category))
        is_whole = is_category or column.kind in ("strings", "truth values")
        mine = Piece.of(column, None if is_whole else self.rows, self.step > 1)
        pieces = self._ranks.gather(mine)
        kinds = {piece.kind for piece in pieces} - {"nothing"}
        if kinds == {"numbers", "truth values"}:
            kinds = {"numbers"}
        if len(kinds) > 1:
            shown = ", ".join(f"{it.kind} on rank {rank}" for rank, it in enumerate(pieces))
            raise TypeError(f"Column {name!r} must have one kind of values, but holds {shown}")
        return whole_column(kinds.pop() if kinds else "nothing", pieces, is_category)


class Piece(NamedTuple):
    """What a rank gives of a column: some of its values, and the extremes."""

    kind: str
    values: Any
    wall_clock: Any
    extremes: Any  # the values and the wall clock of the least and the largest
    has_missing: bool

    @classmethod
    def of(cls, column, rows, has_extremes):
        """Return some rows of a column, or with None every value once."""
        has_missing = bool(column.missing.any())
        if column.kind == "nothing":
            return cls(column.kind, None, None, None, has_missing)
        if rows is None or isinstance(column.values, list):
            return cls(column.kind, column.distinct(), None, None, has_missing)
        clock, extremes = column.wall_clock, None
        if has_extremes:
            at = [np.nanargmin(column.values), np.nanargmax(column.values)]
            extremes = column.values[at], None if clock is None else clock[at]
        clock = None if clock is None else clock[rows]
        return cls(column.kind, column.values[rows], clock, extremes, has_missing)


def whole_column(kind, pieces, is_category):
    """Return a column of the values of all ranks, and of one missing value if there is any."""
    is_missing = any(piece.has_missing for piece in pieces)
    pieces = [piece for piece in pieces if piece.kind != "nothing"]
    if kind == "nothing":
        return Column(kind, np.array([np.nan]), np.array([True]), None, is_category)
    if kind == "strings":
        values = [value for piece in pieces for value in piece.values] + [None] * is_missing
        missing = np.array([value is None for value in values])
        return Column(kind, values, missing, None, is_category)
    parts = [(piece.values, piece.wall_clock) for piece in pieces]
    ends = [piece.extremes for piece in pieces if piece.extremes is not None]
    for choose in (min, max):
        i = 0 if choose is min else 1
        if ends:
            values, clock = choose(ends, key=lambda end: end[0][i])
            parts.append((values[i : i + 1], None if clock is None else clock[i : i + 1]))
    values = np.concatenate([np.asarray(values, np.float64) for values, _ in parts])
    clocks = [clock for _, clock in parts if clock is not None]
    clock = np.concatenate(clocks) if clocks else None
    if is_missing and not np.isnan(values).any():
        values = np.append(values, np.nan)
        clock = None if clock is None else np.append(clock, np.datetime64("NaT"))
    return Column(kind, values, np.isnan(values), clock, is_category)


class SharedRows:
    """The rows of all ranks, in slots: their inputs, targets and weights.

    Parameters
    ----------
    ranks : Ranks
    encoded : Encoded
        The rows of this rank.
    targets, weight : ndarray of shape (n_rows,)
    """

    def __init__(self, ranks, encoded, targets, weight):
        self.ranks = ranks
        others = (encoded.codes, np.asarray(targets, np.float32), weight)
        slots, n_rows = rows_of_slots(ranks, Rows(encoded.numbers, others))
        check_fills_slots(ranks, n_rows)
        whole = Rows.joined(slots)
        codes, self.targets, self.weight = whole.others
        self.encoded = Encoded(np.ascontiguousarray(whole.X), np.ascontiguousarray(codes))
        self.lengths = [len(slot.others[0]) for slot in slots]

    def parts(self):
        """Give the number of each own slot, and its rows among those of this rank."""
        begin = 0
        for slot, n in zip(self.ranks.slots, self.lengths, strict=True):
            yield slot, np.arange(begin, begin + n)
            begin += n


def splits_of_slots(rows, n_parts, n_splits, seed):
    """Return the splits of the rows of positive weight, slot by slot.

    ``n_parts`` is the number of parts, or a fraction of the rows to select by.
    """
    splits = [Split([], []) for _ in range(n_splits)]
    for slot, of_slot in rows.parts():
        of_slot = of_slot[rows.weight[of_slot] > 0]
        order = of_slot[shuffled(len(of_slot), words_of(seed, slot, ASIDE))]
        part = np.arange(len(order)) % n_parts
        if n_parts < 1:
            part = np.where(np.arange(len(order)) < round(n_parts * len(order)), 0, -1)
        for k, split in enumerate(splits):
            split.selection.append(np.sort(order[part == k]))
            split.training.append(np.sort(order[part != k]))
    return splits


class SharedTask(Task):
    """A task whose rows are those of all ranks.

    ``splits`` have lists of rows, one for each own slot.

    Parameters
    ----------
    ranks : Ranks
    rows : SharedRows
    splits : list of Split
    cardinalities : ndarray of int
    sample : Encoded
        Some rows of all ranks, to learn the maps of the inputs from.
    of_all : (ndarray, ndarray)
        The targets and the weights of the training rows of all ranks.
    n_outputs : int
    is_regression : bool
    """

    def __init__(
        self, ranks, rows, splits, cardinalities, sample, of_all, n_outputs, *, is_regression
    ):
        self._ranks, self._rows = ranks, rows
        maps = InputMaps(sample, cardinalities)
        super().__init__(
            maps, rows.encoded, rows.targets, rows.weight, splits, n_outputs,
            is_regression=is_regression,
        )  # fmt: skip
        self._of_all = of_all
        self._selected = {}

    @property
    def all_targets(self):
        return self._of_all[0]

    @property
    def all_weight(self):
        return self._of_all[1]

    def rows_for(self, data, k, random_state):
        """Return the rows of a split for a network, whose data these are."""
        return SharedMemberRows(self._ranks, data, self._rows, self.splits[k], random_state)

    def selection(self, k):
        """Return the targets and the weights of the selection rows of a split, on all ranks."""
        if k not in self._selected:
            rows = self.splits[k].selection
            mine = [(self.targets[of_slot], self.sample_weight[of_slot]) for of_slot in rows]
            slots = [slot for of_rank in self._ranks.gather(mine) for slot in of_rank]
            self._selected[k] = tuple(map(np.concatenate, zip(*slots, strict=True)))
        return self._selected[k]

    def selection_outputs(self, candidate, k):
        """Return the outputs of the member for the selection rows of a split, on all ranks."""
        passes, data = candidate.members[k].network.passes, self.data_for(candidate.settings)
        mine = [output_of(passes, data, rows) for rows in self.splits[k].selection]
        return np.concatenate([it for of_rank in self._ranks.gather(mine) for it in of_rank])

    def spread(self, targets):
        """Return the standard deviation of targets of all rows, of which these are the own."""
        sums = [
            [n, targets[rows].sum(dtype=np.float64), (targets[rows].astype(np.float64) ** 2).sum()]
            for n, rows in ((targets[rows].size, rows) for _, rows in self._rows.parts())
        ]
        n, total, squares = self._ranks.sum(np.array(sums))
        return float(np.sqrt(max(squares / n - (total / n) ** 2, 0.0)))

    def checksums(self):
        """Return checksums of the rows, for checkpoints."""
        arrays = {
            "X": (self.encoded.numbers, self.encoded.codes), "y": (self.targets,),
            "sample_weight": (self.sample_weight,),
        }  # fmt: skip
        digests = {
            name: [checksum([it[rows] for it in several]) for _, rows in self._rows.parts()]
            for name, several in arrays.items()
        }
        begins = dict(self._rows.parts())
        digests["cv"] = [
            checksum([rows[i] - begins[slot][0] for split in self.splits for rows in split])
            for i, slot in enumerate(self._ranks.slots)
        ]
        of_rows = {name: checksum_of(self._ranks, it) for name, it in digests.items()}
        return of_rows | {"n_slots": str(self._ranks.n_slots)}

    def team(self, *arguments):
        return SharedTeam(self, *arguments)


class SharedTeam(Team):
    """Trains members one after the other, each on all ranks."""

    def results(self, left, until):
        for i, (candidate, k) in [*left.items()]:  # the caller takes them out
            member = candidate.members[k]
            rows = self.task.rows_for(
                self.task.data_for(candidate.settings), k, member.random_state
            )
            yield i, member.train(rows, epochs_of(i, k, until), self.deadline, None)


def output_of(passes, data, rows):
    if not len(rows):
        return np.empty((0, passes.n_outputs), np.float32)
    return passes.evaluate(data, rows, scale=1.0)[0]


class SharedMemberRows:
    """The rows of all ranks that a network is trained on and judged by; see `MemberRows`."""

    def __init__(self, ranks, data, rows, split, random_state):
        self._ranks, self._data, self._selection = ranks, data, split.selection
        seed = int(random_state.randint(1, 2**62, dtype=np.int64))
        training = []
        for (_, of_slot), order in zip(rows.parts(), split.training, strict=True):
            begin, end = int(of_slot[0]), int(of_slot[-1]) + 1
            training.append(MemorySlot(part_of(data, slice(begin, end)), order - begin))
        self._rows = SlotRows(ranks, training, seed, training[0].data)
        self.n_rows = self._rows.n_rows

    def epoch(self, descent, batch_size, deadline):
        return self._rows.epoch(descent, batch_size, deadline)

    def loss(self, network, loss_of_outputs):
        """Return the mean loss of a network on the selection rows."""
        sums = np.zeros((len(self._selection), 2))
        data = self._data
        for i, rows in enumerate(self._selection):
            weight = data.sample_weight[rows]
            total = weight.sum(dtype=np.float64)
            if total > 0:
                output = output_of(network.passes, data, rows)
                sums[i] = total * loss_of_outputs(data.y[rows], output, weight), total
        loss, total = self._ranks.sum(sums)
        return float(loss / total) if total > 0 else np.inf


def part_of(data, rows):
    """Return the rows of a slice as views."""
    return Data(data.features.part(rows), data.y[rows], data.sample_weight[rows])


def shared_task(model, ranks, X, y, sample_weight, validation, random_state):
    """Return the encoder and the task of an estimator for the rows of all ranks."""
    with ranks.agreeing("in fit"):
        model._check_y_is_given(y)
        if model.cv is not None and not isinstance(model.cv, Integral):
            raise ValueError(f"cv must be None or a whole number on several ranks, got {model.cv}")
        table = open_table(X)
        targets = model._checked_targets(y, "y")
        check_length("y", targets, "X", table.n_rows)
        weight = checked_weight(sample_weight, len(targets))
    check_same(model, ranks, table, targets, sample_weight, validation)
    columns = SharedColumns(ranks, table.n_rows)
    encoder = model._encoder().fit_shared(table, columns)
    with ranks.agreeing("in fit, where the rows are encoded"):
        encoded = encoder.transform(X)
    model._take_names(encoder, y)
    targets, weight, of_all = known_targets(model, ranks, targets, weight)
    sample = Encoded(
        np.concatenate(ranks.gather(encoded.numbers[columns.rows])), np.empty((0, 0), np.int32)
    )
    rows = SharedRows(ranks, encoded, targets, weight)
    seed = int(random_state.randint(1, 2**62, dtype=np.int64))
    if all(part is None for part in validation):
        n_rows = np.count_nonzero(of_all[1])
        fraction, n_folds = model._shape_of_splits(n_rows)
        n_splits = 1 if fraction else model._n_splits(n_rows, n_folds)
        splits = splits_of_slots(rows, fraction or n_folds, n_splits, seed)
    else:
        splits = [with_validation_rows(model, ranks, encoder, rows, validation)]
    check_splits(ranks, splits)
    task = SharedTask(
        ranks, rows, splits, encoder.cardinalities, sample, of_all, model._n_outputs,
        is_regression=is_regressor(model),
    )  # fmt: skip
    return encoder, task


def check_same(model, ranks, table, targets, sample_weight, validation):
    """Raise an error on all ranks if something differs that must be the same."""
    ranks.check_same(
        **{"the estimator": type(model).__name__},
        **comparable_parameters(model),
        **{
            "the number of columns of X": table.n_columns,
            "the names of the columns of X": table.names,
            "the kind of y": targets.dtype.kind,
            "sample_weight (given or not)": sample_weight is not None,
            "the validation set (given or not)": [it is not None for it in validation],
        },
    )


def known_targets(model, ranks, targets, weight):
    """Return the encoded targets and the weights of this rank, and those of all ranks."""
    begin = sum(ranks.gather(len(targets))[: ranks.rank])
    all_targets, all_weight = (np.concatenate(ranks.gather(it)) for it in (targets, weight))
    model._learn_targets(all_targets, all_weight)
    of_class = model._class_weight_of_rows(all_targets)
    if of_class is not None:
        all_weight = checked_weight(all_weight * of_class, len(all_weight), "class_weight")
    encoded = model._encode_targets(all_targets, "y")
    mine = slice(begin, begin + len(targets))
    return encoded[mine], all_weight[mine], (encoded, all_weight)


def with_validation_rows(model, ranks, encoder, rows, validation):
    """Add the rows of a validation set behind the others; return the split."""
    nothing = Encoded(rows.encoded.numbers[:0], rows.encoded.codes[:0])
    n_training = rows.encoded.n_rows
    with ranks.agreeing("in fit, with X_val and y_val"):
        more = model._with_validation_rows(
            encoder, nothing, rows.targets[:0], rows.weight[:0], validation
        )
    encoded, targets, weight = more
    others = (encoded.codes, np.asarray(targets, np.float32), weight)
    slots, _ = rows_of_slots(ranks, Rows(encoded.numbers, others))
    training = [of_slot[rows.weight[of_slot] > 0] for _, of_slot in rows.parts()]
    selection, begin = [], n_training
    for slot in slots:
        positive = np.flatnonzero(slot.others[2] > 0)
        selection.append(begin + positive)
        begin += len(slot.others[2])
    whole = Rows.joined(slots)
    codes, targets, weight = whole.others
    rows.encoded = rows.encoded.followed_by(Encoded(whole.X, codes))
    rows.targets = np.append(rows.targets, targets)
    rows.weight = np.append(rows.weight, weight)
    return Split(training, selection)


def check_splits(ranks, splits):
    """Raise an error if there are no rows to train on, or none to select by."""
    for split in splits:
        counts = np.array([[len(a), len(b)] for a, b in zip(*split, strict=True)])
        if (ranks.slot_values(counts).sum(axis=0) == 0).any():
            raise ValueError(
                "X must have at least one row of positive weight to train on and one to select "
                "by, of all ranks together"
            )
