"""The formats of tables, by the extensions of their files."""

from pathlib import PurePath

INPUT_FORMATS = ("csv", "parquet", "arrow")
OUTPUT_FORMATS = (*INPUT_FORMATS, "jsonl")

EXTENSIONS = {
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
