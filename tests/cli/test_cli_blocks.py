"""Blocks and lines: beside Python's own reader of CSV, for blocks of all sizes."""

import csv
import io
import itertools
import threading
import time

import numpy as np
import pytest

from fastmlp._cli import blocks
from fastmlp._cli.blocks import Lines, StreamBlocks
from fastmlp._cli.errors import CommandError
from fastmlp._cli.tables import worked_ahead

FIELDS = ["a", "", "1.5", '"x, y"', '"two\nlines"', '"a ""quote"" "', '"\n\n"', "ä"]


class GivenBlocks:
    """Blocks of given sizes of a text."""

    name = "given"

    def __init__(self, text, sizes):
        self._file, self._sizes = io.BytesIO(text), iter(sizes)

    def read(self):
        return self._file.read(next(self._sizes))


@pytest.mark.parametrize("largest", [1, 3, 20, 500])
@pytest.mark.parametrize("end", ["\n", "\r\n", ""])
def test_pieces_are_whole_rows(largest, end):
    rng = np.random.default_rng(largest)
    rows = [",".join(rng.choice(FIELDS, 3)) for _ in range(60)]
    text = ("\r\n" if end == "\r\n" else "\n").join(rows) + end
    given = GivenBlocks(text.encode(), rng.integers(1, largest + 1, 10_000))
    lines = Lines(given)
    first = lines.first_line()
    pieces = list(lines.pieces())
    assert first + b"".join(piece.content for piece in pieces) == text.encode()
    expected = list(csv.reader(io.StringIO(text, newline="")))
    parts = [first, *(piece.content for piece in pieces)]
    found = [list(csv.reader(io.StringIO(part.decode(), newline=""))) for part in parts]
    assert found[0] == expected[:1]
    assert list(itertools.chain(*found)) == expected
    done = 1
    for part, number in zip(parts, [1, *(piece.first for piece in pieces)], strict=True):
        assert number == done
        done += part.count(b"\n")


def test_text_without_lines():
    for text in (b"", b"abc"):
        lines = Lines(GivenBlocks(text, [2] * 9))
        assert lines.first_line() == text
        assert list(lines.pieces()) == []


def test_a_quote_that_is_not_closed_does_not_fill_the_memory(monkeypatch):
    monkeypatch.setattr(blocks, "MOST_BYTES_OF_ROW", 1000)
    text = b"a,b\n1,2\n" + b'3,"4\n' + b"5,6\n" * 1000
    lines = Lines(GivenBlocks(text, [100] * 99))
    lines.first_line()
    with pytest.raises(CommandError, match="given: line 3: a value in quotes that begins here"):
        list(lines.pieces())


class SlowStream:
    """A stream that gives its parts with pauses."""

    def __init__(self, parts, error=None):
        self.parts, self.error, self.n_read = list(parts), error, 0

    def read(self, n):
        time.sleep(0.01)
        self.n_read += 1
        if self.parts:
            return self.parts.pop(0)
        if self.error:
            raise self.error
        return b""


def test_streams_give_what_is_there():
    stream = StreamBlocks(SlowStream([b"a", b"b", b"c"]))
    time.sleep(0.2)
    assert stream.read() == b"abc"
    assert stream.read() == b""
    one_by_one = StreamBlocks(SlowStream([b"a", b"b"]))
    assert one_by_one.read() == b"a"
    broken = StreamBlocks(SlowStream([b"a"], OSError("it is gone")))
    assert broken.read() == b"a"
    with pytest.raises(CommandError, match="standard input: it is gone"):
        broken.read()


def test_streams_do_not_run_ahead(monkeypatch):
    monkeypatch.setattr(blocks, "BYTES_OF_BLOCK", 10)
    source = SlowStream([b"0123456789"] * 50)
    stream = StreamBlocks(source)
    time.sleep(0.3)
    assert source.n_read <= 3
    assert b"".join(iter(stream.read, b"")) == b"0123456789" * 50


def test_work_ahead_stops_with_its_user():
    began = []

    def work():
        for i in range(1000):
            began.append(i)
            yield i

    items = worked_ahead(work())
    assert [next(items), next(items)] == [0, 1]
    items.close()
    end = time.monotonic() + 5
    while threading.active_count() > 1 and time.monotonic() < end:
        time.sleep(0.01)
    assert len(began) < 10


def test_work_ahead_raises_where_it_is_used():
    def work():
        yield 1
        raise KeyError("lost")

    items = worked_ahead(work())
    assert next(items) == 1
    with pytest.raises(KeyError, match="lost"):
        next(items)
