"""Files that appear whole or not at all."""

import os
from contextlib import contextmanager
from pathlib import Path

from fastmlp._cli.errors import FAILURE, CommandError, reason
from fastmlp._engine.whole_file import whole_file


@contextmanager
def replaced(path):
    """Give a file to write to, which takes the place of ``path`` at the end.

    After an exception, an old file stays as it is. What is no file, such as /dev/null, is written
    to as it is.
    """
    check_place(path)
    is_file = not os.path.exists(path) or os.path.isfile(path)
    with named_errors(path), whole_file(path) if is_file else open(path, "wb") as file:
        yield file


@contextmanager
def named_errors(name):
    """Let the errors of writing name the file."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise CommandError(f"{name}: {reason(error)}", FAILURE) from error


def check_place(path):
    """Raise an error if no file can be written there, before work is done in vain."""
    path = Path(path)
    if path.is_dir():
        raise CommandError(f"{path}: Is a directory")
    folder = path.resolve().parent
    if not folder.is_dir():
        raise CommandError(f"{path}: there is no folder {folder}")
    if not os.access(path if path.exists() else folder, os.W_OK):
        raise CommandError(f"{path}: Permission denied")
