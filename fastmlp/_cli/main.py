"""`main`: runs a command, and turns its errors into one line and an exit status."""

import importlib
import os
import signal
import sys
import threading
import warnings
from contextlib import contextmanager, suppress

from fastmlp._cli.errors import (
    BAD_INPUT,
    BROKEN_PIPE,
    FAILURE,
    INTERRUPTED,
    CommandError,
    in_one_line,
    reason,
)
from fastmlp._cli.parser import command_parser
from fastmlp._cli.replacing import named_errors

# The modules of the extra `cli`, and what pip calls those of another name.
EXTRA = {"polars", "pyarrow", "rich", "shtab", "safetensors"}
EXTRAS_OF_OTHERS = {"matplotlib": "plotting", "onnx": "onnx"}
TERMINATED = 143


def main(arguments=None):
    """Run the command line and return the exit status."""
    options = command_parser().parse_args(arguments)
    with warnings.catch_warnings():
        warnings.showwarning = show_warning
        try:
            with terminated_as_exit():
                check_files_differ(options)
                importlib.import_module(f"fastmlp._cli.{options.command}").run(options)
                with named_errors("standard output"):
                    sys.stdout.flush()
        except BrokenPipeError:
            discard_output()
            return BROKEN_PIPE
        except KeyboardInterrupt:
            return failed("interrupted", INTERRUPTED)
        except (CommandError, ImportError, MemoryError, OSError, TypeError, ValueError) as error:
            return failed(*explained(error))
    return 0


def check_files_differ(options):
    """Raise an error if a command would write over a file that it reads."""
    is_training = options.command == "train"
    written = ["model" if is_training else "output", "onnx", "c", "plot"]
    read = ["data", "validation", *([] if is_training else ["model"])]
    paths = {
        name: os.path.realpath(path)
        for name in {*written, *read}
        if isinstance(path := getattr(options, name, None), str) and os.path.isfile(path)
    }
    for name in written:
        if name in paths and paths[name] in {paths[other] for other in read if other in paths}:
            raise CommandError(f"{getattr(options, name)}: this file is read; write to another one")


def explained(error):
    """Return the message and the exit status for an exception."""
    if isinstance(error, CommandError):
        return in_one_line(error), error.status
    if isinstance(error, ImportError):
        return missing_library(error), FAILURE
    if isinstance(error, MemoryError):
        return f"not enough memory: {in_one_line(error)}", FAILURE
    if isinstance(error, OSError):
        place = f"{error.filename}: " if error.filename else ""
        return f"{place}{reason(error)}", FAILURE
    return in_one_line(error), BAD_INPUT


def missing_library(error):
    """Return which extra has the library that is missing."""
    library = (error.name or "").split(".")[0]
    extra = "cli" if library in EXTRA else EXTRAS_OF_OTHERS.get(library)
    if extra is None:
        return in_one_line(error)
    return f'this needs {library}, which is not installed: pip install "fastmlp[{extra}]"'


def failed(message, status):
    """Print the line of an error and return the exit status."""
    print(f"fastmlp: error: {message}", file=sys.stderr)
    try:
        sys.stdout.flush()
    except OSError:  # or else Python would say so at its end
        discard_output()
    return status


def show_warning(message, category, filename, lineno, file=None, line=None):
    """Print a warning in one line."""
    print(f"fastmlp: warning: {in_one_line(message)}", file=sys.stderr)


def discard_output():
    """Send what is still to be written nowhere."""
    with suppress(AttributeError, OSError, ValueError):  # not a file of the system
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def terminated_as_exit():
    """Let SIGTERM raise SystemExit, so that unfinished files are removed."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
