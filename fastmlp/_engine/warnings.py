"""Warnings that point at the user's code, however deep in the package they are raised."""

import contextlib
import os
import sys
import warnings
from importlib.util import find_spec
from pathlib import Path

# scikit-learn's own frames are skipped too: it wraps `fit`, and calls it in pipelines and searches.
# Context managers are called by contextlib.
FOLDERS = (
    *(f"{Path(find_spec(package).origin).parent}{os.sep}" for package in ("fastmlp", "sklearn")),
    contextlib.__file__,
)


def warn(message, category=UserWarning):
    """Issue a warning that points at the nearest caller outside this package and scikit-learn."""
    if sys.version_info >= (3, 12):
        warnings.warn(message, category, skip_file_prefixes=FOLDERS)
    else:
        warnings.warn(message, category, stacklevel=_levels_to_user())


def _levels_to_user():
    """Return the `stacklevel` of the nearest frame outside of FOLDERS, or else the outermost."""
    frame, level = sys._getframe(2), 2
    while frame.f_back is not None and frame.f_code.co_filename.startswith(FOLDERS):
        frame, level = frame.f_back, level + 1
    return level
