"""Opening tables by the format of their files, and working ahead in another thread."""

import queue
import threading
from contextlib import closing, contextmanager

from fastmlp._cli.blocks import open_blocks
from fastmlp._cli.columnar_rows import ColumnarRows
from fastmlp._cli.csv_rows import CsvRows, Dialect
from fastmlp._cli.errors import CommandError, listed
from fastmlp._cli.formats import INPUT_FORMATS, format_of

STEPS_AHEAD = 2


@contextmanager
def open_rows(options, path):
    """Give the rows of a file, or of standard input for '-', by the options of a command."""
    format = options.format or format_of(path)
    if format not in INPUT_FORMATS:
        raise CommandError(f"{path}: tables are read from {', '.join(INPUT_FORMATS)}: --format")
    if format == "csv":
        with closing(open_blocks(path)) as blocks:
            yield CsvRows(blocks, Dialect(options.separator, options.decimal))
    else:
        with closing(ColumnarRows(path, format)) as rows:
            yield rows


def check_columns(rows, names, what):
    """Raise an error if a table lacks some of these columns."""
    there = set(rows.names)
    absent = [name for name in names if name not in there]
    if absent:
        raise CommandError(
            f"{rows.name}: no {what} {listed(absent)}; the columns are {listed(rows.names)}"
        )


def worked_ahead(items):
    """Yield the items of an iterator, which another thread computes ahead.

    The thread ends with the iterator, or soon after this generator has been closed.
    """
    done, results = threading.Event(), queue.Queue(STEPS_AHEAD)

    def put(result):
        while not done.is_set():
            try:
                return results.put(result, timeout=0.1)
            except queue.Full:
                continue

    def work():
        try:
            for item in items:
                put((item, None))
                if done.is_set():
                    return
            put((None, StopIteration))
        except BaseException as error:  # to be raised where the items are used
            put((None, error))

    threading.Thread(target=work, daemon=True).start()
    try:
        while True:
            item, error = results.get()
            if error is StopIteration:
                return
            if error is not None:
                raise error
            yield item
    finally:
        done.set()
