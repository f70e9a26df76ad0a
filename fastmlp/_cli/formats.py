"""The formats of tables, by the extensions of their files."""

from pathlib import PurePath

from fastmlp._cli.errors import CommandError

INPUT_FORMATS = ("csv", "parquet", "arrow")
OUTPUT_FORMATS = (*INPUT_FORMATS, "jsonl")

EXTENSIONS = {
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".ipc": "arrow",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
}


def format_of(path):
    """Return the format of a file by its extension; CSV by default."""
    return EXTENSIONS.get(PurePath(path).suffix.lower(), "csv")


def format_to_write(path):
    """Return the format of a file to be written; CSV if it has no extension."""
    suffix = PurePath(path).suffix.lower()
    if suffix and suffix not in EXTENSIONS:
        raise CommandError(
            f"{path}: no tables can be written to a file with the extension {suffix!r}, only to "
            f"{', '.join(EXTENSIONS)}; --output-format names the format of any file"
        )
    return format_of(path)
