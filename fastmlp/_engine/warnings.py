"""Warnings that point at the user's line, however deep in the package they are raised."""

import os
import sys
import warnings
from importlib.util import find_spec
from pathlib import Path

# scikit-learn wraps `fit` in functions of its own, and calls it in pipelines and searches.
FOLDERS = tuple(
    f"{Path(find_spec(package).origin).parent}{os.sep}" for package in ("fastmlp", "sklearn")
)


def warn(message, category=UserWarning):
    """Warn of what the nearest caller outside of this package and scikit-learn has asked for."""
    if sys.version_info >= (3, 12):
        warnings.warn(message, category, skip_file_prefixes=FOLDERS)
    else:
        warnings.warn(message, category, stacklevel=_levels_to_user())


def _levels_to_user():
    """What `stacklevel` is of the nearest frame in another folder; of the outermost if none is."""
    frame, level = sys._getframe(2), 2
    while frame.f_back is not None and frame.f_code.co_filename.startswith(FOLDERS):
        frame, level = frame.f_back, level + 1
    return level
