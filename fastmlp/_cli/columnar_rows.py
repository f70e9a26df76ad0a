"""`ColumnarRows`: the rows of a Parquet or Arrow file, read by pyarrow in pieces."""

import io
import os

import polars as pl
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet

from fastmlp._cli.blocks import STANDARD_INPUT, Piece, StreamBlocks
from fastmlp._cli.errors import CommandError, in_one_line, listed, reason
from fastmlp._cli.kinds import NAMES_OF_A_VALUE, values_as

ROWS_OF_PIECE = 50_000


class ColumnarRows:
    """The rows of a Parquet or Arrow file. It has the methods of `CsvRows`.

    Parameters
    ----------
    path : str
    format : {"parquet", "arrow"}
    """

    dialect = None

    def __init__(self, path, format):
        self.name = "standard input" if path == STANDARD_INPUT else str(path)
        self._format = format
        if os.path.isdir(path):
            raise CommandError(f"{path}: Is a directory")
        try:
            source = whole_input() if path == STANDARD_INPUT else pa.memory_map(self.name)
            self._batches, self.names = BATCHES[format](source)
            self.close = source.close
        except pa.ArrowInvalid as error:
            raise self._unreadable(error) from error
        except OSError as error:
            raise CommandError(f"{self.name}: {reason(error)}") from error
        twice = [name for name in dict.fromkeys(self.names) if self.names.count(name) > 1]
        if twice:
            raise CommandError(f"{self.name}: these names of columns are repeated: {listed(twice)}")

    def _unreadable(self, error):
        return CommandError(
            f"{self.name}: not a whole {self._format.capitalize()} file: {in_one_line(error)}"
        )

    def pieces(self):
        """Yield the rows as frames."""
        first = 1
        try:
            for batch in self._batches:
                for start in range(0, batch.num_rows, ROWS_OF_PIECE):
                    content = pl.from_arrow(batch.slice(start, ROWS_OF_PIECE))
                    yield Piece(content, first)
                    first += len(content)
        except (pa.ArrowInvalid, OSError) as error:
            raise self._unreadable(error) from error

    def everything(self):
        """Return all rows as one piece."""
        pieces = list(self.pieces())
        return Piece(pl.concat([piece.content for piece in pieces]) if pieces else None, 1)

    def frame(self, piece, kinds):
        """Return columns of a piece as the kinds that their names stand for."""
        return piece.content.select(
            self._converted(piece, piece.content[name], kind) for name, kind in kinds.items()
        )

    def _converted(self, piece, series, kind):
        converted = values_as(series, kind)
        if kind != "nothing" and converted.null_count() != series.null_count():
            wrong = (converted.is_null() & series.is_not_null()).arg_max()
            raise self.wrong_value(piece, wrong, series.name, series[wrong], kind)
        return converted

    def found_frame(self, piece):
        """Return all columns of a piece as they are."""
        return piece.content

    def strings(self, piece, names):
        """Return columns as they are."""
        return piece.content.select(names)

    def place(self, piece, row):
        """Return where a row of a piece is, for messages."""
        return f"{self.name}: row {piece.first + row}"

    def wrong_value(self, piece, row, column, value, kind):
        """Return the error of a value that is not of the kind of its column."""
        return CommandError(
            f"{self.place(piece, row)}: column {column!r}: {value!r} is not "
            f"{NAMES_OF_A_VALUE[kind]}"
        )


def whole_input():
    """Return all of standard input: these formats are read from their end."""
    blocks = StreamBlocks()
    return io.BytesIO(b"".join(iter(blocks.read, b"")))


def parquet_batches(source):
    """Return the batches of a Parquet file, and the names of its columns."""
    file = pa.parquet.ParquetFile(source)
    return file.iter_batches(ROWS_OF_PIECE), file.schema_arrow.names


def arrow_batches(source):
    """Return the batches of an Arrow file or stream, and the names of its columns."""
    try:
        file = pa.ipc.open_file(source)
    except pa.ArrowInvalid:
        source.seek(0)
        stream = pa.ipc.open_stream(source)
        return iter(stream), stream.schema.names
    batches = (file.get_batch(i) for i in range(file.num_record_batches))
    return batches, file.schema.names


BATCHES = {"parquet": parquet_batches, "arrow": arrow_batches}
