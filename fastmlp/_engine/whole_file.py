"""Files that are written whole or not at all."""

import os
import secrets
from contextlib import contextmanager


@contextmanager
def whole_file(path):
    """Write a file beside ``path``, and rename it once all of it is on the disk.

    Whatever happens in between, a power cut included, ``path`` is the old file or the new one.

    Parameters
    ----------
    path : path-like
        A symbolic link is followed.

    Yields
    ------
    file object
        Takes bytes.
    """
    path = os.path.realpath(os.fsdecode(path))
    if os.path.isdir(path):
        raise IsADirectoryError(f"path must be that of a file, but {path} is a directory")
    if os.path.exists(path) and not os.path.isfile(path):
        raise ValueError(f"path must be that of a file, but {path} is a device or a pipe")
    folder, name = os.path.split(path)
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"there is no folder {folder} for the file {name}")
    # Other threads, processes and machines may write to the same path.
    beside = os.path.join(folder, f".{name}.{secrets.token_hex(8)}.part")
    try:
        with open(beside, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if os.path.exists(path):
            os.chmod(beside, os.stat(path).st_mode & 0o777)
        os.replace(beside, path)
    except BaseException:
        if os.path.exists(beside):
            os.unlink(beside)
        raise
    _sync_folder(folder)


def _sync_folder(folder):
    """Put the new name on the disk, where a folder can be opened for that."""
    if not hasattr(os, "O_DIRECTORY"):  # Windows
        return
    number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
