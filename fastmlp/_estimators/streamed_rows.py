"""Rows that do not fit in memory: what is learned from a first pass, and the epochs."""

import hashlib
import itertools
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import NamedTuple

import numpy as np

from fastmlp import _core
from fastmlp._distributed.ranks import heed_others
from fastmlp._engine.layout import aligned_zeros, ceil_div
from fastmlp._engine.rows import Data, Features
from fastmlp._estimators.sources import Batch

# Rows of the stream by which the network and the scale of the features are judged.
ROWS_OF_SAMPLE = 8_192

MORE_ROWS = "source must give the same rows in every epoch: there are more than in the first pass"

# A part of the rows is set aside by a hash of their numbers. It is halved if it becomes too large.
WHOLE = 2.0**64


def numbers_of_rows(first, n, seed):
    """Return a random number of 64 bits for each row: SplitMix64 of its place in the stream."""
    z = (np.arange(first, first + n, dtype=np.uint64) + np.uint64(seed)) * np.uint64(
        0x9E3779B97F4A7C15
    )
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


class Aside(NamedTuple):
    """The rows that are set aside for validation: those whose random number is below a limit."""

    seed: int
    limit: int

    def mask(self, first, n):
        """Return where the rows from ``first`` on are set aside."""
        return numbers_of_rows(first, n, self.seed) < np.uint64(self.limit)


class FirstPass:
    """What is learned from one pass over a source before the training.

    Parameters
    ----------
    source : source
    check : callable
        Raises an error for a bad X. It gets that and the number of the first row.
    aside : Aside
        Which rows are kept for validation.
    most_aside : int
        How many rows may be kept for validation.
    are_classes : bool
        Whether the targets are labels.
    has_checksums : bool

    Attributes
    ----------
    n_rows, n_aside : int
        Number of rows, and how many of them are set aside.
    first_of : list of int
        The number of the first row of each unit.
    labels : ndarray or None
        The distinct values of y, if it has one dimension.
    counts : dict
        How often each occurs.
    sample : Batch
        The first rows.
    mean : ndarray of shape (n_targets,) or None
        The weighted mean of the targets, if they are numbers.
    """

    def __init__(self, source, check, aside, most_aside, *, are_classes, has_checksums=False):
        self._check_rows = check
        self.aside = aside
        self.n_rows = 0
        self.first_of, self.counts = [], {}
        self._kept, self._kept_numbers, self.n_aside = [], [], 0
        self._first, self._n_first = [], 0
        self._sum, self._total = 0.0, 0.0
        self._digests = [hashlib.blake2b(digest_size=16) for _ in range(3)] if has_checksums else []
        for unit in source.units:
            self.first_of.append(self.n_rows)
            for batch in source.read(unit):
                heed_others()
                if len(batch.X):
                    self._see(batch, most_aside, are_classes=are_classes)
        if not self.n_rows:
            raise ValueError("source must give at least one row, got none")
        if not self._total > 0:
            raise ValueError("sample_weight must not be zero throughout")

    def _see(self, batch, most_aside, *, are_classes):
        n = len(batch.X)
        self._check(batch)
        self._check_rows(batch.X, self.n_rows)
        if are_classes and batch.y.ndim == 1:
            labels, counts = self._labels_of(batch.y)
            for label, count in zip(labels.tolist(), counts.tolist(), strict=True):
                self.counts[label] = self.counts.get(label, 0) + count
            known = vars(self).setdefault("_dtype", labels.dtype)
            self._dtype = np.result_type(known, labels.dtype)
        weight = np.ones(n) if batch.weight is None else batch.weight.astype(np.float64)
        self._total += weight.sum()
        if not are_classes:
            self._sum = self._sum + weight @ batch.y.reshape(n, -1).astype(np.float64)
        if self._n_first < ROWS_OF_SAMPLE:
            self._first.append(_copy(batch))
            self._n_first += n
        self._keep(batch, most_aside)
        for digest, array in zip(self._digests, batch, strict=False):
            if array is not None:
                digest.update(bytes_of(array))
        self.n_rows += n

    def _labels_of(self, y):
        if y.dtype.kind == "f" and not np.isfinite(y).all():
            raise ValueError(f"y must be finite, but is NaN or infinite from row {self.n_rows} on")
        try:
            labels, counts = np.unique(y, return_counts=True)
            sorted({*self.counts, *labels[:1].tolist()})  # an error, unless they are of one type
        except TypeError as error:
            types = sorted({type(label).__name__ for label in (*self.counts, *y.tolist())})
            raise ValueError(
                "y must have labels of one type, none of them missing, but up to the rows from "
                f"{self.n_rows} on there are {', '.join(types)}"
            ) from error
        return labels, counts

    def _check(self, batch):
        """Raise an error unless the batch is like the ones before it."""
        shape = batch.X.shape[1], batch.y.shape[1:], batch.weight is None
        known = vars(self).setdefault("_shape", shape)
        if shape != known:
            raise ValueError(
                "source: all batches must have as many features and targets, and weights or not, "
                f"got {shape} from row {self.n_rows} on, and {known} before"
            )
        if batch.weight is not None and not (
            np.isfinite(batch.weight).all() and (batch.weight >= 0).all()
        ):
            raise ValueError(
                f"sample_weight must be finite and not negative, but is not in the rows from "
                f"{self.n_rows} on"
            )

    def _keep(self, batch, most_aside):
        """Keep the rows that are set aside. If they become too many, fewer are from now on."""
        if not self.aside.limit:
            return
        numbers = numbers_of_rows(self.n_rows, len(batch.X), self.aside.seed)
        rows = numbers < np.uint64(self.aside.limit)
        self._kept.append(copied_rows(batch, rows))
        self._kept_numbers.append(numbers[rows])
        self.n_aside += np.count_nonzero(rows)
        while self.n_aside > most_aside:
            self.aside = self.aside._replace(limit=self.aside.limit // 2)
            limit = np.uint64(self.aside.limit)
            masks = [numbers < limit for numbers in self._kept_numbers]
            self._kept = [copied_rows(*pair) for pair in zip(self._kept, masks, strict=True)]
            self._kept_numbers = [
                numbers[mask] for numbers, mask in zip(self._kept_numbers, masks, strict=True)
            ]
            self.n_aside = sum(map(len, self._kept_numbers))

    @property
    def labels(self):
        if not self.counts:
            return None
        return np.array(sorted(self.counts), dtype=self._dtype if self._dtype.kind != "U" else None)

    @property
    def sample(self):
        return joined(self._first)

    @property
    def rows_aside(self):
        return joined(self._kept)

    @property
    def mean(self):
        return self._sum / self._total

    @property
    def checksums(self):
        """The checksums of X, y and sample_weight."""
        return [digest.hexdigest() for digest in self._digests]


def _copy(batch):
    return Batch(*(None if array is None else np.array(array) for array in batch))


def bytes_of(array):
    """Return what a checksum is computed of: the same, however the rows are cut into batches."""
    if array.dtype.kind == "O":
        return "".join(map("{!r}\0".format, array.flat)).encode()
    return np.ascontiguousarray(array)


def copied_rows(batch, rows):
    """Return a copy of some rows of a batch."""
    return Batch(*(None if array is None else np.array(array[rows]) for array in batch))


def joined(batches):
    """Return the rows of several batches as one."""
    X, y, weight = zip(*batches, strict=True)
    weight = None if weight[0] is None else np.concatenate(weight)
    return Batch(np.concatenate(X), np.concatenate(y), weight)


class StreamedRows:
    """Rows of a source, read ahead by a thread and shuffled in a buffer.

    Before every epoch, the order of the units is shuffled, and then the rows of every buffer. A
    buffer has a whole number of mini-batches, so that an epoch has as many steps as one in memory.

    Parameters
    ----------
    source : source
    convert : callable
        Returns X, y and the weights of a batch as the network has them.
    known : FirstPass
    buffer_rows : int
    random_state : RandomState or None
        Used to shuffle. None disables shuffling.
    sample : Data
        Some rows, to measure the network by.
    """

    def __init__(self, source, convert, known, buffer_rows, random_state, sample):
        self.n_rows = known.n_rows - known.n_aside
        self.sample = sample, np.arange(sample.n_rows)
        self._source, self._convert, self._known = source, convert, known
        self._buffer_rows = buffer_rows
        self._random_state = random_state
        self._buffers = None

    def epoch(self, descent, batch_size, deadline):
        """Train for an epoch; see `Descent.epoch`."""
        n_units = len(self._source.units)
        units = np.arange(n_units)
        if self._random_state is not None:
            units = self._random_state.permutation(n_units)
        steps = ceil_div(self.n_rows, batch_size)
        descent.take_weights()
        n_seen, total, has_ended = 0, 0.0, False
        with closing(read_ahead(self._chunks(units, batch_size))) as chunks:
            for data in chunks:
                order = np.arange(data.n_rows)
                if self._random_state is not None:
                    _core.shuffle(order, self._random_state._bit_generator)
                self._check_count(n_seen + len(order))
                loss, n = descent.epoch(data, order, batch_size, deadline, steps)
                n_seen, total = n_seen + n, total + n * loss
                has_ended = n < len(order) or not np.isfinite(loss)
                if has_ended:
                    break
        if not has_ended and n_seen != self.n_rows:
            self._check_count(n_seen, is_end=True)
        return total / n_seen, n_seen

    def _check_count(self, n_seen, *, is_end=False):
        if n_seen > self.n_rows or is_end:
            raise ValueError(
                "source must give the same rows in every epoch: the first pass had "
                f"{self.n_rows} to train on, and this one has {'' if is_end else 'at least '}"
                f"{n_seen}"
            )

    def _chunks(self, units, batch_size):
        """Give the rows of the units, as many as the buffer has, as `Data` for the network."""
        n_most = min(max(self._buffer_rows // batch_size, 1) * batch_size, self.n_rows)
        return filled(self._buffers_of(n_most), self._parts(units), itertools.repeat(n_most))

    def _parts(self, units):
        """Give the converted batches of the units, without the rows that are set aside."""
        aside = self._known.aside
        for unit in units:
            first = self._known.first_of[unit]
            for batch in self._source.read(self._source.units[unit]):
                if not len(batch.X):
                    continue
                part = self._convert(batch)
                if aside.limit:
                    kept = ~aside.mask(first, len(batch.X))
                    part = [array[kept] for array in part]
                    first += len(batch.X)
                yield part

    def _buffers_of(self, n_rows):
        if self._buffers is None:
            self._buffers = two_buffers(self.sample[0], n_rows)
        return self._buffers

    def write(self, parts):
        """Add nothing to the parts of a checkpoint: the generator says all."""

    def read(self, fields):
        """Take over nothing from a checkpoint."""


def two_buffers(like, n_rows):
    """Return two buffers for rows like those: one is filled while the network trains on another."""
    arrays = (like.features.values, like.y, like.sample_weight)
    return [
        [aligned_zeros((n_rows, *array.shape[1:]), array.dtype) for array in arrays]
        for _ in range(2)
    ]


def filled(buffers, parts, sizes):
    """Give the rows of the parts as `Data`, so many at a time as ``sizes`` says, from buffers."""
    i, n_filled, size = 0, 0, next(sizes)
    for part in parts:
        start, n = 0, len(part[0])
        while start < n:
            if size is None:
                raise ValueError(MORE_ROWS)
            end = min(n, start + size - n_filled)
            for buffer, array in zip(buffers[i], part, strict=True):
                buffer[n_filled : n_filled + end - start] = array[start:end]
            n_filled, start = n_filled + end - start, end
            if n_filled == size:
                yield _data(buffers[i], n_filled)
                i, n_filled, size = 1 - i, 0, next(sizes, None)
    if n_filled:
        yield _data(buffers[i], n_filled)


def _data(buffers, n_rows):
    X, y, weight = (buffer[:n_rows] for buffer in buffers)
    return Data(Features(X), y, weight)


def read_ahead(items):
    """Give the items of a generator, which computes the next one in a thread meanwhile."""
    end = object()
    with ThreadPoolExecutor(1) as reader:
        future = reader.submit(next, items, end)
        while (item := future.result()) is not end:
            future = reader.submit(next, items, end)
            yield item
