"""`SharedStreams`: fits to rows that several processes read, each from its own source."""

import hashlib
import time
from collections import Counter

import numpy as np
from sklearn.base import is_classifier

from fastmlp import _core
from fastmlp._distributed.ranks import heed_others
from fastmlp._distributed.rows import SlotRows
from fastmlp._distributed.slots import (
    ROWS_OF_SAMPLE,
    bounds_of_slots,
    checksum_of,
    seed_from,
)
from fastmlp._engine.rows import Data, Features
from fastmlp._estimators.callbacks import Callbacks, check_callbacks
from fastmlp._estimators.checkpoints import EpochCheckpoints
from fastmlp._estimators.parameters import check_combinations
from fastmlp._estimators.shared_fits import check_rows_aside
from fastmlp._estimators.shared_validation import SharedValidation, SlotPart, own_validation
from fastmlp._estimators.sources import Batch
from fastmlp._estimators.streamed_rows import (
    WHOLE,
    Aside,
    FirstPass,
    bytes_of,
    copied_rows,
    filled,
    joined,
    read_ahead,
    two_buffers,
)
from fastmlp._estimators.streams import Inputs


class SharedStreams:
    """Mixin that fits to the sources of several processes, which all call the same method."""

    def _fit_stream_shared(self, ranks, source, buffer_rows, validation, checkpointing, transform):
        """Fit to the rows of all ranks, of which this one has given the source of its own."""
        began = time.perf_counter()
        checkpoints = EpochCheckpoints.of_all_ranks(self, *checkpointing)
        with ranks.agreeing("in fit_stream"):
            self._validate_params()
            check_callbacks(self.callbacks)
            check_combinations(self)
            self._check_stream()
            continues = self.warm_start and "_network" in vars(self)
            attributes = ["stop_reason_"] if continues else self._training_attributes
            self._forget([*attributes, "_checked_parameters"])
            random_state = checkpoints.random_state(self._random_state(continues))
            inputs = Inputs(source, transform or np.asarray, self._arithmetic(continues))
            known = FirstPass(
                source, inputs.check, Aside(0, 0), buffer_rows, are_classes=is_classifier(self)
            )
        first = known.sample
        of_rows = {
            "the features of the source": (first.X.shape[1], source.names),
            "the kind of y": (first.y.dtype.kind, first.y.shape[1:]),
            "sample_weight (given or not)": first.weight is not None,
            "buffer_rows": buffer_rows,
        }
        self._check_same(ranks, checkpoints, continues, **of_rows)
        random_state = ranks.same_generator(random_state, is_own=self.random_state is not None)
        seed = seed_from(random_state)
        with ranks.agreeing("in fit_stream, where the rows are shared out"):
            slots = slots_of_source(ranks, source, known)
        has_own = validation[0] is not None or validation[1] is not None
        fraction = 0.0
        if self.early_stopping and not has_own:
            n_rows = sum(ranks.gather(known.n_rows))
            fraction = min(self.validation_fraction, buffer_rows / n_rows)
        has_checksums, needs_all = checkpoints.is_asked, not is_classifier(self)
        with ranks.agreeing("in fit_stream, where the slots are read"):
            for slot in slots:
                slot.look(seed, fraction, has_checksums=has_checksums, needs_all=needs_all)
        known = known_by_all(ranks, known, slots)
        names = source.names if transform is None else None
        with ranks.agreeing("in fit_stream, where the network is made"):
            convert = self._prepare_stream(known, inputs, names, random_state, continues)
            X, y, weight = convert(known.sample)
        random_state.randint(2)  # another fit with this generator has another seed
        sample = Data(Features(X), y, weight)
        for slot in slots:
            slot.convert, slot.like = convert, sample
        if has_own and transform is not None and validation[0] is not None:
            validation = [transform(validation[0]), *validation[1:]]
        validate = own_validation(self, ranks, validation)
        if fraction:
            validate = self._validation_of_slots(ranks, slots, known.n_rows)
        digests = [slot.digest for slot in slots]
        checkpoints.check_data(
            X=checksum_of(ranks, digests),
            X_val=str((fraction, validate is not None)),
            n_slots=str(ranks.n_slots),
        )
        rows = SlotRows(ranks, slots, seed if self.shuffle else None, sample, int(buffer_rows))
        callbacks = Callbacks(self, None, None, None, self._fitted_attributes)

        def train(hooks):
            self._train_shared(ranks, rows, validate, hooks, random_state, checkpoints)

        with ranks.fit():
            # The first passes may be a large part of the time.
            seconds_before = checkpoints.seconds_before + time.perf_counter() - began
            self._with_hooks(train, callbacks, random_state, self.max_iter, seconds_before)
        return self

    def _validation_of_slots(self, ranks, slots, n_rows):
        """Return the validation on the rows that the slots have set aside."""
        n_aside = sum(ranks.gather(sum(slot.n_aside for slot in slots)))
        check_rows_aside(self, n_aside, n_rows)
        parts, has_weights = [], False
        for slot in slots:
            data, y = None, np.zeros(0)
            if slot.n_aside:
                X, encoded, weight = slot.convert(slot.kept)
                data, y = Data(Features(X), encoded, weight), slot.kept.y
                has_weights = slot.kept.weight is not None
            parts.append((data, np.arange(slot.n_aside), y))
        has_weights = has_weights or vars(self).get("class_weight") is not None
        return SharedValidation(self, ranks, [SlotPart(parts, has_weights)])


def slots_of_source(ranks, source, known):
    """Return the own slots: equal shares of the rows of the rank's source."""
    n = len(ranks.slots)
    if known.n_rows < n:
        raise ValueError(
            f"source must have at least {n} rows on every rank, for its slots, got {known.n_rows}"
        )
    bounds = bounds_of_slots(known.n_rows, n)
    return [
        StreamSlot(source, known.first_of, number, bounds[i], bounds[i + 1])
        for i, number in enumerate(ranks.slots)
    ]


def known_by_all(ranks, known, slots):
    """Return what is known of the rows of all ranks, as a `FirstPass` has it."""
    counts = Counter()
    for of_rank in ranks.gather(known.counts):
        counts.update(of_rank)
    if counts:
        known.counts = dict(counts)
        known._dtype = np.result_type(*ranks.gather(known._dtype))
    known.n_rows = sum(ranks.gather(known.n_rows))
    known._first = [it for of_rank in ranks.gather([s.sample for s in slots]) for it in of_rank]
    sums = ranks.sum(np.stack([np.append(slot.sum, slot.total) for slot in slots]))
    known._sum, known._total = sums[:-1], sums[-1]
    return known


class StreamSlot:
    """A slot whose rows are a range of those of a source.

    Parameters
    ----------
    source : source
    first_of : list of int
        The number of the first row of each unit of the source.
    number : int
        The number of the slot.
    first, last : int
        The range of rows.

    Attributes
    ----------
    n_rows, n_aside : int
        Number of rows to train on, and of those that are set aside.
    sample, kept : Batch
        The first rows, and those that are set aside.
    sum, total : ndarray, float
        The weighted sum of the targets, if they are numbers, and the sum of the weights.
    digest : str
        A checksum of the rows, if it is asked for.
    convert : callable
        Returns X, y and the weights of a batch as the network has them.
    like : Data
        Some rows for the network.
    """

    def __init__(self, source, first_of, number, first, last):
        self._source, self._first_of = source, first_of
        self._number, self._first, self._last = number, first, last
        ends = [*first_of[1:], np.inf]
        units = zip(first_of, ends, strict=True)
        self._units = [i for i, (begin, end) in enumerate(units) if begin < last and first < end]
        self._buffers = None

    def look(self, seed, fraction, *, has_checksums, needs_all):
        """Read the slot once, as far as that is needed, and learn of its rows."""
        seed_of_slot = (seed + self._number * 0x9E3779B97F4A7C15) % 2**63
        self._aside = Aside(seed_of_slot, int(fraction * WHOLE))
        digests = [hashlib.blake2b(digest_size=16) for _ in range(3)]
        first, kept, n_first, self.n_aside, self.sum, self.total = [], [], 0, 0, 0.0, 0.0
        n_sample = max(1, ROWS_OF_SAMPLE // 8)
        for batch, place in self._batches(self._units):
            heed_others()
            if n_first < n_sample:
                first.append(copied_rows(batch, slice(0, n_sample - n_first)))
                n_first += len(first[-1].X)
            if fraction:
                mask = self._aside.mask(place, len(batch.X))
                kept.append(copied_rows(batch, mask))
                self.n_aside += len(kept[-1].X)
            if has_checksums:
                for digest, array in zip(digests, batch, strict=True):
                    if array is not None:
                        digest.update(bytes_of(array))
            if needs_all:
                weight = np.ones(len(batch.X)) if batch.weight is None else batch.weight
                weight = weight.astype(np.float64)
                self.sum += weight @ batch.y.reshape(len(weight), -1).astype(np.float64)
                self.total += weight.sum()
            if n_first >= n_sample and not (fraction or has_checksums or needs_all):
                break
        self.sample, self.kept = joined(first), joined(kept) if kept else None
        self.n_rows = self._last - self._first - self.n_aside
        self.digest = " ".join(digest.hexdigest() for digest in digests)

    def _batches(self, units):
        """Give the rows of the units that belong to the slot, and the place of the first one."""
        for unit in units:
            at = self._first_of[unit]
            for batch in self._source.read(self._source.units[unit]):
                n = len(batch.X)
                begin, end = max(self._first - at, 0), min(self._last - at, n)
                if begin < end:
                    yield rows_of(batch, slice(begin, end)), at + begin - self._first
                at += n
                if at >= self._last:
                    break

    def chunks(self, words, sizes):
        """Give the data and the order of the rows, so many at a time as ``sizes`` says.

        The order of the units follows from the words, and so do those of the rows of a chunk.
        """
        generator = None if words is None else np.random.RandomState(words)
        units = self._units if generator is None else generator.permutation(self._units)
        if self._buffers is None or len(self._buffers[0][0]) < max(sizes, default=0):
            self._buffers = two_buffers(self.like, max(sizes, default=0))
        for data in read_ahead(filled(self._buffers, self._parts(units), iter(sizes))):
            order = np.arange(data.n_rows)
            if generator is not None:
                _core.shuffle(order, generator._bit_generator)
            yield data, order

    def _parts(self, units):
        for batch, place in self._batches(units):
            part = self.convert(batch)
            if self._aside.limit:
                kept = ~self._aside.mask(place, len(batch.X))
                part = [array[kept] for array in part]
            yield part


def rows_of(batch, rows):
    """Return some rows of a batch, as views if they are a slice."""
    return Batch(*(None if array is None else array[rows] for array in batch))
