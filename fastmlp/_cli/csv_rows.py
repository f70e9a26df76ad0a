"""`CsvRows`: the rows of a CSV file, read by polars in pieces, and the place of what is wrong."""

import csv
import inspect
import io
from typing import NamedTuple

import numpy as np
import polars as pl

from fastmlp._cli.blocks import Lines, Piece
from fastmlp._cli.errors import CommandError, listed
from fastmlp._cli.kinds import MARKS_OF_MISSING, NAMES_OF_A_VALUE, found_in_strings, strings_as

SEPARATORS = ",;\t|"
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
LARGEST_FIELD = 2**31 - 1

# By default, polars takes an empty string for a missing value. Polars 2 has turned round the option
# by which it does not.
STRINGS_AS_THEY_ARE = {
    "null_values": None,
    **(
        {"empty_string_is_null": False}
        if "empty_string_is_null" in inspect.signature(pl.read_csv).parameters
        else {"missing_utf8_is_empty_string": True}
    ),
}

# The first bytes of files of other kinds, and what to do about them.
OTHER_FILES = {
    b"PAR1": "this is a Parquet file: add --format parquet",
    b"ARROW1": "this is an Arrow file: add --format arrow",
    b"\xff\xfe": "this text is in UTF-16: save it in UTF-8",
    b"\xfe\xff": "this text is in UTF-16: save it in UTF-8",
    b"PK\x03\x04": "this is a zip file or a spreadsheet: save the table as CSV",
    b"\x1f\x8b": "this is a gzip file: unpack it first, as in gunzip -c FILE | fastmlp ... -",
}


class Dialect(NamedTuple):
    """How a CSV file is written.

    Attributes
    ----------
    separator : str or None
        None to find it in the header.
    decimal : {".", ","}
    """

    separator: str | None = None
    decimal: str = "."


class CsvRows:
    """The rows of a CSV file.

    Parameters
    ----------
    blocks : FileBlocks or StreamBlocks
    dialect : Dialect

    Attributes
    ----------
    name : str
        The file, for messages.
    names : list of str
        The names of the columns.
    dialect : Dialect
        With the separator.
    """

    def __init__(self, blocks, dialect):
        self.name, self.blocks = blocks.name, blocks
        self._lines = Lines(blocks)
        header = self._decoded_header(self._lines.first_line())
        separator = dialect.separator or most_frequent_separator(header)
        self.dialect = dialect._replace(separator=separator)
        if dialect.decimal == separator:
            raise CommandError(
                f"{self.name}: line 1: the separator and the decimal mark are both {separator!r}: "
                "--separator or --decimal must be another"
            )
        self.names = self._names(header)

    def _decoded_header(self, line):
        for start, message in OTHER_FILES.items():
            if line.startswith(start):
                raise CommandError(f"{self.name}: {message}")
        if b"\0" in line:
            raise CommandError(f"{self.name}: line 1: this is not text: it has a byte 0")
        try:
            header = line.removeprefix(BYTE_ORDER_MARK).decode()
        except UnicodeDecodeError as error:
            raise self._not_utf8(line, error, 1) from error
        if not header.strip():
            raise CommandError(
                f"{self.name}: {'line 1 is empty' if header else 'the file is empty'}; it must "
                "have a line with the names of the columns"
            )
        return header

    def _names(self, header):
        try:
            names, *others = csv_reader(header, self.dialect.separator)
        except csv.Error as error:
            raise CommandError(f"{self.name}: line 1: {error}") from error
        if others:
            raise CommandError(
                f"{self.name}: line 1: a carriage return without a line feed ends no line; convert "
                "the line breaks by: tr '\\r' '\\n'"
            )
        twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
        if twice:
            raise CommandError(
                f"{self.name}: line 1: the names of columns must differ, but these are repeated: "
                f"{listed(twice)}"
            )
        return names

    def pieces(self):
        """Yield the rows as pieces of text, without empty lines at the end of the file."""
        empty = None  # the number of an empty line
        for piece in self._lines.pieces():
            if len(self.names) == 1:  # an empty line is a missing value
                yield piece
                continue
            content = piece.content
            if content.endswith((b"\n\n", b"\n\r\n")) or content[:1] in (b"\r", b"\n"):
                content = content.rstrip(b"\r\n")
            if not content:
                empty = empty or piece.first
                continue
            if empty:
                raise self._ragged(empty, 0)
            yield Piece(content, piece.first)
            if piece.content[len(content) :].count(b"\n") > 1:
                empty = piece.first + content.count(b"\n") + 1

    def everything(self):
        """Return all rows as one piece."""
        pieces = list(self.pieces())
        first = pieces[0].first if pieces else 2
        return Piece(b"\n".join(piece.content.rstrip(b"\r\n") for piece in pieces), first)

    def frame(self, piece, kinds):
        """Return columns of a piece.

        Parameters
        ----------
        piece : Piece
        kinds : dict
            From the names of the columns to their kinds.
        """
        dtypes = {
            name: pl.Float64 if kind == "numbers" else pl.String for name, kind in kinds.items()
        }
        try:
            frame = self._parsed(piece, dtypes)
        except pl.exceptions.PolarsError:  # such as spaces around a number
            frame = self._parsed_slowly(piece, list(kinds))
        return frame.select(
            self._converted(frame[name], kind, piece) for name, kind in kinds.items()
        )

    def _converted(self, series, kind, piece):
        if kind == "durations":
            raise CommandError(
                f"{self.name}: column {series.name!r} held durations in the training, which a CSV "
                "file does not have: use Parquet or Arrow"
            )
        if series.dtype != pl.String or kind in ("strings", "nothing"):
            return strings_as(series, kind) if kind == "nothing" else series
        converted = strings_as(series, kind, self.dialect.decimal)
        if converted.null_count() != series.null_count():
            wrong = (converted.is_null() & series.is_not_null()).arg_max()
            raise self.wrong_value(piece, wrong, series.name, series[wrong], kind)
        return converted

    def found_frame(self, piece):
        """Return all columns of a piece, each as the first kind that all of its values are of."""
        frame = self._parsed_slowly(piece, self.names)
        return frame.select(
            found_in_strings(series, self.dialect.decimal) for series in frame.get_columns()
        )

    def strings(self, piece, names):
        """Return columns as the strings that stand in the file."""
        return self._parsed_slowly(piece, names, **STRINGS_AS_THEY_ARE).select(names)

    def _parsed_slowly(self, piece, names, **settings):
        try:
            return self._parsed(piece, dict.fromkeys(names, pl.String), **settings)
        except pl.exceptions.PolarsError as error:
            raise self._explained(piece, error) from error

    def _parsed(self, piece, dtypes, **settings):
        """Read columns of a piece by polars. The last column tells whether lines are too short."""
        last = self.names[-1]
        frame = pl.read_csv(
            piece.content,
            has_header=False,
            schema=dict.fromkeys(self.names, pl.String) | dtypes,
            columns=[j for j, name in enumerate(self.names) if name in dtypes or name == last],
            separator=self.dialect.separator,
            decimal_comma=self.dialect.decimal == ",",
            **{"null_values": MARKS_OF_MISSING} | settings,
        )
        if frame[last].null_count():
            self._check_lines_are_whole(piece, len(frame))
        return frame

    def _check_lines_are_whole(self, piece, n_rows):
        expected = n_rows * (len(self.names) - 1)
        if count_outside_quotes(piece.content, self.dialect.separator) != expected:
            self._raise_if_ragged(piece)

    def _explained(self, piece, error):
        """Return an error that names the line of what polars could not read."""
        try:
            piece.content.decode()
        except UnicodeDecodeError as undecodable:
            return self._not_utf8(piece.content, undecodable, piece.first)
        self._raise_if_ragged(piece)
        for line, values in self._rows(piece):
            if any('"' in value for value in values) and not is_quoted(piece, line):
                return CommandError(
                    f"{self.name}: line {line}: a quote within a value: such a value must be in "
                    "quotes, and the quotes in it doubled"
                )
        return CommandError(
            f"{self.name}: from line {piece.first} on: {str(error).splitlines()[0]}"
        )

    def _raise_if_ragged(self, piece):
        for line, values in self._rows(piece):
            if len(values) != len(self.names):
                raise self._ragged(line, len(values))

    def _rows(self, piece):
        """Yield (number of the first line, values) of each row, slowly, for an error."""
        reader = csv_reader(piece.content.decode(errors="replace"), self.dialect.separator)
        line = piece.first
        try:
            for values in reader:
                yield line, values if values or len(self.names) > 1 else [""]
                line = piece.first + reader.line_num
        except csv.Error as error:
            what = "a value in quotes has no end" if "end of data" in str(error) else error
            raise CommandError(f"{self.name}: line {line}: {what}") from error

    def place(self, piece, row):
        """Return where a row of a piece is, for messages."""
        for i, (line, _) in enumerate(self._rows(piece)):
            if i == row:
                return f"{self.name}: line {line}"
        return self.name

    def wrong_value(self, piece, row, column, value, kind):
        """Return the error of a value that is not of the kind of its column."""
        hint = ""
        if kind == "numbers" and self.dialect.decimal == "." and is_with_comma(value):
            hint = "; for decimal commas, add --decimal ,"
        return CommandError(
            f"{self.place(piece, row)}: column {column!r}: {value!r} is not "
            f"{NAMES_OF_A_VALUE[kind]}{hint}"
        )

    def _ragged(self, line, n_values):
        what = f"{n_values} value{'s' * (n_values != 1)}" if n_values else "no values"
        return CommandError(
            f"{self.name}: line {line}: {what}, but the header has {len(self.names)} columns "
            f"(separated by {self.dialect.separator!r})"
        )

    def _not_utf8(self, text, error, first):
        line = first + text.count(b"\n", 0, error.start)
        return CommandError(
            f"{self.name}: line {line}: this text is not in UTF-8; if it is in Latin-1, convert it "
            "by: iconv -f LATIN1 -t UTF-8"
        )


def most_frequent_separator(header):
    """Return the separator that the header has most of outside quotes; a comma if it has none."""
    counts = {mark: count_outside_quotes(header.encode(), mark) for mark in SEPARATORS}
    return max(counts, key=counts.get)


def count_outside_quotes(text, mark):
    """Return how often an ASCII character stands outside quotes."""
    if b'"' not in text:
        return text.count(mark.encode())
    characters = np.frombuffer(text, np.uint8)
    is_quoted = np.bitwise_xor.accumulate(characters == ord('"'))
    return int(np.count_nonzero((characters == ord(mark)) & ~is_quoted))


def is_quoted(piece, line):
    """Whether a line of a piece has doubled quotes, as in a value in quotes."""
    return b'""' in piece.content.split(b"\n")[line - piece.first]


def csv_reader(text, separator):
    """Return Python's reader, for the header and for the places of errors."""
    csv.field_size_limit(LARGEST_FIELD)
    return csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)


def is_with_comma(value):
    """Whether a string is a number with a decimal comma."""
    whole, _, fraction = value.strip().lstrip("+-").partition(",")
    return whole.isdecimal() and fraction.isdecimal()
