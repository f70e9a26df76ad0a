"""Writing frames one after the other in a format."""

import io
import sys
from contextlib import contextmanager

import polars as pl
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet

from fastmlp._cli.replacing import named_errors, replaced

STANDARD_OUTPUT = "-"


class CsvSink:
    """Writes CSV."""

    def __init__(self, file, dialect=None):
        self._file = file
        self._settings = {}
        if dialect is not None:
            self._settings = {
                "separator": dialect.separator,
                "decimal_comma": dialect.decimal == ",",
            }
        self._has_header = False

    def write(self, frame):
        text = io.BytesIO()  # polars may close a file that it writes to
        frame.write_csv(text, include_header=not self._has_header, **self._settings)
        self._has_header = True
        self._file.write(text.getbuffer())
        self._file.flush()  # for who waits at the other end of a pipe

    def close(self):
        pass


class JsonSink(CsvSink):
    """Writes a JSON object for each row. Infinity and NaN, which JSON does not have, are null."""

    def write(self, frame):
        text = io.BytesIO()
        frame.write_ndjson(text)
        self._file.write(text.getbuffer())
        self._file.flush()


class ArrowSink:
    """Writes an Arrow file, or a stream where no file can be made."""

    def __init__(self, file, dialect=None):
        self._file, self._writer = file, None

    def write(self, frame):
        table = frame.to_arrow(compat_level=pl.CompatLevel.oldest())
        if self._writer is None:
            self._writer = self._writer_for(table.schema)
        self._writer.write_table(table.cast(self._writer_schema))

    def _writer_for(self, schema):
        self._writer_schema = schema
        return pa.ipc.new_file(self._file, schema)

    def close(self):
        if self._writer is not None:
            self._writer.close()


class ParquetSink(ArrowSink):
    """Writes a Parquet file."""

    def _writer_for(self, schema):
        self._writer_schema = schema
        return pa.parquet.ParquetWriter(self._file, schema)


SINKS = {"csv": CsvSink, "jsonl": JsonSink, "parquet": ParquetSink, "arrow": ArrowSink}


@contextmanager
def open_sink(path, format, dialect):
    """Give a sink for a file, which appears at the end, or for '-', which is standard output."""
    if path == STANDARD_OUTPUT:
        with named_errors("standard output"):
            sink = SINKS[format](sys.stdout.buffer, dialect)
            yield sink
            sink.close()
            sys.stdout.buffer.flush()
        return
    with replaced(path) as file:
        sink = SINKS[format](file, dialect)
        yield sink
        sink.close()
