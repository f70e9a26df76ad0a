"""Files that appear whole or not at all."""

import os
import secrets
from contextlib import contextmanager, suppress
from pathlib import Path

from fastmlp._cli.errors import FAILURE, CommandError, reason


@contextmanager
def replaced(path):
    """Give the path of a new file beside ``path``, which takes its place at the end.

    After an exception, the new file is removed, and an old one stays as it is. What is no file,
    such as /dev/null, is written to as it is.
    """
    path = Path(path)
    check_place(path)
    place = path.resolve()  # a link stays a link
    if place.exists() and not place.is_file():
        yield str(place)
        return
    new = place.with_name(f".{place.name}.{secrets.token_hex(4)}.part")
    try:
        yield str(new)
        if place.exists():
            os.chmod(new, place.stat().st_mode & 0o777)
        os.replace(new, place)
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            raise
        raise CommandError(f"{path}: {reason(error)}", FAILURE) from error
    finally:
        with suppress(OSError):
            os.unlink(new)


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
