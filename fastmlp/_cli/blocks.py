"""Blocks of bytes of a file or of standard input, and blocks of whole lines of them."""

import os
import sys
import threading
from typing import NamedTuple

from fastmlp._cli.errors import CommandError, reason

BYTES_OF_BLOCK = 1 << 23
STANDARD_INPUT = "-"

# A value in quotes that goes on for longer than this has certainly lost its closing quote.
MOST_BYTES_OF_ROW = 1 << 26


class FileBlocks:
    """Blocks of a file."""

    def __init__(self, path):
        self.name = str(path)
        try:
            self._file = open(path, "rb")  # noqa: SIM115 (closed by `close`)
            self.n_bytes = os.fstat(self._file.fileno()).st_size
        except OSError as error:
            raise CommandError(f"{path}: {reason(error)}") from error

    def read(self):
        """Return the next block, empty at the end."""
        try:
            block = self._file.read(BYTES_OF_BLOCK)
            return block + self._file.readline(BYTES_OF_BLOCK)  # so that it need not be cut
        except OSError as error:
            raise CommandError(f"{self.name}: {reason(error)}") from error

    def close(self):
        self._file.close()


class StreamBlocks:
    """Blocks of standard input: whatever has come in since the last one.

    A thread reads ahead. So a program that sends a row and waits for the answer gets it, and many
    rows that come quickly are taken together.
    """

    name = "standard input"
    n_bytes = None

    def __init__(self, stream=None):
        stream = sys.stdin.buffer if stream is None else stream
        self._stream = getattr(stream, "raw", stream)  # which returns what is there
        self._parts, self._n_bytes = [], 0
        self._error, self._is_over = None, False
        self._changed = threading.Condition()
        threading.Thread(target=self._read_all, daemon=True).start()

    def _read_all(self):
        try:
            while part := self._stream.read(BYTES_OF_BLOCK):
                with self._changed:
                    self._changed.wait_for(lambda: self._n_bytes < BYTES_OF_BLOCK)
                    self._parts.append(part)
                    self._n_bytes += len(part)
                    self._changed.notify_all()
        except (OSError, ValueError) as error:  # ValueError: closed
            self._error = error
        with self._changed:
            self._is_over = True
            self._changed.notify_all()

    def read(self):
        """Return what has come in, empty at the end."""
        with self._changed:
            while not self._changed.wait_for(lambda: self._parts or self._is_over, timeout=0.1):
                pass  # the time limit lets Ctrl-C through on every system
            block, self._parts, self._n_bytes = b"".join(self._parts), [], 0
            self._changed.notify_all()
        if not block and self._error is not None:
            raise CommandError(f"{self.name}: {self._error}")
        return block

    def close(self):
        pass


def open_blocks(path):
    """Return the blocks of a file, or of standard input for '-'."""
    return StreamBlocks() if path == STANDARD_INPUT else FileBlocks(path)


class Piece(NamedTuple):
    """Some rows of a file.

    Attributes
    ----------
    content : bytes or polars.DataFrame
        Lines of text, or the rows as they were read.
    first : int
        Number of the first line in the file, or of the first row, from 1.
    """

    content: object
    first: int


class Lines:
    """The lines of a text, in pieces that end with a line. Line breaks in quotes end no line.

    Parameters
    ----------
    blocks : FileBlocks or StreamBlocks
    """

    def __init__(self, blocks):
        self.blocks = blocks
        self._rest, self._line = b"", 1

    def first_line(self):
        """Return the first line, empty if there is none."""
        end = end_of_first_line(self._rest)
        while not end:
            block = self._block()
            self._rest += block
            end = end_of_first_line(self._rest) if block else len(self._rest)
            if not block:
                break
        line, self._rest = self._rest[:end], self._rest[end:]
        self._line += line.count(b"\n")
        return line

    def pieces(self):
        """Yield all other lines as pieces. The last one may lack its line break."""
        text, is_over = self._rest, False
        while not is_over:
            end = end_of_last_line(text)
            if end:
                yield self._piece(text[:end])
            # What is left of a block is short, unless a row is long: copied once, with the next.
            self._rest = text[end:]
            block = self._block()
            is_over = not block
            text = self._rest + block
        if text:
            yield self._piece(text)

    def _piece(self, content):
        piece = Piece(content, self._line)
        self._line += content.count(b"\n")
        return piece

    def _block(self):
        if len(self._rest) > MOST_BYTES_OF_ROW:
            raise CommandError(
                f"{self.blocks.name}: line {self._line}: a value in quotes that begins here or "
                "below has no end"
            )
        return self.blocks.read()


def end_of_first_line(text):
    """Return where the second line begins, or 0 if there is no line break outside quotes."""
    end = 0
    while True:
        end = text.find(b"\n", end) + 1
        if end == 0 or text.count(b'"', 0, end) % 2 == 0:
            return end


def end_of_last_line(text):
    """Return where the last line break outside quotes ends, or 0 if there is none."""
    n_quotes, end = text.count(b'"'), len(text)
    while True:
        newline = text.rfind(b"\n", 0, end)
        n_quotes -= n_quotes and text.count(b'"', newline + 1, end)
        if newline < 0 or n_quotes % 2 == 0:
            return newline + 1
        end = newline
