"""`cached`: a copy of what a source gives, for the epochs after the first pass.

The copy is one file without a name, which the system deletes with the process, however that ends.
"""

import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fastmlp._estimators.sources import Batch

ALIGNMENT = 64  # bytes


@contextmanager
def cached(source, folder):
    """Return the source, or one that copies it to a file in a folder when it is read first."""
    if folder is None:
        yield source
        return
    check_folder(folder)
    with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        yield CachedSource(source, file, folder)


def check_folder(folder):
    """Raise an error unless this is a folder."""
    if not isinstance(folder, str | os.PathLike):
        raise TypeError(f"cache_dir must be the path of a folder or None, got {folder!r}")
    if not Path(folder).is_dir():
        raise ValueError(f"cache_dir must be a folder that exists, got {os.fspath(folder)!r}")


class Place(NamedTuple):
    """Where an array is in the file. If it holds objects, their codes are there."""

    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype
    has_codes: bool

    @property
    def end(self):
        return self.offset + int(np.prod(self.shape)) * self.dtype.itemsize


class CachedSource:
    """A source whose units are decoded once. Its units are the numbers of those of the source."""

    def __init__(self, source, file, folder):
        self._source, self._file, self._folder = source, file, folder
        self.units = range(len(source.units))
        self._places = {}
        self._codes = {}  # of objects, such as strings
        self._objects = np.empty(0, dtype=object)

    @property
    def names(self):
        return self._source.names

    def read(self, unit):
        """Give the batches of a unit, from the file if it has been read to its end before."""
        if unit not in self._places:
            yield from self._copied(unit)
            return
        places = self._places[unit]
        if not places:
            return
        start = places[0].X.offset
        end = max(place.end for place in places[-1] if place is not None)
        memory = np.memmap(self._file, np.uint8, "r", start, (end - start,))
        for batch in places:
            yield Batch(*(self._array(memory, place, start) for place in batch))

    def _copied(self, unit):
        """Give the batches of a unit of the source, and write them to the file."""
        places = []
        for batch in self._source.read(self._source.units[unit]):
            yield batch  # and then written, because it is checked first
            if len(batch.X):
                places.append(Batch(*map(self._written, batch)))
        self._places[unit] = places

    def _written(self, array):
        """Write an array to the end of the file, and return its place."""
        if array is None:
            return None
        has_codes = array.dtype.kind == "O"
        if has_codes:
            codes = (self._codes.setdefault(value, len(self._codes)) for value in array.flat)
            array = np.fromiter(codes, np.intp, array.size).reshape(array.shape)
        end = self._file.seek(0, os.SEEK_END)
        offset = self._file.seek(-(-end // ALIGNMENT) * ALIGNMENT)
        rest = memoryview(np.ascontiguousarray(array).reshape(-1).view(np.uint8))
        try:
            while len(rest):
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            raise OSError(
                error.errno, f"cache_dir: {os.fspath(self._folder)!r} took no more rows: {error}"
            ) from error
        return Place(offset, array.shape, array.dtype, has_codes)

    def _array(self, memory, place, start):
        if place is None:
            return None
        array = memory[place.offset - start : place.end - start].view(place.dtype)
        array = array.reshape(place.shape)
        if not place.has_codes:
            return array
        if len(self._objects) < len(self._codes):
            self._objects = np.empty(len(self._codes), dtype=object)
            self._objects[:] = list(self._codes)
        return self._objects[array]
